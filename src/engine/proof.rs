//! What of all packets gets from one zone to another.
//!
//! A denial is a proof only if it holds for every packet that somebody in the first zone can send: of any
//! protocol, to any address, with a forged source. All of them are carried at once. Those that are routed
//! are followed from their sender once, whoever they are for; whatever is left at a device is then taken to
//! each NIC behind it. What arrives is a leak, also if no answer finds its way back.
//!
//! Not among them are later fragments, which nobody can put together without the first, packets that end
//! in the host, and frames that are neither IP nor ARP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use kvmnet_probes::facts::{Family, IfIndex};
use kvmnet_reports::Expected;

use super::claimed::{End, Journey, journey};
use super::classes::representatives;
use super::host::route_everywhere;
use super::packet_set::field::FRAGMENT_OFFSET;
use super::packet_set::{Arena, Bdd, Decided, Field, Packet, PacketSet, Undecided};
use super::packets::Packets;
use super::path::ends::attachment;
use super::path::enter::{Entered, enter, go_up};
use super::path::leave::leave_host;
use super::path::{Engine, answers_directly, carry};
use super::walk::{Opened, Walk};
use crate::model::{Claim, NetworkZone, Topology, Traffic};

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
    /// Its protocol.
    pub protocol: u8,
    /// Its answers find their way back.
    pub answered: bool,
}

/// What is left of all packets of a sender once they are routed.
#[derive(Debug)]
pub(super) struct Outward {
    packets: Packets,
    /// By which device which of them leave, if nothing stops them.
    ways: Vec<(IfIndex, PacketSet)>,
    fate: Open,
}

/// Packets that surely do not come through, those that may not, and what leaves the latter open.
#[derive(Debug)]
struct Open {
    stopped: PacketSet,
    undecided: PacketSet,
    why: Opened,
}

/// What has been followed once, by who sends and the family.
pub(super) type Followed = HashMap<(End, bool), Rc<Outward>>;

/// Packets that arrive.
#[derive(Debug)]
struct Arrival {
    /// Those that may.
    may: PacketSet,
    /// Those that surely do.
    surely: PacketSet,
    /// Those whose answers come back, too.
    answered: PacketSet,
    why: Opened,
}

/// Nodes up to which sets are kept from one question to the next.
const KEPT: usize = 1 << 20;

impl<'a> Engine<'a> {
    /// Whether the claim, which must be a denial, holds for all packets; `None` if it is about what cannot
    /// be followed so: what the host itself sends, or a NIC that no bridge carries.
    pub fn deny(&mut self, claim: &Claim) -> Option<Denial> {
        if claim.expected != Expected::Deny {
            return None;
        }
        if self.host.sets.len() > KEPT {
            self.forget();
        }
        self.denial(claim).unwrap_or_else(|Undecided| {
            self.forget();
            Some(Denial::Open(vec![Undecided.to_string()]))
        })
    }

    fn denial(&mut self, claim: &Claim) -> Decided<Option<Denial>> {
        let mut walk = self.walk(Bdd::NONE);
        let Some(journey) = journey(&mut walk, claim) else { return Ok(None) };
        if journey.from == End::Host || journey.to == End::Host {
            return Ok(None);
        }
        let journey = Journey { source: None, destination: None, ..journey };
        let mut arrivals = Vec::new();
        if journey.direct {
            let families = if claim.ipv6 { &[Family::Ip6][..] } else { &[Family::Ip, Family::Arp] };
            for family in families {
                arrivals.push(self.in_bridge(&journey, *family)?);
            }
        }
        arrivals.extend(self.routed(&Journey { direct: false, ..journey.clone() }, claim.ipv6)?);
        for arrival in &arrivals {
            if arrival.surely != Bdd::NONE {
                return Ok(Some(Denial::Leaks(Box::new(self.leak(claim, arrival)?))));
            }
        }
        let mut why: Vec<String> = Vec::new();
        for arrival in &arrivals {
            for (packets, text) in &arrival.why {
                if self.host.sets.and(*packets, arrival.may)? != Bdd::NONE && !why.contains(text) {
                    why.push(text.clone());
                }
            }
        }
        let open = arrivals.iter().any(|arrival| arrival.may != Bdd::NONE);
        Ok(Some(if open { Denial::Open(why) } else { Denial::Proven }))
    }

