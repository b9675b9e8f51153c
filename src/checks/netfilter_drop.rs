//! A netfilter rule outside the forward and input hooks stops a wanted packet.

use kvmnet_probes::facts::{Family, Hook};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix};
use crate::engine::Site;
use crate::engine::admit::{family_word, remove};
use crate::engine::libvirt::is_libvirts;
use crate::engine::owner::{Owner, owner};

pub(super) const CHECK: Check = Check {
    id: "netfilter-drop",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "a netfilter rule stops a wanted packet",
    explanation: "A rule or policy drops the packet at a place where neither libvirt nor the usual firewalls \
                  decide about guests: before routing, on the host's output, after routing, on frames in the \
                  bridge (ebtables, filters of libvirt's own such as clean-traffic), or on ARP.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "include/linux/netfilter.h, net/netfilter/core.c; measured for bridge and ip families",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { family, table, chain, hook, handle, text, legacy } = site else { return None };
    let elsewhere =
        matches!(family, Family::Bridge | Family::Arp) || !matches!(hook, Hook::Input | Hook::Forward);
    let owner = owner(scene.snapshot, site);
    if is_libvirts(table, chain) || !elsewhere || owner == Owner::Firewalld {
        return None;
    }
    let family = family_word(*family);
    let what = if handle.is_some() { format!("by its rule {text}") } else { "by its policy".to_owned() };
    Some(Diagnosis {
        key: format!("{legacy} {family} {table} {chain} {handle:?}"),
        subjects: vec!["host".to_owned()],
        title: format!("chain {chain} stops wanted packets"),
        cause: format!(
            "chain {chain} of table {family} {table}, written by {owner}, stops the packet {what}."
        ),
        evidence: Vec::new(),
        fix: fix(
            remove(site),
            "look first what else the rule is for; a filter of libvirt's own (clean-traffic) is corrected in the \
             domain's <filterref>",
        ),
    })
}
