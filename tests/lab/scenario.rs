//! A scenario as data, and what is done with it: break a healthy host, see the doctor name the cause,
//! do what the doctor prints, see the host healthy again.

use std::sync::{Mutex, PoisonError};

use kvmnet_reports::{
    Cell, CellVerdict, Expected, Finding, Observed, Predicted, Proof, Report, Severity, Zone, ZoneKind,
};

use crate::host::{Backend, GUESTS, Host, INTERNET};

/// A change to a healthy host and what the doctor must say of it.
pub(crate) struct Scenario {
    /// The shell command that breaks the host.
    pub(crate) breaks: &'static str,
    /// Backends on which it does no harm: no finding, exit code 0.
    pub(crate) harmless_on: &'static [Backend],
    /// The causes that must be named, and no other error: the finding's id, and subjects that it must
    /// have.
    pub(crate) findings: &'static [(&'static str, &'static [&'static str])],
    /// Pairs of zones of which some claim must be a gap: `vm:web1`, `gateway:iso`, `host`, `internet`,
    /// `outside`. Where a guest is meant to ping and the gap is that it cannot, the guest is asked too.
    pub(crate) gaps: &'static [(&'static str, &'static str)],
}

/// One healthy host with all guests per backend, for the scenarios one after another. A scenario
/// that fails takes the host with it.
static HOSTS: [Mutex<Option<Host>>; 2] = [Mutex::new(None), Mutex::new(None)];

/// Runs on the backend's shared host, which is healthy and must be so afterwards.
pub(crate) fn on_shared_host(backend: Backend, test: impl FnOnce(&Host)) {
    if !crate::can_run() {
        return;
    }
    let slot = match backend {
        Backend::Nftables => &HOSTS[0],
        Backend::Iptables => &HOSTS[1],
        Backend::None => panic!("a shared host has libvirt"),
    };
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let host = slot.take().unwrap_or_else(|| {
        let host = Host::start(backend, GUESTS);
        assert_healthy(&host);
        host
    });
    test(&host);
    *slot = Some(host);
}

/// Each guest, its network, the network's bridge and the host's address there.
pub(crate) const PLUGGED: [(&str, &str, &str, &str); 4] = [
    ("db1", "iso", "virbr1", "192.168.150.1"),
    ("lan1", "lan", "br0", "10.20.0.2"),
    ("web1", "default", "virbr0", "192.168.122.1"),
    ("web2", "default", "virbr0", "192.168.122.1"),
];

/// Lets every guest ping the host, so that the bridges and the host have heard of it just now. For
/// seconds after a port was plugged in or out, spanning tree makes the bridges forget after 4 s instead
/// of 300: that is waited for.
#[track_caller]
pub(crate) fn let_guests_speak(host: &Host) {
    host.wait_for("! ip -d link show type bridge | grep -q 'topology_change 1'");
    for (guest, _, _, address) in PLUGGED {
        assert!(host.guest_reaches(guest, address), "{guest} does not reach {address}");
    }
}

impl Scenario {
    /// Runs the scenario on the backend's shared host.
    pub(crate) fn run(&self, backend: Backend) {
        on_shared_host(backend, |host| {
            host.sh("iptables-save >/run/lab/iptables");
            host.sh(self.breaks);
            if !self.harmless_on.contains(&backend) {
                for command in self.assert_diagnosed(host) {
                    host.sh(&command);
                }
            }
            assert_healthy(host);
            // A cure need not take back what broke the host: the next scenario begins without either.
            host.sh("iptables-restore </run/lab/iptables");
        });
    }

    /// What the doctor must say, and the commands that it prints.
    fn assert_diagnosed(&self, host: &Host) -> Vec<String> {
        let (code, report) = host.doctor(&[]);
        let mut wrong = Vec::new();
        if code != 1 {
            wrong.push(format!("exit code {code} instead of 1"));
        }
        let mut commands = Vec::new();
        for (id, subjects) in self.findings {
            let Some(finding) = report.findings.iter().find(|f| covers(f, id, subjects)) else {
                wrong.push(format!("no finding {id} about {subjects:?}"));
                continue;
            };
            if finding.fix.commands.is_empty() {
                wrong.push(format!("{id} says no command"));
            }
            commands.extend(finding.fix.commands.iter().cloned());
        }
        for finding in &report.findings {
            let expected = self.findings.iter().any(|(id, _)| *id == finding.id);
            if finding.severity == Severity::Error && !expected {
                wrong.push(format!("{} is blamed: {}", finding.id, finding.title));
            }
        }
        for (from, to) in self.gaps {
            let Some(cell) = gap(&report, from, to) else {
                wrong.push(format!("no gap from {from} to {to}"));
                continue;
            };
            if let (Some(vm), Some(address)) = (from.strip_prefix("vm:"), pinged(cell))
                && host.guest_reaches(vm, &address)
            {
                wrong.push(format!("{vm} does reach {address}: the lab's change breaks nothing"));
            }
        }
        wrong.extend(facts_against_wire(host, &report));
        assert!(wrong.is_empty(), "{}\n{}\n{}", wrong.join("\n"), shown(&report), host.picture());
        commands
    }
}

