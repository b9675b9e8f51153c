//! What rules and routes can ask about a packet: the closed list of fields, and one packet.
//!
//! A field is a run of variables, its most significant bit first, so that a prefix is the first few
//! of them. Fields stand in the order of the variables. What splits packets into a few kinds comes
//! first (EtherType, protocol, devices, conntrack), then addresses, then ports: with ports before
//! addresses a chain of random rules was not done in a minute.
//!
//! - The EtherType is also the family: no packet can have an IPv6 header and be of the family `ip`.
//! - Both families share one vector of 128 variables for each address; an IPv4 address has the first
//!   32. The EtherType is decided before, so they never meet, and rules of one family cost no more
//!   than with 32. ARP's sender and target have the same place.
//! - Every value of every field is a packet. Where the kernel knows fewer cases than there are bits,
//!   several values mean the same ([`Field::CtState`]), so that no set holds packets that cannot be.
//! - Fields that a kind of packet does not have (ports of ICMP) are still there, and no test asks for
//!   them.

use std::net::IpAddr;
use std::ops::{Index, IndexMut, Range};

/// A field of a packet, or something that the kernel knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// After any VLAN tag; it gives the family.
    EtherType,
    /// The protocol above IP, behind IPv6 extension headers.
    Protocol,
    /// The device that it came by; 0 if this host sends it.
    InputDevice,
    /// The device that it leaves by; 0 before routing.
    OutputDevice,
    /// The bridge port that a bridged packet in the IP hooks came by, or 0.
    InputPort,
    /// The bridge port that a bridged packet in the IP hooks leaves by, or 0.
    OutputPort,
    /// This host sends it.
    Local,
    /// It has a link-layer header.
    Framed,
    /// `PACKET_*`: to this host, broadcast, multicast, to another host.
    PacketType,
    /// 802.1Q tag; 0 for none.
    Vlan,
    /// 0 invalid (or not seen by conntrack), 1 established, 2 related, 3 new, from 4 on untracked.
    CtState,
    /// In the direction of the flow's replies.
    CtReply,
    /// `IPS_*`.
    CtStatus,
    /// The flow's mark.
    CtMark,
    /// The packet's mark.
    Mark,
    /// The link layer's source.
    SourceMac,
    /// The link layer's destination.
    DestinationMac,
    /// ARP's operation.
    ArpOperation,
    /// The sender's MAC that an ARP message tells.
    ArpSenderMac,
    /// The target's MAC that an ARP message tells.
    ArpTargetMac,
    /// IP source, or ARP's sender.
    Source,
    /// IP destination, or ARP's target.
    Destination,
    /// IPv4's flags and fragment offset as they stand in its header; IPv6's alike from its extension
    /// header. A later fragment has an offset.
    Fragment,
    /// It has IPv4 options or IPv6 extension headers.
    Extended,
    /// IPv4 TTL or IPv6 hop limit.
    Ttl,
    /// IPv4 type of service or IPv6 traffic class.
    TrafficClass,
    /// Of TCP, UDP, UDP-Lite, SCTP or DCCP.
    SourcePort,
    /// Of TCP, UDP, UDP-Lite, SCTP or DCCP.
    DestinationPort,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    TcpFlags,
    /// Of ICMP or ICMPv6.
    IcmpType,
    /// Of ICMP or ICMPv6.
    IcmpCode,
}

/// IPv4's EtherType.
pub const IPV4: u128 = 0x0800;
/// ARP's EtherType.
pub const ARP: u128 = 0x0806;
/// IPv6's EtherType.
pub const IPV6: u128 = 0x86dd;

/// [`Field::Fragment`] without its flags: the offset.
pub const FRAGMENT_OFFSET: u128 = 0x1fff;

impl Field {
    /// All of them, in the order of their variables.
    pub const ALL: [Self; 31] = [
        Self::EtherType,
        Self::Protocol,
        Self::InputDevice,
        Self::OutputDevice,
        Self::InputPort,
        Self::OutputPort,
        Self::Local,
        Self::Framed,
        Self::PacketType,
        Self::Vlan,
        Self::CtState,
        Self::CtReply,
        Self::CtStatus,
        Self::CtMark,
        Self::Mark,
        Self::SourceMac,
        Self::DestinationMac,
        Self::ArpOperation,
        Self::ArpSenderMac,
        Self::ArpTargetMac,
        Self::Source,
        Self::Destination,
        Self::Fragment,
        Self::Extended,
        Self::Ttl,
        Self::TrafficClass,
        Self::SourcePort,
        Self::DestinationPort,
        Self::TcpFlags,
        Self::IcmpType,
        Self::IcmpCode,
    ];