    fn walk(&mut self, asked: PacketSet) -> Walk<'_, 'a> {
        Walk::new(&mut self.host, self.world, self.topology, asked, 0)
    }

    /// All packets that stay in a bridge.
    fn in_bridge(&mut self, journey: &Journey, family: Family) -> Decided<Arrival> {
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let mut walk = self.walk(asked);
        carry(&mut walk, journey, &mut packets, journey.from, journey.to)?;
        let fate = open(&mut walk)?;
        self.arrival(journey, &packets, asked, fate)
    }

    /// All packets of a sender that the host routes to the other end.
    fn routed(&mut self, journey: &Journey, ipv6: bool) -> Decided<Vec<Arrival>> {
        let outward = self.outward(journey, ipv6)?;
        let bridge = match journey.to {
            End::Nic(nic) => attachment(&mut self.walk(Bdd::NONE), journey, nic).map(|(_, bridge)| bridge),
            End::Host | End::Wire(_) => None,
        };
        let mut arrivals = Vec::new();
        for (device, leaving) in &outward.ways {
            let wanted = match journey.to {
                End::Nic(_) => bridge == Some(*device),
                End::Host | End::Wire(_) => self.leads_out(*device),
            };
            if !wanted {
                continue;
            }
            let leaving = self.host.sets.minus(*leaving, outward.fate.stopped)?;
            let asked = self.meant_for(journey.to, ipv6, &outward.packets, leaving)?;
            if asked == Bdd::NONE {
                continue;
            }
            let mut packets = outward.packets.clone();
            packets.by_route = false;
            packets.output = Some(self.world.device(*device));
            let mut walk = self.walk(asked);
            leave_host(&mut walk, journey, &mut packets, *device, journey.to)?;
            let Open { stopped, undecided, mut why } = open(&mut walk)?;
            why.extend(outward.fate.why.iter().cloned());
            let undecided = self.host.sets.or(undecided, outward.fate.undecided)?;
            arrivals.push(self.arrival(journey, &packets, asked, Open { stopped, undecided, why })?);
        }
        Ok(arrivals)
    }

    /// All packets of a sender, routed.
    fn outward(&mut self, journey: &Journey, ipv6: bool) -> Decided<Rc<Outward>> {
        let sender = match journey.from {
            End::Nic(nic) => {
                let alike = self.alike.get_or_insert_with(|| representatives(self.world, self.topology));
                End::Nic(alike.get(nic).copied().unwrap_or(nic))
            }
            end => end,
        };
        if let Some(outward) = self.followed.get(&(sender, ipv6)) {
            return Ok(Rc::clone(outward));
        }
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let mut walk = self.walk(asked);
        let mut ways = Vec::new();
        let inside = match enter(&mut walk, journey, &mut packets, sender, End::Host)? {
            Entered::Not => None,
            Entered::Bridge(inside) => Some(Some(inside)),
            Entered::Uplink => Some(None),
        };
        if let Some(inside) = inside {
            go_up(&mut walk, &mut packets, inside, false)?;
            ways = route_everywhere(&mut walk, &mut packets)?;
        }
        let fate = open(&mut walk)?;
        let outward = Rc::new(Outward { packets, ways, fate });
        self.followed.insert((sender, ipv6), Rc::clone(&outward));
        Ok(outward)
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
            let net = ipnet::IpNet::from(address);
            all.push(super::route::in_prefix(sets, &packets.headers, Field::Destination, net)?);
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
        fate: Open,
    ) -> Decided<Arrival> {
        let sets = &mut self.host.sets;
        let may = sets.minus(asked, fate.stopped)?;
        let surely = sets.minus(may, fate.undecided)?;
        if surely == Bdd::NONE || packets.is_arp() {
            return Ok(Arrival { may, surely, answered: surely, why: fate.why });
        }
        let mut reply = packets.reply(sets)?;
        let mut walk = self.walk(surely);
        walk.reply = true;
        let direct = answers_directly(&walk, journey, packets, journey.to);
        let back = Journey { direct, ..journey.clone() };
        carry(&mut walk, &back, &mut reply, journey.to, journey.from)?;
        let Open { stopped, undecided, .. } = open(&mut walk)?;
        let sets = &mut self.host.sets;
        let answered = sets.minus(surely, stopped)?;
        Ok(Arrival { may, surely, answered: sets.minus(answered, undecided)?, why: fate.why })
    }

