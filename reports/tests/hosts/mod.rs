//! Reports of hosts that do not exist.

use kvmnet_reports::trace::{TraceDecision, TraceSite, TraceStep};
use kvmnet_reports::*;

fn zone(zone: ZoneKind) -> Zone {
    Zone { zone, vm: None, network: None, address: None }
}

fn vm(name: &str, network: &str) -> Zone {
    Zone { vm: Some(name.into()), network: Some(network.into()), ..zone(ZoneKind::Vm) }
}

fn gateway(network: &str, address: &str) -> Zone {
    Zone { network: Some(network.into()), address: Some(address.into()), ..zone(ZoneKind::Gateway) }
}

fn internet() -> Zone {
    Zone { address: Some("198.51.100.10".into()), ..zone(ZoneKind::Internet) }
}

fn cell(from: Zone, to: Zone, traffic: &str, expected: Expected) -> Cell {
    let (predicted, observed) = match expected {
        Expected::Allow => (Predicted::Allow, Observed::Reply),
        Expected::Deny => (Predicted::Deny, Observed::NoReply),
    };
    let traffic = traffic.into();
    Cell {
        from,
        to,
        traffic,
        expected,
        predicted,
        proof: Proof::OnePacket,
        sender: None,
        observed,
        verdict: CellVerdict::Ok,
        note: None,
        steps: vec![
            step("vnet1", TraceDecision::Pass, "from the VM"),
            match expected {
                Expected::Allow => step("forward", TraceDecision::Rewrite, "ip nat: masquerade"),
                Expected::Deny => step("forward", TraceDecision::Drop, "ip filter FORWARD: policy drop"),
            },
        ],
    }
}

fn step(place: &str, decision: TraceDecision, text: &str) -> TraceStep {
    let site = TraceSite { kind: "netfilter", owner: Some("Docker".into()), ..TraceSite::default() };
    TraceStep { reply: false, place: place.into(), decision, text: text.into(), site }
}

fn network(name: &str, mode: &str, bridge: &str, subnets: &[&str]) -> Network {
    Network {
        name: name.into(),
        mode: mode.into(),
        bridge: Some(bridge.into()),
        uplink: (mode != "isolated").then(|| "eth0".into()),
        subnets: subnets.iter().map(|&subnet| subnet.into()).collect(),
        gateways: subnets.iter().map(|subnet| subnet.replace("0/24", "1")).collect(),
        active: true,
        bridge_state: Some(LinkState::Up),
    }
}

fn nic(vm: &str, number: usize, bridge: &str, network: &str) -> Nic {
    Nic {
        vm: vm.into(),
        mac: format!("52:54:00:aa:00:{number:02x}"),
        tap: Some(format!("vnet{number}")),
        bridge: Some(bridge.into()),
        network: Some(network.into()),
        addresses: Vec::new(),
        nic: 1,
        state: Some(NicState::Up),
    }
}

/// What a network of this mode claims of one of its VMs.
fn claims(name: &str, network: &str, mode: &str) -> Vec<Cell> {
    use Expected::{Allow, Deny};
    let (internet_wish, outside_wish) = match mode {
        "nat" => (Allow, Deny),
        "isolated" => (Deny, Deny),
        _ => (Allow, Allow),
    };
    let me = || vm(name, network);
    let mut cells = vec![
        cell(me(), gateway(network, "192.168.122.1"), "arp", Allow),
        cell(me(), gateway(network, "192.168.122.1"), "icmp", Allow),
        cell(me(), internet(), "icmp", internet_wish),
        cell(me(), internet(), "tcp/443", internet_wish),
        cell(zone(ZoneKind::Host), me(), "icmp", Allow),
        cell(zone(ZoneKind::Outside), me(), "icmp", outside_wish),
    ];
    if mode != "bridge" {
        cells.push(cell(me(), vm("other1", "other"), "icmp", Deny));
    }
    cells
}

fn summarise(mut report: Report) -> Report {
    let count = |verdict| report.matrix.iter().filter(|cell| cell.verdict == verdict).count();
    let (gaps, unknown) = (count(CellVerdict::Gap), count(CellVerdict::Unknown));
    let verdict = match (gaps, unknown) {
        (0, 0) => Verdict::Verified,
        (0, _) => Verdict::Incomplete,
        _ => Verdict::Gaps,
    };
    report.summary = Summary { ok: count(CellVerdict::Ok), gaps, unknown, proved: 0, verdict };
    report
}

