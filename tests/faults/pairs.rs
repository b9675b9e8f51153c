//! Two faults at once: both causes are named, and what the doctor prints heals both.

use kvmnet_reports::{Report, Severity};

use crate::fault::{Cure, Fault, PRELUDE};
use crate::host::{Backend, Host};
use crate::shared_host::{assert_healthy, on_shared_host, shown};

/// How many pairs are drawn.
const PAIRS: usize = 30;

/// How often the doctor is called at most until its commands have healed both.
const ROUNDS: usize = 3;

/// Faults that hide or undo others: one takes packets another way, past what waits on the usual one; a leak is closed
/// where another drops everything; a flush takes the other's rule along; starting a firewall starts libvirt anew; what
/// is set at a device goes with it, and shows in nothing while it is down; large packets are not tried where small ones
/// are lost; a network that is given IPv6 is started anew.
const ALONE: &[&str] = &[
    "vpn-exit-node-policy-table",
    "leak-port-forward-undeclared",
    "leak-accept-all-first",
    "nft-ruleset-flushed",
    "iptables-filter-flushed",
    "nat-table-flushed",
    "firewalld-started-after-libvirt",
    "firewalld-bridge-wrong-zone",
    "ufw-blocks-nat-network",
    "bridge-port-not-forwarding",
    "port-locked",
    "bridge-deleted-under-libvirt",
    "bridge-missing",
    "port-isolation-flag",
    "subnet-route-missing",
    "pmtu-blackhole",
    "ipv6-router-advertisement-dropped",
    "ipv6-router-solicitation-dropped",
    "dnsmasq-not-running-with-ipv6",
];

/// Two faults, and the backend with which they are made.
pub(crate) struct Pair {
    first: &'static Fault,
    second: &'static Fault,
    backend: Backend,
}

/// Pairs of faults that the doctor heals by what it prints, always the same ones.
pub(crate) fn draw(faults: &[&'static Fault]) -> Vec<Pair> {
    let fit = |fault: &Fault, backend| {
        let heals = matches!(fault.cure, Cure::Printed)
            && fault.recorded.is_none()
            && fault.targets.is_empty()
            && fault.in_guests.is_empty();
        heals
            && !ALONE.contains(&fault.id)
            && !fault.gaps.is_empty()
            && !fault.is_harmless_on(backend)
            && fault.backends().any(|one| one == backend)
    };
    // Numerical Recipes' generator: the draw must not change with a crate's version.
    let mut state = 1_u32;
    let mut number = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut pairs: Vec<Pair> = Vec::new();
    while pairs.len() < PAIRS {
        let backend = [Backend::Nftables, Backend::Iptables][pairs.len() % 2];
        // Drawn from all and thrown away if it does not fit: the others stay the same when one fault is changed.
        let (first, second) = (faults[number(faults.len())], faults[number(faults.len())]);
        if !fit(first, backend) || !fit(second, backend) {
            continue;
        }
        let id = |fault: &Fault| fault.findings[0].0;
        let drawn = pairs.iter().any(|pair| (pair.first.id, pair.second.id) == (first.id, second.id));
        // One cause at two places is one fault twice.
        if id(first) != id(second) && !drawn {
            pairs.push(Pair { first, second, backend });
        }
    }
    pairs
}

impl Pair {
    pub(crate) fn name(&self) -> String {
        format!("pair::{}+{}::{}", self.first.id, self.second.id, self.backend.name())
    }

    pub(crate) fn run(&self) {
        on_shared_host(self.backend, |host| {
            let shell = |script: &str| host.sh(&format!("{PRELUDE}\n{script}"));
            shell("iptables-save >/run/lab/iptables");
            shell(self.first.breaks);
            shell(self.second.breaks);
            host.settle();
            let (code, report) = host.doctor(&[]);
            let missing: Vec<&str> = [self.first, self.second]
                .into_iter()
                .flat_map(|fault| fault.findings)
                .filter(|(id, _)| !report.findings.iter().any(|finding| finding.id == *id))
                .map(|(id, _)| *id)
                .collect();
            assert!(code == 1 && missing.is_empty(), "{code}, not named: {missing:?}\n{}", shown(&report));
            heal(host, report);
            shell("iptables-restore </run/lab/iptables");
            shell(self.second.afterwards);
            shell(self.first.afterwards);
            assert_healthy(host);
        });
    }
}

/// Does what the doctor prints, until nothing is broken any more.
fn heal(host: &Host, mut report: Report) {
    for _ in 0..ROUNDS {
        let commands: Vec<&String> =
            report.findings.iter().flat_map(|finding| &finding.fix.commands).collect();
        for command in commands {
            // One of the other fault's commands may have done the same.
            host.run(command);
        }
        host.settle();
        report = host.doctor(&[]).1;
        let broken = report.findings.iter().any(|finding| finding.severity == Severity::Error);
        if !broken && report.summary.gaps == 0 {
            return;
        }
    }
    panic!("not healed by what is printed\n{}\n{}", shown(&report), host.picture());
}
