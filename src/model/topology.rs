//! Networks, NICs, taps and uplinks: libvirt's words paired with the kernel's devices.

use std::net::IpAddr;

use ipnet::IpNet;
use kvmnet_probes::facts::{Fact, ForwardMode, IfIndex, IfName, Mac, Snapshot, VlanId};

use super::{network, nic, taps};

/// The networks and NICs of a host, paired with its devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// libvirt's networks by name, then bridges without one that carry a NIC.
    pub networks: Vec<NetworkZone>,
    /// The NICs of all domains, by domain and position.
    pub nics: Vec<Nic>,
    /// Devices of default routes, the best first: behind them lies the internet.
    pub uplinks: Vec<Uplink>,
}

impl Topology {
    /// Pairs what libvirt says with the kernel's devices; without libvirt each tap stands for a VM. A
    /// source that is missing leaves gaps, which whoever decides about them must report.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        let stand_ins;
        let libvirt = match &snapshot.libvirt {
            Fact::Read { value, .. } => value,
            Fact::Missing { .. } => {
                stand_ins = taps::stand_ins(snapshot);
                &stand_ins
            }
        };
        let uplinks = network::uplinks(snapshot);
        let networks = network::zones(snapshot, libvirt, &uplinks);
        let nics = nic::pair(snapshot, libvirt, &networks);
        Self { networks, nics, uplinks }
    }

    /// The network that carries a NIC.
    pub fn network_of(&self, nic: &Nic) -> Option<&NetworkZone> {
        self.networks.get(nic.network?)
    }

    /// The device by which packets of this family leave that the host routes, of a network if it is one's: the device
    /// that the network is bound to, else that of the default route.
    pub fn way_out<'t>(
        &'t self,
        network: Option<&'t NetworkZone>,
        ipv6: bool,
    ) -> Option<(IfIndex, &'t IfName)> {
        let bound = network.and_then(|network| network.uplink.as_ref()).filter(|_| !ipv6);
        let bound = bound.map(|(index, name)| (*index, name));
        let default = || self.uplinks.iter().find(|uplink| uplink.ipv6 == ipv6);
        bound.or_else(|| default().map(|uplink| (uplink.device, &uplink.name)))
    }

    /// The NIC with this MAC answered on the wire for these addresses: the surest knowledge there is.
    pub fn add_wire_addresses(&mut self, mac: Mac, addresses: &[IpAddr]) {
        for nic in self.nics.iter_mut().filter(|nic| nic.mac == mac && nic.active) {
            for &address in addresses {
                match nic.addresses.iter_mut().find(|known| known.address == address) {
                    Some(known) => known.sources.insert(0, AddressSource::Wire),
                    None => {
                        nic.addresses.push(NicAddress { address, sources: vec![AddressSource::Wire] });
                    }
                }
            }
            // What it confirmed first, then what nobody knew of: it may be another's.
            nic.addresses.sort_by_key(|known| {
                (!known.sources.contains(&AddressSource::Wire), known.sources == [AddressSource::Wire])
            });
        }
    }
}

/// A device behind which the internet lies for the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The device.
    pub device: IfIndex,
    /// Its name.
    pub name: IfName,
    /// The router.
    pub gateway: Option<IpAddr>,
    /// The default route is of IPv6.
    pub ipv6: bool,
}

/// A network as a zone.
#[expect(clippy::struct_excessive_bools, reason = "libvirt's own switches, one each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkZone {
    /// Its name.
    pub name: String,
    /// Its mode.
    pub mode: ForwardMode,
    /// libvirt knows it; otherwise it is a bridge that NICs are plugged into directly.
    pub in_libvirt: bool,
    /// It is started.
    pub active: bool,
    /// The name of its bridge.
    pub bridge: Option<IfName>,
    /// The bridge's index, if the device exists.
    pub bridge_index: Option<IfIndex>,
    /// The host's configured addresses with their subnets; for a bridge without any in libvirt
    /// those that the device has.
    pub gateways: Vec<IpNet>,
    /// IPv6 sources are rewritten too (`<nat ipv6='yes'/>`).
    pub nat_ipv6: bool,
    /// DHCP is served by libvirt.
    pub dhcp: bool,
    /// DNS is served by libvirt.
    pub dns: bool,
    /// libvirt's server sends router advertisements.
    pub router_advertisements: bool,
    /// The port of the bridge that leads to the LAN (mode `bridge`), or the device that a NAT or
    /// routed network leaves by.
    pub uplink: Option<(IfIndex, IfName)>,
    /// The LAN's router, if it is known (mode `bridge`): the host's own gateway behind the bridge.
    pub lan_gateway: Option<IpAddr>,
}

