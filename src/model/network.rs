//! Networks and uplinks: libvirt's configuration paired with bridges, ports and default routes.

use std::net::IpAddr;

use ipnet::IpNet;
use kvmnet_probes::facts::{
    ForwardMode, IfIndex, IfName, Interface, InterfaceSource, Libvirt, Link, LinkKind, Network,
    NetworkConfig, NetworkIp, Route, RouteKind, RuleAction, Snapshot,
};

use super::{NetworkZone, Uplink};

/// `RT_TABLE_MAIN`.
const TABLE_MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u32 = 255;

/// Devices of default routes, those of the table that is asked first in front.
pub(super) fn uplinks(snapshot: &Snapshot) -> Vec<Uplink> {
    let mut found: Vec<Uplink> = Vec::new();
    for ipv6 in [false, true] {
        for table in tables(snapshot, ipv6) {
            let mut routes: Vec<&Route> =
                snapshot.routes.items().iter().filter(|route| is_default(route, table, ipv6)).collect();
            routes.sort_by_key(|route| route.metric);
            for hop in routes.iter().flat_map(|route| &route.next_hops) {
                let Some(link) = hop.device.and_then(|device| snapshot.link(device)) else { continue };
                let uplink =
                    Uplink { device: link.index, name: link.name.clone(), gateway: hop.gateway, ipv6 };
                if !found.contains(&uplink) {
                    found.push(uplink);
                }
            }
        }
    }
    found
}

/// The tables that policy rules ask, in their order: rules without a selector first, since they hold
/// for every packet. Without policy rules the kernel asks the main table.
fn tables(snapshot: &Snapshot, ipv6: bool) -> Vec<u32> {
    let mut asked: Vec<(bool, u32, u32)> = snapshot
        .rules
        .items()
        .iter()
        .filter(|rule| rule.ipv6 == ipv6)
        .filter_map(|rule| match rule.action {
            RuleAction::Lookup { table } if table != TABLE_LOCAL => {
                let selects = rule.source.is_some()
                    || rule.destination.is_some()
                    || rule.input_device.is_some()
                    || rule.output_device.is_some()
                    || rule.mark.is_some()
                    || rule.invert;
                Some((selects, rule.priority, table))
            }
            _ => None,
        })
        .collect();
    asked.sort_unstable();
    let mut tables: Vec<u32> = asked.into_iter().map(|(_, _, table)| table).collect();
    if tables.is_empty() {
        tables.push(TABLE_MAIN);
    }
    tables
}

fn is_default(route: &Route, table: u32, ipv6: bool) -> bool {
    route.table == table
        && route.kind == RouteKind::Unicast
        && route.destination.prefix_len() == 0
        && route.destination.addr().is_ipv6() == ipv6
}

/// libvirt's networks, then the bridges that NICs are plugged into without one.
pub(super) fn zones(snapshot: &Snapshot, libvirt: &Libvirt, uplinks: &[Uplink]) -> Vec<NetworkZone> {
    let taps: Vec<&IfName> =
        libvirt.domains.iter().flat_map(|domain| &domain.interfaces).filter_map(tap_name).collect();
    let mut networks: Vec<&Network> = libvirt.networks.iter().collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let mut zones: Vec<NetworkZone> =
        networks.into_iter().map(|network| of_libvirt(snapshot, uplinks, &taps, network)).collect();

    let mut bridges: Vec<&IfName> = libvirt
        .domains
        .iter()
        .flat_map(|domain| &domain.interfaces)
        .filter(|interface| interface.virtualport.as_deref() != Some("openvswitch"))
        .filter_map(|interface| match &interface.source {
            InterfaceSource::Bridge { bridge } => Some(bridge),
            InterfaceSource::Ethernet => bridge_of(snapshot, interface.target.as_ref()?),
            InterfaceSource::Network { .. }
            | InterfaceSource::Direct { .. }
            | InterfaceSource::Hostdev
            | InterfaceSource::User
            | InterfaceSource::VhostUser
            | InterfaceSource::Other { .. } => None,
        })
        .filter(|bridge| zones.iter().all(|zone| zone.bridge.as_ref() != Some(*bridge)))
        .collect();
    bridges.sort_unstable();
    bridges.dedup();
    zones.extend(bridges.into_iter().map(|bridge| of_bridge(snapshot, uplinks, &taps, bridge)));
    zones
}

