//! The way of a claim's packet, and of its reply, from zone to zone.

use std::net::IpAddr;

use kvmnet_probes::facts::{ForwardMode, IfIndex, Mac, Neighbour, Snapshot};
use kvmnet_reports::Predicted;

use super::claimed::{End, Journey, NOWHERE, journey};
use super::host::{Towards, receive, route, routed_into, send};
use super::packet_set::{Bdd, Decided, Field, HostSets, Undecided};
use super::packets::Packets;
use super::service::{answers, echoes, holds, listens};
use super::walk::Walk;
use super::world::World;
use super::{Decision, Fate, Site, Step, bridge, device};
use crate::model::{Claim, NetworkZone, Nic, Topology, Traffic, Uplink};

/// More equal ways than this are not followed one by one.
const WAYS: usize = 16;

/// Nodes that the sets of one host may take, of 36 octets each.
const NODES: usize = 1 << 21;

/// Predicts what becomes of packets on one host.
#[derive(Debug)]
pub struct Engine<'a> {
    pub(super) topology: &'a Topology,
    pub(super) world: World<'a>,
    pub(super) host: HostSets<'a>,
}

impl<'a> Engine<'a> {
    /// For the host of the snapshot.
    pub fn new(snapshot: &'a Snapshot, topology: &'a Topology) -> Self {
        Self { topology, world: World { snapshot }, host: HostSets::new(snapshot, NODES) }
    }

    /// What becomes of the packet that stands for `claim`, and of its reply.
    pub fn fate(&mut self, claim: &Claim) -> Fate {
        let (ways, mut fate) = self.by_way(claim, 0);
        for pick in 1..ways.min(WAYS) {
            let (_, other) = self.by_way(claim, pick);
            let predicted = if other.predicted == fate.predicted {
                fate.predicted
            } else {
                mixed(fate.predicted, other.predicted)
            };
            if other.predicted != Predicted::Allow && fate.predicted == Predicted::Allow {
                fate = other;
            }
            fate.predicted = predicted;
        }
        fate
    }

    fn by_way(&mut self, claim: &Claim, pick: usize) -> (usize, Fate) {
        let mut walk = Walk::new(&mut self.host, self.world, self.topology, Bdd::ALL, pick);
        let walked = there_and_back(&mut walk, claim);
        let ways = walk.ways;
        let fate = walked.and_then(|()| walk.fate());
        (ways, fate.unwrap_or_else(|Undecided| too_complex()))
    }
}

/// The fate of packets whose sets took more than there is.
fn too_complex() -> Fate {
    let what = Undecided.to_string();
    let step = Step {
        reply: false,
        place: "engine".to_owned(),
        site: Site::Opaque { what: what.clone() },
        decision: Decision::Unknown,
        text: what,
    };
    Fate { predicted: Predicted::Unknown, steps: vec![step], leaves_as: None }
}

/// Of several equal ways one does this and one does that.
fn mixed(one: Predicted, other: Predicted) -> Predicted {
    if [one, other].contains(&Predicted::Unknown) { Predicted::Unknown } else { Predicted::Partial }
}

fn there_and_back(walk: &mut Walk<'_, '_>, claim: &Claim) -> Decided<()> {
    let Some(journey) = journey(walk, claim) else { return Ok(()) };
    let mut packet = journey.packet(claim);
    let to = carry(walk, &journey, &mut packet, journey.from, journey.to)?;
    by_which_router(walk, &journey, &packet, to);
    if let Some(source) = packet.source().filter(|source| journey.direct && Some(*source) != journey.source)
        && packet.connection.source_nat.is_any()
        && let Some(bridge) = packet.output.as_ref().and_then(|port| walk.world.bridge_of(port.index))
        && walk.world.addresses(bridge, packet.is_ipv6()).all(|own| own.net.addr() != source)
    {
        walk.program("postrouting", format!("where answers to {source} go, as the bridge translates to it"));
    }
    served(walk, &journey, claim, &packet, to);
    walk.reply = true;
    let mut reply = journey.reply(walk.sets(), claim, &packet)?;
    let back = Journey { direct: answers_directly(walk, &journey, &packet, to), ..journey };
    carry(walk, &back, &mut reply, to, back.from)?;
    from_whom_it_was_asked(walk, &back, claim, &reply);
    Ok(())
}

