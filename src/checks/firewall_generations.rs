//! Rules of iptables-legacy stand beside those of nf_tables.

use kvmnet_probes::facts::{Chain, Policy, Table};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};
use crate::engine::admit::iptables;

pub(super) const CHECK: Check = Check {
    id: "firewall-generations",
    severity: Severity::Warning,
    category: Category::Firewall,
    summary: "rules of iptables-legacy stand beside those of nf_tables",
    explanation: "The kernel runs both generations of rules, each without knowing of the other: every packet passes \
                  iptables-legacy's tables and nf_tables, and a drop in either is final. `nft list ruleset` and today's \
                  `iptables -S` show nothing of the legacy tables. They come from an old binary of Docker, k3s or ufw, \
                  or from before the distribution's iptables became that of nf_tables. What is accepted now may be \
                  dropped after a change in the generation that nobody looks at.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "net/netfilter/core.c; iptables(8), xtables-nft(8)",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let used = |table: &&Table| table.chains.iter().any(does_something);
    let legacy: Vec<&Table> = scene.snapshot.xtables_legacy.items().iter().filter(used).collect();
    let current = scene.snapshot.nf_tables.items().iter().any(|table| used(&table));
    if legacy.is_empty() || !current {
        return Vec::new();
    }
    let rules = |table: &Table| table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
    let total: usize = legacy.iter().map(|table| rules(table)).sum();
    let binary = |family| iptables(family, true);
    let mut commands: Vec<String> =
        legacy.iter().map(|table| format!("{}-save", binary(table.family))).collect();
    commands.dedup();
    vec![Diagnosis {
        key: String::new(),
        subjects: vec!["host".to_owned()],
        title: "two generations of firewall rules".to_owned(),
        cause: format!(
            "{total} rules and the policies of iptables-legacy are run beside those of nf_tables, and neither `nft` nor \
             today's `iptables` shows them."
        ),
        evidence: legacy
            .iter()
            .map(|table| {
                let words = format!("{} -t {}: {} rules", binary(table.family), table.name, rules(table));
                fact("xtables-legacy", words)
            })
            .collect(),
        fix: fix(
            commands,
            "this shows them. Move the program that wrote them to iptables-nft (`update-alternatives --config \
             iptables`), write anew what is still needed, then empty the old tables",
        ),
    }]
}

fn does_something(chain: &Chain) -> bool {
    !chain.rules.is_empty() || chain.base.as_ref().is_some_and(|base| base.policy == Policy::Drop)
}
