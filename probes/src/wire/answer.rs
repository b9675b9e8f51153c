//! What a packet that was seen says to whoever waits for it.
//!
//! The bytes come from guests and from outside: every length is checked before use, and what cannot
//! be read is nobody's answer.

use std::net::{IpAddr, Ipv6Addr};

use pnet::packet::Packet as _;
use pnet::packet::arp::{ArpOperations, ArpPacket};
use pnet::packet::dhcp::{DhcpOperations, DhcpPacket};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::ndp::{NeighborAdvertPacket, NeighborSolicitPacket};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;
use pnet::packet::tcp::{TcpFlags, TcpPacket};
use pnet::packet::udp::UdpPacket;
use pnet::util::MacAddr;

use super::Answer;
use super::plan::ROUNDS;
use crate::facts::Mac;

/// The first bytes of every echo payload.
const MARK: [u8; 8] = *b"kvmnet\0\0";

/// What sets the probes of one run apart from all other traffic, those of other runs included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunId(pub(super) u64);

impl RunId {
    /// The part that fits where a protocol leaves 16 bits.
    pub(super) fn short(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// A 32-bit number for a probe: TCP sequence number or DHCP transaction.
    pub(super) fn long_number(self, number: u16) -> u32 {
        u32::from(self.short()) << 16 | u32::from(number)
    }

    /// The identifier of an echo request that was sent so often before.
    pub(super) fn echo_identifier(self, round: u16) -> u16 {
        self.short().wrapping_add(round)
    }

    fn has_identifier(self, identifier: u16) -> bool {
        identifier.wrapping_sub(self.short()) < ROUNDS
    }

    /// The DNS id of a probe.
    pub(super) fn dns_id(self, number: u16) -> u16 {
        self.short().wrapping_add(number)
    }

    /// The echo payload of a probe, filled up to this length. NAT may change every header field; this it leaves.
    pub(super) fn payload(self, number: u16, length: usize) -> Vec<u8> {
        let mut payload = [&MARK[..], &self.0.to_be_bytes(), &number.to_be_bytes()].concat();
        payload.resize(payload.len().max(length), 0);
        payload
    }

    fn number_of_payload(self, payload: &[u8]) -> Option<u16> {
        let rest = payload.strip_prefix(&MARK)?.strip_prefix(&self.0.to_be_bytes())?;
        Some(u16::from_be_bytes(*rest.first_chunk()?))
    }

    fn number_of(self, long: u32) -> Option<u16> {
        (long >> 16 == u32::from(self.short())).then_some((long & 0xffff) as u16)
    }
}

/// Which probe a packet belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    /// The echo request with this number.
    Echo(u16),
    /// The SYN with this number.
    Tcp(u16),
    /// The DISCOVER with this number.
    Dhcp(u16),
    /// The query with this id and question.
    Dns(u16, Vec<u8>),
    /// Any request for the MAC of this address.
    Neighbour(IpAddr),
    /// Any search for a router of IPv6.
    Router,
}

/// Whom alone an answer tells. A bridge may flood it to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// Who has this MAC.
    Mac(Mac),
    /// Who has this address.
    Address(IpAddr),
}

/// What part a packet plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the probe.
    Probe {
        /// Who asks, for ARP, NDP and router solicitations.
        asker: Option<Mac>,
    },
    /// It answers the probe.
    Answer {
        /// What it says.
        says: Answer,
        /// Whom alone it tells, for ARP, NDP and router advertisements.
        to: Option<Whom>,
    },
    /// It refuses the probe: an ICMP error that quotes it.
    Error {
        /// The error in words.
        error: String,
        /// What it says that may be just what was asked.
        says: Complaint,
    },
}

/// What an ICMP error says, as far as somebody may ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// The hop limit ran out on the way (not while waiting for fragments).
    Expired,
    /// It is too big for a way of this MTU.
    TooBig(u32),
    /// Something else.
    Other,
}

/// What a packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// To whom.
    pub(super) token: Token,
    /// As what.
    pub(super) role: Role,
    /// Its source address. ARP probes have none.
    pub(super) source: Option<IpAddr>,
}