/// A guest of a LAN sends answers to what lies outside by a router that it chooses itself.
fn by_which_router(walk: &mut Walk<'_, '_>, journey: &Journey, packet: &Packets, to: End) {
    let (End::Wire(_), End::Nic(nic)) = (journey.from, to) else { return };
    let Some(nic) = walk.topology.nics.get(nic).filter(|_| !journey.direct) else { return };
    let is_lan = walk.topology.network_of(nic).is_some_and(NetworkZone::is_lan);
    if is_lan && walk.world.owns(packet.source()) != Some(true) {
        walk.program(&nic.vm, format!("by which router {} answers to what lies outside", nic.vm));
    }
}

/// Whether the answer stays in the bridge: who got a packet from a neighbour answers to the neighbour,
/// also if the host has routed it.
fn answers_directly(walk: &Walk<'_, '_>, journey: &Journey, packet: &Packets, to: End) -> bool {
    let network = |nic: usize| walk.topology.nics.get(nic).and_then(|nic| nic.network);
    match (journey.from, to) {
        (End::Nic(from), End::Nic(to)) if !journey.direct && packet.source() == journey.source => {
            network(from).is_some() && network(from) == network(to)
        }
        _ => journey.direct,
    }
}

/// Who gets an answer from somebody else than whom he asked does not take it.
fn from_whom_it_was_asked(walk: &mut Walk<'_, '_>, journey: &Journey, claim: &Claim, reply: &Packets) {
    let asked = match claim.traffic {
        Traffic::Icmp | Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Dns => journey.destination,
        Traffic::Resolve | Traffic::Dhcp => return,
    };
    if let (Some(asked), Some(source), Some(device)) = (asked, reply.source(), &reply.output)
        && asked != source
    {
        let site = Site::NoNat { source, device: device.name.clone() };
        let text =
            format!("answers come from {source}, which was not asked: nothing translates it back to {asked}");
        walk.step("postrouting", site, Decision::Drop, text);
    }
}

/// The host has the address, and someone there does what is asked for.
fn served(walk: &mut Walk<'_, '_>, journey: &Journey, claim: &Claim, packet: &Packets, to: End) {
    let Some(input) = packet.input.as_ref().filter(|_| to == End::Host).map(|input| input.index) else {
        return;
    };
    match claim.traffic {
        Traffic::Resolve => answers(walk, journey.destination, input),
        Traffic::Icmp => echoes(walk, packet.is_ipv6()),
        Traffic::Dhcp => {
            holds(walk, journey.destination, input);
            listens(walk, packet, input, "dhcp", if packet.is_ipv6() { 547 } else { 67 });
        }
        Traffic::Dns => listens(walk, packet, input, "dns", 53),
        // Which services the host offers is not claimed; the packet came up.
        Traffic::Tcp(_) | Traffic::Udp(_) => {}
    }
}