/// Where the facts alone say something else than what the wire has shown, cell by cell.
fn facts_against_wire(host: &Host, live: &Report) -> Vec<String> {
    let (_, alone) = host.doctor(&["--static"]);
    let ends =
        |cell: &Cell| (zone_name(&cell.from), zone_name(&cell.to), cell.traffic.clone(), cell.expected);
    let same = |cell: &Cell| alone.matrix.iter().find(|other| ends(other) == ends(cell));
    let mut wrong = Vec::new();
    for cell in &live.matrix {
        let Some(other) = same(cell) else {
            wrong.push(format!("the facts alone say nothing of {:?}", ends(cell)));
            continue;
        };
        let contradicts = matches!(
            (other.predicted, cell.observed),
            (Predicted::Allow, Observed::NoReply) | (Predicted::Deny, Observed::Reply)
        );
        if contradicts {
            let (predicted, observed) = (other.predicted, cell.observed);
            wrong.push(format!("{:?}: the facts say {predicted:?}, the wire {observed:?}", ends(cell)));
        }
    }
    wrong
}

/// On a healthy host the facts alone give the model's matrix: what must pass does, and what must not is
/// closed to every packet. Who has which address in a LAN they do not know.
fn facts_against_model(host: &Host) -> Vec<String> {
    let (_, alone) = host.doctor(&["--static"]);
    let wrong = alone.matrix.iter().filter(|cell| {
        let lan = |zone: &Zone| zone.network.as_deref() == Some("lan") && zone.address.is_none();
        let closed = cell.proof == Proof::AllPackets || cell.from.zone == ZoneKind::Host;
        match (cell.expected, cell.predicted) {
            (Expected::Allow, Predicted::Allow) => false,
            (Expected::Deny, Predicted::Deny) => !closed,
            (_, Predicted::Unknown) => !lan(&cell.from) && !lan(&cell.to),
            _ => true,
        }
    });
    wrong
        .map(|cell| format!("by the facts alone: {}", serde_json::to_string(cell).expect("a cell is JSON")))
        .collect()
}

/// The address that a guest should be able to ping, if the claim is about that.
fn pinged(cell: &Cell) -> Option<String> {
    if cell.expected == Expected::Deny || matches!(cell.traffic.as_str(), "dhcp" | "dns") {
        return None;
    }
    match cell.to.zone {
        ZoneKind::Internet => Some(INTERNET.to_owned()),
        ZoneKind::Gateway => cell.to.address.clone(),
        ZoneKind::Vm | ZoneKind::Host | ZoneKind::Outside => None,
    }
}

fn covers(finding: &Finding, id: &str, subjects: &[&str]) -> bool {
    finding.id == id && subjects.iter().all(|s| finding.subjects.iter().any(|have| have == s))
}

fn gap<'a>(report: &'a Report, from: &str, to: &str) -> Option<&'a Cell> {
    report
        .matrix
        .iter()
        .find(|c| c.verdict == CellVerdict::Gap && zone_name(&c.from) == from && zone_name(&c.to) == to)
}

fn zone_name(zone: &Zone) -> String {
    match zone.zone {
        ZoneKind::Vm => format!("vm:{}", zone.vm.as_deref().unwrap_or("?")),
        ZoneKind::Gateway => format!("gateway:{}", zone.network.as_deref().unwrap_or("?")),
        ZoneKind::Host => "host".to_owned(),
        ZoneKind::Internet => "internet".to_owned(),
        ZoneKind::Outside => "outside".to_owned(),
    }
}

/// The doctor finds nothing, every claim holds, and the exit code is 0.
#[track_caller]
pub(crate) fn assert_healthy(host: &Host) {
    host.settle();
    let (code, report) = host.doctor(&[]);
    let quiet = report.findings.is_empty() && report.summary.gaps == 0 && report.summary.unknown == 0;
    let wrong = facts_against_model(host);
    assert!(
        code == 0 && quiet && !report.matrix.is_empty() && wrong.is_empty(),
        "the host should be healthy, exit code {code}\n{}\n{}\n{}",
        wrong.join("\n"),
        shown(&report),
        host.picture()
    );
}

/// The cells that tell of trouble, and the findings.
fn shown(report: &Report) -> String {
    let cells: Vec<_> = report.matrix.iter().filter(|c| c.verdict != CellVerdict::Ok).collect();
    serde_json::to_string_pretty(&(cells, &report.findings)).expect("a report is JSON")
}
