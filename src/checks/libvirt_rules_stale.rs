//! libvirt's rules name the number of a bridge that is gone: they match nothing.

use kvmnet_probes::facts::IfIndex;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::engine::{Site, libvirt};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "libvirt-rules-stale",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "libvirt's rules name a bridge device that no longer exists",
    explanation: "libvirt's nftables rules match devices by number. When a bridge is deleted and made again \
                  under the same name, it has a new number: neither the accepts nor the rejects match it any \
                  more, while masquerading goes on. Everything seems to work, and the network is open to the \
                  outside. Restarting the network daemon writes the rules with the new number.",
    needs: &["nf-tables", "links", "libvirt"],
    basis: "libvirt src/network/network_nftables.c (iif, oif); measured with libvirt 11.3",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let explains = match gap.site() {
        None => true,
        Some(Site::Netfilter { table, chain, .. }) => libvirt::is_libvirts(table, chain),
        Some(_) => false,
    };
    let mut zones = scene.networks_of(gap.claim);
    if explains { zones.find_map(|zone| diagnose(scene, zone)) } else { None }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.networks.iter().filter_map(|zone| diagnose(scene, zone)).collect()
}

/// The network has a bridge, but its rules name others that are gone.
fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let stale = libvirt::stale_indices(scene.snapshot);
    let index = zone.bridge_index?;
    if stale.is_empty()
        || !zone.in_libvirt
        || !zone.active
        || !libvirt::writes_rules(zone.mode)
        || !libvirt::rules_are_gone(scene.snapshot, zone, false)
    {
        return None;
    }
    let bridge = zone.bridge.as_ref()?;
    let numbers = stale.iter().map(IfIndex::to_string).collect::<Vec<_>>().join(", ");
    Some(Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: libvirt's rules do not match {bridge} any more", zone.name),
        cause: format!(
            "{bridge} was made again and is device {index} now; libvirt's rules name device {numbers}, which does \
             not exist."
        ),
        evidence: vec![fact(
            "nf-tables",
            format!("table libvirt_network: iif/oif {numbers}; {bridge} is {index}"),
        )],
        fix: fix([format!("systemctl restart {}", libvirt::network_service(scene.snapshot))], ""),
    })
}
