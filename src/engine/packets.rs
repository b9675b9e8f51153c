//! Packets on their way: what their headers hold, and what the kernel keeps beside them.
//!
//! All packets of a walk are at the same place at the same time, so that devices, and whether there is a
//! link-layer header, are told once for all of them. What differs from packet to packet is in their
//! [`Headers`]. One packet is all packets, with a constant in every field that is known of it.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, IfIndex, IfName, Mac};

use super::packet_set::field::{ARP, IPV4, IPV6, address_value};
use super::packet_set::{Arena, Bdd, Decided, Field, Headers, PacketSet, Truth, Tuple, Tuples};

/// What a packet carries above IP, or ARP in place of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Arp { request: bool },
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8 },
}

/// A device that packets touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: IfIndex,
    pub(super) name: IfName,
}

/// One end of the flows that NAT gave another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Translated {
    /// Packets of which it surely did.
    pub(super) surely: PacketSet,
    /// Packets of which it may have.
    pub(super) perhaps: PacketSet,
    /// To which address, if it is one for all.
    pub(super) address: Option<IpAddr>,
}

impl Default for Translated {
    fn default() -> Self {
        Self { surely: Bdd::NONE, perhaps: Bdd::NONE, address: None }
    }
}

impl Translated {
    /// Whether it may have translated anything.
    pub(super) fn is_any(&self) -> bool {
        self.perhaps != Bdd::NONE
    }
}

/// What conntrack knows of the flows.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    /// The first packet was not tracked, so that this answer belongs to no flow.
    pub(super) lost: Truth,
    pub(super) source_nat: Translated,
    pub(super) destination_nat: Translated,
}

/// Values of [`Field::CtState`].
const ESTABLISHED: [Truth; 3] = [Truth::NO, Truth::NO, Truth::YES];
const NEW: [Truth; 3] = [Truth::NO, Truth::YES, Truth::YES];
const UNTRACKED: [Truth; 3] = [Truth::YES, Truth::NO, Truth::NO];

/// `PACKET_*` and the like of a frame are told by its destination MAC.
const GROUP: u128 = 1 << 40;

/// Packets that are together on their way.
#[expect(clippy::struct_excessive_bools, reason = "what the kernel knows of packets, one each")]
#[derive(Debug, Clone)]
pub(super) struct Packets {
    /// IPv4, IPv6 or ARP.
    pub(super) family: Family,
    pub(super) headers: Headers,
    /// The MACs, where they are the same in all.
    pub(super) source_mac: Option<Mac>,
    pub(super) destination_mac: Option<Mac>,
    /// They have a link-layer header: not on their way out of this host before POSTROUTING.
    pub(super) framed: bool,
    /// This host sent them.
    pub(super) local: bool,
    /// They go in the reply direction.
    pub(super) reply: bool,
    /// Whether the frame is for another MAC than that of the device by which it came in
    /// (`PACKET_OTHERHOST`).
    pub(super) to_other: Truth,
    /// A chain on their way out of this host marked them, and the kernel looks for their route once more.
    pub(super) rerouted: bool,
    pub(super) input: Option<Device>,
    pub(super) output: Option<Device>,
    /// Each leaves by the device that [`Field::OutputDevice`] says.
    pub(super) by_route: bool,
    /// The bridge ports of bridged packets that pass the IP hooks.
    pub(super) port_in: Option<Device>,
    pub(super) port_out: Option<Device>,
    /// The router that routing chose, if it is one for all; else they go to their destination itself.
    pub(super) next_hop: Option<IpAddr>,
    pub(super) connection: Connection,
}

impl Packets {
    /// Packets of the family of which nothing is known.
    pub(super) fn any(family: Family) -> Self {
        let mut headers = Headers::default();
        let ether_type = match family {
            Family::Arp => ARP,
            Family::Ip6 => IPV6,
            Family::Ip | Family::Inet | Family::Netdev | Family::Bridge => IPV4,
        };
        headers.set(Field::EtherType, ether_type);
        for field in [
            Field::Vlan,
            Field::CtState,
            Field::CtReply,
            Field::CtStatus,
            Field::CtMark,
            Field::Mark,
            Field::InputPort,
            Field::OutputPort,
        ] {
            headers.set(field, 0);
        }
        Self {
            family,
            headers,
            source_mac: None,
            destination_mac: None,
            framed: false,
            local: false,
            reply: false,
            to_other: Truth::NO,
            rerouted: false,
            input: None,
            output: None,
            by_route: false,
            port_in: None,
            port_out: None,
            next_hop: None,
            connection: Connection {
                lost: Truth::NO,
                source_nat: Translated::default(),
                destination_nat: Translated::default(),
            },
        }
    }