fn tap_name(interface: &Interface) -> Option<&IfName> {
    interface.target.as_ref()
}

fn bridge_of<'a>(snapshot: &'a Snapshot, tap: &IfName) -> Option<&'a IfName> {
    let master = snapshot.link_named(tap.as_str())?.master?;
    Some(&snapshot.link(master)?.name)
}

fn of_libvirt(snapshot: &Snapshot, uplinks: &[Uplink], taps: &[&IfName], network: &Network) -> NetworkZone {
    let config = &network.config;
    let mut zone = NetworkZone {
        name: network.name.clone(),
        mode: config.mode,
        in_libvirt: true,
        active: network.active,
        bridge: config.bridge.clone(),
        bridge_index: None,
        gateways: config.ips.iter().map(|ip| ip.net).collect(),
        nat_ipv6: config.nat_ipv6,
        dhcp: config.ips.iter().any(|ip| ip.dhcp),
        dns: config.dns && !config.ips.is_empty(),
        router_advertisements: advertises(config),
        uplink: None,
        lan_gateway: None,
    };
    zone.bridge_index =
        zone.bridge.as_ref().and_then(|bridge| snapshot.link_named(bridge.as_str())).map(|link| link.index);
    if zone.is_lan() {
        join_lan(snapshot, uplinks, taps, &mut zone);
    } else if config.mode != ForwardMode::Isolated {
        let pinned = config.forward_devices.first();
        zone.uplink = match pinned {
            Some(device) => snapshot.link_named(device.as_str()).map(|link| (link.index, link.name.clone())),
            None => uplinks.first().map(|uplink| (uplink.device, uplink.name.clone())),
        };
    }
    zone
}

/// Whether libvirt's dnsmasq sends router advertisements. It does not run where it has neither DNS nor DHCP to serve
/// (`networkStartDhcpDaemon` in `src/network/bridge_driver.c`). With a DHCP range of IPv6 it advertises that one's subnet,
/// else each subnet as `ra-only`, which dnsmasq takes for a /64 (`networkDnsmasqConfContents` there; `add_prefixes` in
/// dnsmasq's `src/radv.c`: the address's own prefix must not be longer).
fn advertises(config: &NetworkConfig) -> bool {
    let serves = |ip: &NetworkIp| !ip.ranges.is_empty() || !ip.hosts.is_empty();
    let of_ipv6 = || config.ips.iter().filter(|ip| ip.net.addr().is_ipv6());
    let runs = config.dns || config.ips.iter().any(serves);
    runs && (of_ipv6().any(serves) || of_ipv6().any(|ip| ip.net.prefix_len() <= 64))
}

fn of_bridge(snapshot: &Snapshot, uplinks: &[Uplink], taps: &[&IfName], bridge: &IfName) -> NetworkZone {
    let mut zone = NetworkZone {
        name: bridge.0.clone(),
        mode: ForwardMode::Bridge,
        in_libvirt: false,
        active: true,
        bridge: Some(bridge.clone()),
        bridge_index: snapshot.link_named(bridge.as_str()).map(|link| link.index),
        gateways: Vec::new(),
        nat_ipv6: false,
        dhcp: false,
        dns: false,
        router_advertisements: false,
        uplink: None,
        lan_gateway: None,
    };
    join_lan(snapshot, uplinks, taps, &mut zone);
    if zone.uplink.is_none() && is_routed_by_hand(snapshot, uplinks, &zone) {
        zone.mode = ForwardMode::Open;
        zone.uplink = uplinks.first().map(|uplink| (uplink.device, uplink.name.clone()));
    }
    zone
}

/// A bridge outside libvirt that has the host's address but nothing that could be its way to a LAN:
/// the administrator routes or translates for it with rules of his own.
fn is_routed_by_hand(snapshot: &Snapshot, uplinks: &[Uplink], zone: &NetworkZone) -> bool {
    let Some(bridge) = &zone.bridge else { return false };
    let declared =
        snapshot.bridge_config.items().iter().any(|file| file.bridge == *bridge && !file.ports.is_empty());
    !zone.gateways.is_empty()
        && !declared
        && uplinks.iter().all(|uplink| Some(uplink.device) != zone.bridge_index)
        && lost_uplinks(snapshot, bridge).is_empty()
}

