//! FORWARD drops by policy, and guests pass only because libvirt's rules come first in the same chain.

use kvmnet_probes::facts::{Chain, Generation, Hook, Policy, Table};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};
use crate::engine::admit::iptables;
use crate::engine::libvirt::{jumps, network_service};

pub(super) const CHECK: Check = Check {
    id: "forward-drop-spared",
    severity: Severity::Info,
    category: Category::Firewall,
    summary: "FORWARD drops what libvirt's rules in it do not accept first",
    explanation: "With its iptables backend libvirt hangs its accepts into FORWARD itself, so that they come before the \
                  chain's policy. Guests pass only as long as they stand there: a firewall that is loaded anew takes \
                  them away or puts its own rules in front, and with libvirt's nftables backend, the default since \
                  10.4, they are in a table of their own, where an accept does not save a packet from this policy.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "libvirt src/network/network_iptables.c; net/netfilter/core.c nf_hook_slow; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let tables = scene.snapshot.nf_tables.items().iter().chain(scene.snapshot.xtables_legacy.items());
    let chains = tables.flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
    chains.filter(|(_, chain)| spares(chain)).map(|(table, chain)| diagnose(scene, table, chain)).collect()
}

fn spares(chain: &Chain) -> bool {
    let drops =
        chain.base.as_ref().is_some_and(|base| base.hook == Hook::Forward && base.policy == Policy::Drop);
    drops && jumps(chain).0.contains(&"LIBVIRT_FWO")
}

fn diagnose(scene: &Scene<'_>, table: &Table, chain: &Chain) -> Diagnosis {
    let legacy = table.generation == Generation::XtablesLegacy;
    let binary = iptables(table.family, legacy);
    let name = &chain.name;
    Diagnosis {
        key: format!("{binary} {name}"),
        subjects: vec!["host".to_owned()],
        title: format!("{binary}: guests pass {name} by the order of its rules alone"),
        cause: format!(
            "the policy of {name} is DROP; libvirt's own rules in it accept the guests' packets before."
        ),
        evidence: vec![fact(
            if legacy { "xtables-legacy" } else { "nf-tables" },
            format!("{binary} -S {name}: policy DROP, jumps to {}", jumps(chain).0.join(", ")),
        )],
        fix: fix(
            None::<String>,
            &format!(
                "nothing is to be done now. Should guests be cut off after a change of the firewall, \
                 `systemctl restart {}` puts libvirt's rules in front again",
                network_service(scene.snapshot)
            ),
        ),
    }
}
