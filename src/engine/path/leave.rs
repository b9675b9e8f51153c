//! How packets leave the host: by which port, with which source, to whom.

use std::net::IpAddr;

use kvmnet_probes::facts::{ForwardMode, IfIndex};

use super::ends::{attachment, ends, lan_port, mac_of, no_lan_port};
use crate::engine::claimed::{End, Journey, NOWHERE};
use crate::engine::packet_set::Decided;
use crate::engine::packets::Packets;
use crate::engine::walk::Walk;
use crate::engine::{Decision, Site, bridge, device};

/// The packet has passed POSTROUTING and leaves the host by `out`.
pub(in crate::engine) fn leave_host(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    out: IfIndex,
    to: End,
) -> Decided<End> {
    if out == NOWHERE {
        return Ok(to);
    }
    let arrived = if let End::Wire(_) = to { End::Wire(out) } else { to };
    if let End::Wire(_) = to {
        source_leaves(walk, journey, packet, out)?;
    }
    if !packet.to_group() {
        packet.set_destination_mac(mac_of(walk, journey, packet, out, to));
    }
    packet.set_source_mac(walk.world.mac(out));
    // Answers to ARP and to who asks for an address are sent to the MAC that asked; a group has one of its own.
    if !packet.is_arp() && !packet.to_group() && (!journey.bound || packet.is_ipv6()) {
        neighbour(walk, packet, out, to);
    }
    packet.framed = true;
    if walk.world.bridge(out).is_some() {
        device::leave(walk, packet, out)?;
        let inside = bridge::from_host(walk, packet, out);
        leave_bridge(walk, journey, packet, inside, to)?;
    } else {
        device::leave(walk, packet, out)?;
        let site = Site::Link { device: walk.world.name(out), state: "up".to_owned() };
        let hop = packet.next_hop.map_or_else(|| "the link".to_owned(), |hop| hop.to_string());
        walk.step(walk.world.name(out).as_str(), site, Decision::Pass, format!("to {hop}"));
    }
    Ok(arrived)
}

/// The frame leaves a bridge by the port that leads to `to`.
pub(super) fn leave_bridge(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    inside: bridge::Inside,
    to: End,
) -> Decided<()> {
    let (port, tagged, what) = match to {
        End::Nic(nic) => {
            let Some((port, _)) = attachment(walk, journey, nic) else { return Ok(()) };
            let vm = walk.topology.nics.get(nic).map_or("", |nic| nic.vm.as_str());
            (Some(port), false, format!("to {vm}"))
        }
        End::Wire(_) | End::Host => (lan_port(walk, inside.bridge), true, "to the LAN".to_owned()),
    };
    let Some(port) = port else {
        no_lan_port(walk, inside.bridge);
        return Ok(());
    };
    bridge::leave(walk, packet, inside, port, tagged)?;
    let (name, bridge) = (walk.world.name(port), walk.world.name(inside.bridge));
    let site = Site::BridgePort { device: name.clone(), bridge, what: "port of the destination".to_owned() };
    walk.step(name.as_str(), site, Decision::Pass, format!("{what}: {}", ends(packet)));
    if let End::Wire(_) = to
        && !walk.reply
    {
        walk.leaves_as = packet.source();
    }
    Ok(())
}

/// An entry of the neighbour table that was set by hand sends frames to the MAC that it names.
fn neighbour(walk: &mut Walk<'_, '_>, packet: &Packets, device: IfIndex, to: End) {
    let End::Nic(nic) = to else { return };
    let (Some(nic), Some(address)) = (walk.topology.nics.get(nic), packet.destination()) else { return };
    if let Some(router) = packet.next_hop.filter(|hop| *hop != address) {
        walk.program("route", format!("what router {router} does with what is for {address}"));
    }
    let Some(neighbours) = walk.world.snapshot.neighbours.known() else { return };
    let fixed = neighbours.iter().find(|entry| {
        entry.device == device
            && entry.address == address
            && matches!(entry.state.as_str(), "permanent" | "noarp")
    });
    if let Some(mac) = fixed.and_then(|entry| entry.mac).filter(|mac| *mac != nic.mac) {
        let site = Site::Neighbour { device: walk.world.name(device), address, mac };
        let text = format!("{address} is at {mac} by a permanent neighbour entry; the NIC has {}", nic.mac);
        walk.step(walk.world.name(device).as_str(), site, Decision::Drop, text);
    }
}

/// With which source the packet leaves, and whether answers to it can come back.
fn source_leaves(walk: &mut Walk<'_, '_>, journey: &Journey, packet: &Packets, out: IfIndex) -> Decided<()> {
    if walk.reply {
        return Ok(());
    }
    walk.leaves_as = packet.source();
    let name = walk.world.name(out);
    let original = packet.headers.tuples().map(|tuples| tuples.original.address(packet.is_ipv6()));
    let Some(before) = original.unwrap_or_else(|| packet.source()) else { return Ok(()) };
    let site = Site::NoNat { source: before, device: name.clone() };
    let wanted = journey.mode == Some(ForwardMode::Nat) && matches!(journey.from, End::Nic(_));
    let nat = packet.connection.source_nat;
    match (nat.is_any(), walk.are_all_in(nat.surely)?) {
        (false, _) if !wanted => {}
        (true, false) => {
            walk.step(
                "postrouting",
                site,
                Decision::Unknown,
                format!("whether {before} is translated is undecided"),
            );
        }
        (false, _) if is_private(before) && missing_rules(walk) => {}
        (false, _) if is_private(before) => {
            let text = format!("no rule translates {before}: it leaves {name} as it is");
            walk.step("postrouting", site, Decision::Drop, text);
        }
        (false, _) => {}
        (true, true) => {
            let here =
                |source| walk.world.addresses(out, packet.is_ipv6()).any(|own| own.net.addr() == source);
            let reached =
                |source| here(source) || !is_private(source) && walk.world.owns(Some(source)) == Some(true);
            if let Some(source) = packet.source().filter(|source| !reached(*source)) {
                let what =
                    format!("whether answers to {source}, to which the source is translated, come by {name}");
                walk.opaque("postrouting", what);
            }
        }
    }
    Ok(())
}

/// Where rules could not be read, one of them may translate.
fn missing_rules(walk: &mut Walk<'_, '_>) -> bool {
    let snapshot = walk.world.snapshot;
    let rules = [("nf-tables", &snapshot.nf_tables), ("xtables-legacy", &snapshot.xtables_legacy)];
    let missing = rules.into_iter().find(|(_, rules)| rules.known().is_none());
    missing.inspect(|(source, _)| walk.missing("postrouting", source)).is_some()
}

/// No router beyond the host sends answers to it.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
            address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}
