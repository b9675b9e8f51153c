//! The way of a claim's packet, and of its reply, from zone to zone.

use kvmnet_probes::facts::{IfIndex, Snapshot};
use kvmnet_reports::Predicted;

use super::claimed::{End, Journey, journey};
use super::host::{Towards, may_return, route, routed_into, send};
use super::outward::Followed;
use super::packet_set::{Bdd, Decided, HostSets, Undecided};
use super::packets::Packets;
use super::service::{advertises, answers, echoes, holds, listens};
use super::walk::Walk;
use super::world::{Facts, World};
use super::{Decision, Fate, Proof, Site, Step, bridge};
use crate::model::{Claim, NetworkZone, Nic, Topology, Traffic};
use ends::{attachment, mac_of};
use enter::{Entered, enter, go_up};
use leave::{leave_bridge, leave_host};

pub(super) mod ends;
pub(super) mod enter;
pub(super) mod leave;

/// More equal ways than this are not followed one by one.
const WAYS: usize = 16;

/// Nodes that the sets of one host may take, of 36 octets each.
pub(super) const NODES: usize = 1 << 21;

/// Predicts what becomes of packets on one host.
#[derive(Debug)]
pub struct Engine<'a> {
    pub(super) topology: &'a Topology,
    pub(super) world: World<'a>,
    pub(super) host: HostSets<'a>,
    /// What all packets of a sender come to, once it was asked for.
    pub(super) followed: Followed,
    /// For each NIC one that no site can tell from it, once it was asked for.
    pub(super) alike: Option<Vec<usize>>,
}

impl<'a> Engine<'a> {
    /// For the host of the facts.
    pub fn new(facts: &'a Facts<'a>, topology: &'a Topology) -> Self {
        Self {
            topology,
            world: World::new(facts),
            host: HostSets::new(facts, NODES),
            followed: Followed::new(),
            alike: None,
        }
    }

    /// The facts of the host.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.world.snapshot
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
        self.host.sets.allow(NODES);
        let mut walk = Walk::new(&mut self.host, self.world, self.topology, Bdd::ALL, Some(pick));
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
    Fate { predicted: Predicted::Unknown, steps: vec![step], leaves_as: None, proof: Proof::One }
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
    sent_back(walk, &journey, &packet, to);
    if let Some(source) = packet.source().filter(|source| journey.direct && Some(*source) != journey.source)
        && packet.connection.source_nat.is_any()
        && let Some(bridge) = packet.output.as_ref().and_then(|port| walk.world.bridge_of(port.index))
        && walk.world.addresses(bridge, packet.is_ipv6()).all(|own| own.net.addr() != source)
    {
        walk.program("postrouting", format!("where answers to {source} go, as the bridge translates to it"));
    }
    served(walk, &journey, claim, &packet, to);
    walk.reply = true;
    let mut reply = journey.reply(walk, claim, &packet)?;
    let back = Journey { direct: answers_directly(walk, &journey, &packet, to), ..journey };
    carry(walk, &back, &mut reply, to, back.from)?;
    from_whom_it_was_asked(walk, &back, claim, &reply);
    Ok(())
}

/// A guest that gets its own packet back takes it for somebody else's only if it has another source.
fn sent_back(walk: &mut Walk<'_, '_>, journey: &Journey, packet: &Packets, to: End) {
    let End::Nic(at) = to else { return };
    let Some(nic) = walk.topology.nics.get(at).filter(|_| to == journey.from) else { return };
    let own = |source| nic.addresses.iter().any(|known| known.address == source);
    if packet.source().is_none_or(own) {
        walk.program(&nic.vm, format!("what {} does with its own packet", nic.vm));
    }
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
pub(super) fn answers_directly(walk: &Walk<'_, '_>, journey: &Journey, packet: &Packets, to: End) -> bool {
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
        Traffic::Icmp | Traffic::FullSize | Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Dns => {
            journey.destination
        }
        Traffic::Resolve | Traffic::Dhcp | Traffic::RouterAdvertisement => return,
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
        Traffic::Icmp | Traffic::FullSize => echoes(walk, packet.is_ipv6()),
        Traffic::Dhcp => {
            holds(walk, journey.destination, input);
            listens(walk, packet, input, "dhcp", if packet.is_ipv6() { 547 } else { 67 });
        }
        Traffic::Dns => listens(walk, packet, input, "dns", 53),
        Traffic::RouterAdvertisement => advertises(walk, claim, input),
        // Which services the host offers is not claimed; the packet came up.
        Traffic::Tcp(_) | Traffic::Udp(_) => {}
    }
}

