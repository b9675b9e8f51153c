//! firewalld stops what comes from guests, because their bridge is not in libvirt's zone.

use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link};
use crate::engine::owner::{Owner, owner};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "firewalld-zone",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "a bridge is in a zone of firewalld that stops its guests",
    explanation: "firewalld sorts devices into zones. libvirt puts the bridge of a network into its own zone (libvirt, \
                  or libvirt-routed) when it starts the network, and that zone lets DHCP, DNS and forwarded packets \
                  pass. A bridge in another zone gets that zone's rules: the default zone, public, rejects DHCP and \
                  DNS and forwards nothing. A bridge comes there if somebody moved it, if firewalld was started or \
                  reloaded while libvirt did not notice, or if libvirt was built without firewalld.",
    needs: &["nf-tables"],
    basis: "libvirt src/network/bridge_driver_linux.c (networkAddFirewallRules); measured with firewalld 1.3",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

/// What firewalld's chains of a zone begin with.
const OF_ZONES: &[&str] = &["filter_IN_", "filter_FWD_", "filter_FORWARD_IN_", "filter_FORWARD_OUT_"];

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { table, chain, .. } = site else { return None };
    if owner(scene.snapshot, site) != Owner::Firewalld {
        return None;
    }
    let zone = scene.networks_of(gap.claim).find(|zone| zone.bridge.is_some())?;
    let bridge = zone.bridge.as_ref()?;
    let now = OF_ZONES.iter().find_map(|prefix| chain.strip_prefix(prefix));
    let wanted = match zone.mode {
        ForwardMode::Route | ForwardMode::Open => "libvirt-routed",
        _ => "libvirt",
    };
    let name = quoted(bridge.as_str());
    Some(Diagnosis {
        key: bridge.to_string(),
        subjects: vec![link(bridge)],
        title: format!("{bridge} is in the wrong zone of firewalld"),
        cause: format!(
            "firewalld stops what guests on {bridge} send: the bridge is not in the zone {wanted}, which lets it pass."
        ),
        evidence: now
            .map(|now| fact("nf-tables", format!("table {table}: chain {chain} is of the zone {now}")))
            .into_iter()
            .collect(),
        fix: fix(
            [format!("firewall-cmd --zone={wanted} --change-interface={name}")],
            &format!(
                "libvirt does this itself whenever it starts the network. To make it last against whoever moves it: \
                 the same with --permanent, or <bridge zone='{wanted}'/> in the network"
            ),
        ),
    })
}