/// Carries the packet from one end to the other; gives the end where it arrives.
fn carry(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    from: End,
    to: End,
) -> Decided<End> {
    let towards = aim(walk, journey, to);
    let inside = match from {
        End::Host => {
            let Some(towards) = towards else { return Ok(to) };
            return match send(walk, packet, towards, journey.bound)? {
                Some(out) => leave_host(walk, journey, packet, out, to),
                None => Ok(to),
            };
        }
        End::Nic(nic) => {
            let Some((port, bridge)) = attachment(walk, journey, nic) else { return Ok(to) };
            let Some(nic) = walk.topology.nics.get(nic) else { return Ok(to) };
            packet.set_source_mac(Some(nic.mac));
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
            Some(bridge::enter(walk, packet, port, bridge)?)
        }
        End::Wire(NOWHERE) => return Ok(to),
        End::Wire(wire) => {
            let bridge = walk.world.bridge(wire).map(|_| wire);
            let port = match bridge {
                Some(bridge) => lan_port(walk, bridge),
                None => Some(wire),
            };
            let master = port.and_then(|port| walk.world.bridge_of(port)).or(bridge);
            if journey.direct && port.is_none() {
                no_lan_port(walk, wire);
                return Ok(to);
            }
            packet.framed = true;
            packet.set_source_mac(router_mac(walk, journey, master.unwrap_or(wire)));
            address_frame(walk, journey, packet, master.unwrap_or(wire), to);
            device::enter(walk, packet, port.unwrap_or(wire))?;
            let site = Site::Link { device: walk.world.name(wire), state: "up".to_owned() };
            walk.step(
                walk.world.name(wire).as_str(),
                site,
                Decision::Pass,
                format!("from outside: {}", ends(packet)),
            );
            match (port, master) {
                (Some(port), Some(bridge)) => Some(bridge::enter(walk, packet, port, bridge)?),
                _ => None,
            }
        }
    };
    if let Some(inside) = inside.filter(|_| journey.direct) {
        if redirected(walk, packet).is_some_and(|end| end != to) {
            walk.program(
                walk.world.name(inside.bridge).as_str(),
                "where a bridged frame goes once its destination is translated",
            );
        }
        if packet.reply
            && packet.connection.source_nat.surely == walk.asked
            && !routed_into(walk, packet, inside.bridge)?
        {
            walk.program(
                walk.world.name(inside.bridge).as_str(),
                "where a bridged frame goes once its destination is translated back",
            );
        }
        leave_bridge(walk, journey, packet, inside, to)?;
        return Ok(to);
    }
    if let Some(inside) = inside.filter(|inside| inside.prerouted)
        && packet.connection.destination_nat.is_any()
        && !packet.reply
        && routed_into(walk, packet, inside.bridge)?
    {
        walk.program(
            walk.world.name(inside.bridge).as_str(),
            "where a bridged frame goes once its destination is translated",
        );
    }
    if let Some(inside) = inside {
        let name = walk.world.name(inside.bridge);
        if !packet.to_group() {
            let site = Site::Fdb { bridge: name.clone(), port: name.clone() };
            walk.step(name.as_str(), site, Decision::Pass, "destination MAC is the bridge's own: up to IP");
        }
        bridge::up(walk, packet, inside)?;
    }
    let prerouted = inside.is_some_and(|inside| inside.prerouted);
    receive(walk, packet, prerouted)?;
    let (to, towards) = match redirected(walk, packet) {
        Some(end) if end != to => (end, aim(walk, journey, end)),
        _ => (to, towards),
    };
    let Some(towards) = towards else { return Ok(to) };
    match route(walk, packet, towards)? {
        Some(out) => leave_host(walk, journey, packet, out, to),
        None => Ok(to),
    }
}

/// What routing must do with a packet for it to come to the end.
fn aim(walk: &mut Walk<'_, '_>, journey: &Journey, to: End) -> Option<Towards> {
    match to {
        End::Host => Some(Towards::Host),
        End::Nic(nic) => attachment(walk, journey, nic).map(|(_, bridge)| Towards::Device(bridge)),
        End::Wire(device) => Some(Towards::Anywhere(device)),
    }
}

/// The end to which a rule has sent the packet by translating its destination.
fn redirected(walk: &mut Walk<'_, '_>, packet: &Packets) -> Option<End> {
    let nat = packet.connection.destination_nat;
    if packet.reply || !nat.is_any() {
        return None;
    }
    let Some(address) = nat.address.filter(|_| nat.surely == walk.asked) else {
        walk.program("prerouting", "where the packet goes, as its destination may be translated");
        return None;
    };
    if walk.world.owns(Some(address)) == Some(true) {
        return Some(End::Host);
    }
    let holds = |nic: &Nic| nic.addresses.iter().any(|known| known.address == address);
    let nic = walk.topology.nics.iter().position(holds).map(End::Nic);
    if nic.is_none() {
        let what = format!("who has {address}, to which the destination is translated");
        walk.program("prerouting", what);
    }
    nic
}

