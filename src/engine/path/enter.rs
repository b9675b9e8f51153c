//! How packets come into the host: by a NIC's port, from a LAN, or by a routed uplink.

use kvmnet_probes::facts::IfIndex;

use super::ends::{attachment, ends, lan_port, mac_of, no_lan_port, router_mac};
use crate::engine::claimed::{End, Journey, NOWHERE};
use crate::engine::host::receive;
use crate::engine::packet_set::{Decided, Field};
use crate::engine::packets::{Connection, Packets};
use crate::engine::walk::Walk;
use crate::engine::{Decision, Site, bridge, device};

/// Where packets are once they have come in.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum Entered {
    /// Nowhere: there is no way in.
    Not,
    /// In a bridge.
    Bridge(bridge::Inside),
    /// At a device that routes.
    Uplink,
}

/// Packets come in from a NIC or from a wire.
pub(in crate::engine) fn enter(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    from: End,
    to: End,
) -> Decided<Entered> {
    match from {
        End::Host | End::Wire(NOWHERE) => Ok(Entered::Not),
        End::Nic(nic) => {
            let Some((port, bridge)) = attachment(walk, journey, nic) else { return Ok(Entered::Not) };
            let Some(nic) = walk.topology.nics.get(nic) else { return Ok(Entered::Not) };
            // Of all packets some have a forged sender.
            if walk.one || walk.reply {
                packet.set_source_mac(Some(nic.mac));
            }
            packet.framed = true;
            address_frame(walk, journey, packet, bridge, to);
            device::enter(walk, packet, port)?;
            let site = Site::BridgePort {
                device: walk.world.name(port),
                bridge: walk.world.name(bridge),
                what: "port of the NIC".to_owned(),
            };
            let text = format!("from {}, {}, {}", nic.vm, nic.mac, ends(packet));
            walk.step(walk.world.name(port).as_str(), site, Decision::Pass, text);
            Ok(Entered::Bridge(bridge::enter(walk, packet, port, bridge)?))
        }
        End::Wire(wire) => {
            let bridge = walk.world.bridge(wire).map(|_| wire);
            let port = match bridge {
                Some(bridge) => lan_port(walk, bridge),
                None => Some(wire),
            };
            let master = port.and_then(|port| walk.world.bridge_of(port)).or(bridge);
            if journey.direct && port.is_none() {
                no_lan_port(walk, wire);
                return Ok(Entered::Not);
            }
            packet.framed = true;
            if walk.one || walk.reply {
                packet.set_source_mac(router_mac(walk, journey, master.unwrap_or(wire)));
            }
            address_frame(walk, journey, packet, master.unwrap_or(wire), to);
            device::enter(walk, packet, port.unwrap_or(wire))?;
            let site = Site::Link { device: walk.world.name(wire), state: "up".to_owned() };
            let text = format!("from outside: {}", ends(packet));
            walk.step(walk.world.name(wire).as_str(), site, Decision::Pass, text);
            match (port, master) {
                (Some(port), Some(bridge)) => Ok(Entered::Bridge(bridge::enter(walk, packet, port, bridge)?)),
                _ => Ok(Entered::Uplink),
            }
        }
    }
}

/// Packets that are for the host go up to its IP stack, and pass PREROUTING there. `taken`: the MAC table
/// says that they are, not the bridge's own MAC.
pub(in crate::engine) fn go_up(
    walk: &mut Walk<'_, '_>,
    packet: &mut Packets,
    inside: Option<bridge::Inside>,
    taken: bool,
) -> Decided<()> {
    let mark = packet.headers.bits(walk.sets(), Field::Mark)?;
    if let Some(inside) = inside {
        let name = walk.world.name(inside.bridge);
        if !packet.to_group() {
            let site = Site::Fdb { bridge: name.clone(), port: name.clone() };
            let whose = if taken { "the host's by the MAC table" } else { "the bridge's own" };
            walk.step(name.as_str(), site, Decision::Pass, format!("destination MAC is {whose}: up to IP"));
        }
        bridge::up(walk, packet, inside)?;
    }
    receive(walk, packet, inside.is_some_and(|inside| inside.prerouted))?;
    // Where the bridge has found a route for a new destination it is kept (`br_nf_pre_routing_finish`).
    if let Some(inside) = inside.filter(|inside| inside.prerouted) {
        let Connection { source_nat, destination_nat, .. } = &packet.connection;
        let translated = if packet.reply { source_nat.is_any() } else { destination_nat.is_any() };
        if translated && packet.headers.bits(walk.sets(), Field::Mark)? != mark {
            let bridge = walk.world.name(inside.bridge);
            walk.program(
                bridge.as_str(),
                "by which mark a frame is routed whose destination the bridge has translated",
            );
        }
    }
    Ok(())
}

/// The sender addresses the frame: to the other end, or to the host as its router, or as the one to whom
/// a bridged packet was translated.
fn address_frame(walk: &Walk<'_, '_>, journey: &Journey, packet: &mut Packets, device: IfIndex, to: End) {
    if !packet.to_group() {
        let mut own = walk.world.addresses(device, packet.is_ipv6());
        let to_host = !journey.direct || own.any(|own| Some(own.net.addr()) == packet.destination());
        let mac = if to_host { walk.world.mac(device) } else { mac_of(walk, journey, packet, device, to) };
        packet.set_destination_mac(mac);
    }
}
