//! What of all packets gets from one zone to another.
//!
//! A denial is a proof only if it holds for every packet that somebody in the first zone can send: of any
//! protocol, to any address, with a forged source. All of them are carried at once. Those that are routed
//! are followed from their sender once, whoever they are for; whatever is left at a device is then taken to
//! each NIC behind it. What arrives is a leak, also if no answer finds its way back.
//!
//! What stays in one bridge is followed there alone: that is what isolated ports are about.
//!
//! Not among them are later fragments, which nobody can put together without the first, what a program of the host sends
//! from another of its addresses than the kernel's choice, ARP to and from the host, and frames that are neither IP nor
//! ARP.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use kvmnet_probes::facts::{Family, Hook, IfIndex, Mac};
use kvmnet_reports::Expected;

use super::claimed::{End, Journey, SOURCE_PORT, journey};
use super::host::send;
use super::outward::{Walked, any};
use super::packet_set::field::{ARP, IPV4, IPV6, address_value};
use super::packet_set::{Arena, Bdd, Decided, Field, Headers, HostSets, Packet, PacketSet, Truth, Undecided};
use super::packets::{Packets, number};
use super::path::ends::{attachment, router_mac};
use super::path::enter::{Entered, enter, go_up};
use super::path::leave::leave_host;
use super::path::{Engine, NODES, aim, answers_directly, carry};
use super::route::in_prefix;
use super::take_in::take_in;
use super::walk::Taken;
use super::{Decision, hooks};
use crate::model::{Claim, NetworkZone, Protocol, Selection, Topology, Traffic};

/// Whether a denial holds for all packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// Nothing arrives, whatever is sent.
    Proven,
    /// Something arrives.
    Leaks(Box<Leak>),
    /// Nothing surely arrives, but something may: what decides is not understood or not known.
    Open(Vec<String>),
}

/// Packets that arrive although they should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// All of them, as a rule would match them.
    pub packets: String,
    /// One of them: its source and destination.
    pub ends: (IpAddr, IpAddr),
    /// What it carries, if that is TCP, UDP or an echo request.
    pub traffic: Option<Traffic>,
    /// Its answers find their way back.
    pub answered: bool,
    /// It is what its sender would send: with its own MAC and address, as far as they are known, the SYN of a
    /// connection, a datagram or an echo request, with nothing special in its headers.
    pub honest: bool,
}

/// Packets that are on their way to an end, and which of them arrive.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) family: Family,
    /// All that are routed or bridged there, if nothing stops them.
    pub(super) asked: PacketSet,
    /// Those that may arrive.
    pub(super) may: PacketSet,
    /// Those that surely do.
    pub(super) surely: PacketSet,
    /// Those whose answers come back, too.
    pub(super) answered: PacketSet,
    pub(super) taken: Vec<Taken>,
}

impl Arrival {
    /// Of these packets nothing is known but that they may arrive.
    fn undecided(ipv6: bool, may: PacketSet, taken: Vec<Taken>) -> Self {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        Self { family, asked: may, may, surely: Bdd::NONE, answered: Bdd::NONE, taken }
    }
}

/// What the packets that stand for claims have in their headers.
const PLAIN: [(Field, u128); 6] = [
    (Field::Ttl, 64),
    (Field::TrafficClass, 0),
    (Field::Extended, 0),
    (Field::SourcePort, SOURCE_PORT as u128),
    (Field::TcpFlags, 2),
    (Field::IcmpCode, 0),
];

/// Nodes up to which sets are kept from one question to the next.
const KEPT: usize = NODES / 2;
/// Nodes that one question may take.
const QUESTION: usize = NODES / 4;