/// Three networks and four NICs, all as intended.
pub(crate) fn healthy() -> Report {
    let mut matrix = Vec::new();
    for (name, network, mode) in [
        ("web1", "default", "nat"),
        ("web2", "default", "nat"),
        ("db1", "iso", "isolated"),
        ("fw", "lan", "bridge"),
    ] {
        matrix.extend(claims(name, network, mode));
    }
    for (from, to) in [("web1", "web2"), ("web2", "web1")] {
        matrix.push(cell(vm(from, "default"), vm(to, "default"), "icmp", Expected::Allow));
    }
    summarise(Report {
        schema: SCHEMA.into(),
        host: Host {
            name: "kvm1".into(),
            kernel: "6.12.48-amd64".into(),
            libvirt: Some("11.3.0".into()),
            firewall_backend: Some("nftables".into()),
            taken_ms: 1_760_000_000_000,
        },
        sources: ["links", "nf-tables", "libvirt"]
            .map(|name| Source { name: name.into(), status: SourceStatus::Read, reason: None })
            .into(),
        networks: vec![
            network("default", "nat", "virbr0", &["192.168.122.0/24"]),
            network("iso", "isolated", "virbr1", &["192.168.150.0/24"]),
            network("lan", "bridge", "br0", &[]),
        ],
        nics: vec![
            nic("web1", 1, "virbr0", "default"),
            nic("web2", 2, "virbr0", "default"),
            nic("db1", 3, "virbr1", "iso"),
            nic("fw", 4, "br0", "lan"),
        ],
        matrix,
        findings: Vec::new(),
        policy: None,
        course: None,
        since: None,
        summary: Summary { ok: 0, gaps: 0, unknown: 0, proved: 0, verdict: Verdict::Verified },
    })
}

/// Breaks every cell that `which` selects and gives their indices.
fn break_cells(report: &mut Report, which: impl Fn(&Cell) -> bool) -> Vec<usize> {
    let mut broken = Vec::new();
    for (index, cell) in report.matrix.iter_mut().enumerate() {
        if which(cell) {
            cell.verdict = CellVerdict::Gap;
            (cell.predicted, cell.observed) = match cell.expected {
                Expected::Allow => (Predicted::Deny, Observed::NoReply),
                Expected::Deny => (Predicted::Allow, Observed::Reply),
            };
            broken.push(index);
        }
    }
    broken
}

fn is(cell: &Cell, name: &str, to: ZoneKind) -> bool {
    cell.from.vm.as_deref() == Some(name) && cell.to.zone == to
}

/// Docker's policy keeps a NAT network from the internet, an isolated VM reaches it, and a claim is
/// broken without a known cause.
pub(crate) fn broken() -> Report {
    let mut report = healthy();
    let nat = break_cells(&mut report, |cell| {
        is(cell, "web1", ZoneKind::Internet) || is(cell, "web2", ZoneKind::Internet)
    });
    let leak = break_cells(&mut report, |cell| is(cell, "db1", ZoneKind::Internet) && cell.traffic == "icmp");
    break_cells(&mut report, |cell| cell.from.zone == ZoneKind::Host && cell.to.vm.as_deref() == Some("fw"));
    report.findings = vec![
        Finding {
            id: "forward-policy-drop".into(),
            severity: Severity::Error,
            title: "default: VMs do not reach the internet".into(),
            subjects: vec!["vm:web1".into(), "vm:web2".into()],
            cause: "chain FORWARD of table ip filter drops by policy; Docker set it. libvirt accepts the packet in \
                    its own table, but a drop in any table is final."
                .into(),
            evidence: vec![
                Evidence { source: "proof".into(), text: "all of ip saddr 192.168.122.0/24, any protocol, vnet0 → eth0".into() },
                Evidence {
                    source: "wire".into(),
                    text: "web1 → 198.51.100.10 icmp: left vnet1, came up at virbr0, never left eth0".into(),
                },
            ],
            breaks: nat,
            fix: Fix {
                commands: vec![
                    "iptables -I DOCKER-USER -i virbr0 -j ACCEPT".into(),
                    "iptables -I DOCKER-USER -o virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".into(),
                ],
                note: Some("to make it last: set \"ip-forward-no-drop\": true in Docker's daemon.json".into()),
                disruptive: false,
            },
        },
        Finding {
            id: "isolated-network-forwarded-by-a-foreign-rule".into(),
            severity: Severity::Error,
            title: "iso: a VM of an isolated network reaches the internet".into(),
            subjects: vec!["vm:db1".into(), "network:iso".into()],
            cause: "rule 12 of chain forward in table inet custom accepts it.".into(),
            evidence: vec![Evidence { source: "nf-tables".into(), text: "iifname virbr1 accept".into() }],
            breaks: leak,
            fix: Fix {
                commands: vec!["nft delete rule inet custom forward handle 12".into()],
                note: None,
                disruptive: true,
            },
        },
        Finding {
            id: "network-not-autostarted".into(),
            severity: Severity::Warning,
            title: "iso does not come back after a reboot".into(),
            subjects: vec!["network:iso".into()],
            cause: "libvirt does not start it by itself.".into(),
            evidence: Vec::new(),
            breaks: Vec::new(),
            fix: Fix { commands: vec!["virsh net-autostart iso".into()], ..Fix::default() },
        },
    ];
    summarise(report)
}

