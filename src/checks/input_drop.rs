//! A rule or policy on the host's input keeps guests from their gateway, DHCP or DNS server.

use kvmnet_probes::facts::{Family, Hook};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix};
use crate::engine::Site;
use crate::engine::admit::{Flow, Service, admit, family_word};
use crate::engine::owner::{Owner, owner};
use crate::model::Zone;

pub(super) const CHECK: Check = Check {
    id: "input-drop",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "the host's input rules keep guests from the gateway, DHCP or DNS",
    explanation: "Guests ask the host itself for addresses and names. libvirt's nftables backend adds no accept \
                  to the host's input, and the accepts of the iptables backend do not save a packet from another \
                  table. A firewall that drops what it does not know therefore has to accept DHCP (67/udp), DNS \
                  (53/udp, 53/tcp) and ICMP from the bridge. firewalld does so in its zone `libvirt`.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "libvirt src/network/network_nftables.c (no input chain); measured with both backends",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { family, table, chain, hook: Hook::Input, handle, text, legacy } = site else {
        return None;
    };
    let owner = owner(scene.snapshot, site);
    // Frames in a bridge, and ARP, are another matter.
    if matches!(family, Family::Bridge | Family::Arp) || owner == Owner::Firewalld {
        return None;
    }
    let what = if handle.is_some() { format!("stops it: {text}") } else { "drops it by policy".to_owned() };
    let generation = if *legacy { "legacy table" } else { "table" };
    let bridge = scene.networks_of(gap.claim).find_map(|zone| zone.bridge.as_ref())?.as_str();
    let mut flows = vec![scene.flow(gap)?];
    if matches!(gap.claim.to, Zone::Gateway(_)) {
        // Who cuts one of the three usually cuts all.
        let others = [Service::Dhcp, Service::Dns].map(|service| Flow::ToHost(bridge, service));
        flows.extend(others.into_iter().filter(|other| *other != flows[0]).collect::<Vec<_>>());
    }
    let commands = flows.into_iter().flat_map(|flow| admit(scene.snapshot, site, flow));
    // What ufw drops it drops at several places, and one rule of its own passes them all.
    let (key, lasting) = if owner == Owner::Ufw {
        (format!("ufw {family:?}"), "ufw keeps its rules")
    } else {
        (
            format!("{legacy} {family:?} {table} {chain} {handle:?}"),
            "to make it last, add the same to the configuration that loads this table",
        )
    };
    Some(Diagnosis {
        key,
        subjects: vec!["host".to_owned()],
        title: format!("chain {chain} keeps guests from the host's services"),
        cause: format!(
            "chain {chain} of {generation} {} {table}, written by {owner}, {what}.",
            family_word(*family)
        ),
        evidence: Vec::new(),
        fix: fix(commands, lasting),
    })
}