/// Reads the packet that follows a link header with this `EtherType`, as far as it belongs to a run.
pub(super) fn read(run: RunId, protocol: u16, bytes: &[u8], link_source: Option<Mac>) -> Option<Heard> {
    match protocol {
        kind if kind == EtherTypes::Arp.0 => read_arp(bytes),
        kind if kind == EtherTypes::Ipv4.0 => read_ipv4(run, bytes),
        kind if kind == EtherTypes::Ipv6.0 => read_ipv6(run, bytes, link_source),
        // A tag that the kernel left in the packet, such as the inner of two.
        kind if kind == EtherTypes::Vlan.0 || kind == EtherTypes::PBridge.0 => {
            let inner = u16::from_be_bytes(*bytes.get(2..4)?.first_chunk()?);
            // One level alone, so that nobody can make this deep.
            let plain = [EtherTypes::Arp.0, EtherTypes::Ipv4.0, EtherTypes::Ipv6.0].contains(&inner);
            plain.then(|| read(run, inner, &bytes[4..], link_source))?
        }
        _ => None,
    }
}

/// Reads what an IPv6 socket got from `source`: the same without the IP header.
pub(super) fn read_delivered(
    run: RunId,
    source: IpAddr,
    protocol: IpNextHeaderProtocol,
    body: &[u8],
) -> Option<Heard> {
    let (token, role) = match protocol {
        IpNextHeaderProtocols::Icmpv6 => read_icmpv6(run, body, None, None)?,
        protocol => read_transport(run, protocol, body)?,
    };
    Some(Heard { token, role, source: Some(source) })
}

/// Reads what a socket that sent a DNS query got from `source`.
pub(super) fn read_dns_response(source: IpAddr, payload: &[u8]) -> Option<Heard> {
    read_dns(payload).map(|(token, role)| Heard { token, role, source: Some(source) })
}

fn read_arp(bytes: &[u8]) -> Option<Heard> {
    let arp = ArpPacket::new(bytes)?;
    if (arp.get_protocol_type(), arp.get_hw_addr_len(), arp.get_proto_addr_len()) != (EtherTypes::Ipv4, 6, 4)
    {
        return None;
    }
    let (sender, sender_mac) = (arp.get_sender_proto_addr(), mac(arp.get_sender_hw_addr()));
    let source = (!sender.is_unspecified()).then_some(IpAddr::V4(sender));
    match arp.get_operation() {
        ArpOperations::Request => Some(Heard {
            token: Token::Neighbour(arp.get_target_proto_addr().into()),
            role: Role::Probe { asker: Some(sender_mac) },
            source,
        }),
        ArpOperations::Reply => Some(Heard {
            token: Token::Neighbour(sender.into()),
            role: Role::Answer {
                says: Answer::Mac(sender_mac),
                to: Some(Whom::Mac(mac(arp.get_target_hw_addr()))),
            },
            source,
        }),
        _ => None,
    }
}

fn read_ipv4(run: RunId, bytes: &[u8]) -> Option<Heard> {
    let (ip, body) = ipv4_body(bytes)?;
    let source = IpAddr::V4(ip.get_source());
    let (token, role) = match ip.get_next_level_protocol() {
        IpNextHeaderProtocols::Icmp => {
            let icmp = IcmpPacket::new(body)?;
            let (kind, code) = (icmp.get_icmp_type(), icmp.get_icmp_code().0);
            match kind {
                IcmpTypes::EchoRequest => (echo_token(run, body)?, Role::Probe { asker: None }),
                IcmpTypes::EchoReply => {
                    (echo_token(run, body)?, Role::Answer { says: Answer::Echo, to: None })
                }
                IcmpTypes::DestinationUnreachable | IcmpTypes::TimeExceeded | IcmpTypes::ParameterProblem => {
                    let (quoted, rest) = ipv4_body(body.get(8..)?)?;
                    let token = quoted_token(run, quoted.get_next_level_protocol(), rest)?;
                    let (error, says) = icmp_error(kind.0, code, body);
                    (token, Role::Error { error, says })
                }
                _ => return None,
            }
        }
        protocol => read_transport(run, protocol, body)?,
    };
    Some(Heard { token, role, source: Some(source) })
}

