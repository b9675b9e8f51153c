//! What a claim asks: its ends, the packet that stands for it, and the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kvmnet_probes::facts::{ForwardMode, IfIndex, Mac};
use kvmnet_reports::Expected;

use super::packet_set::field::address_value;
use super::packet_set::{Decided, Field};
use super::packets::{Body, Packets};
use super::walk::Walk;
use super::{Decision, Site, device};
use crate::model::{Attachment, Claim, NetworkZone, Selection, Topology, Traffic, Zone};

/// The port from which the packets that stand for claims are sent.
pub(super) const SOURCE_PORT: u16 = 49152;

/// Everybody on the link (RFC 4291, 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Every router on the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// An end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// A NIC.
    Nic(usize),
    /// The host itself.
    Host,
    /// What lies behind a device.
    Wire(IfIndex),
}

/// A claim, made concrete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journey {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    /// Both ends are in one bridge: the host does not route.
    pub(super) direct: bool,
    /// The host sends by the device on which it was asked, whatever the routes say.
    pub(super) bound: bool,
    /// The claim is that nothing passes: what really carries a NIC counts, not what should.
    pub(super) denied: bool,
    /// The mode of the network in which the packet begins.
    pub(super) mode: Option<ForwardMode>,
    pub(super) lan_gateway: Option<IpAddr>,
    /// Of all packets those that are asked about.
    pub(super) selection: Selection,
}

/// No device has this index: there is no uplink.
pub(super) const NOWHERE: IfIndex = IfIndex(0);

/// Makes the claim concrete; `None` if the walk ends here, with its reason among the steps.
pub(super) fn journey(walk: &mut Walk<'_, '_>, claim: &Claim) -> Option<Journey> {
    if beyond_bridges(walk, claim) {
        return None;
    }
    let topology = walk.topology;
    let denied = claim.expected == Expected::Deny;
    let networks = [claim.from, claim.to].map(|zone| network(walk, zone, denied));
    let zone = networks[0].or(networks[1]).and_then(|index| topology.networks.get(index));
    let is_lan = zone.is_some_and(NetworkZone::is_lan);
    let wire = match zone {
        Some(zone) if is_lan => zone.uplink.as_ref().map(|uplink| uplink.0).or(zone.bridge_index),
        zone => {
            let way_out = topology.way_out(zone, claim.ipv6).map(|(index, _)| index);
            way_out.or_else(|| topology.uplinks.first().map(|uplink| uplink.device))
        }
    };
    let wire = End::Wire(wire.unwrap_or(NOWHERE));
    let address = |end: Zone, network: Option<usize>, known: Option<IpAddr>| {
        known.or_else(|| stand_in(topology, network?, claim.ipv6, matches!(end, Zone::Gateway(_))))
    };
    let destination = address(claim.to, networks[1], claim.destination);
    let end = |zone: Zone| match zone {
        Zone::Nic(nic) => End::Nic(nic),
        Zone::Gateway(_) if is_lan && walk.world.owns(destination) != Some(true) => wire,
        Zone::Gateway(_) | Zone::Host => End::Host,
        Zone::Internet | Zone::Outside => wire,
    };
    let (from, to) = (end(claim.from), end(claim.to));
    let direct = match (from, to) {
        (End::Nic(_), End::Nic(_)) => networks[0] == networks[1],
        (End::Nic(_), End::Wire(_)) | (End::Wire(_), End::Nic(_)) => is_lan,
        (End::Host, _) | (_, End::Host) | (End::Wire(_), End::Wire(_)) => false,
    };
    if from == End::Wire(NOWHERE) {
        let text = "no default route: nothing lies outside".to_owned();
        walk.step("route", Site::Route { table: None, text: text.clone() }, Decision::Drop, text);
        return None;
    }
    Some(Journey {
        from,
        to,
        source: match claim.from {
            Zone::Nic(_) => address(claim.from, networks[0], claim.source),
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => claim.source,
        },
        destination,
        direct,
        bound: matches!(claim.traffic, Traffic::Dhcp | Traffic::Resolve | Traffic::RouterAdvertisement),
        denied,
        mode: zone.map(|zone| zone.mode),
        lan_gateway: zone.filter(|_| is_lan).and_then(|zone| zone.lan_gateway),
        selection: claim.selection.clone(),
    })
}