    /// The leak in words, and a packet that shows it: an honest and plain one, if there is any, whose answer
    /// comes back.
    fn leak(&mut self, claim: &Claim, arrival: &Arrival) -> Decided<Leak> {
        let answered = arrival.answered != Bdd::NONE;
        let packets = self.words(arrival.surely);
        let sets = &mut self.host.sets;
        let mut set = if answered { arrival.answered } else { arrival.surely };
        for (field, address) in [(Field::Source, claim.source), (Field::Destination, claim.destination)] {
            if let Some(address) = address {
                let honest = sets.network(field, address, 128)?;
                let narrow = sets.and(set, honest)?;
                set = if narrow == Bdd::NONE { set } else { narrow };
            }
        }
        let witness = sets.witness(set).unwrap_or_default();
        let address = |field: Field| -> IpAddr {
            if claim.ipv6 {
                return IpAddr::V6(witness[field].into());
            }
            IpAddr::V4(u32::try_from(witness[field] >> 96).unwrap_or_default().into())
        };
        Ok(Leak {
            packets,
            ends: (address(Field::Source), address(Field::Destination)),
            traffic: traffic(&witness, claim.ipv6),
            protocol: u8::try_from(witness[Field::Protocol]).unwrap_or_default(),
            answered,
        })
    }

    /// The set as rules would match it.
    fn words(&mut self, packets: PacketSet) -> String {
        let world = self.world;
        let name =
            |number: u128| u32::try_from(number).ok().map(|number| world.name(IfIndex(number)).to_string());
        self.host.sets.text(packets, &name)
    }

    /// Sets have grown so large that it is better to begin anew.
    fn forget(&mut self) {
        *self = Self::new(self.world.snapshot, self.topology);
    }
}

fn open(walk: &mut Walk<'_, '_>) -> Decided<Open> {
    let (stopped, undecided) = walk.stopped()?;
    Ok(Open { stopped, undecided, why: walk.opened() })
}

/// What the packet carries, if the wire can send that.
fn traffic(packet: &Packet, ipv6: bool) -> Option<Traffic> {
    let port = u16::try_from(packet[Field::DestinationPort]).ok()?;
    match (packet[Field::Protocol], packet[Field::IcmpType], ipv6) {
        (6, ..) => Some(Traffic::Tcp(port)),
        (17, ..) => Some(Traffic::Udp(port)),
        (1, 8, false) | (58, 128, true) => Some(Traffic::Icmp),
        _ => None,
    }
}

/// All packets that somebody may send: whole, not about to expire, the first of their flow or invalid.
fn any(sets: &mut Arena, family: Family) -> Decided<(Packets, PacketSet)> {
    let packets = Packets::any(family);
    if family == Family::Arp {
        return Ok((packets, Bdd::ALL));
    }
    let whole = sets.masked(Field::Fragment, 0, FRAGMENT_OFFSET)?;
    let lasting = sets.range(Field::Ttl, &(2..=255))?;
    let all = sets.and(whole, lasting)?;
    let (new, invalid) = (sets.equal(Field::CtState, 3)?, sets.equal(Field::CtState, 0)?);
    let odd = begins_no_flow(sets, family == Family::Ip6)?;
    let invalid = sets.and(invalid, odd)?;
    let states = sets.or(new, invalid)?;
    Ok((packets, sets.and(all, states)?))
}

/// Packets of which conntrack may say that they are invalid (`nf_conntrack_tcp_packet`,
/// `nf_conntrack_icmp_packet`).
fn begins_no_flow(sets: &mut Arena, ipv6: bool) -> Decided<PacketSet> {
    let (tcp, icmp) =
        (sets.equal(Field::Protocol, 6)?, sets.equal(Field::Protocol, if ipv6 { 58 } else { 1 })?);
    // FIN, SYN, RST and ACK.
    let syn = sets.masked(Field::TcpFlags, 2, 0x17)?;
    let asks: &[u128] = if ipv6 { &[128] } else { &[8, 13, 15, 17] };
    let asks: Vec<_> = asks.iter().map(|kind| *kind..=*kind).collect();
    let asks = sets.one_of(Field::IcmpType, &asks)?;
    let (tcp, icmp) = (sets.minus(tcp, syn)?, sets.minus(icmp, asks)?);
    sets.or(tcp, icmp)
}

#[cfg(test)]
mod tests;