impl Engine<'_> {
    /// Whether the claim, which must be a denial, holds for all packets that it selects; `None` if it is about what
    /// cannot be followed so: what the host itself sends beyond its bridges, or a NIC that no bridge carries.
    pub fn deny(&mut self, claim: &Claim) -> Option<Denial> {
        if claim.expected != Expected::Deny {
            return None;
        }
        self.begin_question();
        let before = self.host.sets.len();
        self.denial(claim).unwrap_or_else(|Undecided| {
            // Where it was known before that this takes too many nodes none were made.
            if self.host.sets.len() > before + QUESTION / 2 {
                self.forget();
            }
            Some(Denial::Open(vec![Undecided.to_string()]))
        })
    }

    /// Makes room for the sets of one question.
    pub(super) fn begin_question(&mut self) {
        if self.host.sets.len() > KEPT {
            self.forget();
        }
        self.host.sets.allow(QUESTION);
    }

    fn denial(&mut self, claim: &Claim) -> Decided<Option<Denial>> {
        let Some(arrivals) = self.arrivals(claim, false)? else { return Ok(None) };
        // By the way that leads to the address that was asked for, if there is one.
        let mut leak: Option<&Arrival> = None;
        for arrival in arrivals.iter().filter(|arrival| arrival.surely != Bdd::NONE) {
            let wanted = self.of(Field::Destination, claim.destination)?;
            let led = self.host.sets.and(arrival.surely, wanted)? != Bdd::NONE;
            if leak.is_none() || led {
                leak = Some(arrival);
            }
            if led {
                break;
            }
        }
        if let Some(arrival) = leak {
            return Ok(Some(Denial::Leaks(Box::new(self.leak(claim, arrival)?))));
        }
        let mut why: Vec<String> = Vec::new();
        for arrival in &arrivals {
            for Taken { step, packets, .. } in &arrival.taken {
                let open = step.decision == Decision::Unknown;
                if open && self.host.sets.and(*packets, arrival.may)? != Bdd::NONE {
                    let text = step.to_string();
                    if !why.contains(&text) {
                        why.push(text);
                    }
                }
            }
        }
        let open = arrivals.iter().any(|arrival| arrival.may != Bdd::NONE);
        Ok(Some(if open { Denial::Open(why) } else { Denial::Proven }))
    }

    /// All packets between the ends of a claim, by the ways that there are: in the bridge, and by each device
    /// to which they are routed. `stopped`: also where none arrives, past every site that stops them. `None` if
    /// they cannot be followed.
    pub(super) fn arrivals(&mut self, claim: &Claim, stopped: bool) -> Decided<Option<Vec<Arrival>>> {
        let mut walk = self.walk(Bdd::NONE, stopped);
        let Some(journey) = journey(&mut walk, claim) else { return Ok(None) };
        let journey = Journey { source: None, destination: None, ..journey };
        let mut arrivals = Vec::new();
        match (journey.from, journey.to) {
            (End::Host, End::Nic(_)) => {
                arrivals.push(self.sent_by_host(&journey, claim.ipv6, stopped)?);
                return Ok(Some(arrivals));
            }
            (End::Host, End::Host | End::Wire(_)) => return Ok(None),
            (End::Nic(_) | End::Wire(_), End::Host) => {
                arrivals.push(self.taken_in(&journey, claim.ipv6, stopped)?);
                return Ok(Some(arrivals));
            }
            (End::Nic(_) | End::Wire(_), End::Nic(_) | End::Wire(_)) => {}
        }
        if journey.direct {
            let arp = journey.selection.protocol.is_none();
            let families = match (claim.ipv6, arp) {
                (true, _) => &[Family::Ip6][..],
                (false, true) => &[Family::Ip, Family::Arp],
                (false, false) => &[Family::Ip],
            };
            for family in families {
                arrivals.push(self.in_bridge(&journey, *family, stopped)?);
            }
        }
        // Ports that are isolated from one another are so in their bridge: that the host may route between them
        // is no leak of the bridge's.
        if !journey.direct || stopped {
            let routed = Journey { direct: false, ..journey };
            arrivals.extend(self.routed(&routed, claim.ipv6, stopped)?);
        }
        Ok(Some(arrivals))
    }

    /// Packets with the address in the field; all if it is not known.
    pub(super) fn of(&mut self, field: Field, address: Option<IpAddr>) -> Decided<PacketSet> {
        let Some(address) = address else { return Ok(Bdd::ALL) };
        self.host.sets.prefix(field, address_value(address), if address.is_ipv6() { 128 } else { 32 })
    }

    /// All packets that stay in a bridge.
    fn in_bridge(&mut self, journey: &Journey, family: Family, all_sites: bool) -> Decided<Arrival> {
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let mut walk = self.walk(asked, all_sites);
        carry(&mut walk, journey, &mut packets, journey.from, journey.to)?;
        let walked = Walked::of(walk)?;
        self.arrival(journey, &packets, asked, walked)
    }

    /// All packets that programs of the host send to a NIC, with the source that the kernel chooses.
    fn sent_by_host(&mut self, journey: &Journey, ipv6: bool, all_sites: bool) -> Decided<Arrival> {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let asked = self.meant_for(journey.to, ipv6, &packets, asked)?;
        let mut walk = self.walk(asked, all_sites);
        let Some(towards) = aim(&mut walk, journey, journey.to) else {
            let Walked { undecided, taken, .. } = Walked::of(walk)?;
            return Ok(Arrival::undecided(ipv6, undecided, taken));
        };
        if let Some(out) = send(&mut walk, &mut packets, towards, false)? {
            leave_host(&mut walk, journey, &mut packets, out, journey.to)?;
        }
        let walked = Walked::of(walk)?;
        self.arrival(journey, &packets, asked, walked)
    }

    /// All packets of a sender that the host takes in itself.
    fn taken_in(&mut self, journey: &Journey, ipv6: bool, all_sites: bool) -> Decided<Arrival> {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let mut walk = self.walk(asked, all_sites);
        let inside = match enter(&mut walk, journey, &mut packets, journey.from, End::Host)? {
            Entered::Bridge(inside) => Some(inside),
            Entered::Uplink => None,
            Entered::Not => {
                let Walked { undecided, taken, .. } = Walked::of(walk)?;
                return Ok(Arrival::undecided(ipv6, undecided, taken));
            }
        };
        go_up(&mut walk, &mut packets, inside, false)?;
        take_in(&mut walk, &mut packets)?;
        let walked = Walked::of(walk)?;
        self.arrival(journey, &packets, asked, walked)
    }

    /// All packets of a sender that the host routes to the other end.
    fn routed(&mut self, journey: &Journey, ipv6: bool, stopped: bool) -> Decided<Vec<Arrival>> {
        let outward = self.outward(journey, ipv6, stopped)?;
        let mut arrivals = Vec::new();
        if outward.astray != Bdd::NONE {
            arrivals.push(Arrival::undecided(ipv6, outward.astray, outward.walked.taken.clone()));
        }
        let mut to_port = self.walk(Bdd::ALL, stopped);
        let bridge = match journey.to {
            End::Nic(nic) => attachment(&mut to_port, journey, nic).map(|(_, bridge)| bridge),
            End::Host | End::Wire(_) => None,
        };
        let taken = to_port.taken;
        if bridge.is_none() && taken.iter().any(|taken| taken.step.decision == Decision::Unknown) {
            arrivals.push(Arrival::undecided(ipv6, Bdd::ALL, taken));
        }
        for (device, leaving) in &outward.ways {
            let wanted = match journey.to {
                End::Nic(_) => bridge == Some(*device),
                End::Host | End::Wire(_) => self.leads_out(*device),
            };
            if !wanted {
                continue;
            }
            let asked = self.meant_for(journey.to, ipv6, &outward.packets, *leaving)?;
            if asked == Bdd::NONE {
                continue;
            }
            let mut packets = outward.packets.clone();
            packets.output = Some(self.world.device(*device));
            let mut walk = self.walk(asked, stopped);
            walk.divert(outward.walked.diverted)?;
            let family = packets.family;
            hooks::pass(&mut walk, &mut packets, family, Hook::Postrouting)?;
            leave_host(&mut walk, journey, &mut packets, *device, journey.to)?;
            let last = Walked::of(walk)?;
            let sets = &mut self.host.sets;
            let walked = Walked {
                stopped: sets.or(outward.walked.stopped, last.stopped)?,
                undecided: sets.or(outward.walked.undecided, last.undecided)?,
                diverted: last.diverted,
                taken: outward.walked.taken.iter().cloned().chain(last.taken).collect(),
            };
            arrivals.push(self.arrival(journey, &packets, asked, walked)?);
        }
        Ok(arrivals)
    }

    /// Whether beyond the device lies what the host does not carry itself.
    fn leads_out(&self, device: IfIndex) -> bool {
        let carried = |network: &NetworkZone| network.bridge_index == Some(device) && !network.is_lan();
        !self.topology.networks.iter().any(carried)
    }

    /// Of packets that leave for a network those that are for the NIC. Where its addresses are not known it
    /// may have any that nobody else is known to have.
    fn meant_for(
        &mut self,
        to: End,
        ipv6: bool,
        packets: &Packets,
        leaving: PacketSet,
    ) -> Decided<PacketSet> {
        let End::Nic(nic) = to else { return Ok(leaving) };
        let topology: &Topology = self.topology;
        let addresses = |at: usize| {
            let known = topology.nics.get(at).map_or(&[][..], |nic| &nic.addresses);
            known.iter().map(|known| known.address).filter(|address| address.is_ipv6() == ipv6)
        };
        let mut own: Vec<IpAddr> = addresses(nic).collect();
        let without = own.is_empty();
        if without {
            own = (0..topology.nics.len()).filter(|other| *other != nic).flat_map(addresses).collect();
        }
        let sets = &mut self.host.sets;
        let mut all = Vec::new();
        for address in own {
            let net = IpNet::from(address);
            all.push(in_prefix(sets, &packets.headers, Field::Destination, net)?);
        }
        let among = sets.any_truth(&all)?.negate(without);
        sets.minus(leaving, among.no)
    }

    /// What has come to the end, and which answers come back.
    fn arrival(
        &mut self,
        journey: &Journey,
        packets: &Packets,
        asked: PacketSet,
        there: Walked,
    ) -> Decided<Arrival> {
        let sets = &mut self.host.sets;
        let selected = selected(sets, &journey.selection, packets)?;
        let asked = sets.minus(asked, selected.no)?;
        let may = sets.minus(asked, there.stopped)?;
        let surely = sets.minus(may, there.undecided)?;
        let surely = sets.and(surely, selected.yes)?;
        let mut taken = there.taken;
        if surely == Bdd::NONE || packets.is_arp() {
            return Ok(Arrival { family: packets.family, asked, may, surely, answered: surely, taken });
        }
        let mut reply = packets.reply(sets)?;
        let mut walk = self.walk(surely, true);
        walk.reply = true;
        let direct = answers_directly(&walk, journey, packets, journey.to);
        let back = Journey { direct, ..journey.clone() };
        carry(&mut walk, &back, &mut reply, journey.to, journey.from)?;
        let back = Walked::of(walk)?;
        taken.extend(back.taken);
        let sets = &mut self.host.sets;
        let answered = sets.minus(surely, back.stopped)?;
        let answered = sets.minus(answered, back.undecided)?;
        Ok(Arrival { family: packets.family, asked, may, surely, answered, taken })
    }

    /// The MAC with which the packet that stands for the claim comes in, if it is known: the NIC's, or the router's.
    pub(super) fn sender_mac(&mut self, claim: &Claim) -> Option<Mac> {
        let mut walk = self.walk(Bdd::NONE, false);
        let journey = journey(&mut walk, claim)?;
        match journey.from {
            End::Nic(nic) => walk.topology.nics.get(nic).map(|nic| nic.mac),
            End::Wire(wire) => {
                let device = walk.world.bridge_of(wire).unwrap_or(wire);
                router_mac(&walk, &journey, device)
            }
            End::Host => None,
        }
    }

    /// The leak in words, and a packet that shows it: an honest and plain one, if there is any, that the wire
    /// can send and whose answer comes back.
    pub(super) fn leak(&mut self, claim: &Claim, arrival: &Arrival) -> Decided<Leak> {
        let own_address = self.of(Field::Source, claim.source)?;
        let wanted = self.of(Field::Destination, claim.destination)?;
        let mac = self.sender_mac(claim);
        let sets = &mut self.host.sets;
        let mut set = arrival.surely;
        let own_mac = match mac {
            Some(mac) => sets.equal(Field::SourceMac, number(mac))?,
            None => Bdd::ALL,
        };
        // As the wire sends it.
        let mut plain = Bdd::ALL;
        for (field, value) in PLAIN {
            let equal = sets.equal(field, value)?;
            plain = sets.and(plain, equal)?;
        }
        // Whose address is not known has one that routers take, if one of those shows it.
        let likely = if claim.ipv6 && claim.source.is_none() {
            in_prefix(sets, &Headers::default(), Field::Source, global_unicast())?.yes
        } else {
            Bdd::ALL
        };
        let back = arrival.answered;
        let mut honest = arrival.family != Family::Arp;
        for (narrow, counts) in [
            (own_mac, true),
            (own_address, true),
            (wanted, false),
            (plain, true),
            (back, false),
            (likely, false),
        ] {
            let narrowed = sets.and(set, narrow)?;
            if narrowed == Bdd::NONE {
                honest &= !counts;
            } else {
                set = narrowed;
            }
        }
        let answered = sets.minus(set, arrival.answered)? == Bdd::NONE;
        let witness = sets.witness(set).unwrap_or_default();
        // Who sends is told apart only if it takes a forged sender.
        let mut all = arrival.surely;
        if honest {
            let own = sets.and(own_mac, own_address)?;
            all = sets.and(all, own)?;
            for field in [Field::SourceMac, Field::Source] {
                all = sets.exists(all, &field.variables())?;
            }
        }
        let packets = self.words(arrival.family, all)?;
        let address = |field: Field| -> IpAddr {
            if claim.ipv6 {
                return IpAddr::V6(witness[field].into());
            }
            IpAddr::V4(u32::try_from(witness[field] >> 96).unwrap_or_default().into())
        };
        Ok(Leak {
            packets,
            ends: (address(Field::Source), address(Field::Destination)),
            traffic: traffic(&witness, claim.ipv6).filter(|_| arrival.family != Family::Arp),
            answered,
            honest,
        })
    }

    /// The set as rules would match it, without what only says that these are packets to be asked about.
    pub(super) fn words(&mut self, family: Family, packets: PacketSet) -> Decided<String> {
        let sets = &mut self.host.sets;
        let mut packets = packets;
        for field in [Field::OutputDevice, Field::Fragment, Field::Ttl] {
            packets = sets.exists(packets, &field.variables())?;
        }
        let ether_type = match family {
            Family::Arp => ARP,
            Family::Ip6 => IPV6,
            Family::Ip | Family::Inet | Family::Netdev | Family::Bridge => IPV4,
        };
        let of_family = sets.equal(Field::EtherType, ether_type)?;
        let packets = sets.and(packets, of_family)?;
        let world = self.world;
        let name =
            |number: u128| u32::try_from(number).ok().map(|number| world.name(IfIndex(number)).to_string());
        Ok(self.host.sets.text(packets, &name))
    }

    /// Sets have grown so large that it is better to begin anew.
    pub(super) fn forget(&mut self) {
        self.host = HostSets::new(self.world.facts, NODES);
        // Whom it takes too many nodes to follow is known all the same.
        self.followed.retain(|_, outward| outward.is_none());
    }
}