impl Journey {
    /// The packet that stands for the claim.
    pub(super) fn packet(&self, claim: &Claim) -> Packets {
        let ipv6 = claim.ipv6;
        let ends = (self.source, self.destination);
        let one = |body| Packets::one(ipv6, ends, body);
        match claim.traffic {
            Traffic::Resolve if ipv6 => discovery(self.source, solicited(self.destination).into(), 135),
            Traffic::Resolve => {
                let mut packet = one(Body::Arp { request: true });
                packet.set_destination_mac(Some(Mac::BROADCAST));
                packet
            }
            Traffic::Icmp | Traffic::FullSize => {
                one(Body::Icmp { kind: if ipv6 { 128 } else { 8 }, code: 0 })
            }
            Traffic::Tcp(destination) => one(Body::Tcp { source: SOURCE_PORT, destination, flags: 2 }),
            Traffic::Udp(destination) => one(Body::Udp { source: SOURCE_PORT, destination }),
            Traffic::Dns => one(Body::Udp { source: SOURCE_PORT, destination: 53 }),
            Traffic::Dhcp if ipv6 => {
                let servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
                let body = Body::Udp { source: 546, destination: 547 };
                let mut packet = Packets::one(true, (None, Some(servers.into())), body);
                packet.set_destination_mac(Some(group_mac(servers)));
                packet
            }
            Traffic::Dhcp => {
                let ends = (Some(Ipv4Addr::UNSPECIFIED.into()), Some(Ipv4Addr::BROADCAST.into()));
                let mut packet = Packets::one(false, ends, Body::Udp { source: 68, destination: 67 });
                packet.set_destination_mac(Some(Mac::BROADCAST));
                packet
            }
            Traffic::RouterAdvertisement => {
                let asker = link_local(claim.source).unwrap_or(Ipv6Addr::UNSPECIFIED);
                discovery(Some(asker.into()), ALL_ROUTERS.into(), 133)
            }
        }
    }

    /// The answer to `packet`, as it arrived.
    pub(super) fn reply(&self, walk: &mut Walk<'_, '_>, claim: &Claim, packet: &Packets) -> Decided<Packets> {
        match claim.traffic {
            // Asked of all and answered by one: to conntrack a flow of its own.
            Traffic::Dhcp if claim.ipv6 => {
                let body = Body::Udp { source: 547, destination: 546 };
                Ok(Packets::one(true, (self.destination, self.source), body))
            }
            // The probe asks for a broadcast answer, as a client does that has no address yet (RFC 2131, 4.1).
            Traffic::Dhcp => {
                let ends = (self.destination, Some(Ipv4Addr::BROADCAST.into()));
                let mut reply = Packets::one(false, ends, Body::Udp { source: 67, destination: 68 });
                reply.set_destination_mac(Some(Mac::BROADCAST));
                Ok(reply)
            }
            Traffic::Resolve => {
                let mut reply = packet.reply(walk.sets())?;
                if let Some(source) = self.destination {
                    reply.headers.set(Field::Source, address_value(source));
                }
                reply.headers.set(Field::Ttl, 255);
                Ok(reply)
            }
            Traffic::Icmp | Traffic::FullSize | Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Dns => {
                packet.reply(walk.sets())
            }
            // To who asked from an address, else to all (`icmp6_packet` in dnsmasq's `src/radv.c`).
            Traffic::RouterAdvertisement => {
                let asker = packet.source().filter(|source| !source.is_unspecified());
                let at = packet.input.as_ref().map(|input| input.index);
                let router = at.and_then(|device| {
                    let mut own = walk.world.addresses(device, true).map(|own| own.net.addr());
                    own.find(|address| link_local(Some(*address)).is_some())
                });
                let mut reply = discovery(router, asker.unwrap_or(ALL_NODES.into()), 134);
                // `ra_init` there: network control.
                reply.headers.set(Field::TrafficClass, 0xc0);
                Ok(reply)
            }
        }
    }
}

