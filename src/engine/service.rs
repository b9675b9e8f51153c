//! What the host itself answers: for its addresses, to echo requests, and as a server.

use std::net::IpAddr;

use kvmnet_probes::facts::{Address, IfIndex};

use super::host::{refuse_by, sysctl};
use super::packets::Packets;
use super::walk::Walk;
use super::{Decision, Site};
use crate::model::{Claim, Zone};

/// The host answers for `address`, which is asked for on `device`: it has it, and `arp_ignore` lets it.
pub(super) fn answers(walk: &mut Walk<'_, '_>, address: Option<IpAddr>, device: IfIndex) {
    let name = walk.world.name(device);
    let place = name.as_str();
    let Some(address) = address else {
        walk.opaque(place, "which address is asked for");
        return;
    };
    let Some(addresses) = walk.world.snapshot.addresses.known() else {
        walk.missing(place, "addresses");
        return;
    };
    let usable = |own: &&Address| {
        own.net.addr() == address && !own.flags.iter().any(|flag| flag == "tentative" || flag == "dadfailed")
    };
    let here = addresses.iter().filter(usable).any(|own| own.device == device);
    let somewhere = addresses.iter().any(|own| usable(&own));
    if !here && (address.is_ipv6() || !somewhere) {
        let site = Site::NoAddress { device: name.clone(), address };
        walk.step(place, site, Decision::Drop, format!("{address} is not an address of {name}"));
    } else if address.is_ipv4() {
        let all = sysctl(walk, false, "all", "arp_ignore").unwrap_or(0);
        let own = sysctl(walk, false, place, "arp_ignore").unwrap_or(0);
        let (value, at) = if all > own { (all, "all") } else { (own, place) };
        if value >= 8 || (value >= 1 && !here) {
            refuse_by(walk, place, format!("net/ipv4/conf/{at}/arp_ignore"), value);
        }
    }
}

/// The device has the server's address: a DHCP server leaves questions from a device without one
/// unanswered (dnsmasq, `src/dhcp.c`: "DHCP packet received on %s which has no address").
pub(super) fn holds(walk: &mut Walk<'_, '_>, server: Option<IpAddr>, device: IfIndex) {
    let name = walk.world.name(device);
    match walk.world.snapshot.addresses.known() {
        None => walk.missing(name.as_str(), "addresses"),
        Some(addresses) => {
            let held = addresses.iter().any(|own| own.device == device && Some(own.net.addr()) == server);
            if let (false, Some(address)) = (held, server) {
                let text = format!("{address} is not an address of {name}");
                walk.step(
                    name.as_str(),
                    Site::NoAddress { device: name.clone(), address },
                    Decision::Drop,
                    text,
                );
            }
        }
    }
}

/// The host answers echo requests.
pub(super) fn echoes(walk: &mut Walk<'_, '_>, ipv6: bool) {
    let name = if ipv6 { "net/ipv6/icmp/echo_ignore_all" } else { "net/ipv4/icmp_echo_ignore_all" };
    match walk.world.sysctls().map(|sysctls| sysctls.number(name)) {
        None => walk.missing("input", "sysctls"),
        Some(Some(value)) if value != 0 => refuse_by(walk, "input", name.to_owned(), value),
        Some(_) => {}
    }
}

/// Someone on the host listens for what is asked.
pub(super) fn listens(walk: &mut Walk<'_, '_>, packets: &Packets, bridge: IfIndex, service: &str, port: u16) {
    let device = walk.world.name(bridge);
    let Some(listeners) = walk.world.snapshot.listeners.known() else {
        walk.missing(device.as_str(), "listeners");
        return;
    };
    let group = |address: IpAddr| address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]);
    let hears = |address: IpAddr| match packets.destination() {
        _ if address.is_unspecified() => address.is_ipv6() || !packets.is_ipv6(),
        Some(destination) => {
            address == destination || group(destination) && address.is_ipv6() == packets.is_ipv6()
        }
        None => address.is_ipv6() == packets.is_ipv6(),
    };
    let heard = listeners.iter().any(|listener| {
        listener.protocol == "udp"
            && listener.port == port
            && hears(listener.address)
            && listener.device.is_none_or(|bound| bound == bridge)
    });
    if !heard {
        let text = format!("nobody listens on UDP port {port} ({service})");
        let site = Site::NoService { service: service.to_owned(), device: device.clone() };
        walk.step(device.as_str(), site, Decision::Drop, text);
    }
}

/// Who serves the bridge's network advertises it. dnsmasq hears solicitations by a raw socket, which is bound to
/// no port and device; but libvirt's runs only where it serves DNS or DHCP, too, and those ports tell.
pub(super) fn advertises(walk: &mut Walk<'_, '_>, claim: &Claim, bridge: IfIndex) {
    let device = walk.world.name(bridge);
    let place = device.as_str();
    let Some(addresses) = walk.world.snapshot.addresses.known() else {
        walk.missing(place, "addresses");
        return;
    };
    let own = |address: IpAddr| addresses.iter().any(|own| own.device == bridge && own.net.addr() == address);
    let network = match claim.to {
        Zone::Gateway(at) => walk.topology.networks.get(at),
        Zone::Nic(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
    };
    let nets = network.map_or(&[][..], |network| &network.gateways);
    let mut nets = nets.iter().map(ipnet::IpNet::addr).filter(IpAddr::is_ipv6).peekable();
    let first = nets.peek().copied();
    if let Some(address) = first
        && !nets.any(own)
    {
        // It has no prefix to advertise (`send_ra_alias` in dnsmasq's `src/radv.c`).
        let text = format!("{address} is not an address of {device}");
        walk.step(place, Site::NoAddress { device: device.clone(), address }, Decision::Drop, text);
    }
    let Some(listeners) = walk.world.snapshot.listeners.known() else {
        walk.missing(place, "listeners");
        return;
    };
    let serves = listeners.iter().any(|listener| match listener.device {
        Some(bound) => bound == bridge,
        None => own(listener.address),
    });
    if !serves || network.is_none_or(|network| !network.router_advertisements) {
        let service = "router advertisements".to_owned();
        let text = format!("nobody sends {service} here");
        walk.step(place, Site::NoService { service, device: device.clone() }, Decision::Drop, text);
    }
}