fn read_ipv6(run: RunId, bytes: &[u8], link_source: Option<Mac>) -> Option<Heard> {
    let (ip, body) = ipv6_body(bytes)?;
    let source = ip.get_source();
    let (token, role) = match ip.get_next_header() {
        // What has passed a router is no discovery, and no guest heeds it (RFC 4861, 6.1).
        IpNextHeaderProtocols::Icmpv6 => {
            let to = Some(ip.get_destination());
            let found = read_icmpv6(run, body, link_source, to)?;
            if found.0 == Token::Router && (ip.get_hop_limit() != 255 || !is_local(&found.1, source)) {
                return None;
            }
            found
        }
        protocol => read_transport(run, protocol, body)?,
    };
    let source = (!source.is_unspecified()).then_some(IpAddr::V6(source));
    Some(Heard { token, role, source })
}

fn read_icmpv6(
    run: RunId,
    body: &[u8],
    link_source: Option<Mac>,
    destination: Option<Ipv6Addr>,
) -> Option<(Token, Role)> {
    let icmp = Icmpv6Packet::new(body)?;
    let (kind, code) = (icmp.get_icmpv6_type(), icmp.get_icmpv6_code().0);
    Some(match kind {
        Icmpv6Types::EchoRequest => (echo_token(run, body)?, Role::Probe { asker: None }),
        Icmpv6Types::EchoReply => (echo_token(run, body)?, Role::Answer { says: Answer::Echo, to: None }),
        Icmpv6Types::NeighborSolicit => {
            let target = NeighborSolicitPacket::new(body)?.get_target_addr();
            (Token::Neighbour(target.into()), Role::Probe { asker: link_source })
        }
        Icmpv6Types::NeighborAdvert => {
            let target = NeighborAdvertPacket::new(body)?.get_target_addr();
            // The option may be left out of an answer to a unicast question (RFC 4861, 4.4).
            let says = Answer::Mac(target_mac(body).or(link_source)?);
            // Who asks without an address is answered to all (RFC 4861, 7.2.4).
            let to = destination.filter(|to| !to.is_multicast()).map(|to| Whom::Address(to.into()));
            (Token::Neighbour(target.into()), Role::Answer { says, to })
        }
        Icmpv6Types::RouterSolicit => (Token::Router, Role::Probe { asker: link_source }),
        Icmpv6Types::RouterAdvert => {
            let to_all = destination?.is_multicast();
            let to = destination.filter(|_| !to_all).map(|to| Whom::Address(to.into()));
            (Token::Router, Role::Answer { says: Answer::RouterAdvertisement { to_all }, to })
        }
        Icmpv6Types::DestinationUnreachable
        | Icmpv6Types::PacketTooBig
        | Icmpv6Types::TimeExceeded
        | Icmpv6Types::ParameterProblem => {
            let (quoted, rest) = ipv6_body(body.get(8..)?)?;
            let token = quoted_token(run, quoted.get_next_header(), rest)?;
            let (error, says) = icmpv6_error(kind.0, code, body);
            (token, Role::Error { error, says })
        }
        _ => return None,
    })
}

fn read_transport(run: RunId, protocol: IpNextHeaderProtocol, body: &[u8]) -> Option<(Token, Role)> {
    match protocol {
        IpNextHeaderProtocols::Tcp => {
            let tcp = TcpPacket::new(body)?;
            let flags = tcp.get_flags();
            let has = |flag| flags & flag != 0;
            if has(TcpFlags::SYN) && !has(TcpFlags::ACK) {
                let number = run.number_of(tcp.get_sequence())?;
                return Some((Token::Tcp(number), Role::Probe { asker: None }));
            }
            if !has(TcpFlags::ACK) {
                return None;
            }
            let number = run.number_of(tcp.get_acknowledgement().wrapping_sub(1))?;
            let says = match (has(TcpFlags::RST), has(TcpFlags::SYN)) {
                (true, _) => Answer::Reset,
                (false, true) => Answer::SynAck,
                (false, false) => return None,
            };
            Some((Token::Tcp(number), Role::Answer { says, to: None }))
        }
        IpNextHeaderProtocols::Udp => {
            let udp = UdpPacket::new(body)?;
            let payload = body.get(8..)?;
            match (udp.get_source(), udp.get_destination()) {
                (67 | 68, 67 | 68) => read_dhcp(run, payload),
                (53, _) | (_, 53) => read_dns(payload),
                _ => None,
            }
        }
        _ => None,
    }
}

