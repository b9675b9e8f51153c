//! What the ends of a way are attached to.

use std::net::IpAddr;

use kvmnet_probes::facts::{IfIndex, Mac};

use crate::engine::claimed::{End, Journey};
use crate::engine::packet_set::Field;
use crate::engine::packets::Packets;
use crate::engine::walk::Walk;
use crate::engine::{Decision, Site, device};
use crate::model::Uplink;

/// The NIC's port and the bridge that carries it, with all that is wrong about them. What the NIC
/// should be in is followed where it is in nothing, or elsewhere.
pub(in crate::engine) fn attachment(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    nic: usize,
) -> Option<(IfIndex, IfIndex)> {
    let nic = walk.topology.nics.get(nic)?;
    let tap = nic.tap.clone();
    let place = tap.as_ref().map_or("NIC", |tap| tap.as_str()).to_owned();
    let missing = match (&tap, nic.tap_index) {
        _ if !nic.active => Some("the domain does not run".to_owned()),
        (Some(tap), None) => Some(format!("{tap} is gone")),
        (None, _) => Some("libvirt names no tap".to_owned()),
        (Some(_), Some(_)) => None,
    };
    let expected = nic
        .expected_bridge
        .as_ref()
        .and_then(|bridge| walk.world.link_named(bridge.as_str()))
        .map(|link| link.index)
        .or_else(|| walk.topology.networks.get(nic.network?)?.bridge_index);
    if walk.world.snapshot.links.known().is_none() {
        walk.missing(&place, "links");
        return None;
    }
    if let Some(missing) = missing {
        let text = format!("NIC {} of {}: {missing}", nic.position, nic.vm);
        walk.step(&place, Site::NoTap { missing }, Decision::Drop, text);
        return None;
    }
    let (Some(device), Some(port)) = (tap, nic.tap_index) else { return None };
    if !nic.link_up {
        device::refuse(walk, device.clone(), "link set to down in the domain");
    }
    let Some(link) = walk.world.link(port) else {
        let missing = format!("{device} is gone");
        walk.step(&place, Site::NoTap { missing: missing.clone() }, Decision::Drop, missing);
        return None;
    };
    match (link.master, walk.world.bridge_of(port), expected) {
        (Some(master), None, _) => {
            let name = walk.world.name(master);
            walk.opaque(&place, format!("{name}, which holds {device} and is not a bridge of Linux"));
            None
        }
        (_, Some(bridge), Some(expected)) if bridge != expected && !journey.denied => {
            let (bridge, expected_name) = (walk.world.name(bridge), walk.world.name(expected));
            let text = format!("in {bridge}, not in {expected_name}");
            walk.step(
                &place,
                Site::OtherBridge { device, bridge, expected: expected_name },
                Decision::Drop,
                text,
            );
            Some((port, expected))
        }
        (_, Some(bridge), _) => Some((port, bridge)),
        (None, None, expected) => {
            walk.step(&place, Site::NoMaster { device }, Decision::Drop, "in no bridge");
            if let (None, Some(name)) = (expected, &nic.expected_bridge) {
                device::refuse(walk, name.clone(), "absent");
            }
            expected.map(|bridge| (port, bridge))
        }
    }
}

/// The port of a bridge that leads to the LAN.
pub(super) fn lan_port(walk: &Walk<'_, '_>, bridge: IfIndex) -> Option<IfIndex> {
    let zone = walk.topology.networks.iter().find(|network| network.bridge_index == Some(bridge));
    let port = |device: &IfIndex| walk.world.bridge_of(*device) == Some(bridge);
    let of_zone = zone.and_then(|zone| zone.uplink.as_ref()).map(|uplink| uplink.0).filter(port);
    of_zone.or_else(|| {
        let taps: Vec<_> = walk.topology.nics.iter().filter_map(|nic| nic.tap_index).collect();
        let mut ports = walk
            .world
            .snapshot
            .links
            .items()
            .iter()
            .filter(|link| link.master == Some(bridge) && !taps.contains(&link.index));
        ports.next().filter(|_| ports.next().is_none()).map(|link| link.index)
    })
}

pub(super) fn no_lan_port(walk: &mut Walk<'_, '_>, bridge: IfIndex) {
    let bridge = walk.world.name(bridge);
    let place = bridge.0.clone();
    walk.step(&place, Site::NoLanPort { bridge }, Decision::Drop, "no port leads to the LAN");
}

/// The MAC of the NIC at the end, or of the router or host behind `device`.
pub(in crate::engine) fn mac_of(
    walk: &Walk<'_, '_>,
    journey: &Journey,
    packet: &Packets,
    device: IfIndex,
    to: End,
) -> Option<Mac> {
    let hop = match to {
        End::Nic(nic) => return walk.topology.nics.get(nic).map(|nic| nic.mac),
        End::Host => return walk.world.mac(device),
        End::Wire(_) if journey.direct => journey.lan_gateway.or(packet.destination())?,
        End::Wire(_) => packet.next_hop?,
    };
    walk.world.neighbour(device, hop)?.mac
}

/// The MAC of the router behind `device` from which packets come in.
pub(in crate::engine) fn router_mac(walk: &Walk<'_, '_>, journey: &Journey, device: IfIndex) -> Option<Mac> {
    let of_device = |uplink: &&Uplink| uplink.device == device;
    let uplinks = walk.topology.uplinks.iter().filter(of_device).filter_map(|uplink| uplink.gateway);
    let mut routers = journey.lan_gateway.into_iter().chain(uplinks);
    routers.find_map(|router| walk.world.neighbour(device, router)?.mac)
}

/// `source → destination`, as far as they are known.
pub(super) fn ends(packet: &Packets) -> String {
    let name =
        |address: Option<IpAddr>| address.map_or_else(|| "?".to_owned(), |address| address.to_string());
    let (source, destination) = (name(packet.source()), name(packet.destination()));
    let of = |field| packet.headers.constant(field);
    match (packet.is_arp(), of(Field::Protocol)) {
        (true, _) if of(Field::ArpOperation) == Some(1) => format!("who has {destination}"),
        (true, _) => format!("{source} is here"),
        (_, Some(protocol @ (6 | 17))) => {
            let name = if protocol == 6 { "tcp" } else { "udp" };
            let port = of(Field::DestinationPort).map_or_else(|| "?".to_owned(), |port| port.to_string());
            format!("{source} → {destination} {name} {port}")
        }
        (_, Some(1 | 58)) => format!("{source} → {destination} icmp"),
        _ => format!("{source} → {destination}"),
    }
}
