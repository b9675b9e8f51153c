//! Frames and packets, built.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::MutablePacket;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::dhcp::{DhcpHardwareTypes, DhcpOperations, MutableDhcpPacket};
use pnet::packet::ethernet::{EtherType, EtherTypes, MutableEthernetPacket};
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{self, IcmpPacket, IcmpTypes};
use pnet::packet::icmpv6::ndp::{MutableNeighborSolicitPacket, MutableRouterSolicitPacket, NdpOptionTypes};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{self, Ipv4Flags, MutableIpv4Packet};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags};
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::packet::vlan::MutableVlanPacket;
use pnet::util::MacAddr;

use crate::facts::{Mac, VlanId};

/// The shortest Ethernet frame without its checksum.
const SHORTEST: usize = 60;

/// The link header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// From whom.
    pub(super) source: Mac,
    /// To whom.
    pub(super) destination: Mac,
    /// The tag.
    pub(super) vlan: Option<VlanId>,
}

/// The bytes that follow the IP header, and which protocol they are.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Which protocol.
    pub(super) protocol: IpNextHeaderProtocol,
    /// The bytes, checksummed.
    pub(super) bytes: Vec<u8>,
}

/// Both addresses of a packet, of one family.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pair {
    /// Source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source and destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pair {
    /// The addresses if they are of one family.
    pub(super) fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            _ => None,
        }
    }
}

/// An ARP request. A `sender` of 0.0.0.0 makes it a probe (RFC 5227, 1.1), from which nobody learns.
pub(super) fn arp_request(link: Link, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; MutableArpPacket::minimum_packet_size()];
    let mut arp = MutableArpPacket::new(&mut bytes).expect("the buffer has the header's size");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(pnet_mac(link.source));
    arp.set_sender_proto_addr(sender);
    arp.set_target_proto_addr(target);
    ethernet(link, EtherTypes::Arp, &bytes)
}

/// The answer to an ARP request: `held` is at the link's source.
pub(super) fn arp_reply(link: Link, held: Ipv4Addr, asker: Ipv4Addr) -> Vec<u8> {
    let mut frame = arp_request(link, held, asker);
    let mut arp =
        MutableArpPacket::new(&mut frame[14..]).expect("a request that has just been built is whole");
    arp.set_operation(ArpOperations::Reply);
    arp.set_target_hw_addr(pnet_mac(link.destination));
    frame
}

/// The answer to a neighbour solicitation (RFC 4861, 4.4): `held` is at the link's source.
pub(super) fn advertisement(link: Link, held: Ipv6Addr, asker: Ipv6Addr) -> Vec<u8> {
    // Solicited and overriding.
    let flags = [Icmpv6Types::NeighborAdvert.0, 0, 0, 0, 0x60, 0, 0, 0];
    let option = [NdpOptionTypes::TargetLLAddr.0, 1];
    let mut bytes = [&flags[..], &held.octets(), &option, &link.source.0].concat();
    checksum_icmpv6(&mut bytes, held, asker);
    let segment = Segment { protocol: IpNextHeaderProtocols::Icmpv6, bytes };
    packet(link, Pair::V6(held, asker), &segment, 255)
}

/// A neighbour solicitation (RFC 4861, 4.3) to the target's solicited-node group, or to the target
/// itself if the link's destination is one MAC. An unspecified `sender` asks as duplicate address
/// detection does, and names no MAC.
pub(super) fn solicitation(
    source: Mac,
    only: Option<Mac>,
    vlan: Option<VlanId>,
    sender: Ipv6Addr,
    target: Ipv6Addr,
) -> Vec<u8> {
    let [.., x, y, z] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));
    let (destination, to) = match only {
        Some(mac) => (mac, target),
        None => (Mac([0x33, 0x33, 0xff, x, y, z]), group),
    };
    let mut bytes = vec![0; MutableNeighborSolicitPacket::minimum_packet_size()];
    bytes.extend(source_mac_option(source, sender));
    let mut ask = MutableNeighborSolicitPacket::new(&mut bytes).expect("the buffer has the header's size");
    ask.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    ask.set_target_addr(target);
    checksum_icmpv6(&mut bytes, sender, to);
    let segment = Segment { protocol: IpNextHeaderProtocols::Icmpv6, bytes };
    packet(Link { source, destination, vlan }, Pair::V6(sender, to), &segment, 255)
}