/// The network that an end belongs to. For a denial that is the one whose bridge really carries it.
fn network(walk: &Walk<'_, '_>, zone: Zone, denied: bool) -> Option<usize> {
    let nic = match zone {
        Zone::Gateway(network) => return Some(network),
        Zone::Nic(nic) => walk.topology.nics.get(nic)?,
        Zone::Host | Zone::Internet | Zone::Outside => return None,
    };
    let carrier = nic.tap_index.and_then(|tap| walk.world.bridge_of(tap)).filter(|_| denied);
    let carried = carrier.and_then(|bridge| {
        walk.topology.networks.iter().position(|network| network.bridge_index == Some(bridge))
    });
    carried.or(nic.network)
}

/// The gateway's address, or one of the subnet that is not the gateway's. A LAN has neither: its
/// router is not the host, and who has which address there is for others to say.
fn stand_in(topology: &Topology, network: usize, ipv6: bool, gateway: bool) -> Option<IpAddr> {
    let zone = topology.networks.get(network).filter(|zone| !zone.is_lan())?;
    let net = zone.gateways.iter().find(|net| net.addr().is_ipv6() == ipv6)?;
    if gateway {
        return Some(net.addr());
    }
    // The first address of an IPv6 subnet is that of all its routers (RFC 4291, 2.6.1).
    net.hosts().find(|address| *address != net.addr() && *address != net.network())
}

/// A message by which neighbours or routers find one another.
fn discovery(source: Option<IpAddr>, destination: IpAddr, kind: u8) -> Packets {
    let mut packet = Packets::one(true, (source, Some(destination)), Body::Icmp { kind, code: 0 });
    if let IpAddr::V6(group) = destination
        && group.is_multicast()
    {
        packet.set_destination_mac(Some(group_mac(group)));
    }
    packet.headers.set(Field::Ttl, 255);
    packet
}

/// The address, if it is a link-local one of IPv6.
fn link_local(address: Option<IpAddr>) -> Option<Ipv6Addr> {
    match address {
        Some(IpAddr::V6(address)) => Some(address).filter(Ipv6Addr::is_unicast_link_local),
        Some(IpAddr::V4(_)) | None => None,
    }
}

/// The solicited-node group of an address; all nodes if the address is not known.
fn solicited(address: Option<IpAddr>) -> Ipv6Addr {
    match address {
        Some(IpAddr::V6(address)) => {
            let [.., high, low] = address.segments();
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
        }
        Some(IpAddr::V4(_)) | None => ALL_NODES,
    }
}

fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A NIC that no bridge carries: what the host can say of it is said here.
fn beyond_bridges(walk: &mut Walk<'_, '_>, claim: &Claim) -> bool {
    let mut found = false;
    for (end, other) in [(claim.from, claim.to), (claim.to, claim.from)] {
        let Zone::Nic(index) = end else { continue };
        let Some(nic) = walk.topology.nics.get(index) else {
            walk.opaque("NIC", "a NIC that the topology does not have");
            return true;
        };
        match (nic.attachment, other) {
            (Attachment::Tap, _) => continue,
            (Attachment::Invisible, _) | (Attachment::Macvtap, Zone::Nic(_)) => {
                walk.opaque("NIC", format!("{} ({})", nic.label(), nic.plugged_into));
            }
            (Attachment::Macvtap, Zone::Host | Zone::Gateway(_)) => {
                let device = nic.tap.clone().unwrap_or_else(|| "macvtap".into());
                let place = device.0.clone();
                let state = "macvtap: host and VM do not reach one another by design".to_owned();
                walk.step(&place, Site::Link { device, state: state.clone() }, Decision::Drop, state);
            }
            (Attachment::Macvtap, Zone::Internet | Zone::Outside) => lower_device(walk, nic.tap_index),
        }
        found = true;
    }
    found
}

/// A macvtap device and the device below it carry frames past everything that the host decides.
fn lower_device(walk: &mut Walk<'_, '_>, tap: Option<IfIndex>) {
    let link = tap.and_then(|tap| walk.world.link(tap));
    let Some(link) = link else {
        let missing = "the macvtap device is gone".to_owned();
        walk.step("macvtap", Site::NoTap { missing: missing.clone() }, Decision::Drop, missing);
        return;
    };
    device::is_there(walk, link.index);
    if let Some(peer) = link.peer.filter(|peer| peer.netns_id.is_none()) {
        device::is_there(walk, peer.index);
    }
}