fn read_dhcp(run: RunId, payload: &[u8]) -> Option<(Token, Role)> {
    let dhcp = DhcpPacket::new(payload)?;
    let token = Token::Dhcp(run.number_of(dhcp.get_xid())?);
    if dhcp.get_op() == DhcpOperations::Request {
        return Some((token, Role::Probe { asker: None }));
    }
    let options = dhcp.payload().strip_prefix(&[99, 130, 83, 99])?;
    let option = |code| dhcp_option(options, code);
    // 53: message type, 2 is OFFER. 54: server identifier.
    if option(53)? != [2] {
        return None;
    }
    let server = option(54).and_then(<[u8]>::first_chunk::<4>).map_or(dhcp.get_siaddr(), |&ip| ip.into());
    let says = Answer::Offer { address: dhcp.get_yiaddr(), server };
    Some((token, Role::Answer { says, to: None }))
}

/// The value of a DHCP option: a list of code, length, value; 0 pads, 255 ends.
fn dhcp_option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [code, length, ref rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(length))?;
                if code == wanted {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}

/// Whether a message of router discovery may have this source: an advertisement has the router's link-local address.
fn is_local(role: &Role, source: Ipv6Addr) -> bool {
    match role {
        Role::Answer { .. } => source.is_unicast_link_local(),
        Role::Probe { .. } | Role::Error { .. } => true,
    }
}

/// A DNS message with one question, whose name is not compressed.
fn read_dns(payload: &[u8]) -> Option<(Token, Role)> {
    let (header, rest) = payload.split_first_chunk::<12>()?;
    let mut end = 0;
    loop {
        let length = usize::from(*rest.get(end)?);
        end += 1 + length;
        match length {
            0 => break,
            1..=63 if end < 255 => {}
            _ => return None,
        }
    }
    let question = rest.get(..end + 4)?.iter().map(u8::to_ascii_lowercase).collect();
    let token = Token::Dns(u16::from_be_bytes([header[0], header[1]]), question);
    let role = if header[2] & 0x80 == 0 {
        Role::Probe { asker: None }
    } else {
        Role::Answer { says: Answer::Dns(header[3] & 0xf), to: None }
    };
    Some((token, role))
}

/// Whose probe an ICMP error quotes. Routers may quote no more than eight bytes (RFC 792): enough
/// for a sequence number, not for a DNS question.
fn quoted_token(run: RunId, protocol: IpNextHeaderProtocol, rest: &[u8]) -> Option<Token> {
    match protocol {
        IpNextHeaderProtocols::Icmp | IpNextHeaderProtocols::Icmpv6 => echo_token(run, rest).or_else(|| {
            let number =
                |at: std::ops::Range<usize>| rest.get(at)?.first_chunk().copied().map(u16::from_be_bytes);
            let (identifier, sequence) = (number(4..6)?, number(6..8)?);
            run.has_identifier(identifier).then_some(Token::Echo(sequence))
        }),
        IpNextHeaderProtocols::Tcp => {
            // The reset by which a guest ends a connection that it knows nothing of has the number after
            // its SYN's, which is another probe's. Where the flags are quoted they tell it.
            let flags = rest.get(13).copied().unwrap_or(TcpFlags::SYN);
            let is_syn = flags & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST) == TcpFlags::SYN;
            let sequence = u32::from_be_bytes(*rest.get(4..8)?.first_chunk()?);
            run.number_of(sequence).filter(|_| is_syn).map(Token::Tcp)
        }
        protocol => read_transport(run, protocol, rest).map(|(token, _)| token),
    }
}