/// A router solicitation (RFC 4861, 4.1) to all routers. An unspecified `asker` names no MAC.
pub(super) fn router_solicitation(source: Mac, vlan: Option<VlanId>, asker: Ipv6Addr) -> Vec<u8> {
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let mut bytes = vec![0; MutableRouterSolicitPacket::minimum_packet_size()];
    bytes.extend(source_mac_option(source, asker));
    let mut ask = MutableRouterSolicitPacket::new(&mut bytes).expect("the buffer has the header's size");
    ask.set_icmpv6_type(Icmpv6Types::RouterSolicit);
    checksum_icmpv6(&mut bytes, asker, routers);
    let segment = Segment { protocol: IpNextHeaderProtocols::Icmpv6, bytes };
    let link = Link { source, destination: Mac([0x33, 0x33, 0, 0, 0, 2]), vlan };
    packet(link, Pair::V6(asker, routers), &segment, 255)
}

/// The source link-layer address option (RFC 4861, 4.6.1); none without a source address.
fn source_mac_option(source: Mac, sender: Ipv6Addr) -> Vec<u8> {
    if sender.is_unspecified() {
        return Vec::new();
    }
    [&[NdpOptionTypes::SourceLLAddr.0, 1][..], &source.0].concat()
}

/// An echo request.
pub(super) fn echo(pair: Pair, identifier: u16, sequence: u16, payload: &[u8]) -> Segment {
    let header = MutableEchoRequestPacket::minimum_packet_size();
    let mut bytes = vec![0; header];
    bytes.extend_from_slice(payload);
    let mut echo = MutableEchoRequestPacket::new(&mut bytes).expect("the buffer has the header's size");
    echo.set_identifier(identifier);
    echo.set_sequence_number(sequence);
    // The two families' echo headers differ in the type's number only.
    match pair {
        Pair::V4(..) => {
            echo.set_icmp_type(IcmpTypes::EchoRequest);
            let sum = icmp::checksum(&IcmpPacket::new(&bytes).expect("the buffer has the header's size"));
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            Segment { protocol: IpNextHeaderProtocols::Icmp, bytes }
        }
        Pair::V6(source, destination) => {
            bytes[0] = Icmpv6Types::EchoRequest.0;
            checksum_icmpv6(&mut bytes, source, destination);
            Segment { protocol: IpNextHeaderProtocols::Icmpv6, bytes }
        }
    }
}

/// A TCP SYN with a maximum segment size, as every stack sends one.
pub(super) fn tcp_syn(pair: Pair, source_port: u16, port: u16, sequence: u32) -> Segment {
    let mut bytes = vec![0; MutableTcpPacket::minimum_packet_size() + 4];
    let mut syn = MutableTcpPacket::new(&mut bytes).expect("the buffer has the header's size");
    syn.set_source(source_port);
    syn.set_destination(port);
    syn.set_sequence(sequence);
    syn.set_data_offset(6);
    syn.set_flags(TcpFlags::SYN);
    syn.set_window(64240);
    syn.set_options(&[tcp::TcpOption::mss(1200)]);
    let sum = match pair {
        Pair::V4(source, destination) => tcp::ipv4_checksum(&syn.to_immutable(), &source, &destination),
        Pair::V6(source, destination) => tcp::ipv6_checksum(&syn.to_immutable(), &source, &destination),
    };
    syn.set_checksum(sum);
    Segment { protocol: IpNextHeaderProtocols::Tcp, bytes }
}

/// A UDP datagram.
pub(super) fn udp(pair: Pair, source_port: u16, port: u16, payload: &[u8]) -> Segment {
    let mut bytes = vec![0; MutableUdpPacket::minimum_packet_size()];
    bytes.extend_from_slice(payload);
    let length = length_of(&bytes);
    let mut udp = MutableUdpPacket::new(&mut bytes).expect("the buffer has the header's size");
    udp.set_source(source_port);
    udp.set_destination(port);
    udp.set_length(length);
    let sum = match pair {
        Pair::V4(source, destination) => udp::ipv4_checksum(&udp.to_immutable(), &source, &destination),
        Pair::V6(source, destination) => udp::ipv6_checksum(&udp.to_immutable(), &source, &destination),
    };
    // A sum of zero would mean that there is none.
    udp.set_checksum(if sum == 0 { 0xffff } else { sum });
    Segment { protocol: IpNextHeaderProtocols::Udp, bytes }
}

/// The question of a DNS query for an A record: the name in wire form, type and class. `None` if
/// `name` is not a domain name (RFC 1035, 2.3.4).
pub(super) fn dns_question(name: &str) -> Option<Vec<u8>> {
    let mut question = Vec::with_capacity(name.len() + 6);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        question.push(length);
        question.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    question.push(0);
    (question.len() <= 255).then(|| {
        question.extend([0, 1, 0, 1]);
        question
    })
}

