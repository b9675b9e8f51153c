//! The packet that stands for a claim: its headers, and what the kernel knows of it on the way.
//!
//! What is not known is `None`, and an expression that depends on it is undecided. Headers are
//! given as octets, so that loads by offset read what the kernel would read.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, Mac, PayloadBase};

use crate::engine::packets::Device;

/// Octets of which some are not known.
pub(in super::super) type Octets = Vec<Option<u8>>;

/// Known octets.
pub(in super::super) fn known(bytes: &[u8]) -> Octets {
    bytes.iter().copied().map(Some).collect()
}

/// Octets of a number in the host's byte order.
pub(in super::super) fn number(value: Option<u32>) -> Octets {
    value.map_or_else(|| vec![None; 4], |value| known(&value.to_ne_bytes()))
}

/// An address; as many unknown octets as the family has if it is not known.
pub(in super::super) fn address(address: Option<IpAddr>, ipv6: bool) -> Octets {
    match address {
        Some(IpAddr::V4(address)) => known(&address.octets()),
        Some(IpAddr::V6(address)) => known(&address.octets()),
        None => vec![None; if ipv6 { 16 } else { 4 }],
    }
}

/// A MAC.
pub(in super::super) fn mac(mac: Option<Mac>) -> Octets {
    mac.map_or_else(|| vec![None; 6], |mac| known(&mac.0))
}

/// What the packet carries above IP, or ARP in place of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Body {
    Arp { request: bool },
    Tcp { source: u16, destination: u16, flags: u8 },
    Udp { source: u16, destination: u16 },
    Icmp { kind: u8, code: u8 },
}

/// One end of a flow that NAT gave another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Translation {
    /// `None`: one of several.
    pub(in super::super) address: Option<IpAddr>,
    pub(in super::super) port: Option<u16>,
    /// False if an undecided rule translates.
    pub(in super::super) sure: bool,
}

/// Whether conntrack has an entry for the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Tracked {
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
pub(in super::super) struct Connection {
    pub(in super::super) tracked: Tracked,
    /// The first packet was not tracked, so that this answer belongs to no flow.
    pub(in super::super) lost: bool,
    /// The packet goes in the reply direction: the flow is established.
    pub(in super::super) reply: bool,
    /// Source and destination of the first packet.
    pub(in super::super) original: (Option<IpAddr>, Option<IpAddr>),
    /// Source and destination port of the first packet.
    pub(in super::super) original_ports: (Option<u16>, Option<u16>),
    pub(in super::super) source_nat: Option<Translation>,
    pub(in super::super) destination_nat: Option<Translation>,
    pub(in super::super) mark: Option<u32>,
}

/// A packet.
#[expect(clippy::struct_excessive_bools, reason = "what the kernel knows of a packet, one each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Packet {
    pub(in super::super) ipv6: bool,
    pub(in super::super) source_mac: Option<Mac>,
    pub(in super::super) destination_mac: Option<Mac>,
    /// It has a link-layer header: not on its way out of this host before POSTROUTING.
    pub(in super::super) framed: bool,
    pub(in super::super) source: Option<IpAddr>,
    pub(in super::super) destination: Option<IpAddr>,
    pub(in super::super) ttl: u8,
    pub(in super::super) body: Body,
    /// This host sent it.
    pub(in super::super) local: bool,
    /// Its frame is for another MAC than that of the device by which it came in (`PACKET_OTHERHOST`).
    pub(in super::super) to_other: bool,
    /// A chain on its way out of this host marked it, and the kernel looks for its route once more.
    pub(in super::super) rerouted: bool,
    pub(in super::super) input: Option<Device>,
    pub(in super::super) output: Option<Device>,
    /// The bridge ports of a bridged packet that passes the IP hooks.
    pub(in super::super) port_in: Option<Device>,
    pub(in super::super) port_out: Option<Device>,
    pub(in super::super) mark: Option<u32>,
    /// The router, or the destination itself, that routing chose.
    pub(in super::super) next_hop: Option<IpAddr>,
    pub(in super::super) connection: Connection,
}

impl Packet {
    pub(in super::super) fn new(ipv6: bool, ends: (Option<IpAddr>, Option<IpAddr>), body: Body) -> Self {
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

    /// The IP protocol; `None` for ARP.
    pub(in super::super) fn protocol(&self) -> Option<u8> {
        match self.body {
            Body::Arp { .. } => None,
            Body::Tcp { .. } => Some(6),
            Body::Udp { .. } => Some(17),
            Body::Icmp { .. } => Some(if self.ipv6 { 58 } else { 1 }),
        }
    }

    pub(in super::super) fn is_arp(&self) -> bool {
        matches!(self.body, Body::Arp { .. })
    }

    /// Neighbour or router discovery of IPv6.
    pub(in super::super) fn is_discovery(&self) -> bool {
        self.ipv6 && matches!(self.body, Body::Icmp { kind: 133..=137, .. })
    }

    pub(in super::super) fn ethertype(&self) -> u16 {
        match (self.is_arp(), self.ipv6) {
            (true, _) => 0x0806,
            (false, false) => 0x0800,
            (false, true) => 0x86dd,
        }
    }

    /// Source and destination port.
    pub(in super::super) fn ports(&self) -> Option<(u16, u16)> {
        match self.body {
            Body::Tcp { source, destination, .. } | Body::Udp { source, destination } => {
                Some((source, destination))
            }
            Body::Arp { .. } | Body::Icmp { .. } => None,
        }
    }

    /// The family whose hooks it passes above the link layer.
    pub(in super::super) fn family(&self) -> Family {
        match (self.is_arp(), self.ipv6) {
            (true, _) => Family::Arp,
            (false, false) => Family::Ip,
            (false, true) => Family::Ip6,
        }
    }

    /// `PACKET_*`: 0 to us, 1 broadcast, 2 multicast, 3 to others; what this host sends has type 0.
    pub(in super::super) fn packet_type(&self) -> u8 {
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
    pub(in super::super) fn load(&self, base: PayloadBase, offset: u32, length: u32) -> Option<Octets> {
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