/// Where an address of a NIC is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressSource {
    /// `<ip>` in the domain's XML.
    Xml,
    /// `<host ip>` in the network's XML.
    Reserved,
    /// A DHCP lease.
    Lease,
    /// The host's neighbour table.
    Neighbour,
    /// The guest's agent.
    Agent,
    /// The NIC answered for it on the wire.
    Wire,
}

/// An address of a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicAddress {
    /// The address.
    pub address: IpAddr,
    /// Where it is known from, the most reliable first.
    pub sources: Vec<AddressSource>,
}

impl Nic {
    /// How the NIC is called in sentences: the domain, and its position if it is not the first.
    pub fn label(&self) -> String {
        if self.position == 0 { self.vm.clone() } else { format!("{} (NIC {})", self.vm, self.position + 1) }
    }

    /// The address that stands for the NIC in one family.
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().map(|known| known.address).find(|address| address.is_ipv6() == ipv6)
    }
}

impl NetworkZone {
    /// The host's address with its subnet in one family.
    pub fn gateway(&self, ipv6: bool) -> Option<IpNet> {
        self.gateways.iter().copied().find(|net| net.addr().is_ipv6() == ipv6)
    }

    /// Sources are rewritten to the uplink's address when packets leave it. IPv6 only on request
    /// (`<nat ipv6='yes'/>`).
    pub fn translates(&self, ipv6: bool) -> bool {
        self.mode == ForwardMode::Nat && (!ipv6 || self.nat_ipv6)
    }

    /// The mode is nat, and packets of this family are routed all the same: IPv6 is translated only on request, and
    /// libvirt's rules then let in who asks from outside (`nftablesAddIPSpecificFirewallRules`, `iptablesAddIPSpecificFirewallRules`).
    pub fn routes(&self, ipv6: bool) -> bool {
        self.mode == ForwardMode::Nat && !self.translates(ipv6)
    }

    /// The guests are part of the LAN: libvirt joins them to a bridge or device that others manage.
    pub fn is_lan(&self) -> bool {
        match self.mode {
            ForwardMode::Bridge | ForwardMode::Private | ForwardMode::Vepa | ForwardMode::Passthrough => true,
            ForwardMode::Isolated
            | ForwardMode::Nat
            | ForwardMode::Route
            | ForwardMode::Open
            | ForwardMode::Hostdev
            | ForwardMode::Unknown => false,
        }
    }
}

/// A NIC of a domain.
#[expect(clippy::struct_excessive_bools, reason = "libvirt's own switches, one each")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The domain's name.
    pub vm: String,
    /// The NIC's position in the domain, from 0.
    pub position: usize,
    /// The domain runs: the tap should exist.
    pub active: bool,
    /// The domain is paused: nobody answers behind the tap.
    pub paused: bool,
    /// The MAC in the domain's XML.
    pub mac: Mac,
    /// The network that it belongs to, an index into [`Topology::networks`].
    pub network: Option<usize>,
    /// What libvirt says that it is plugged into, in words (`network default`, `bridge br0`,
    /// `macvtap on eth0 (vepa)`).
    pub plugged_into: String,
    /// How the host carries it.
    pub attachment: Attachment,
    /// The tap's name by libvirt.
    pub tap: Option<IfName>,
    /// The tap's index, if the device exists.
    pub tap_index: Option<IfIndex>,
    /// The tap's own MAC.
    pub tap_mac: Option<Mac>,
    /// The bridge that the tap should be in.
    pub expected_bridge: Option<IfName>,
    /// The bridge (or other master) that the tap is in now.
    pub bridge: Option<(IfIndex, IfName)>,
    /// MACs that the bridge learned behind the tap.
    pub learned_macs: Vec<Mac>,
    /// Ports other than the tap behind which a bridge has the NIC's MAC.
    pub mac_seen_at: Vec<IfName>,
    /// Its addresses, the most reliable first.
    pub addresses: Vec<NicAddress>,
    /// The guest's link-local address of IPv6, as which it asks its router.
    pub link_local: Option<IpAddr>,
    /// `<link state='down'/>`.
    pub link_up: bool,
    /// libvirt asked for an isolated port (NIC, portgroup or network).
    pub isolated: bool,
    /// VLAN tags that libvirt was asked for.
    pub vlans: Vec<VlanId>,
    /// The filter's name.
    pub filter: Option<String>,
    /// The domain's tags.
    pub tags: Vec<String>,
}

