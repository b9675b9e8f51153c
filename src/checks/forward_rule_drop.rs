//! A rule outside libvirt drops or rejects what is forwarded to or from a guest.

use kvmnet_probes::facts::{Expr, Family, Hook};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix};
use crate::engine::Site;
use crate::engine::admit::{admit, family_word, libvirt_first, remove};
use crate::engine::libvirt::is_libvirts;
use crate::engine::owner::{Owner, owner, table_at};

pub(super) const CHECK: Check = Check {
    id: "forward-rule-drop",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "somebody's forward rule stops what libvirt accepts",
    explanation: "A rule at the forward hook drops or rejects the guest's packets or the replies to them. \
                  libvirt's accept does not help: a drop in any table is final. With the iptables backend the \
                  order in the one FORWARD chain matters too: a reject that somebody put in front of libvirt's \
                  jumps wins. The rule has to go, or the bridge's traffic has to be accepted in front of it.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "net/netfilter/core.c nf_hook_slow; measured with both of libvirt 11.3's backends",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { family, table, chain, hook: Hook::Forward, handle: Some(handle), text, legacy } =
        site
    else {
        return None;
    };
    // Of frames in the bridge a rule of the IP families' kind would say nothing.
    let owner = owner(scene.snapshot, site);
    if is_libvirts(table, chain) || *family == Family::Bridge || owner == Owner::Firewalld {
        return None;
    }
    let flow = scene.flow(gap)?;
    // An accept in front of libvirt's jumps would open what libvirt closes.
    let moved = libvirt_first(scene.snapshot, site);
    let fix = if let Some(command) = particular(scene, site).filter(|_| owner == Owner::Unknown) {
        fix(
            [command],
            "this deletes the rule; it may have its purpose, so ask who wrote it, and delete it where it is loaded \
             from, too",
        )
    } else if moved.is_empty() {
        fix(
            admit(scene.snapshot, site, flow),
            "this accepts the bridge's traffic in front of the rule; to make it last, add it to the configuration \
             that loads the table, or delete the rule there",
        )
    } else {
        fix(
            moved,
            "this puts libvirt's chains in front of the rule; to make it last, load the rule before libvirt starts, \
             or append it in place of inserting it",
        )
    };
    let generation = if *legacy { "legacy table" } else { "table" };
    Some(Diagnosis {
        key: format!("{legacy} {family:?} {table} {chain} {handle}"),
        subjects: vec!["host".to_owned()],
        title: format!("a rule of chain {chain} stops what is forwarded"),
        cause: format!(
            "a rule in chain {chain} of {generation} {} {table}, written by {}, stops the packets: {text}",
            family_word(*family),
            owner
        ),
        evidence: Vec::new(),
        fix,
    })
}

/// The command that deletes a rule which asks for more than devices: to accept all that a bridge sends in front of it
/// would open more than the rule closes.
fn particular(scene: &Scene<'_>, site: &Site) -> Option<String> {
    let Site::Netfilter { chain, handle, .. } = site else { return None };
    let chain = table_at(scene.snapshot, site)?.chains.iter().find(|candidate| candidate.name == *chain)?;
    let rule = chain.rules.iter().find(|rule| Some(rule.handle) == *handle)?;
    let asks = |expr: &Expr| matches!(expr, Expr::Payload { .. } | Expr::Ct { .. } | Expr::Match(_));
    rule.exprs.iter().any(asks).then(|| remove(site)).flatten()
}