/// Without root: libvirt and netfilter are not read, nothing is tried.
pub(crate) fn unknown() -> Report {
    let mut report = healthy();
    report.host.libvirt = None;
    for cell in &mut report.matrix {
        cell.observed = Observed::NotTried;
        cell.note = Some("not tried: sending a packet needs root".into());
        if cell.to.zone == ZoneKind::Internet || cell.from.zone == ZoneKind::Outside {
            cell.predicted = Predicted::Unknown;
            cell.verdict = CellVerdict::Unknown;
            cell.note = Some("nf-tables could not be read: the rules decide".into());
        }
    }
    report.networks[1].active = false;
    report.sources[1].status = SourceStatus::Missing;
    report.sources[1].reason = Some("dump tables: operation not permitted (run as root)".into());
    report.sources[2].status = SourceStatus::Partial;
    report.sources[2].reason = Some("leases of network default: access denied".into());
    summarise(report)
}

/// Names that a guest or an attacker chose.
pub(crate) fn hostile() -> Report {
    let mut report = broken();
    let names = [
        "\x1b[2J\x1b[31mweb1",
        "we\u{202e}b2\u{2066}",
        "db1\nERROR  forged: rm -rf /",
        "东京".repeat(80).leak(),
    ];
    for (nic, name) in report.nics.iter_mut().zip(names) {
        let old = std::mem::replace(&mut nic.vm, name.into());
        for cell in &mut report.matrix {
            for zone in [&mut cell.from, &mut cell.to] {
                if zone.vm.as_deref() == Some(&old) {
                    zone.vm = Some(name.into());
                }
            }
        }
        for subject in report.findings.iter_mut().flat_map(|finding| &mut finding.subjects) {
            *subject = subject.replace(&old, name);
        }
    }
    report.host.name = "kvm\u{9b}1".into();
    report.findings[0].cause = "\x07".repeat(10_000);
    report
}

/// A thousand VMs, 900 of which are cut off.
pub(crate) fn thousand() -> Report {
    let mut report = healthy();
    report.matrix.clear();
    report.nics.clear();
    for number in 0..1000 {
        let name = format!("vm{number:04}");
        report.matrix.extend(claims(&name, "default", "nat"));
        report.nics.push(Nic { tap: Some(format!("vnet{number}")), ..nic(&name, 1, "virbr0", "default") });
    }
    let breaks = break_cells(&mut report, |cell| {
        cell.to.zone == ZoneKind::Internet && cell.from.vm.as_deref().is_some_and(|name| name < "vm0490")
    });
    let subjects = report.nics.iter().take(490).map(|nic| format!("vm:{}", nic.vm)).collect();
    report.findings = vec![Finding { breaks, subjects, ..broken().findings.remove(0) }];
    summarise(report)
}