fn echo_token(run: RunId, body: &[u8]) -> Option<Token> {
    run.number_of_payload(body.get(8..)?).map(Token::Echo)
}

/// An IPv4 header and what follows it, unless it is a later fragment.
fn ipv4_body(bytes: &[u8]) -> Option<(Ipv4Packet<'_>, &[u8])> {
    let ip = Ipv4Packet::new(bytes)?;
    let header = usize::from(ip.get_header_length()) * 4;
    let whole = ip.get_version() == 4 && header >= 20 && ip.get_fragment_offset() == 0;
    whole.then(|| bytes.get(header..)).flatten().map(|body| (ip, body))
}

/// An IPv6 header and what follows it. Probes and their answers carry no extension headers.
fn ipv6_body(bytes: &[u8]) -> Option<(Ipv6Packet<'_>, &[u8])> {
    let ip = Ipv6Packet::new(bytes)?;
    (ip.get_version() == 6).then(|| bytes.get(40..)).flatten().map(|body| (ip, body))
}

/// The target link-layer address option (2) of a neighbour advertisement.
fn target_mac(advertisement: &[u8]) -> Option<Mac> {
    let mut options = advertisement.get(24..)?;
    while let [kind, units, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        match (kind, option.get(2..8)?.first_chunk()) {
            (2, Some(&mac)) => return Some(Mac(mac)),
            _ => options = rest,
        }
    }
    None
}

const HOST_UNREACHABLE: &str = "host unreachable";
const ADDRESS_UNREACHABLE: &str = "address unreachable";
const EXPIRED: &str = "time exceeded: the hop limit ran out, as in a routing loop";

/// Whether an error is the one that a router sends when nobody answers for the next hop's address.
pub fn is_unresolved(error: &str) -> bool {
    matches!(error, HOST_UNREACHABLE | ADDRESS_UNREACHABLE)
}

/// The words of RFC 792 and RFC 1812, 5.2.7.
fn icmp_error(kind: u8, code: u8, body: &[u8]) -> (String, Complaint) {
    let words = match (kind, code) {
        (3, 0 | 6 | 11) => "network unreachable",
        (3, 1) => HOST_UNREACHABLE,
        (3, 7 | 12) => "host unreachable for this network or type of service",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => {
            let mtu = body.get(6..8).and_then(<[u8]>::first_chunk).map_or(0, |&mtu| u16::from_be_bytes(mtu));
            return (format!("fragmentation needed, MTU {mtu}"), Complaint::TooBig(mtu.into()));
        }
        (3, 9) => "network administratively prohibited",
        (3, 10) => "host administratively prohibited",
        (3, 13) => "administratively prohibited",
        (11, 0) => return (EXPIRED.to_owned(), Complaint::Expired),
        _ => return (format!("ICMP type {kind} code {code}"), Complaint::Other),
    };
    (words.to_owned(), Complaint::Other)
}

/// The words of RFC 4443, 3.
fn icmpv6_error(kind: u8, code: u8, body: &[u8]) -> (String, Complaint) {
    let words = match (kind, code) {
        (1, 0) => "no route to the destination",
        (1, 1) => "administratively prohibited",
        (1, 2) => "beyond the scope of the source address",
        (1, 3) => ADDRESS_UNREACHABLE,
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed the ingress policy",
        (1, 6) => "reject route to the destination",
        (2, _) => {
            let mtu = body.get(4..8).and_then(<[u8]>::first_chunk).map_or(0, |&mtu| u32::from_be_bytes(mtu));
            return (format!("packet too big, MTU {mtu}"), Complaint::TooBig(mtu));
        }
        (3, 0) => return (EXPIRED.to_owned(), Complaint::Expired),
        _ => return (format!("ICMPv6 type {kind} code {code}"), Complaint::Other),
    };
    (words.to_owned(), Complaint::Other)
}

fn mac(address: MacAddr) -> Mac {
    Mac(address.octets())
}
