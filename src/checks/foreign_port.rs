//! A device that is no guest's is in the bridge of a network of libvirt's own.

use kvmnet_probes::facts::{ForwardMode, Link, LinkKind};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link, network};
use crate::engine::quoted;
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "foreign-port",
    severity: Severity::Warning,
    category: Category::Isolation,
    summary: "a device that is no guest's is a port of an isolated network",
    explanation: "What a port of the bridge sends, every guest of the network hears, and past all rules: frames \
                  between two ports of a bridge are not routed. A network card, a VLAN or one end of a veth pair \
                  in the bridge of an isolated network joins the guests to whatever is behind it. If that is \
                  wanted (a container beside the guests), nothing is wrong.",
    needs: &["libvirt", "links"],
    basis: "net/bridge/br_forward.c; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let isolated = |zone: &&NetworkZone| zone.in_libvirt && zone.mode == ForwardMode::Isolated;
    let mut found = Vec::new();
    for zone in scene.topology.networks.iter().filter(isolated) {
        let Some(bridge) = scene.bridge(zone) else { continue };
        let ports = scene.snapshot.links.items().iter().filter(|link| link.master == Some(bridge.index));
        found.extend(ports.filter(|port| is_foreign(scene, port)).map(|port| diagnose(zone, port, bridge)));
    }
    found
}

/// libvirt's own dummy port keeps the MAC of the bridge; taps are somebody's guests.
fn is_foreign(scene: &Scene<'_>, port: &Link) -> bool {
    let guests = scene.topology.nics.iter().any(|nic| nic.tap_index == Some(port.index));
    !guests && !matches!(port.kind, LinkKind::Dummy | LinkKind::Tun(_))
}

fn diagnose(zone: &NetworkZone, port: &Link, bridge: &Link) -> Diagnosis {
    Diagnosis {
        key: port.name.to_string(),
        subjects: vec![network(&zone.name), link(&port.name)],
        title: format!("{}: {} is a port of its bridge", zone.name, port.name),
        cause: format!(
            "{}, which is no guest's, is a port of {}: the guests of network {} and whatever is behind it hear one \
             another.",
            port.name, bridge.name, zone.name
        ),
        evidence: vec![fact("links", format!("{} master {}", port.name, bridge.name))],
        fix: fix(
            [format!("ip link set {} nomaster", quoted(port.name.as_str()))],
            "unless it is meant to be there",
        ),
    }
}
