//! In whose words a rule is shown.

use kvmnet_probes::facts::{Chain, Expr, Family, Generation, Rule, Snapshot, Table};

use super::ebtables::ebtables_text;
use super::iptables::iptables_text;
use super::nft::{last_text, nft_text};
use super::statement::{Statement, statements};
use crate::engine::owner::{is_ebtables, is_iptables};

/// The rule as `nft list ruleset`, `iptables-save` or `ebtables-save` shows it, without the name of
/// its chain; then its comment after a `#`. Devices have the names that the snapshot has.
pub fn rule_text(snapshot: &Snapshot, table: &Table, rule: &Rule) -> String {
    let statements = statements(table, rule, rule.exprs.len());
    let text = by_xtables(table, rule)
        .then(|| xtables_text(table, &statements))
        .flatten()
        .unwrap_or_else(|| nft_text(snapshot, table, &statements));
    match &rule.comment {
        None => text,
        Some(comment) if text.is_empty() => format!("# {comment}"),
        Some(comment) => format!("{text} # {comment}"),
    }
}

/// What the rule tests or does by the expression at this place.
pub(in crate::engine) fn expression_text(
    snapshot: &Snapshot,
    table: &Table,
    rule: &Rule,
    place: usize,
) -> String {
    // A map that gives a value is no statement by itself.
    if let Some(Expr::Lookup { set, destination: Some(register), .. }) = rule.exprs.get(place)
        && register.0 != 0
    {
        return format!("map @{set}");
    }
    let mut statements = statements(table, rule, place.saturating_add(1));
    if by_xtables(table, rule)
        && let Some(Statement::Plain(Expr::Match(_) | Expr::Target(_))) = statements.last()
        && let Some(text) = xtables_text(table, &statements.split_off(statements.len() - 1))
    {
        return text;
    }
    last_text(snapshot, table, &statements)
}

fn xtables_text(table: &Table, statements: &[Statement<'_>]) -> Option<String> {
    if table.family == Family::Bridge { ebtables_text(statements) } else { iptables_text(table, statements) }
}

/// Whether iptables or ebtables wrote the rule: by the table that it is in, or by what it holds.
fn by_xtables(table: &Table, rule: &Rule) -> bool {
    let its_chain = |chain: &Chain| {
        let (family, table, chain) = (table.family, &table.name, &chain.name);
        is_iptables(family, table, chain) || is_ebtables(family, table, chain)
    };
    table.generation == Generation::XtablesLegacy
        || table.chains.iter().any(|chain| chain.base.is_some() && its_chain(chain))
        || rule.exprs.iter().any(|expr| matches!(expr, Expr::Match(_) | Expr::Target(_)))
}