/// Carries the packet from one end to the other; gives the end where it arrives.
pub(super) fn carry(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    from: End,
    to: End,
) -> Decided<End> {
    let mut towards = aim(walk, journey, to);
    if from == End::Host {
        let Some(towards) = towards else { return Ok(to) };
        return match send(walk, packet, towards, journey.bound)? {
            Some(out) => leave_host(walk, journey, packet, out, to),
            None => Ok(to),
        };
    }
    let inside = match enter(walk, journey, packet, from, to)? {
        Entered::Not => return Ok(to),
        Entered::Bridge(inside) => Some(inside),
        Entered::Uplink => None,
    };
    // The bridge by which the host sends on what it should have bridged.
    let mut returns_by = None;
    if let Some(inside) = inside.filter(|_| journey.direct) {
        returns_by = bridged(walk, journey, packet, inside, to)?;
        let Some(bridge) = returns_by else {
            leave_bridge(walk, journey, packet, inside, to)?;
            return Ok(to);
        };
        towards = towards.map(|_| Towards::Device(bridge));
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
    go_up(walk, packet, inside, returns_by.is_some())?;
    let (to, towards) = match redirected(walk, packet)? {
        Some(end) if end != to => (end, aim(walk, journey, end)),
        _ => (to, towards),
    };
    let Some(towards) = towards else { return Ok(to) };
    match route(walk, packet, towards)? {
        Some(out) => leave_host(walk, journey, packet, out, to),
        None => Ok(to),
    }
}

/// What a bridge does with a frame whose addresses were translated: the bridge by which the host sends it on,
/// if it does so itself.
fn bridged(
    walk: &mut Walk<'_, '_>,
    journey: &Journey,
    packet: &mut Packets,
    inside: bridge::Inside,
    to: End,
) -> Decided<Option<IfIndex>> {
    let name = walk.world.name(inside.bridge);
    if redirected(walk, packet)?.is_some_and(|end| end != to) {
        walk.program(name.as_str(), "where a bridged frame goes once its destination is translated");
    }
    let nat = packet.connection.source_nat;
    if !packet.reply || !nat.is_any() {
        return Ok(None);
    }
    if nat.surely != nat.perhaps {
        walk.program(name.as_str(), "where a bridged frame goes once its destination may be translated back");
    }
    if !walk.are_all_in(nat.surely)? {
        return Ok(None);
    }
    if !routed_into(walk, packet, inside.bridge)? {
        walk.program(name.as_str(), "where a bridged frame goes once its destination is translated back");
        return Ok(None);
    }
    may_return(walk, packet, inside.bridge)?;
    // It was for the bridge's MAC, and the kernel addresses it anew.
    packet.set_destination_mac(mac_of(walk, journey, packet, inside.bridge, to));
    Ok(bridge::takes(walk, inside, packet.destination_mac).then_some(inside.bridge))
}

/// What routing must do with a packet for it to come to the end.
pub(super) fn aim(walk: &mut Walk<'_, '_>, journey: &Journey, to: End) -> Option<Towards> {
    match to {
        End::Host => Some(Towards::Host),
        End::Nic(nic) => attachment(walk, journey, nic).map(|(_, bridge)| Towards::Device(bridge)),
        End::Wire(device) => Some(Towards::Anywhere(device)),
    }
}

/// The end to which a rule has sent the packet by translating its destination.
fn redirected(walk: &mut Walk<'_, '_>, packet: &Packets) -> Decided<Option<End>> {
    let nat = packet.connection.destination_nat;
    if packet.reply || !nat.is_any() {
        return Ok(None);
    }
    let surely = walk.are_all_in(nat.surely)?;
    let Some(address) = nat.address.filter(|_| surely) else {
        walk.program("prerouting", "where the packet goes, as its destination may be translated");
        return Ok(None);
    };
    if walk.world.owns(Some(address)) == Some(true) {
        return Ok(Some(End::Host));
    }
    let holds = |nic: &Nic| nic.addresses.iter().any(|known| known.address == address);
    let nic = walk.topology.nics.iter().position(holds).map(End::Nic);
    if nic.is_none() {
        let what = format!("who has {address}, to which the destination is translated");
        walk.program("prerouting", what);
    }
    Ok(nic)
}

#[cfg(test)]
mod tests;
