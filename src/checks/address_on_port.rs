//! A port of a bridge has an address that belongs on the bridge.

use kvmnet_probes::facts::{Address, Link, LinkKind};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "address-on-port",
    severity: Severity::Error,
    category: Category::Link,
    summary: "the host's address is on a bridge's port, not on the bridge",
    explanation: "What comes in by a port of a bridge comes up to the host by the bridge, and by the bridge alone. If \
                  the network card keeps the host's address after it was put into the bridge, routes point to the \
                  card, while answers come in by the bridge: the host loses its LAN, the guests beside it, and with \
                  the default route the internet. The address belongs on the bridge, in the running system and in \
                  the host's network configuration.",
    needs: &["links", "addresses"],
    basis: "net/bridge/br_input.c br_handle_frame; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let global = |address: &&Address| address.scope == "global";
    scene
        .snapshot
        .addresses
        .items()
        .iter()
        .filter(global)
        .filter_map(|address| misplaced(scene, address))
        .collect()
}

fn misplaced(scene: &Scene<'_>, address: &Address) -> Option<Diagnosis> {
    let port: &Link = scene.snapshot.link(address.device)?;
    let bridge =
        scene.snapshot.link(port.master?).filter(|master| matches!(master.kind, LinkKind::Bridge(_)))?;
    let ip = if address.net.addr().is_ipv6() { "ip -6" } else { "ip" };
    let [from, to] = [&port.name, &bridge.name].map(|name| quoted(name.as_str()));
    Some(Diagnosis {
        key: format!("{} {}", port.name, address.net),
        subjects: vec![link(&port.name), link(&bridge.name)],
        title: format!("{}: the host's address {} is on a port of {}", port.name, address.net, bridge.name),
        cause: format!(
            "{} has {}, but is a port of {}, by which everything comes up that is for the host.",
            port.name, address.net, bridge.name
        ),
        evidence: vec![fact("addresses", format!("{} dev {}", address.net, port.name))],
        fix: fix(
            [
                format!("{ip} addr add {} dev {to}", address.net),
                format!("{ip} addr del {} dev {from}", address.net),
            ],
            &format!(
                "routes by {0} go away with the address: set a default route that led by it anew, dev {1}. To make \
                 it last, move the address from {0} to {1} in the host's network configuration",
                port.name, bridge.name
            ),
        ),
    })
}
