//! A fault as data, and what is done with it: break a healthy host, see the doctor name the cause, do
//! what the doctor prints, see the host healthy again.

use kvmnet_reports::{
    Cell, CellVerdict, Expected, Finding, Observed, Predicted, Report, Severity, Zone, ZoneKind,
};

use crate::host::{Backend, Host, INTERNET};
use crate::shared_host::{assert_healthy, on_shared_host, shown};

/// A change to a healthy host and what the doctor must say of it.
pub(crate) struct Fault {
    /// Its name in the field's words, kebab-case.
    pub(crate) id: &'static str,
    /// What happened, in one line.
    pub(crate) what: &'static str,
    /// The shell commands that make it.
    pub(crate) breaks: &'static str,
    /// It can be made with this backend of libvirt's only.
    pub(crate) only_on: Option<Backend>,
    /// With this backend it does no harm: no error, no gap, exit code 0. Without any finding it never does.
    pub(crate) harmless_on: Option<Backend>,
    /// What must be named, and no other error: the finding's id, and subjects that it must have.
    pub(crate) findings: &'static [(&'static str, &'static [&'static str])],
    /// Pairs of zones of which some claim must be a gap: `vm:web1`, `gateway:iso`, `host`, `internet`,
    /// `outside`. Where a guest is meant to ping and the gap is that it cannot, the guest is asked too.
    pub(crate) gaps: &'static [(&'static str, &'static str)],
    /// Only the wire can show it: the facts alone may say that all is well.
    pub(crate) beyond_facts: bool,
    /// What brings the host back.
    pub(crate) cure: Cure,
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
    only_on: None,
    harmless_on: None,
    findings: &[],
    gaps: &[],
    beyond_facts: false,
    cure: Cure::Printed,
    afterwards: "",
};

/// Functions for the commands of faults.
const PRELUDE: &str = "
    # Runs a command with the name of libvirt's backend's rules at hand.
    backend() { if nft list table ip libvirt_network >/dev/null 2>&1; then echo nftables; else echo iptables; fi; }
    address() { virsh -q domifaddr $1 | grep -o '192[0-9.]*'; }
";

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
    fn is_harmless_on(&self, backend: Backend) -> bool {
        self.findings.is_empty() || self.harmless_on == Some(backend)
    }

    /// Runs it on the backend's shared host.
    pub(crate) fn run(&self, backend: Backend) {
        on_shared_host(backend, |host| {
            let shell = |script: &str| host.sh(&format!("{PRELUDE}\n{script}"));
            shell("iptables-save >/run/lab/iptables");
            shell(self.breaks);
            if self.is_harmless_on(backend) {
                self.assert_harmless(host);
                shell("iptables-restore </run/lab/iptables");
            } else {
                let printed = self.assert_diagnosed(host);
                match self.cure {
                    Cure::Printed => printed.iter().for_each(|command| {
                        host.sh(command);
                    }),
                    Cure::ByHand(script) => {
                        shell(script);
                    }
                }
                assert_healthy(host);
                // A cure need not take back what broke the host: the next fault begins without either.
                shell("iptables-restore </run/lab/iptables");
            }
            shell(self.afterwards);
        });
    }

    fn assert_harmless(&self, host: &Host) {
        host.settle();
        let (code, report) = host.doctor(&[]);
        let errors = report.findings.iter().any(|finding| finding.severity == Severity::Error);
        assert!(
            code == 0 && !errors && report.summary.gaps == 0,
            "{} should be harmless, exit code {code}\n{}\n{}",
            self.id,
            shown(&report),
            host.picture()
        );
    }

    /// What the doctor must say, and the commands that it prints.
    fn assert_diagnosed(&self, host: &Host) -> Vec<String> {
        host.settle();
        let (code, report) = host.doctor(&[]);
        let mut wrong = Vec::new();
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        let expected_code = i32::from(!self.gaps.is_empty() || report.findings.iter().any(is_error));
        if code != expected_code {
            wrong.push(format!("exit code {code} instead of {expected_code}"));
        }
        let named = |finding: &Finding| self.findings.iter().any(|(id, _)| *id == finding.id);
        if let Some(first) = report.findings.first().filter(|first| !named(first)) {
            wrong.push(format!("{} comes first: {}", first.id, first.title));
        }
        let mut commands = Vec::new();
        for (id, subjects) in self.findings {
            let covering: Vec<_> = report.findings.iter().filter(|f| covers(f, id, subjects)).collect();
            if covering.is_empty() {
                wrong.push(format!("no finding {id} about {subjects:?}"));
            }
            commands.extend(covering.iter().flat_map(|finding| finding.fix.commands.iter().cloned()));
        }
        if commands.is_empty() && matches!(self.cure, Cure::Printed) {
            wrong.push("no command is printed".to_owned());
        }
        for finding in &report.findings {
            if finding.severity == Severity::Error && !named(finding) {
                wrong.push(format!("{} is blamed: {}", finding.id, finding.title));
            }
        }
        for (from, to) in self.gaps {
            let gaps: Vec<&Cell> = gaps(&report, from, to).collect();
            if gaps.is_empty() {
                wrong.push(format!("no gap from {from} to {to}"));
            }
            for address in gaps.iter().filter_map(|cell| pinged(cell)) {
                let vm = from.strip_prefix("vm:").unwrap_or_default();
                if host.guest_reaches(vm, &address) {
                    wrong.push(format!("{vm} does reach {address}: the lab's change breaks nothing"));
                }
            }
        }
        if !self.beyond_facts {
            wrong.extend(facts_against_wire(host, &report));
        }
        assert!(wrong.is_empty(), "{}\n{}\n{}", wrong.join("\n"), shown(&report), host.picture());
        commands
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

fn zone_name(zone: &Zone) -> String {
    match zone.zone {
        ZoneKind::Vm => format!("vm:{}", zone.vm.as_deref().unwrap_or("?")),
        ZoneKind::Gateway => format!("gateway:{}", zone.network.as_deref().unwrap_or("?")),
        ZoneKind::Host => "host".to_owned(),
        ZoneKind::Internet => "internet".to_owned(),
        ZoneKind::Outside => "outside".to_owned(),
    }
}