/// Of packets that have arrived those that are asked about: by whom they were sent, and as what they arrive.
fn selected(sets: &mut Arena, selection: &Selection, packets: &Packets) -> Decided<Truth> {
    let Selection { source, destination, protocol, except } = selection;
    let mut all = Truth::YES;
    if let Some(net) = source {
        let sent = in_prefix(sets, &Headers::default(), Field::Source, *net)?;
        all = sets.both(all, sent)?;
    }
    if let Some(net) = destination {
        let meant = in_prefix(sets, &packets.headers, Field::Destination, *net)?;
        all = sets.both(all, meant)?;
    }
    if let Some(protocol) = protocol {
        let are = are_of(sets, protocol, packets)?;
        all = sets.both(all, are)?;
    }
    for protocol in except {
        let are = are_of(sets, protocol, packets)?.negate(true);
        all = sets.both(all, are)?;
    }
    Ok(all)
}

fn are_of(sets: &mut Arena, protocol: &Protocol, packets: &Packets) -> Decided<Truth> {
    let (number, ports) = match protocol {
        Protocol::Icmp if packets.is_ipv6() => {
            let discovery = packets.headers.range(sets, Field::IcmpType, &(133..=137))?;
            let is = packets.headers.equal(sets, Field::Protocol, 58)?;
            return sets.both(is, discovery.negate(true));
        }
        Protocol::Icmp => (1, None),
        Protocol::Tcp(ports) => (6, Some(ports)),
        Protocol::Udp(ports) => (17, Some(ports)),
    };
    let is = packets.headers.equal(sets, Field::Protocol, number)?;
    let Some(ports) = ports else { return Ok(is) };
    let range = u128::from(*ports.start())..=u128::from(*ports.end());
    let to = packets.headers.range(sets, Field::DestinationPort, &range)?;
    sets.both(is, to)
}

/// `2000::/3` (RFC 4291, 2.4).
fn global_unicast() -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3))
}

/// What the packet carries, if the wire can send that.
fn traffic(packet: &Packet, ipv6: bool) -> Option<Traffic> {
    let port = u16::try_from(packet[Field::DestinationPort]).ok()?;
    match (packet[Field::Protocol], packet[Field::IcmpType], ipv6) {
        (6, ..) if packet[Field::TcpFlags] == 2 => Some(Traffic::Tcp(port)),
        (17, ..) => Some(Traffic::Udp(port)),
        (1, 8, false) | (58, 128, true) => Some(Traffic::Icmp),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
