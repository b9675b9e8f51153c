//! What libvirt would say of the private host. No libvirt runs: its rules are generated like others.

use kvmnet_probes::facts::{
    Daemon, Domain, DomainState, ForwardMode, Interface, InterfaceSource, Libvirt, Network, NetworkConfig,
    NetworkIp,
};

use crate::host::net;
use crate::places::{GUESTS, Guest, NETS, Net};

/// libvirt's facts.
pub(crate) fn facts() -> Libvirt {
    Libvirt {
        uri: "qemu:///system".to_owned(),
        daemon: Daemon::Modular,
        version: "11.3.0".to_owned(),
        firewall_backend: Some("nftables".to_owned()),
        networks: NETS.iter().map(network).collect(),
        domains: GUESTS.iter().map(domain).collect(),
        filters: Vec::new(),
        filter_bindings: Vec::new(),
        unread: Vec::new(),
    }
}

fn network(net: &Net) -> Network {
    let mode = match net.name {
        "nat" => ForwardMode::Nat,
        "iso" => ForwardMode::Isolated,
        _ => ForwardMode::Bridge,
    };
    let ip = |text: &&str| NetworkIp {
        net: text.parse().expect("an address with its prefix length"),
        dhcp: false,
        ranges: Vec::new(),
        hosts: Vec::new(),
    };
    let served = mode != ForwardMode::Bridge;
    let config = NetworkConfig {
        mode,
        forward_devices: Vec::new(),
        nat_ipv6: true,
        nat_addresses: None,
        nat_ports: None,
        bridge: Some(net.bridge.into()),
        stp: false,
        mac_table_by_libvirt: false,
        zone: None,
        mac: Some(net.mac),
        mtu: None,
        domain: None,
        dns: false,
        ipv6: false,
        ips: net.addresses.iter().filter(|_| served).map(ip).collect(),
        routes: Vec::new(),
        port_isolated: false,
        virtualport: None,
        vlans: Vec::new(),
        portgroups: Vec::new(),
    };
    Network {
        name: net.name.to_owned(),
        uuid: String::new(),
        active: true,
        autostart: true,
        persistent: true,
        config,
        saved: None,
        leases: Vec::new(),
        ports: None,
    }
}

fn domain(guest: &Guest) -> Domain {
    let addresses = guest.addresses.iter().zip([24, 64]);
    let interface = Interface {
        source: InterfaceSource::Network {
            network: guest.network.to_owned(),
            portgroup: None,
            bridge: Some(net(guest).bridge.into()),
        },
        mac: guest.mac,
        target: Some(guest.tap.into()),
        model: Some("virtio".to_owned()),
        link_up: true,
        filter: None,
        vlans: Vec::new(),
        virtualport: None,
        isolated: false,
        mtu: None,
        addresses: addresses
            .map(|(address, length)| format!("{address}/{length}").parse().expect("an address"))
            .collect(),
        alias: None,
    };
    Domain {
        name: guest.name.to_owned(),
        uuid: String::new(),
        state: DomainState::Running,
        autostart: false,
        persistent: true,
        interfaces: vec![interface],
        saved_interfaces: None,
        tags: Vec::new(),
        agent_addresses: None,
    }
}
