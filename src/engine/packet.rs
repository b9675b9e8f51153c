//! The packet that stands for a claim: its headers, and what the kernel knows of it on the way.
//!
//! What is not known is `None`, and an expression that depends on it is undecided. Headers are
//! given as octets, so that loads by offset read what the kernel would read.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, IfIndex, IfName, Mac, PayloadBase};

/// Octets of which some are not known.
pub(super) type Octets = Vec<Option<u8>>;

/// Known octets.
pub(super) fn known(bytes: &[u8]) -> Octets {
    bytes.iter().copied().map(Some).collect()
}

/// Octets of a number in the host's byte order.
pub(super) fn number(value: Option<u32>) -> Octets {
    value.map_or_else(|| vec![None; 4], |value| known(&value.to_ne_bytes()))
}

/// An address; as many unknown octets as the family has if it is not known.
pub(super) fn address(address: Option<IpAddr>, ipv6: bool) -> Octets {
    match address {
        Some(IpAddr::V4(address)) => known(&address.octets()),
        Some(IpAddr::V6(address)) => known(&address.octets()),
        None => vec![None; if ipv6 { 16 } else { 4 }],
    }
}

/// A MAC.
pub(super) fn mac(mac: Option<Mac>) -> Octets {
    mac.map_or_else(|| vec![None; 6], |mac| known(&mac.0))
}

/// What the packet carries above IP, or ARP in place of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Arp { request: bool },
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8 },
}

/// A device that a packet touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: IfIndex,
    pub(super) name: IfName,
}

/// One end of a flow that NAT gave another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Translation {
    /// `None`: one of several.
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// False if an undecided rule translates.
    pub(super) sure: bool,
}

/// Whether conntrack has an entry for the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracked {
    /// Not yet: it has not passed conntrack's hook.
    No,
    /// A rule said `notrack`.
    Never,
    /// An undecided rule says `notrack`.
    Perhaps,
    /// Yes.
    Yes,
}

/// What conntrack knows of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) tracked: Tracked,
    /// The first packet was not tracked, so that this answer belongs to no flow.
    pub(super) lost: bool,
    /// The packet goes in the reply direction: the flow is established.
    pub(super) reply: bool,
    /// Source and destination of the first packet.
    pub(super) original: (Option<IpAddr>, Option<IpAddr>),
    /// Source and destination port of the first packet.
    pub(super) original_ports: (Option<u16>, Option<u16>),
    pub(super) source_nat: Option<Translation>,
    pub(super) destination_nat: Option<Translation>,
    pub(super) mark: Option<u32>,
}

/// A packet.
#[expect(clippy::struct_excessive_bools, reason = "what the kernel knows of a packet, one each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) ipv6: bool,
    pub(super) source_mac: Option<Mac>,
    pub(super) destination_mac: Option<Mac>,
    /// It has a link-layer header: not on its way out of this host before POSTROUTING.
    pub(super) framed: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) ttl: u8,
    pub(super) body: Body,
    /// This host sent it.
    pub(super) local: bool,
    /// Its frame is for another MAC than that of the device by which it came in (`PACKET_OTHERHOST`).
    pub(super) to_other: bool,
    /// A chain on its way out of this host marked it, and the kernel looks for its route once more.
    pub(super) rerouted: bool,
    pub(super) input: Option<Device>,
    pub(super) output: Option<Device>,
    /// The bridge ports of a bridged packet that passes the IP hooks.
    pub(super) port_in: Option<Device>,
    pub(super) port_out: Option<Device>,
    pub(super) mark: Option<u32>,
    /// The router, or the destination itself, that routing chose.
    pub(super) next_hop: Option<IpAddr>,
    pub(super) connection: Connection,
}

impl Packet {
    pub(super) fn new(ipv6: bool, ends: (Option<IpAddr>, Option<IpAddr>), body: Body) -> Self {
        let ports = match body {
            Body::Tcp { source, destination, .. } | Body::Udp { source, destination } => {
                (Some(source), Some(destination))
            }
            Body::Arp { .. } | Body::Icmp { .. } => (None, None),
        };
        Self {
            ipv6,
            source_mac: None,
            destination_mac: None,
            framed: false,
            source: ends.0,
            destination: ends.1,
            ttl: 64,
            body,
            local: false,
            to_other: false,
            rerouted: false,
            input: None,
            output: None,
            port_in: None,
            port_out: None,
            mark: Some(0),
            next_hop: None,
            connection: Connection {
                tracked: Tracked::No,
                lost: false,
                reply: false,
                original: ends,
                original_ports: ports,
                source_nat: None,
                destination_nat: None,
                mark: Some(0),
            },
        }
    }

