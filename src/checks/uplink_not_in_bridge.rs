//! A bridge that should join guests to the LAN has no port that leads there.

use kvmnet_probes::facts::{ForwardMode, IfName};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, network};
use crate::engine::{Site, quoted};
use crate::model::{NetworkZone, lost_uplinks};

pub(super) const CHECK: Check = Check {
    id: "uplink-not-in-bridge",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a bridge has no port that leads to the LAN",
    explanation: "A bridged network is only as good as the network card in its bridge. If the card is not a port \
                  (a typing error in the configuration, a renamed card, a network manager that started the \
                  bridge without its ports), guests reach one another and the host, and nothing else. Which \
                  card belongs there is told by the host's configuration; without one, a card that is up with \
                  neither bridge nor address is the likely one.",
    needs: &["links", "libvirt"],
    basis: "net/bridge/br_if.c; measured with `ip link set eth1 nomaster`",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::NoLanPort { bridge } = gap.site()? else { return None };
    diagnose(scene, scene.network_on(bridge.as_str())?)
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let networks = scene.topology.networks.iter().filter(|zone| is_cut_off(scene, zone));
    networks.filter_map(|zone| diagnose(scene, zone)).collect()
}

fn is_cut_off(scene: &Scene<'_>, zone: &NetworkZone) -> bool {
    let bridged = zone.mode == ForwardMode::Bridge && zone.active && zone.uplink.is_none();
    // A bridge without any guest may be waiting for its use.
    bridged && scene.bridge(zone).is_some_and(|bridge| bridge.up) && scene.members(zone).next().is_some()
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let bridge = zone.bridge.as_ref()?;
    let candidates = lost_uplinks(scene.snapshot, bridge);
    let device = quoted(bridge.as_str());
    let fix = match &candidates[..] {
        [] => fix(
            None::<String>,
            "no device looks like the lost one: see `ip link` for the network card, then `ip link set CARD master \
             BRIDGE`",
        ),
        [port] => fix(
            [format!("ip link set {} master {device} up", quoted(port.as_str()))],
            "to make it last, name the card as the bridge's port in the host's network configuration",
        ),
        several => {
            let names = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            fix(
                None::<String>,
                &format!(
                    "one of these may belong there: {names}; then `ip link set CARD master {device} up`"
                ),
            )
        }
    };
    Some(Diagnosis {
        key: bridge.to_string(),
        subjects: vec![network(&zone.name), link(bridge)],
        title: format!("{}: {bridge} has no port to the LAN", zone.name),
        cause: format!("no port of {bridge}, the bridge of network {}, leads to the LAN.", zone.name),
        evidence: std::iter::once(fact("links", format!("{bridge}: the guests' taps are its only ports")))
            .chain(
                candidates.iter().map(|port| fact("links", format!("{port}: {}", whereabouts(scene, port)))),
            )
            .collect(),
        fix,
    })
}

fn whereabouts(scene: &Scene<'_>, port: &IfName) -> String {
    let master = scene.snapshot.link_named(port.as_str()).and_then(|link| scene.snapshot.link(link.master?));
    master.map_or_else(|| "in no bridge".to_owned(), |master| format!("in {}", master.name))
}
