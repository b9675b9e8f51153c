//! A bridge of libvirt's has lost the address that guests use as their gateway.

use ipnet::IpNet;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, network};
use crate::engine::{Site, quoted};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "bridge-no-address",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "a network's gateway address is not on its bridge",
    explanation: "libvirt puts the gateway's address on the bridge when it starts the network and never looks \
                  again. If somebody flushes it (a network manager that took the device over does), guests \
                  find no gateway, no DHCP and no DNS server, and the host has no route to them; guests still \
                  reach one another. Adding the address is enough: the DHCP and DNS server picks it up.",
    needs: &["links", "addresses", "libvirt"],
    basis: "measured with libvirt 11.3: `ip addr flush dev virbr0`, then the address added again",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    match gap.site()? {
        route @ Site::Route { .. } if !route.is_last_resort() => None,
        Site::NoAddress { .. } | Site::Route { .. } | Site::NoService { .. } => {
            scene.networks_of(gap.claim).find_map(|zone| diagnose(scene, zone))
        }
        _ => None,
    }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.networks.iter().filter_map(|zone| diagnose(scene, zone)).collect()
}

/// The network's addresses that its bridge does not have. A bridge that is down has lost those of
/// IPv6 by that alone.
fn lost(scene: &Scene<'_>, zone: &NetworkZone) -> Vec<IpNet> {
    let (Some(addresses), Some(bridge)) = (scene.snapshot.addresses.known(), scene.bridge(zone)) else {
        return Vec::new();
    };
    if zone.is_lan() || !zone.in_libvirt || !zone.active || !bridge.up {
        return Vec::new();
    }
    let held = |net: &&IpNet| {
        addresses.iter().any(|address| address.device == bridge.index && address.net.addr() == net.addr())
    };
    zone.gateways.iter().filter(|net| !held(net)).copied().collect()
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let lost = lost(scene, zone);
    let (first, bridge) = (lost.first()?, &scene.bridge(zone)?.name);
    Some(Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name), link(bridge)],
        title: format!("{}: the gateway {} is not on {bridge}", zone.name, first.addr()),
        cause: format!("{bridge} does not have {first}, the gateway of network {}.", zone.name),
        evidence: lost.iter().map(|net| fact("addresses", format!("{bridge}: no {net}"))).collect(),
        fix: fix(
            lost.iter().map(|net| format!("ip addr add {net} dev {}", quoted(bridge.as_str()))),
            "if a network manager took the address away, tell it to leave the device alone",
        ),
    })
}