    /// The answer of whoever received the packet.
    pub(super) fn reply(&self) -> Self {
        let body = match self.body {
            Body::Arp { .. } => Body::Arp { request: false },
            Body::Tcp { source, destination, .. } => {
                Body::Tcp { source: destination, destination: source, flags: 0x12 }
            }
            Body::Udp { source, destination } => Body::Udp { source: destination, destination: source },
            Body::Icmp { kind, .. } => {
                let kind = match (self.ipv6, kind) {
                    (true, 135) => 136,
                    (true, _) => 129,
                    (false, _) => 0,
                };
                Body::Icmp { kind, code: 0 }
            }
        };
        let mut reply = Self::new(self.ipv6, (self.destination, self.source), body);
        let (tracked, lost) = match self.connection.tracked {
            Tracked::Perhaps => (Tracked::Perhaps, false),
            tracked => (Tracked::No, tracked == Tracked::Never),
        };
        reply.connection = Connection { tracked, lost, reply: true, ..self.connection.clone() };
        reply
    }

    /// Passes conntrack's own hook.
    pub(super) fn track(&mut self) {
        if self.connection.tracked == Tracked::No && !self.is_arp() {
            self.connection.tracked = match (self.connection.lost, self.body) {
                // Neighbour and router discovery is never tracked.
                (_, Body::Icmp { kind: 133..=137, .. }) if self.ipv6 => Tracked::Never,
                (false, _) => Tracked::Yes,
                // UDP makes an entry of its own; what else answers nothing is invalid.
                (true, Body::Udp { .. }) => Tracked::Perhaps,
                (true, _) => Tracked::No,
            };
        }
    }

    /// The IP protocol; `None` for ARP.
    pub(super) fn protocol(&self) -> Option<u8> {
        match self.body {
            Body::Arp { .. } => None,
            Body::Tcp { .. } => Some(6),
            Body::Udp { .. } => Some(17),
            Body::Icmp { .. } => Some(if self.ipv6 { 58 } else { 1 }),
        }
    }

    pub(super) fn is_arp(&self) -> bool {
        matches!(self.body, Body::Arp { .. })
    }

    /// Neighbour or router discovery of IPv6.
    pub(super) fn is_discovery(&self) -> bool {
        self.ipv6 && matches!(self.body, Body::Icmp { kind: 133..=137, .. })
    }

    /// An ARP request or NDP solicitation.
    pub(super) fn asks_for_mac(&self) -> bool {
        match self.body {
            Body::Arp { request } => request,
            Body::Icmp { kind, .. } => self.ipv6 && kind == 135,
            Body::Tcp { .. } | Body::Udp { .. } => false,
        }
    }

    pub(super) fn ethertype(&self) -> u16 {
        match (self.is_arp(), self.ipv6) {
            (true, _) => 0x0806,
            (false, false) => 0x0800,
            (false, true) => 0x86dd,
        }
    }