    /// One packet. An address that is not known may be any.
    pub(super) fn one(ipv6: bool, ends: (Option<IpAddr>, Option<IpAddr>), body: Body) -> Self {
        let family = match (body, ipv6) {
            (Body::Arp { .. }, _) => Family::Arp,
            (_, false) => Family::Ip,
            (_, true) => Family::Ip6,
        };
        let mut packets = Self::any(family);
        let headers = &mut packets.headers;
        // Whole, from a kernel that discovers the MTU of its way.
        headers.set(Field::Fragment, if ipv6 { 0 } else { 0x4000 });
        headers.set(Field::Extended, 0);
        headers.set(Field::TrafficClass, 0);
        headers.set(Field::Ttl, 64);
        for (field, address) in [(Field::Source, ends.0), (Field::Destination, ends.1)] {
            if let Some(address) = address {
                headers.set(field, address_value(address));
            }
        }
        packets.set_body(body);
        packets
    }

    /// Gives the packet what it carries.
    pub(super) fn set_body(&mut self, body: Body) {
        let ipv6 = self.is_ipv6();
        let headers = &mut self.headers;
        let (protocol, ports, flags) = match body {
            Body::Arp { request } => {
                headers.set(Field::ArpOperation, if request { 1 } else { 2 });
                (0, (0, 0), 0)
            }
            Body::Tcp { source, destination, flags } => (6, (source, destination), flags),
            Body::Udp { source, destination } => (17, (source, destination), 0),
            Body::Icmp { kind, code } => {
                headers.set(Field::IcmpType, kind.into());
                headers.set(Field::IcmpCode, code.into());
                (if ipv6 { 58 } else { 1 }, (0, 0), 0)
            }
        };
        headers.set(Field::Protocol, protocol);
        headers.set(Field::SourcePort, ports.0.into());
        headers.set(Field::DestinationPort, ports.1.into());
        headers.set(Field::TcpFlags, flags.into());
    }

    /// The answers of whoever received the packets.
    pub(super) fn reply(&self, sets: &mut Arena) -> Decided<Self> {
        let mut reply = Self::any(self.family);
        for field in Tuple::FIELDS {
            reply.headers.take(sets, field.turned(), &self.headers.value(field))?;
        }
        let headers = &mut reply.headers;
        headers.take(sets, Field::Protocol, &self.headers.value(Field::Protocol))?;
        headers.set(Field::Fragment, if self.is_ipv6() { 0 } else { 0x4000 });
        headers.set(Field::Extended, 0);
        headers.set(Field::TrafficClass, 0);
        headers.set(Field::Ttl, 64);
        headers.set(Field::TcpFlags, 0x12);
        headers.set(Field::ArpOperation, 2);
        headers.set(Field::IcmpCode, 0);
        match self.headers.constant(Field::IcmpType) {
            Some(135) if self.is_ipv6() => headers.set(Field::IcmpType, 136),
            Some(128) if self.is_ipv6() => headers.set(Field::IcmpType, 129),
            Some(8) if !self.is_ipv6() => headers.set(Field::IcmpType, 0),
            _ => headers.forget(Field::IcmpType),
        }
        headers.set(Field::CtReply, 1);
        for field in [Field::CtStatus, Field::CtMark] {
            headers.take(sets, field, &self.headers.value(field))?;
        }
        // It has seen a reply by now, and is confirmed.
        let mut status = headers.bits(sets, Field::CtStatus)?;
        for bit in [1, 3] {
            status[15 - bit] = Truth::YES;
        }
        headers.set_bits(Field::CtStatus, &status);
        if let Some(tuples) = self.headers.tuples() {
            headers.set_tuples(tuples.clone());
        }
        let untracked = self.headers.range(sets, Field::CtState, &(4..=7))?;
        let connection = Connection { lost: untracked, ..self.connection.clone() };
        Ok(Self { reply: true, connection, ..reply })
    }

    /// Passes conntrack's own hook.
    pub(super) fn track(&mut self, sets: &mut Arena) -> Decided<()> {
        if self.is_arp() {
            return Ok(());
        }
        if !self.reply {
            let original = Tuple::of(&self.headers);
            self.headers.set_tuples(Tuples { reply: original.turned(), original });
        }
        let unseen = self.headers.equal(sets, Field::CtState, 0)?;
        let write = |packets: &mut Self, sets: &mut Arena, holds: Truth, bits: &[Truth]| {
            let surely = sets.both(unseen, holds)?;
            packets.headers.write(sets, Field::CtState, (surely.yes, !surely.no), bits)
        };
        let found = if self.reply { ESTABLISHED } else { NEW };
        // Neighbour and router discovery is never tracked.
        let discovery = self.is_discovery(sets)?;
        let udp = self.headers.equal(sets, Field::Protocol, 17)?;
        let lost = self.connection.lost;
        let tracked = sets.either(discovery, lost)?.negate(true);
        write(self, sets, tracked, &found)?;
        write(self, sets, discovery, &UNTRACKED)?;
        // UDP makes an entry of its own; what else answers nothing is invalid.
        let own = sets.both(lost, udp)?;
        let own = Truth { yes: Bdd::NONE, no: own.no };
        write(self, sets, own, &found)
    }

