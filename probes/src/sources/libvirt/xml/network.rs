//! `<network>` (<https://libvirt.org/formatnetwork.html>) and `<networkport>`.

use std::net::IpAddr;
use std::str::FromStr;

use roxmltree::Node;

use super::element::{Element, Error, document, net, port_isolated, vlans};
use crate::facts::{
    DhcpHost, ForwardMode, IfName, NetworkConfig, NetworkIp, NetworkPort, NetworkRoute, Portgroup,
};

impl FromStr for NetworkConfig {
    type Err = Error;

    /// Parses what `virNetworkGetXMLDesc` returns.
    fn from_str(xml: &str) -> Result<Self, Error> {
        let document = document(xml, "network")?;
        let root = document.root_element();
        let forward = root.child("forward");
        let nat = forward.and_then(|forward| forward.child("nat"));
        let bridge = root.child("bridge");
        let dns = root.child("dns").map_or(Ok(None), |dns| dns.switch("enable"))?;
        let mode = forward.map_or(ForwardMode::Isolated, mode);
        let by_libvirt = mode.has_bridge_of_libvirt();
        let ips: Vec<_> = root.children_named("ip").map(ip).collect::<Result<_, _>>()?;
        Ok(Self {
            mode,
            forward_devices: forward.map(forward_devices).unwrap_or_default(),
            nat_ipv6: nat.map_or(Ok(None), |nat| nat.switch("ipv6"))?.unwrap_or(false),
            nat_addresses: nat.and_then(|nat| nat.child("address")).map(range).transpose()?,
            nat_ports: match nat.and_then(|nat| nat.child("port")) {
                Some(ports) => Some(range(ports)?),
                // libvirt fills this in when the network starts (`networkXMLNatPortDefaults`).
                None if mode == ForwardMode::Nat => Some((1024, 65535)),
                None => None,
            },
            bridge: bridge.and_then(|bridge| bridge.device("name")),
            stp: bridge.map_or(Ok(None), |bridge| bridge.switch("stp"))?.unwrap_or(by_libvirt),
            mac_table_by_libvirt: match bridge.and_then(|bridge| bridge.attribute("macTableManager")) {
                Some("libvirt") => true,
                None | Some("kernel") => false,
                Some(_) => return Err(bridge.unwrap_or(root).misunderstood("macTableManager")),
            },
            zone: bridge.and_then(|bridge| bridge.attribute("zone")).map(str::to_owned),
            mac: root.child("mac").map(|mac| mac.required("address")).transpose()?,
            mtu: root.child("mtu").map(|mtu| mtu.required("size")).transpose()?,
            domain: root.child_attribute("domain", "name").map(str::to_owned),
            dns: by_libvirt && !ips.is_empty() && dns.unwrap_or(true),
            ipv6: root.switch("ipv6")?.unwrap_or(false),
            ips,
            routes: root.children_named("route").map(route).collect::<Result<_, _>>()?,
            port_isolated: port_isolated(root)?,
            virtualport: root.child_attribute("virtualport", "type").map(str::to_owned),
            vlans: vlans(root)?,
            portgroups: root.children_named("portgroup").map(portgroup).collect::<Result<_, _>>()?,
        })
    }
}

fn mode(forward: Node<'_, '_>) -> ForwardMode {
    match forward.attribute("mode") {
        None | Some("nat") => ForwardMode::Nat,
        Some("none") => ForwardMode::Isolated,
        Some("route") => ForwardMode::Route,
        Some("open") => ForwardMode::Open,
        Some("bridge") => ForwardMode::Bridge,
        Some("private") => ForwardMode::Private,
        Some("vepa") => ForwardMode::Vepa,
        Some("passthrough") => ForwardMode::Passthrough,
        Some("hostdev") => ForwardMode::Hostdev,
        Some(_) => ForwardMode::Unknown,
    }
}

/// libvirt repeats `<forward dev>` as the first `<interface dev>`.
fn forward_devices(forward: Node<'_, '_>) -> Vec<IfName> {
    let interfaces = forward.children_named("interface").filter_map(|interface| interface.device("dev"));
    let mut devices: Vec<_> = forward.device("dev").into_iter().collect();
    for device in interfaces {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    devices
}

/// `start` and `end`; a range without an end is its start alone.
fn range<T: FromStr + Copy>(element: Node<'_, '_>) -> Result<(T, T), Error> {
    let start = element.required("start")?;
    Ok((start, element.parsed("end")?.unwrap_or(start)))
}

fn ip(element: Node<'_, '_>) -> Result<NetworkIp, Error> {
    let dhcp = element.child("dhcp");
    let mut found =
        NetworkIp { net: net(element)?, dhcp: dhcp.is_some(), ranges: Vec::new(), hosts: Vec::new() };
    if let Some(dhcp) = dhcp {
        found.ranges = dhcp.children_named("range").map(range).collect::<Result<_, _>>()?;
        found.hosts = dhcp.children_named("host").map(host).collect::<Result<_, _>>()?;
    }
    Ok(found)
}

fn host(element: Node<'_, '_>) -> Result<DhcpHost, Error> {
    Ok(DhcpHost {
        mac: element.parsed("mac")?,
        name: element.attribute("name").map(str::to_owned),
        address: element.required("ip")?,
    })
}

fn route(element: Node<'_, '_>) -> Result<NetworkRoute, Error> {
    Ok(NetworkRoute { destination: net(element)?, gateway: element.required::<IpAddr>("gateway")? })
}

fn portgroup(element: Node<'_, '_>) -> Result<Portgroup, Error> {
    Ok(Portgroup {
        name: element.required("name")?,
        default: element.switch("default")?.unwrap_or(false),
        port_isolated: port_isolated(element)?,
        vlans: vlans(element)?,
    })
}

/// Parses what `virNetworkPortGetXMLDesc` returns.
pub fn port(xml: &str) -> Result<NetworkPort, Error> {
    let document = document(xml, "networkport")?;
    let root = document.root_element();
    let plug = root.child("plug");
    Ok(NetworkPort {
        uuid: root.child_text("uuid").ok_or_else(|| root.lacks("<uuid>"))?.to_owned(),
        domain: root.child("owner").and_then(|owner| owner.child_text("name")).map(str::to_owned),
        mac: root.child("mac").map(|mac| mac.required("address")).transpose()?,
        device: plug.and_then(|plug| plug.device("bridge").or_else(|| plug.device("dev"))),
    })
}