    /// Source and destination port.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        match self.body {
            Body::Tcp { source, destination, .. } | Body::Udp { source, destination } => {
                Some((source, destination))
            }
            Body::Arp { .. } | Body::Icmp { .. } => None,
        }
    }

    pub(super) fn set_destination_port(&mut self, port: u16) {
        match &mut self.body {
            Body::Tcp { destination, .. } | Body::Udp { destination, .. } => *destination = port,
            Body::Arp { .. } | Body::Icmp { .. } => {}
        }
    }

    pub(super) fn set_source_port(&mut self, port: u16) {
        match &mut self.body {
            Body::Tcp { source, .. } | Body::Udp { source, .. } => *source = port,
            Body::Arp { .. } | Body::Icmp { .. } => {}
        }
    }

    /// The family whose hooks it passes above the link layer.
    pub(super) fn family(&self) -> Family {
        match (self.is_arp(), self.ipv6) {
            (true, _) => Family::Arp,
            (false, false) => Family::Ip,
            (false, true) => Family::Ip6,
        }
    }

    /// To all on the link (broadcast, or an IPv6 multicast that stands for it).
    pub(super) fn to_group(&self) -> bool {
        self.destination_mac.is_some_and(Mac::is_group)
    }

    /// `PACKET_*`: 0 to us, 1 broadcast, 2 multicast, 3 to others; what this host sends has type 0.
    pub(super) fn packet_type(&self) -> u8 {
        match self.destination_mac {
            _ if self.local => 0,
            Some(mac) if !mac.is_group() && self.to_other => 3,
            Some(Mac::BROADCAST) => 1,
            Some(mac) if mac.is_group() => 2,
            Some(_) | None => 0,
        }
    }

    /// What a load of `length` octets gives; `None` if the packet has no such header, which breaks
    /// the rule.
    pub(super) fn load(&self, base: PayloadBase, offset: u32, length: u32) -> Option<Octets> {
        let header = match base {
            PayloadBase::Link => self.link_header()?,
            PayloadBase::Network => self.network_header(),
            PayloadBase::Transport => self.transport_header()?,
            PayloadBase::Inner | PayloadBase::Tunnel => {
                self.protocol()?;
                Vec::new()
            }
        };
        let (from, length) = (offset as usize, (length as usize).min(64));
        // What follows the headers is there but not known: a real packet carries more than we build.
        Some((from..from.saturating_add(length)).map(|at| header.get(at).copied().flatten()).collect())
    }

    fn link_header(&self) -> Option<Octets> {
        let mut header = mac(self.framed.then_some(self.destination_mac)?);
        header.extend(mac(self.source_mac));
        header.extend(known(&self.ethertype().to_be_bytes()));
        Some(header)
    }

    fn network_header(&self) -> Octets {
        let mut header;
        match (self.body, self.ipv6, self.protocol()) {
            (Body::Arp { request }, ..) => {
                header = known(&[0, 1, 8, 0, 6, 4, 0, if request { 1 } else { 2 }]);
                header.extend(mac(self.source_mac));
                header.extend(address(self.source, false));
                header.extend(if request { known(&[0; 6]) } else { mac(self.destination_mac) });
                header.extend(address(self.destination, false));
            }
            (_, false, protocol) => {
                header = known(&[0x45, 0]);
                header.extend([None; 4]);
                header.extend(known(&[0x40, 0, self.ttl]));
                header.push(protocol);
                header.extend([None; 2]);
                header.extend(address(self.source, false));
                header.extend(address(self.destination, false));
            }
            (_, true, protocol) => {
                header = known(&[0x60, 0]);
                header.extend([None; 4]);
                header.push(protocol);
                header.push(Some(self.ttl));
                header.extend(address(self.source, true));
                header.extend(address(self.destination, true));
            }
        }
        header
    }

    fn transport_header(&self) -> Option<Octets> {
        let header = match self.body {
            Body::Arp { .. } => return None,
            Body::Tcp { source, destination, flags } => {
                let mut header = known(&source.to_be_bytes());
                header.extend(known(&destination.to_be_bytes()));
                header.extend([None; 9]);
                header.push(Some(flags));
                header.extend([None; 6]);
                header
            }
            Body::Udp { source, destination } => {
                let mut header = known(&source.to_be_bytes());
                header.extend(known(&destination.to_be_bytes()));
                header
            }
            Body::Icmp { kind, code } => known(&[kind, code]),
        };
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn() -> Packet {
        let ends = (Some("192.168.122.102".parse().unwrap()), None);
        Packet::new(false, ends, Body::Tcp { source: 49152, destination: 443, flags: 2 })
    }

    #[test]
    fn loads_read_the_headers_where_the_kernel_has_them() {
        let packet = syn();
        assert_eq!(packet.load(PayloadBase::Network, 12, 4), Some(known(&[192, 168, 122, 102])));
        assert_eq!(packet.load(PayloadBase::Network, 16, 2), Some(vec![None; 2]));
        assert_eq!(packet.load(PayloadBase::Network, 9, 1), Some(known(&[6])));
        assert_eq!(packet.load(PayloadBase::Transport, 2, 2), Some(known(&443_u16.to_be_bytes())));
        assert_eq!(packet.load(PayloadBase::Transport, 13, 1), Some(known(&[2])));
    }

    #[test]
    fn a_header_that_is_not_there_is_no_load() {
        assert_eq!(syn().load(PayloadBase::Link, 0, 6), None);
        let arp = Packet { framed: true, ..Packet::new(false, (None, None), Body::Arp { request: true }) };
        assert_eq!(arp.load(PayloadBase::Transport, 0, 2), None);
        assert_eq!(arp.load(PayloadBase::Link, 12, 2), Some(known(&[8, 6])));
        assert_eq!(arp.load(PayloadBase::Network, 7, 1), Some(known(&[1])));
    }

    #[test]
    fn hostile_offsets_are_harmless() {
        assert_eq!(syn().load(PayloadBase::Network, u32::MAX, u32::MAX).map(|octets| octets.len()), Some(64));
    }

    #[test]
    fn a_reply_goes_back_where_the_packet_came_from() {
        let reply = syn().reply();
        assert_eq!(reply.destination, Some("192.168.122.102".parse().unwrap()));
        assert_eq!(reply.body, Body::Tcp { source: 443, destination: 49152, flags: 0x12 });
        assert!(reply.connection.reply);
    }
}
