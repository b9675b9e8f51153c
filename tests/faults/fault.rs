//! A fault as data, and what is done with it: break a healthy host, see the doctor name the cause, do
//! what the doctor prints, see the host healthy again.

use std::collections::BTreeSet;

use kvmnet_reports::{
    Cell, CellVerdict, Expected, Finding, Observed, Predicted, Report, Severity, Zone, ZoneKind,
};
use serde_json::Value;

use crate::host::{Backend, Host, INTERNET, kvmnet};
use crate::shared_host::{assert_healthy_but, let_guests_speak, on_shared_host, shown};

/// A change to a healthy host and what the doctor must say of it.
pub(crate) struct Fault {
    /// Its name in the field's words, kebab-case.
    pub(crate) id: &'static str,
    /// What happened, in one line.
    pub(crate) what: &'static str,
    /// The shell commands that make it.
    pub(crate) breaks: &'static str,
    /// Commands in guests that make it, after those on the host. `$(address web1)` and its like are filled in.
    pub(crate) in_guests: &'static [(&'static str, &'static str)],
    /// Where this kernel cannot make it: the healthy host is recorded, and the record is changed.
    pub(crate) recorded: Option<fn(&mut Value)>,
    /// It can be made with this backend of libvirt's only.
    pub(crate) only_on: Option<Backend>,
    /// With this backend it does no harm: no error, no gap, exit code 0. Without any finding it never does.
    pub(crate) harmless_on: Option<Backend>,
    /// What must be named, and no other error: the finding's id, and subjects that it must have.
    pub(crate) findings: &'static [(&'static str, &'static [&'static str])],
    /// Pairs of zones of which some claim must be a gap: `vm:web1`, `gateway:iso`, `host`, `internet`,
    /// `outside`. Where a guest is meant to ping and the gap is that it cannot, the guest is asked too.
    pub(crate) gaps: &'static [(&'static str, &'static str)],
    /// What stands for the internet besides the usual target.
    pub(crate) targets: &'static [&'static str],
    /// The exit code, where it is neither that of an error nor that of a healthy host.
    pub(crate) code: Option<i32>,
    /// Spanning tree is waited for before the doctor is called.
    pub(crate) settles: bool,
    /// Only the wire can show it: the facts alone may say that all is well.
    pub(crate) beyond_facts: bool,
    /// What brings the host back.
    pub(crate) cure: Cure,
    /// Hazards that the cure leaves: they are no part of the fault, or take more than a command.
    pub(crate) stays: &'static [&'static str],
    /// What the guests themselves have to do after the cure.
    pub(crate) guests_do: &'static [(&'static str, &'static str)],
    /// Shell commands that take away what the cure leaves, once the host was seen healthy.
    pub(crate) afterwards: &'static str,
}