/// The sender addresses the frame: to the other end, or to the host as its router.
fn address_frame(walk: &Walk<'_, '_>, journey: &Journey, packet: &mut Packets, device: IfIndex, to: End) {
    if !packet.to_group() {
        let mac =
            if journey.direct { mac_of(walk, journey, packet, device, to) } else { walk.world.mac(device) };
        packet.set_destination_mac(mac);
    }
}

/// The packet has passed POSTROUTING and leaves the host by `out`.
fn leave_host(
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
        source_leaves(walk, journey, packet, out);
    }
    if !packet.to_group() {
        packet.set_destination_mac(mac_of(walk, journey, packet, out, to));
    }
    packet.set_source_mac(walk.world.mac(out));
    neighbour(walk, packet, out, to);
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
fn leave_bridge(
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

/// The NIC's port and the bridge that carries it, with all that is wrong about them. What the NIC
/// should be in is followed where it is in nothing, or elsewhere.
fn attachment(walk: &mut Walk<'_, '_>, journey: &Journey, nic: usize) -> Option<(IfIndex, IfIndex)> {
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
        .and_then(|bridge| walk.world.link_named(bridge))
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
fn lan_port(walk: &Walk<'_, '_>, bridge: IfIndex) -> Option<IfIndex> {
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

fn no_lan_port(walk: &mut Walk<'_, '_>, bridge: IfIndex) {
    let bridge = walk.world.name(bridge);
    let place = bridge.0.clone();
    walk.step(&place, Site::NoLanPort { bridge }, Decision::Drop, "no port leads to the LAN");
}

/// The MAC of the NIC at the end, or of the router or host behind `device`.
fn mac_of(walk: &Walk<'_, '_>, journey: &Journey, packet: &Packets, device: IfIndex, to: End) -> Option<Mac> {
    let hop = match to {
        End::Nic(nic) => return walk.topology.nics.get(nic).map(|nic| nic.mac),
        End::Host => return walk.world.mac(device),
        End::Wire(_) if journey.direct => journey.lan_gateway.or(packet.destination())?,
        End::Wire(_) => packet.next_hop?,
    };
    let known = |entry: &&Neighbour| entry.address == hop && entry.device == device;
    walk.world.snapshot.neighbours.items().iter().find(known)?.mac
}

/// The MAC of the router behind `device` from which packets come in.
fn router_mac(walk: &Walk<'_, '_>, journey: &Journey, device: IfIndex) -> Option<Mac> {
    let of_device = |uplink: &&Uplink| uplink.device == device;
    let uplinks = walk.topology.uplinks.iter().filter(of_device).filter_map(|uplink| uplink.gateway);
    let routers: Vec<IpAddr> = journey.lan_gateway.into_iter().chain(uplinks).collect();
    let known = |entry: &&Neighbour| routers.contains(&entry.address) && entry.device == device;
    walk.world.snapshot.neighbours.items().iter().filter(known).find_map(|entry| entry.mac)
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
fn source_leaves(walk: &mut Walk<'_, '_>, journey: &Journey, packet: &Packets, out: IfIndex) {
    if walk.reply {
        return;
    }
    walk.leaves_as = packet.source();
    let name = walk.world.name(out);
    let original = packet.headers.tuples().map(|tuples| tuples.original.address(packet.is_ipv6()));
    let Some(before) = original.unwrap_or_else(|| packet.source()) else { return };
    let site = Site::NoNat { source: before, device: name.clone() };
    let wanted = journey.mode == Some(ForwardMode::Nat) && matches!(journey.from, End::Nic(_));
    let nat = packet.connection.source_nat;
    match (nat.is_any(), nat.surely == walk.asked) {
        (false, _) if !wanted => {}
        (true, false) => {
            walk.step(
                "postrouting",
                site,
                Decision::Unknown,
                format!("whether {before} is translated is undecided"),
            );
        }
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

/// `source → destination`, as far as they are known.
fn ends(packet: &Packets) -> String {
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

#[cfg(test)]
mod tests;
