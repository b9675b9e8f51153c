//! A network's bridge is switched off: nothing passes between its ports, nor to the host.
//!
//! Cannot be wrong unless the administrator wants the network silent.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, network};
use crate::engine::{Site, quoted};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "bridge-down",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a network's bridge is switched off",
    explanation: "A bridge device that is administratively down forwards no frame, neither between the guests \
                  nor to the host, although its addresses are still listed. Every VM of the network is cut off \
                  at once. Switching it on again is enough; the kernel puts its own routes back by itself, \
                  routes that somebody added through the bridge have to be added again.",
    needs: &["links", "libvirt"],
    basis: "net/bridge/br_device.c br_dev_xmit and br_input.c; measured with libvirt 11.3",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    match gap.site()? {
        route @ Site::Route { .. } if !route.is_last_resort() => None,
        Site::Link { .. } | Site::Route { .. } | Site::NoAddress { .. } | Site::NoService { .. } => scene
            .networks_of(gap.claim)
            .find(|zone| is_down(scene, zone))
            .and_then(|zone| diagnose(scene, zone)),
        _ => None,
    }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let networks = scene.topology.networks.iter().filter(|zone| zone.active && is_down(scene, zone));
    networks.filter_map(|zone| diagnose(scene, zone)).collect()
}

fn is_down(scene: &Scene<'_>, zone: &NetworkZone) -> bool {
    scene.bridge(zone).is_some_and(|bridge| !bridge.up)
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let bridge = &scene.bridge(zone)?.name;
    Some(Diagnosis {
        key: bridge.to_string(),
        subjects: vec![network(&zone.name), link(bridge)],
        title: format!("{}: its bridge {bridge} is down", zone.name),
        cause: format!(
            "{bridge}, the bridge of network {}, is administratively down: it forwards nothing.",
            zone.name
        ),
        evidence: vec![fact("links", format!("{bridge}: not UP"))],
        fix: fix([format!("ip link set {} up", quoted(bridge.as_str()))], ""),
    })
}