    /// How many bits it has.
    pub const fn width(self) -> u32 {
        match self {
            Self::Local | Self::Framed | Self::CtReply | Self::Extended => 1,
            Self::PacketType | Self::CtState => 3,
            Self::Protocol
            | Self::Ttl
            | Self::TrafficClass
            | Self::TcpFlags
            | Self::IcmpType
            | Self::IcmpCode => 8,
            Self::Vlan => 12,
            Self::EtherType
            | Self::CtStatus
            | Self::ArpOperation
            | Self::Fragment
            | Self::SourcePort
            | Self::DestinationPort => 16,
            Self::InputDevice
            | Self::OutputDevice
            | Self::InputPort
            | Self::OutputPort
            | Self::CtMark
            | Self::Mark => 32,
            Self::SourceMac | Self::DestinationMac | Self::ArpSenderMac | Self::ArpTargetMac => 48,
            Self::Source | Self::Destination => 128,
        }
    }

    /// Its variables.
    pub const fn variables(self) -> Range<u32> {
        let first = FIRST[self as usize];
        first..first + self.width()
    }

    /// The field that the variable belongs to.
    pub fn of(variable: u32) -> Self {
        let after = FIRST.partition_point(|first| *first <= variable);
        Self::ALL[after - 1]
    }

    /// The field that answers have in its place.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
            Self::SourcePort => Self::DestinationPort,
            Self::DestinationPort => Self::SourcePort,
            field => field,
        }
    }

    /// All bits set.
    pub const fn mask(self) -> u128 {
        u128::MAX >> (128 - self.width())
    }
}

/// The first variable of each field.
const FIRST: [u32; Field::ALL.len()] = {
    let mut first = [0; Field::ALL.len()];
    let mut at = 1;
    while at < first.len() {
        first[at] = first[at - 1] + Field::ALL[at - 1].width();
        at += 1;
    }
    first
};

/// The value of [`Field::Source`] or [`Field::Destination`] for the address.
pub fn address_value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The EtherType of the address's family.
pub fn ether_type(address: IpAddr) -> u128 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// One packet: a value for every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet([u128; Field::ALL.len()]);

impl Default for Packet {
    /// All fields 0.
    fn default() -> Self {
        Self([0; Field::ALL.len()])
    }
}

impl Index<Field> for Packet {
    type Output = u128;

    fn index(&self, field: Field) -> &u128 {
        &self.0[field as usize]
    }
}

impl IndexMut<Field> for Packet {
    fn index_mut(&mut self, field: Field) -> &mut u128 {
        &mut self.0[field as usize]
    }
}

impl Packet {
    /// The packet with another value in one field.
    #[must_use]
    pub fn with(mut self, field: Field, value: u128) -> Self {
        self[field] = value;
        self
    }

    /// The bit that the variable stands for.
    pub fn bit(&self, variable: u32) -> bool {
        let field = Field::of(variable);
        self[field] >> (field.variables().end - 1 - variable) & 1 != 0
    }

    /// Sets the bit that the variable stands for.
    pub fn set_bit(&mut self, variable: u32, bit: bool) {
        let field = Field::of(variable);
        let at = field.variables().end - 1 - variable;
        self[field] = self[field] & !(1 << at) | u128::from(bit) << at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_runs_of_variables_in_their_own_order() {
        let mut next = 0;
        for (at, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!((field as usize, field.variables().start), (at, next));
            for variable in field.variables() {
                assert_eq!(Field::of(variable), field);
            }
            next = field.variables().end;
        }
    }

    #[test]
    fn the_first_variable_of_a_field_is_its_most_significant_bit() {
        let packet = Packet::default().with(Field::Source, address_value("192.0.2.1".parse().unwrap()));
        let first = Field::Source.variables().start;
        let bits: Vec<bool> = (first..first + 8).map(|variable| packet.bit(variable)).collect();
        assert_eq!(bits, [true, true, false, false, false, false, false, false]);
        let mut other = Packet::default();
        Field::Source.variables().for_each(|variable| other.set_bit(variable, packet.bit(variable)));
        assert_eq!(other, packet);
    }
}