/// A hundred NICs in ten networks, of which in each other one something is wrong.
pub(crate) fn hundred() -> Report {
    many(10, 10)
}

/// So many networks of all modes with so many NICs each, some of which are off or in the wrong bridge.
pub(crate) fn many(networks: usize, nics: usize) -> Report {
    let mut report = healthy();
    report.matrix.clear();
    report.nics.clear();
    report.networks.clear();
    for net in 0..networks {
        let (name, bridge) = (format!("net{net}"), format!("virbr{net}"));
        let mode = ["nat", "isolated", "bridge"][net % 3];
        report.networks.push(network(&name, mode, &bridge, &[&format!("10.0.{net}.0/24")]));
        for number in 0..nics {
            let vm = format!("vm{net:02}-{number:02}");
            report.matrix.extend(claims(&vm, &name, mode));
            report.nics.push(Nic {
                addresses: vec![format!("10.0.{net}.{}", number + 10)],
                state: Some([NicState::Up, NicState::Up, NicState::Off, NicState::WrongBridge][number % 4]),
                ..nic(&vm, net * nics + number, &bridge, &name)
            });
        }
    }
    let breaks = break_cells(&mut report, |cell| {
        cell.expected == Expected::Allow
            && cell.to.zone == ZoneKind::Internet
            && cell.from.vm.as_deref().is_some_and(|name| name.ends_with(['3', '7']))
    });
    report.findings = vec![Finding { breaks, ..broken().findings.remove(0) }, broken().findings.remove(2)];
    summarise(report)
}

/// The broken host with a policy: it asserts what holds, what does not and what cannot be said, and accepts the
/// leak for good and a hazard until a day.
pub(crate) fn policed() -> Report {
    let mut report = broken();
    // What a policy asserts stands in the matrix for itself.
    let mut asserted = |which: &dyn Fn(&Cell) -> bool| -> Vec<usize> {
        let first = report.matrix.len();
        let cells: Vec<Cell> = report.matrix.iter().filter(|cell| which(cell)).cloned().collect();
        report.matrix.extend(cells);
        (first..report.matrix.len()).collect()
    };
    let closed = asserted(&|cell| cell.to.vm.as_deref() == Some("other1"));
    let open = asserted(&|cell| is(cell, "web1", ZoneKind::Internet));
    let unsure = asserted(&|cell| cell.from.zone == ZoneKind::Outside);
    for at in &unsure[..1] {
        let cell = &mut report.matrix[*at];
        (cell.predicted, cell.verdict) = (Predicted::Unknown, CellVerdict::Unknown);
        cell.note = Some("a program on eth0 decides".into());
    }
    let untried = &mut report.matrix[open[0]];
    (untried.observed, untried.note) = (Observed::NotTried, Some("not tried: --static".into()));
    let assertion = |name: &str, line, cells: Vec<usize>, verdict| Assertion {
        name: name.into(),
        line,
        pairs: cells.len(),
        cells,
        verdict,
        note: None,
    };
    let hazard = report.findings.remove(2);
    let leak = report.findings.remove(1);
    report.policy = Some(Policy {
        file: "/etc/kvmnet/policy.toml".into(),
        assertions: vec![
            assertion("vm:* to vm:other1: deny any", 3, closed, CellVerdict::Ok),
            assertion("web servers reach the internet", 8, open, CellVerdict::Gap),
            assertion("outside to vm:*: deny icmp", 13, unsure, CellVerdict::Unknown),
        ],
        accepted: vec![
            Accepted {
                finding: leak,
                reason: "db1 fetches its updates this way".into(),
                until: None,
                line: 18,
            },
            Accepted {
                finding: hazard,
                reason: "iso is started by hand".into(),
                until: Some("2027-01-31".into()),
                line: 23,
            },
        ],
        notes: vec![PolicyNote {
            line: 28,
            text: "`mtu-differs` is not accepted any more, 2026-01-31 was the last day: until the switch is replaced"
                .into(),
            expired: Some(Expired { finding: "mtu-differs".into(), until: "2026-01-31".into() }),
        }],
    });
    summarise(report)
}

