//! A rule keeps a network's packets away from connection tracking.

use kvmnet_probes::facts::{Chain, Expr, Rule, Table, XtAction};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::admit::{family_word, remove_rule};
use crate::engine::libvirt::{is_libvirts, masquerades};
use crate::engine::{Site, rule_text};

pub(super) const CHECK: Check = Check {
    id: "notrack",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "a notrack rule keeps packets from being translated",
    explanation: "What is not tracked is not translated: the packets leave with their private source, and their \
                  answers belong to no connection, so that libvirt's rules refuse them. Rules with notrack, or \
                  with the target CT --notrack, spare busy servers the cost of tracking; the guests' subnets \
                  must be left out.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "net/netfilter/nft_ct.c nft_notrack_eval, net/netfilter/nf_nat_core.c nf_nat_inet_fn; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let (table, chain, rule) = untracked_by(scene, gap)?;
    let family = family_word(table.family);
    let text = rule_text(scene.snapshot, table, rule);
    Some(Diagnosis {
        key: format!("{family} {} {} {}", table.name, chain.name, rule.handle),
        subjects: vec!["host".to_owned()],
        title: format!("chain {} keeps packets from connection tracking", chain.name),
        cause: format!(
            "a rule in chain {} of table {family} {} keeps packets untracked: {text}",
            chain.name, table.name
        ),
        evidence: vec![fact("nf-tables", text)],
        fix: fix(
            [remove_rule(table.family, &table.name, &chain.name, rule.handle)],
            "better: leave out the guests' subnets in that rule",
        ),
    })
}

/// The rule for which the packet is not translated, or its answer belongs to no connection, although libvirt's
/// rules translate.
pub(super) fn untracked_by<'a>(scene: &Scene<'a>, gap: &Gap<'_>) -> Option<(&'a Table, &'a Chain, &'a Rule)> {
    let step = gap.step?;
    let follows = match &step.site {
        Site::NoNat { .. } => true,
        Site::Netfilter { table, chain, .. } => step.reply && is_libvirts(table, chain),
        _ => false,
    };
    if !follows || !masquerades(scene.snapshot, gap.claim.ipv6) {
        return None;
    }
    let tables = scene.snapshot.nf_tables.items().iter();
    let mut rules = tables
        .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
        .flat_map(|(table, chain)| chain.rules.iter().map(move |rule| (table, chain, rule)));
    rules.find(|(.., rule)| untracks(rule))
}

fn untracks(rule: &Rule) -> bool {
    let by = |expr: &Expr| match expr {
        Expr::Notrack => true,
        Expr::Target(target) => matches!(target.action, XtAction::Ct { notrack: true, .. }),
        _ => false,
    };
    rule.exprs.iter().any(by)
}