    pub(super) fn is_arp(&self) -> bool {
        self.family == Family::Arp
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.family == Family::Ip6
    }

    /// Neighbour or router discovery of IPv6.
    pub(super) fn is_discovery(&self, sets: &mut Arena) -> Decided<Truth> {
        if !self.is_ipv6() {
            return Ok(Truth::NO);
        }
        let icmp = self.headers.equal(sets, Field::Protocol, 58)?;
        let types = self.headers.range(sets, Field::IcmpType, &(133..=137))?;
        sets.both(icmp, types)
    }

    /// An ARP request or NDP solicitation.
    pub(super) fn asks_for_mac(&self, sets: &mut Arena) -> Decided<Truth> {
        if self.is_arp() {
            return self.headers.equal(sets, Field::ArpOperation, 1);
        }
        let solicits = self.headers.equal(sets, Field::IcmpType, 135)?;
        let discovery = self.is_discovery(sets)?;
        sets.both(discovery, solicits)
    }

    /// The source, if it is the same in all.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.headers.constant_address(Field::Source, self.is_ipv6())
    }

    /// The destination, if it is the same in all.
    pub(super) fn destination(&self) -> Option<IpAddr> {
        self.headers.constant_address(Field::Destination, self.is_ipv6())
    }

    /// To all on the link (broadcast, or an IPv6 multicast that stands for it).
    pub(super) fn to_group(&self) -> bool {
        self.destination_mac.is_some_and(Mac::is_group)
    }

    /// The frame has this source; `None`: it is not known which.
    pub(super) fn set_source_mac(&mut self, mac: Option<Mac>) {
        self.source_mac = mac;
        for field in [Field::SourceMac, Field::ArpSenderMac] {
            set_mac(&mut self.headers, field, mac);
        }
    }

    /// The frame has this destination; `None`: it is not known which.
    pub(super) fn set_destination_mac(&mut self, mac: Option<Mac>) {
        self.destination_mac = mac;
        set_mac(&mut self.headers, Field::DestinationMac, mac);
        // A request does not know its target's.
        if self.headers.constant(Field::ArpOperation) == Some(1) {
            self.headers.set(Field::ArpTargetMac, 0);
        } else {
            set_mac(&mut self.headers, Field::ArpTargetMac, mac);
        }
    }

    /// Whether the frame is for this MAC.
    pub(super) fn is_for(&self, sets: &mut Arena, mac: Option<Mac>) -> Decided<Truth> {
        match mac {
            Some(mac) => self.headers.equal(sets, Field::DestinationMac, number(mac)),
            None => Ok(Truth::NO),
        }
    }

    /// Writes what the kernel keeps beside packets to where rules ask for it.
    pub(super) fn tell_place(&mut self, sets: &mut Arena) -> Decided<()> {
        if self.by_route {
            self.headers.restore(Field::OutputDevice);
        } else {
            let output = self.output.as_ref().map_or(0, |device| device.index.0.into());
            self.headers.set(Field::OutputDevice, output);
        }
        for (field, device) in [
            (Field::InputDevice, &self.input),
            (Field::InputPort, &self.port_in),
            (Field::OutputPort, &self.port_out),
        ] {
            self.headers.set(field, device.as_ref().map_or(0, |device| device.index.0.into()));
        }
        self.headers.set(Field::Local, self.local.into());
        self.headers.set(Field::Framed, self.framed.into());
        if self.local {
            self.headers.set(Field::PacketType, 0);
            return Ok(());
        }
        // 0 to this host, 1 to all, 2 to a group, 3 to another host.
        let broadcast = self.headers.equal(sets, Field::DestinationMac, Field::DestinationMac.mask())?;
        let group = self.headers.masked(sets, Field::DestinationMac, GROUP, GROUP)?;
        let other = sets.both(group.negate(true), self.to_other)?;
        let some = sets.both(group, broadcast.negate(true))?;
        let (odd, high) = (sets.either(broadcast, other)?, sets.either(some, other)?);
        self.headers.set_bits(Field::PacketType, &[Truth::NO, high, odd]);
        Ok(())
    }
}

fn set_mac(headers: &mut Headers, field: Field, mac: Option<Mac>) {
    match mac {
        Some(mac) => headers.set(field, number(mac)),
        None => headers.forget(field),
    }
}

/// The value of a field for the MAC.
pub(super) fn number(mac: Mac) -> u128 {
    mac.0.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}