/// What a bridge that belongs to a LAN has: the host's addresses on it, its port to the LAN, and the
/// LAN's router as far as the host knows it.
fn join_lan(snapshot: &Snapshot, uplinks: &[Uplink], taps: &[&IfName], zone: &mut NetworkZone) {
    let Some(index) = zone.bridge_index else { return };
    zone.gateways = snapshot
        .addresses
        .items()
        .iter()
        .filter(|address| address.device == index && address.scope == "global")
        .map(|address| address.net)
        .collect();
    zone.uplink = lan_port(snapshot, taps, index).map(|link| (link.index, link.name.clone()));
    let behind = |uplink: &&Uplink| uplink.device == index;
    zone.lan_gateway = uplinks
        .iter()
        .filter(behind)
        .find_map(|uplink| uplink.gateway)
        .or_else(|| routers_behind(snapshot, index).next());
}

fn routers_behind(snapshot: &Snapshot, device: IfIndex) -> impl Iterator<Item = IpAddr> {
    snapshot
        .routes
        .items()
        .iter()
        .flat_map(|route| &route.next_hops)
        .filter(move |hop| hop.device == Some(device))
        .filter_map(|hop| hop.gateway)
}

/// The port of a bridge that leads out of the host: no guest's tap; hardware before virtual cables,
/// live before dead.
fn lan_port<'a>(snapshot: &'a Snapshot, taps: &[&IfName], bridge: IfIndex) -> Option<&'a Link> {
    snapshot
        .links
        .items()
        .iter()
        .filter(|link| link.master == Some(bridge) && !taps.contains(&&link.name))
        .filter_map(|link| Some((uplink_rank(&link.kind)?, !(link.up && link.carrier), link.index, link)))
        .min_by_key(|&(rank, dead, index, _)| (rank, dead, index))
        .map(|(.., link)| link)
}

/// How likely a device of this kind is a bridge's way out, 0 first; `None`: never.
fn uplink_rank(kind: &LinkKind) -> Option<u8> {
    match kind {
        LinkKind::Physical | LinkKind::Bond => Some(0),
        LinkKind::Vlan { .. } => Some(1),
        LinkKind::Vxlan { .. } | LinkKind::Wireguard | LinkKind::Macvlan { .. } => Some(2),
        LinkKind::Veth => Some(3),
        LinkKind::Other { .. } => Some(4),
        LinkKind::Loopback
        | LinkKind::Bridge(_)
        | LinkKind::Tun(_)
        | LinkKind::Macvtap { .. }
        | LinkKind::Dummy
        | LinkKind::Ifb
        | LinkKind::Vrf { .. } => None,
    }
}

/// Devices that look like a bridge's lost way to its LAN: those that a configuration file puts into
/// it, also if they are in another one; else those that could be one, are up, and have neither master nor
/// address. More than one means that it cannot be told which.
pub(crate) fn lost_uplinks(snapshot: &Snapshot, bridge: &IfName) -> Vec<IfName> {
    let index = snapshot.link_named(bridge.as_str()).map(|link| link.index);
    let declared: Vec<IfName> = snapshot
        .bridge_config
        .items()
        .iter()
        .filter(|file| file.bridge == *bridge)
        .flat_map(|file| file.ports.iter().cloned())
        .filter(|port| {
            snapshot.link_named(port.as_str()).is_some_and(|link| link.master != index || index.is_none())
        })
        .collect();
    if !declared.is_empty() {
        return declared;
    }
    let domains = snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.domains);
    let is_tap = |link: &Link| {
        domains.iter().flat_map(|domain| &domain.interfaces).filter_map(tap_name).any(|tap| *tap == link.name)
    };
    let has_address = |link: &Link| {
        snapshot
            .addresses
            .items()
            .iter()
            .any(|address| address.device == link.index && !is_link_local(&address.net))
    };
    snapshot
        .links
        .items()
        .iter()
        .filter(|link| link.up && link.master.is_none() && uplink_rank(&link.kind).is_some())
        .filter(|link| !has_address(link) && !is_tap(link))
        .map(|link| link.name.clone())
        .collect()
}

fn is_link_local(net: &IpNet) -> bool {
    match net.addr() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