/// What a guest, or whoever writes a domain's XML, may write to get out of a format.
pub(crate) const PAYLOADS: &[&str] = &[
    "<script>alert(1)</script>",
    "]]></failure><testcase name='forged'/>&amp;",
    "\"/><x y=\"",
    "\u{1b}[2J\u{9b}31m\u{7}\u{0}\u{b}\u{7f}",
    "\u{202e}bidi\u{2066}\u{200f}",
    "\u{fffe}\u{ffff}\u{feff}",
    "a\nnot ok 1 - forged\r\n::error::forged\u{2028}\u{85}##[error]forged",
    "%0A::error title=x,file=y::forged",
    "b\n# EOF\nkvmnet_gaps 0\n",
    "name\",verdict=\"ok\"} 1 \\",
    "# SKIP forged",
    "\\# TODO \\\\# skip",
    "  ...\n  ---\nforged: true",
    "| gaps=0 'forged'=1;;;",
    "`$(reboot)` ``` ~~~",
    "```\n<img src=x onerror=alert(1)>\n",
    "[link](javascript:alert(1)) ![image](https://example.org/x.png)",
    "https://example.org www.example.org <https://example.org> a@example.org",
    "@everyone #1 GH-1 &lt;b&gt; &#60;",
    "# heading\n| a | b |\n- item\n1. one\n***\n> quote",
    "*a* _b_ __c__ ~~d~~ **e**",
    "{0} {7} {{1}}",
    "$x^2$ $$y$$",
    "c\nPRIORITY=0\nMESSAGE=forged\n\nMESSAGE=forged",
];

/// The host with a policy, with this text wherever somebody else has the word.
pub(crate) fn invaded(text: &str) -> Report {
    let mut report = policed();
    let set = |place: &mut String| text.clone_into(place);
    set(&mut report.host.name);
    report.host.libvirt.as_mut().map(set);
    report.sources[1].status = SourceStatus::Missing;
    report.sources[2].status = SourceStatus::Partial;
    for source in &mut report.sources[1..] {
        source.reason = Some(text.to_owned());
    }
    for network in &mut report.networks {
        set(&mut network.name);
        network.bridge.as_mut().map(set);
        network.uplink.as_mut().map(set);
        network.subnets = vec![text.to_owned()];
        network.gateways = vec![text.to_owned()];
    }
    for nic in &mut report.nics {
        set(&mut nic.vm);
        nic.network.as_mut().map(set);
        nic.bridge.as_mut().map(set);
        nic.tap.as_mut().map(set);
        nic.addresses = vec![text.to_owned()];
    }
    for cell in &mut report.matrix {
        for zone in [&mut cell.from, &mut cell.to] {
            zone.vm.as_mut().map(set);
            zone.network.as_mut().map(set);
            zone.address.as_mut().map(set);
        }
        if cell.verdict != CellVerdict::Ok {
            cell.note = Some(text.to_owned());
        }
        for step in &mut cell.steps {
            set(&mut step.place);
            set(&mut step.text);
            step.site.owner.as_mut().map(set);
        }
    }
    let policy = report.policy.as_mut().expect("there is a policy");
    set(&mut policy.file);
    for assertion in &mut policy.assertions {
        set(&mut assertion.name);
    }
    for note in &mut policy.notes {
        set(&mut note.text);
        note.expired = Some(Expired { finding: text.to_owned(), until: text.to_owned() });
    }
    for accepted in &mut policy.accepted {
        set(&mut accepted.reason);
        accepted.until = Some(text.to_owned());
    }
    let accepted = policy.accepted.iter_mut().map(|accepted| &mut accepted.finding);
    for finding in report.findings.iter_mut().chain(accepted) {
        set(&mut finding.title);
        set(&mut finding.cause);
        finding.subjects = vec![format!("vm:{text}"), text.to_owned()];
        finding.evidence = vec![Evidence { source: text.to_owned(), text: text.to_owned() }];
        finding.fix = Fix {
            commands: vec![text.to_owned(), format!("virsh start '{text}'")],
            note: Some(text.to_owned()),
            disruptive: true,
        };
    }
    report
}

/// The host invaded by each payload, and by a name of 10,000 characters.
pub(crate) fn invasions() -> Vec<Report> {
    let long = "ab<&".repeat(2_500);
    PAYLOADS.iter().copied().chain([long.as_str()]).map(invaded).collect()
}
