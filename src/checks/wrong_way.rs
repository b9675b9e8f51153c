//! Why a packet for a guest does not take the way to the guest's bridge.

use ipnet::IpNet;
use kvmnet_probes::facts::{IfName, NextHop, Route, RouteKind, Snapshot};

use super::check::{Gap, Scene};
use crate::engine::{Site, quoted, route_at};
use crate::model::{NetworkZone, Nic, Zone};

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

/// What the host does with packets for a guest's subnet in place of sending them to its bridge.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why<'a> {
    /// No route leads there, or none but the default route.
    NoRoute,
    /// A route of the main table for the same addresses leads elsewhere.
    Overlap,
    /// A table that a policy rule asks before the main one decides.
    OtherTable(&'a Route),
    /// The host has the guest's address.
    OwnAddress(&'a Route),
}

/// The wrong way of a packet for a guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct WrongWay<'a> {
    pub(super) why: Why<'a>,
    /// The guest.
    pub(super) nic: &'a Nic,
    pub(super) network: &'a NetworkZone,
    pub(super) bridge: &'a IfName,
    /// The host's address on the bridge, with the subnet.
    pub(super) gateway: IpNet,
}

impl WrongWay<'_> {
    /// `ip` or `ip -6`.
    pub(super) fn ip(&self) -> &'static str {
        if self.gateway.addr().is_ipv6() { "ip -6" } else { "ip" }
    }

    /// The command that makes the route to the subnet, as the kernel does for an address (`fib_add_ifaddr`).
    pub(super) fn connect(&self) -> String {
        let (subnet, address) = (self.gateway.trunc(), self.gateway.addr());
        let source = if address.is_ipv4() { format!(" scope link src {address}") } else { String::new() };
        let bridge = quoted(self.bridge.as_str());
        format!("{} route replace {subnet} dev {bridge} proto kernel{source}", self.ip())
    }

    /// Whether the main table has the route to the subnet.
    pub(super) fn is_connected(&self, snapshot: &Snapshot) -> bool {
        let by_bridge = |hop: &NextHop| hop.device.is_some() && hop.device == self.network.bridge_index;
        let mut routes = snapshot.routes.items().iter().filter(|route| route.table == MAIN);
        routes.any(|route| route.destination == self.gateway.trunc() && route.next_hops.iter().any(by_bridge))
    }
}

/// The wrong way that a packet takes to a guest, if that is what stops it.
pub(super) fn wrong_way<'a>(scene: &Scene<'a>, gap: &Gap<'_>) -> Option<WrongWay<'a>> {
    let step = gap.step?;
    let Site::Route { table, .. } = step.site else { return None };
    // A martian source is a reply's trouble told on the way there.
    let back = step.reply || step.place != "route";
    let Zone::Nic(guest) = (if back { gap.claim.from } else { gap.claim.to }) else { return None };
    let nic = scene.topology.nics.get(guest)?;
    let network = scene.topology.network_of(nic)?;
    let gateway = network.gateways.iter().find(|net| net.addr().is_ipv6() == gap.claim.ipv6)?;
    let why = match (table, route_at(scene.snapshot, &step.site)) {
        (Some(_), Some(route)) if route.kind == RouteKind::Local => Why::OwnAddress(route),
        (Some(MAIN), Some(route)) if route.destination.prefix_len() == 0 => Why::NoRoute,
        (Some(MAIN), Some(_)) => Why::Overlap,
        (Some(_), Some(route)) => Why::OtherTable(route),
        (None, _) if step.place == "route" => Why::NoRoute,
        _ => return None,
    };
    Some(WrongWay { why, nic, network, bridge: network.bridge.as_ref()?, gateway: *gateway })
}