/// A DNS query with one question, recursion desired.
pub(super) fn dns_query(id: u16, question: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut query = vec![high, low, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(question);
    query
}

/// A DHCP DISCOVER (RFC 2131, 4.4.1) that asks for a broadcast answer, so that the answer is seen
/// even where the address is not up. It names no client identifier: a server then goes by the MAC
/// and offers the lease that the VM has.
pub(super) fn dhcp_discover(mac: Mac, vlan: Option<VlanId>, xid: u32) -> Vec<u8> {
    /// RFC 1542, 2.1: the smallest BOOTP message that every server takes.
    const BOOTP: usize = 300;
    /// Magic cookie, message type DISCOVER, parameter request list (mask, router, DNS), end.
    const OPTIONS: [u8; 13] = [99, 130, 83, 99, 53, 1, 1, 55, 3, 1, 3, 6, 255];
    let mut bytes = vec![0; BOOTP];
    let mut dhcp = MutableDhcpPacket::new(&mut bytes).expect("the buffer is longer than the header");
    dhcp.set_op(DhcpOperations::Request);
    dhcp.set_htype(DhcpHardwareTypes::Ethernet);
    dhcp.set_hlen(6);
    dhcp.set_xid(xid);
    dhcp.set_flags(0x8000);
    dhcp.set_chaddr(pnet_mac(mac));
    dhcp.payload_mut()[..OPTIONS.len()].copy_from_slice(&OPTIONS);
    let pair = Pair::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let link = Link { source: mac, destination: Mac::BROADCAST, vlan };
    packet(link, pair, &udp(pair, 68, 67, &bytes), 64)
}

/// A whole frame with an IP packet.
pub(super) fn packet(link: Link, pair: Pair, segment: &Segment, hop_limit: u8) -> Vec<u8> {
    let kind = match pair {
        Pair::V4(..) => EtherTypes::Ipv4,
        Pair::V6(..) => EtherTypes::Ipv6,
    };
    ethernet(link, kind, &ip_packet(pair, segment, hop_limit))
}

/// An IP packet that must not be fragmented.
pub(super) fn ip_packet(pair: Pair, segment: &Segment, hop_limit: u8) -> Vec<u8> {
    match pair {
        Pair::V4(source, destination) => {
            let header = MutableIpv4Packet::minimum_packet_size();
            let mut bytes = vec![0; header];
            bytes.extend_from_slice(&segment.bytes);
            let length = length_of(&bytes);
            let mut ip = MutableIpv4Packet::new(&mut bytes).expect("the buffer has the header's size");
            ip.set_version(4);
            ip.set_header_length(5);
            ip.set_total_length(length);
            ip.set_flags(Ipv4Flags::DontFragment);
            ip.set_ttl(hop_limit);
            ip.set_next_level_protocol(segment.protocol);
            ip.set_source(source);
            ip.set_destination(destination);
            let sum = ipv4::checksum(&ip.to_immutable());
            ip.set_checksum(sum);
            bytes
        }
        Pair::V6(source, destination) => {
            let header = MutableIpv6Packet::minimum_packet_size();
            let mut bytes = vec![0; header];
            bytes.extend_from_slice(&segment.bytes);
            let mut ip = MutableIpv6Packet::new(&mut bytes).expect("the buffer has the header's size");
            ip.set_version(6);
            ip.set_payload_length(length_of(&segment.bytes));
            ip.set_next_header(segment.protocol);
            ip.set_hop_limit(hop_limit);
            ip.set_source(source);
            ip.set_destination(destination);
            bytes
        }
    }
}

/// An Ethernet frame, tagged if the link says so, padded to the shortest length.
fn ethernet(link: Link, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = MutableEthernetPacket::minimum_packet_size();
    let mut frame = vec![0; header];
    let outer = if link.vlan.is_some() { EtherTypes::Vlan } else { kind };
    let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("the buffer has the header's size");
    ethernet.set_destination(pnet_mac(link.destination));
    ethernet.set_source(pnet_mac(link.source));
    ethernet.set_ethertype(outer);
    if let Some(VlanId(id)) = link.vlan {
        let mut tag = [0; MutableVlanPacket::minimum_packet_size()];
        let mut vlan = MutableVlanPacket::new(&mut tag).expect("the buffer has the tag's size");
        vlan.set_vlan_identifier(id);
        vlan.set_ethertype(kind);
        frame.extend_from_slice(vlan.packet_mut());
    }
    frame.extend_from_slice(payload);
    if frame.len() < SHORTEST {
        frame.resize(SHORTEST, 0);
    }
    frame
}

fn checksum_icmpv6(bytes: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    let message = Icmpv6Packet::new(bytes).expect("every ICMPv6 message has the header's size");
    let sum = icmpv6::checksum(&message, &source, &destination);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
}

fn length_of(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).expect("every packet built here is shorter than 64 KiB")
}

fn pnet_mac(mac: Mac) -> MacAddr {
    MacAddr::from(mac.0)
}