/// How the host carries a NIC's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A tap in a bridge.
    Tap,
    /// macvtap: host and VM do not reach one another by design.
    Macvtap,
    /// Beyond what the host can see: PCI passthrough, vhost-user, user networking, Open vSwitch.
    Invisible,
}

#[cfg(test)]
mod tests {
    use kvmnet_probes::facts::{Neighbour, NetworkIp};

    use super::*;
    use crate::testing::{index, known, link, snapshot};

    fn nic<'a>(topology: &'a Topology, vm: &str) -> &'a Nic {
        topology.nics.iter().find(|nic| nic.vm == vm).expect("a VM of the fixture")
    }

    #[test]
    fn nics_are_paired_with_their_taps_bridges_and_networks() {
        let topology = Topology::from_snapshot(&snapshot());
        let paired: Vec<_> = topology
            .nics
            .iter()
            .map(|nic| {
                let network = topology.network_of(nic).map(|network| network.name.as_str());
                let bridge = nic.bridge.as_ref().map(|(_, name)| name.as_str());
                (nic.vm.as_str(), nic.tap.as_ref().map(IfName::as_str), bridge, network)
            })
            .collect();
        assert_eq!(
            paired,
            [
                ("db1", Some("tap-db1"), Some("virbr1"), Some("iso")),
                ("lan1", Some("tap-lan1"), Some("br0"), Some("lan")),
                ("web1", Some("tap-web1"), Some("virbr0"), Some("default")),
                ("web2", Some("tap-web2"), Some("virbr0"), Some("default")),
            ]
        );
        assert_eq!(nic(&topology, "web1").address(false), Some("192.168.122.11".parse().unwrap()));
        assert!(topology.nics.iter().all(|nic| nic.mac_seen_at.is_empty()));
    }

    #[test]
    fn networks_know_their_mode_gateway_and_way_out() {
        let topology = Topology::from_snapshot(&snapshot());
        let zones: Vec<_> = topology
            .networks
            .iter()
            .map(|zone| {
                let uplink = zone.uplink.as_ref().map(|(_, name)| name.as_str());
                (zone.name.as_str(), zone.mode, zone.gateway(false).map(|net| net.to_string()), uplink)
            })
            .collect();
        assert_eq!(
            zones,
            [
                ("default", ForwardMode::Nat, Some("192.168.122.1/24".to_owned()), Some("eth0")),
                ("iso", ForwardMode::Isolated, Some("192.168.150.1/24".to_owned()), None),
                ("lan", ForwardMode::Bridge, Some("10.20.0.2/24".to_owned()), Some("eth1")),
            ]
        );
        assert_eq!(topology.uplinks.len(), 1);
        assert_eq!(topology.uplinks[0].gateway, Some("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn a_tap_elsewhere_keeps_its_network() {
        let mut snapshot = snapshot();
        let foreign = index(&snapshot, "virbr0");
        link(&mut snapshot, "tap-db1").master = Some(foreign);
        let topology = Topology::from_snapshot(&snapshot);
        let nic = nic(&topology, "db1");
        assert_eq!(nic.bridge.as_ref().map(|(_, name)| name.as_str()), Some("virbr0"));
        assert_eq!(nic.expected_bridge.as_ref().map(IfName::as_str), Some("virbr1"));
        assert_eq!(topology.network_of(nic).map(|zone| zone.name.as_str()), Some("iso"));
    }

    #[test]
    fn a_lost_uplink_is_not_replaced_by_a_tap() {
        let mut snapshot = snapshot();
        link(&mut snapshot, "eth1").master = None;
        let topology = Topology::from_snapshot(&snapshot);
        let lan = topology.networks.iter().find(|zone| zone.name == "lan").unwrap();
        assert_eq!(lan.uplink, None);
        let lost = super::super::lost_uplinks(&snapshot, &"br0".into());
        assert_eq!(lost.iter().map(IfName::as_str).collect::<Vec<_>>(), ["eth1"]);
    }

    #[test]
    fn a_guest_cannot_claim_an_address_of_the_host_or_outside_its_subnet() {
        let mut snapshot = snapshot();
        let bridge = index(&snapshot, "virbr0");
        let web1 = nic(&Topology::from_snapshot(&snapshot), "web1").mac;
        for address in ["192.168.122.1", "10.99.0.5", "192.168.122.11", "192.168.122.77"] {
            known(&mut snapshot.neighbours).push(kvmnet_probes::facts::Neighbour {
                device: bridge,
                address: address.parse().unwrap(),
                mac: Some(web1),
                state: "reachable".to_owned(),
                proxy: false,
            });
        }
        let topology = Topology::from_snapshot(&snapshot);
        let known: Vec<_> = nic(&topology, "web1")
            .addresses
            .iter()
            .map(|known| (known.address.to_string(), known.sources.clone()))
            .collect();
        let expected = [
            ("192.168.122.11", vec![AddressSource::Reserved, AddressSource::Neighbour]),
            ("192.168.122.77", vec![AddressSource::Neighbour]),
        ];
        assert_eq!(known, expected.map(|(address, sources)| (address.to_owned(), sources)));
    }

    #[test]
    fn what_answered_on_the_wire_comes_first() {
        let mut topology = Topology::from_snapshot(&snapshot());
        let mac = nic(&topology, "web1").mac;
        topology.add_wire_addresses(mac, &["192.168.122.150".parse().unwrap()]);
        let first = &nic(&topology, "web1").addresses[0];
        assert_eq!(first.address.to_string(), "192.168.122.150");
        assert_eq!(first.sources, [AddressSource::Wire]);
    }

    #[test]
    fn a_network_is_advertised_where_its_server_runs_and_has_a_prefix() {
        // The address of IPv6, its DHCP range, whether IPv4 has one, and whether DNS is served.
        for (net, range, dhcp, dns, expected) in [
            ("fd00:150::1/64", false, false, true, true),
            ("fd00:150::1/64", false, true, false, true),
            ("fd00:150::1/64", false, false, false, false),
            ("fd00:150::1/64", true, false, false, true),
            ("fd00:150::1/80", false, true, true, false),
            ("fd00:150::1/80", true, true, true, true),
        ] {
            let mut snapshot = snapshot();
            let networks = &mut known(&mut snapshot.libvirt).networks;
            let config = &mut networks.iter_mut().find(|network| network.name == "iso").expect("iso").config;
            config.dns = dns;
            if !dhcp {
                config.ips.iter_mut().for_each(|ip| (ip.ranges, ip.hosts) = (Vec::new(), Vec::new()));
            }
            let address = |last: &str| format!("fd00:150::{last}").parse().expect("an address");
            config.ips.push(NetworkIp {
                net: net.parse().expect("a subnet"),
                dhcp: range,
                ranges: range.then(|| (address("100"), address("200"))).into_iter().collect(),
                hosts: Vec::new(),
            });
            let topology = Topology::from_snapshot(&snapshot);
            let advertised: Vec<_> = topology
                .networks
                .iter()
                .map(|zone| (zone.name.as_str(), zone.router_advertisements))
                .collect();
            let all = [("default", false), ("iso", expected), ("lan", false)];
            assert_eq!(advertised, all, "{net}, range: {range}, DHCP: {dhcp}, DNS: {dns}");
            let claims = crate::model::claims(&topology, &crate::model::Scope::default(), &[]);
            let is_claimed = claims.iter().any(|claim| claim.traffic_in_words() == "router-advertisement");
            assert_eq!(is_claimed, expected);
        }
    }

    #[test]
    fn a_guest_asks_its_router_by_its_own_link_local_address() {
        let mut snapshot = snapshot();
        let device = index(&snapshot, "virbr0");
        let mac = nic(&Topology::from_snapshot(&snapshot), "web1").mac;
        let own = known(&mut snapshot.addresses).iter().map(|own| own.net.addr());
        let own = own.clone().find(|own| own.to_string().starts_with("fe80:")).expect("a link-local address");
        let entry = |address: IpAddr, state: &str| Neighbour {
            device,
            address,
            mac: Some(mac),
            state: state.to_owned(),
            proxy: false,
        };
        let address = |last: &str| format!("fe80::{last}").parse().expect("an address");
        let neighbours = known(&mut snapshot.neighbours);
        neighbours.push(entry(own, "reachable"));
        neighbours.push(entry(address("1"), "failed"));
        neighbours.push(entry(address("2"), "stale"));
        assert_eq!(nic(&Topology::from_snapshot(&snapshot), "web1").link_local, Some(address("2")));
        known(&mut snapshot.neighbours).push(entry(address("3"), "reachable"));
        let topology = Topology::from_snapshot(&snapshot);
        assert_eq!(nic(&topology, "web1").link_local, Some(address("3")));
        assert_eq!(nic(&topology, "web2").link_local, None);
        let known_of_web1 = &nic(&topology, "web1").addresses;
        assert!(known_of_web1.iter().all(|known| known.address.is_ipv4()), "{known_of_web1:?}");
    }
}