/// What brings the host back.
pub(crate) enum Cure {
    /// The commands that the doctor prints.
    Printed,
    /// Nothing that could be typed on the host as it is: these shell commands stand for what the note of
    /// the finding asks for.
    ByHand(&'static str),
}

/// What most faults have in common.
pub(crate) const FAULT: Fault = Fault {
    id: "",
    what: "",
    breaks: "",
    in_guests: &[],
    recorded: None,
    only_on: None,
    harmless_on: None,
    findings: &[],
    gaps: &[],
    targets: &[],
    code: None,
    settles: true,
    beyond_facts: false,
    cure: Cure::Printed,
    stays: &[],
    guests_do: &[],
    afterwards: "",
};

/// Functions for the commands of faults.
pub(crate) const PRELUDE: &str = "
    backend() { if nft list table ip libvirt_network >/dev/null 2>&1; then echo nftables; else echo iptables; fi; }
    # Of two leases the guest has the one at which it answers.
address() {
  set -- $(virsh -q domifaddr $1 | grep -o '192[0-9.]*')
  while [ $# -gt 1 ] && ! ping -q -c 1 -W 2 $1 >/dev/null; do shift; done
  echo $1
}
# Changes a network's saved configuration, starts it anew and plugs these taps in again.
    redefine() {
      virsh net-dumpxml --inactive $1 | sed \"$2\" | virsh -q net-define /dev/stdin
      virsh -q net-destroy $1; virsh -q net-start $1
      bridge=$(virsh net-info $1 | awk '/Bridge/ { print $2 }'); shift 2
      for tap; do ip link set $tap master $bridge up; done
    }
    inet() { nsenter --net=/run/lab/inet \"$@\"; }
    # Gives the host a way out by IPv6, and takes it away.
    ipv6() {
      ip -6 addr $1 2001:db8:1::2/64 dev eth0 $([ $1 = add ] && echo nodad)
      inet ip -6 addr $1 2001:db8:1::1/64 dev up0 $([ $1 = add ] && echo nodad)
      inet ip -6 addr $1 2001:db8:2::10/128 dev lo
      if [ $1 = add ]; then ip -6 route add default via 2001:db8:1::1 dev eth0; fi
      sysctl -qw net.ipv6.conf.all.forwarding=$([ $1 = add ] && echo 1 || echo 0)
    }
    # Gives the isolated network a subnet of IPv6, and takes it away.
    iso6() {
      if [ $1 = add ]; then
        redefine iso \"s|</network>|<ip family='ipv6' address='fd00:150::1' prefix='64'/></network>|\" vnet2
        # The address waits for a port that forwards, and the server for the address.
        timeout 30 sh -c \"until ss -Hlun | grep -q 'fd00:150::1'; do sleep 0.1; done\"
      else
        redefine iso \"/<ip family='ipv6'/,/<.ip>/d\" vnet2
      fi
    }
    # Another dnsmasq, with these options, that was there before libvirt's networks.
    squat() {
      virsh -q net-destroy default; virsh -q net-destroy iso
      dnsmasq --conf-file=/dev/null --no-resolv --no-hosts --leasefile-ro --pid-file=/run/lab/squatter.pid \"$@\"
      ! virsh -q net-start default 2>/dev/null; ! virsh -q net-start iso 2>/dev/null
    }
    far() { nsenter --net=/run/lab/far \"$@\"; }
    # Puts the internet's host behind a way that carries 1400 bytes, and back.
    narrow() {
      if [ $1 = del ]; then
        inet ip link del far0; umount /run/lab/far; inet ip addr add 198.51.100.10/32 dev lo; return
      fi
      touch /run/lab/far; unshare --net=/run/lab/far true
      inet ip link add far0 mtu 1400 type veth peer name far1 mtu 1400 netns /run/lab/far
      inet ip addr add 192.0.2.1/30 dev far0; inet ip link set far0 up
      far ip addr add 192.0.2.2/30 dev far1; far ip link set far1 up; far ip link set lo up
      inet ip addr del 198.51.100.10/32 dev lo; far ip addr add 198.51.100.10/32 dev lo
      inet ip route add 198.51.100.10 via 192.0.2.2; far ip route add default via 192.0.2.1
    }
    # A network that starts with the host, whose subnet is taken.
    taken_subnet() {
      virsh net-dumpxml default | sed '/<uuid/d; /<mac/d; s/>default</>nat2</; s/virbr0/virbr7/' | virsh -q net-define /dev/stdin
      virsh -q net-autostart nat2; ! virsh -q net-start nat2 2>/dev/null
    }
";

/// Where the doctor writes its commands.
pub(crate) const FIX_SCRIPT: &str = "/run/lab/fix.sh";

impl Fault {
    /// The backends on which it is tried.
    pub(crate) fn backends(&self) -> impl Iterator<Item = Backend> {
        let possible = |backend: &Backend| self.only_on.is_none_or(|only| only == *backend);
        [Backend::Nftables, Backend::Iptables].into_iter().filter(possible)
    }

    /// Whether it is another fault with either backend.
    pub(crate) fn depends_on_backend(&self) -> bool {
        self.only_on.is_some() || self.harmless_on.is_some()
    }

    /// Whether the doctor must stay quiet.
    pub(crate) fn is_harmless_on(&self, backend: Backend) -> bool {
        self.findings.is_empty() || self.harmless_on == Some(backend)
    }

    /// Runs it on the backend's shared host.
    pub(crate) fn run(&self, backend: Backend) {
        on_shared_host(backend, |host| match self.recorded {
            Some(change) => self.run_on_record(host, change),
            None => self.run_on(host, backend),
        });
    }

    fn run_on_record(&self, host: &Host, change: fn(&mut Value)) {
        // A guest that was not heard of for a while would have no address in the record.
        let_guests_speak(host);
        let mut snapshot = host.json(&[kvmnet().to_str().expect("a path in UTF-8"), "snapshot"]);
        change(&mut snapshot);
        host.write("/run/lab/snapshot.json", snapshot.to_string().as_bytes());
        let doctored = host.doctor(&["--snapshot", "/run/lab/snapshot.json"]);
        let wrong = self.misdiagnosed(host, &doctored);
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), shown(&doctored.1));
    }

    fn run_on(&self, host: &Host, backend: Backend) {
        let shell = |script: &str| host.sh(&format!("{PRELUDE}\n{script}"));
        let in_guests = |commands: &[(&str, &str)]| {
            for (guest, command) in commands {
                let command = shell(&format!("cat <<END\n{command}\nEND"));
                let (status, said) = host.guest(guest, command.trim());
                assert_eq!(status, 0, "{guest}: {command}{said}");
            }
        };
        shell("iptables-save >/run/lab/iptables");
        shell(self.breaks);
        in_guests(self.in_guests);
        if self.settles {
            host.settle();
        }
        if self.is_harmless_on(backend) {
            self.assert_harmless(host);
            shell("iptables-restore </run/lab/iptables");
        } else {
            let report = self.assert_diagnosed(host);
            assert_asserted(host, &report);
            match self.cure {
                Cure::Printed => host.sh(&format!("sh {FIX_SCRIPT}")),
                Cure::ByHand(script) => shell(script),
            };
            in_guests(self.guests_do);
            assert_healthy_but(host, self.stays);
            // A cure need not take back what broke the host: the next fault begins without either.
            shell("iptables-restore </run/lab/iptables");
        }
        shell(self.afterwards);
    }

    fn assert_harmless(&self, host: &Host) {
        let (code, report) = host.doctor(&self.arguments(&[]));
        let errors = report.findings.iter().any(|finding| finding.severity == Severity::Error);
        assert!(
            code == 0 && !errors && report.summary.gaps == 0,
            "{} should be harmless, exit code {code}\n{}\n{}",
            self.id,
            shown(&report),
            host.picture()
        );
    }

    /// What the doctor must say. It writes its commands into [`FIX_SCRIPT`].
    fn assert_diagnosed(&self, host: &Host) -> Report {
        let doctored = host.doctor(&self.arguments(&["--fix-script", FIX_SCRIPT]));
        let mut wrong = self.misdiagnosed(host, &doctored);
        let (_, report) = doctored;
        let mut named = report.findings.iter().filter(|finding| self.names(finding));
        if named.all(|finding| finding.fix.commands.is_empty()) && matches!(self.cure, Cure::Printed) {
            wrong.push("no command is printed".to_owned());
        }
        if !self.beyond_facts {
            wrong.extend(facts_against_wire(host, &self.arguments(&["--static"]), &report));
        }
        assert!(wrong.is_empty(), "{}\n{}\n{}", wrong.join("\n"), shown(&report), host.picture());
        report
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let targets = self.targets.iter().flat_map(|target| ["--internet-target", target]);
        targets.chain(more.iter().copied()).collect()
    }

    fn names(&self, finding: &Finding) -> bool {
        self.findings.iter().any(|(id, _)| *id == finding.id)
    }

    /// What is wrong with a diagnosis.
    fn misdiagnosed(&self, host: &Host, (code, report): &(i32, Report)) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        let failed = !self.gaps.is_empty() || report.findings.iter().any(is_error);
        let expected_code = self.code.unwrap_or(i32::from(failed));
        if *code != expected_code {
            wrong.push(format!("exit code {code} instead of {expected_code}"));
        }
        if let Some(first) = report.findings.first().filter(|first| !self.names(first)) {
            wrong.push(format!("{} comes first: {}", first.id, first.title));
        }
        for (id, subjects) in self.findings {
            if !report.findings.iter().any(|finding| covers(finding, id, subjects)) {
                wrong.push(format!("no finding {id} about {subjects:?}"));
            }
        }
        for finding in &report.findings {
            if finding.severity == Severity::Error && !self.names(finding) {
                wrong.push(format!("{} is blamed: {}", finding.id, finding.title));
            }
        }
        for (from, to) in self.gaps {
            let gaps: Vec<&Cell> = gaps(report, from, to).collect();
            if gaps.is_empty() {
                wrong.push(format!("no gap from {from} to {to}"));
            }
            let asked = gaps.iter().filter(|_| self.recorded.is_none());
            for address in asked.filter_map(|cell| pinged(cell)) {
                let vm = from.strip_prefix("vm:").unwrap_or_default();
                if host.guest_reaches(vm, &address) {
                    wrong.push(format!("{vm} does reach {address}: the lab's change breaks nothing"));
                }
            }
        }
        wrong
    }
}

/// The address that a guest should be able to ping, if the claim is about that.
fn pinged(cell: &Cell) -> Option<String> {
    if cell.expected == Expected::Deny || cell.traffic != "icmp" || cell.from.zone != ZoneKind::Vm {
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

fn gaps<'a>(report: &'a Report, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a Cell> {
    report
        .matrix
        .iter()
        .filter(|c| c.verdict == CellVerdict::Gap)
        .filter(move |c| zone_name(&c.from) == from && zone_name(&c.to) == to)
}

/// What a policy for the healthy host asserts of its isolation.
const POLICY: &str = "\
version: 1
internet: [198.51.100.10]
assertions:
  - {from: 'network:iso', to: internet, deny: any}
  - {from: 'network:iso', to: 'network:default', deny: any}
  - {from: 'network:default', to: 'network:iso', deny: any}
  - {from: outside, to: ['network:default', 'network:iso'], deny: any}
";

/// A policy that asserts the isolation of the healthy host fails by exactly the leaks that the doctor has found, with a
/// packet that passes on the wire where the doctor's did.
fn assert_asserted(host: &Host, doctored: &Report) {
    host.write("/run/lab/policy.yaml", POLICY.as_bytes());
    let about = |cell: &&Cell| {
        let closed = |zone: &Zone| matches!(zone.network.as_deref(), Some("default" | "iso"));
        let network = |zone: &Zone| zone.network.clone();
        cell.expected == Expected::Deny
            && match (cell.from.zone, cell.to.zone) {
                (ZoneKind::Vm, ZoneKind::Internet) => network(&cell.from).as_deref() == Some("iso"),
                (ZoneKind::Vm, ZoneKind::Vm) => {
                    closed(&cell.from) && closed(&cell.to) && network(&cell.from) != network(&cell.to)
                }
                (ZoneKind::Outside, ZoneKind::Vm) => closed(&cell.to),
                _ => false,
            }
    };
    let leaks = |report: &Report| -> BTreeSet<(String, String)> {
        let gaps = report.matrix.iter().filter(about).filter(|cell| cell.verdict == CellVerdict::Gap);
        gaps.map(|cell| (end(&cell.from), end(&cell.to))).collect()
    };
    let found = leaks(doctored);
    // Nothing is sent where there is nothing to show.
    let live: &[&str] = if found.is_empty() { &[] } else { &["--live"] };
    let ran = host.kvmnet(&[&["check", "/run/lab/policy.yaml", "--format", "json"], live].concat());
    // Where a network is gone, or libvirt does not tell, nobody is meant, which is no pass either.
    if matches!(ran.code, Some(2 | 3)) && ran.stdout.is_empty() && found.is_empty() {
        return;
    }
    let (code, report): (_, Report) = match serde_json::from_str(&ran.stdout) {
        Ok(report) => (ran.code, report),
        Err(error) => panic!("no report ({error}), exit {:?}: {}", ran.code, ran.stderr),
    };
    // A network of another mode does what the doctor expects of it, and not what the policy asserts.
    let meant = |name: &str, mode: &str| {
        report.networks.iter().any(|network| network.name == name && network.mode == mode)
    };
    if !(meant("default", "nat") && meant("iso", "isolated")) {
        return;
    }
    let missed: Vec<_> = found.difference(&leaks(&report)).cloned().collect();
    let failed = report.policy.iter().flat_map(|policy| &policy.assertions);
    let failed = failed.filter(|assertion| assertion.verdict == CellVerdict::Gap).count();
    let passed_on_wire = |report: &Report| {
        let gaps = report.matrix.iter().filter(about).filter(|cell| cell.verdict == CellVerdict::Gap);
        gaps.filter(|cell| cell.observed == Observed::Reply).count() > 0
    };
    let wrong = !missed.is_empty()
        || found.is_empty() == (failed > 0)
        || (code == Some(1)) != (failed > 0)
        || passed_on_wire(doctored) && !passed_on_wire(&report);
    assert!(
        !wrong,
        "the doctor found {found:?}, {missed:?} are not asserted, {failed} assertions fail, exit code {code:?}\n{}",
        shown(&report)
    );
}

/// Which network's VM it is, or what else.
fn end(zone: &Zone) -> String {
    if zone.zone == ZoneKind::Vm { zone.network.clone().unwrap_or_default() } else { zone_name(zone) }
}

/// Where the facts alone say something else than what the wire has shown, cell by cell. Of full-size packets they say
/// nothing.
fn facts_against_wire(host: &Host, arguments: &[&str], live: &Report) -> Vec<String> {
    let (_, alone) = host.doctor(arguments);
    let ends = |cell: &Cell| {
        let mut addresses = [&cell.from, &cell.to].into_iter().filter_map(|zone| zone.address.as_deref());
        let ipv6 = addresses.any(|address| address.contains(':'));
        (zone_name(&cell.from), zone_name(&cell.to), ipv6, cell.traffic.clone(), cell.expected)
    };
    let same = |cell: &Cell| alone.matrix.iter().find(|other| ends(other) == ends(cell));
    let mut wrong = Vec::new();
    for cell in live.matrix.iter().filter(|cell| cell.traffic != "icmp-full-size") {
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

fn zone_name(zone: &Zone) -> String {
    match zone.zone {
        ZoneKind::Vm => format!("vm:{}", zone.vm.as_deref().unwrap_or("?")),
        ZoneKind::Gateway => format!("gateway:{}", zone.network.as_deref().unwrap_or("?")),
        ZoneKind::Host => "host".to_owned(),
        ZoneKind::Internet => "internet".to_owned(),
        ZoneKind::Outside => "outside".to_owned(),
    }
}
