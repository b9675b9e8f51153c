//! NICs: each `<interface>` of a domain paired with its tap, checked against MAC tables, and the
//! addresses that are known of it.

use std::net::IpAddr;

use kvmnet_probes::facts::{
    Domain, DomainState, ForwardMode, IfName, Interface, InterfaceSource, Libvirt, Link, Mac, Neighbour,
    Network, Snapshot, VlanId,
};

use super::{AddressSource, Attachment, NetworkZone, Nic, NicAddress};

/// The NICs of all domains, by domain and position.
pub(super) fn pair(snapshot: &Snapshot, libvirt: &Libvirt, networks: &[NetworkZone]) -> Vec<Nic> {
    let mut domains: Vec<&Domain> = libvirt.domains.iter().collect();
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    domains
        .into_iter()
        .flat_map(|domain| domain.interfaces.iter().enumerate().map(move |nic| (domain, nic)))
        .map(|(domain, (position, interface))| {
            Pairing { snapshot, libvirt, networks, domain, interface }.nic(position)
        })
        .collect()
}

/// One `<interface>` and everything that it is paired with.
#[derive(Clone, Copy)]
struct Pairing<'a> {
    snapshot: &'a Snapshot,
    libvirt: &'a Libvirt,
    networks: &'a [NetworkZone],
    domain: &'a Domain,
    interface: &'a Interface,
}

impl<'a> Pairing<'a> {
    fn nic(self, position: usize) -> Nic {
        let Self { snapshot, interface, .. } = self;
        let active = self.domain.state.is_active();
        let tap = if active { self.tap() } else { None };
        let bridge = tap.and_then(|tap| snapshot.link(tap.master?));
        let network = self.network(bridge);
        let (isolated, vlans) = self.inherited();
        let mut nic = Nic {
            vm: self.domain.name.clone(),
            position,
            active,
            paused: self.domain.state == DomainState::Paused,
            mac: interface.mac,
            network,
            plugged_into: self.plugged_into(),
            attachment: self.attachment(),
            tap: tap.map(|tap| tap.name.clone()).or_else(|| interface.target.clone().filter(|_| active)),
            tap_index: tap.map(|tap| tap.index),
            tap_mac: tap.and_then(|tap| tap.mac),
            expected_bridge: self.expected_bridge(network),
            bridge: bridge.map(|bridge| (bridge.index, bridge.name.clone())),
            learned_macs: Vec::new(),
            mac_seen_at: Vec::new(),
            addresses: Vec::new(),
            link_local: None,
            link_up: interface.link_up,
            isolated,
            vlans,
            filter: self.filter(tap),
            tags: self.domain.tags.clone(),
        };
        if let Some(tap) = tap {
            self.read_mac_tables(tap, &mut nic);
        }
        nic.addresses = self.addresses(&nic);
        nic.link_local = self.link_local(&nic);
        nic
    }

    /// The tap by its name; where libvirt names none, by the MAC that libvirt gives taps: the NIC's
    /// with a first octet of 0xfe.
    fn tap(self) -> Option<&'a Link> {
        if let Some(name) = &self.interface.target {
            return self.snapshot.link_named(name.as_str());
        }
        let mut mac = self.interface.mac;
        mac.0[0] = 0xfe;
        self.snapshot.links.items().iter().find(|link| link.mac == Some(mac))
    }

    fn source_network(self) -> Option<&'a Network> {
        let InterfaceSource::Network { network, .. } = &self.interface.source else { return None };
        self.libvirt.networks.iter().find(|candidate| candidate.name == *network)
    }

    fn network(self, now: Option<&Link>) -> Option<usize> {
        let by_bridge =
            |bridge: &IfName| self.networks.iter().position(|zone| zone.bridge.as_ref() == Some(bridge));
        match &self.interface.source {
            InterfaceSource::Network { network, .. } => {
                self.networks.iter().position(|zone| zone.in_libvirt && zone.name == *network)
            }
            InterfaceSource::Bridge { bridge } => by_bridge(bridge),
            InterfaceSource::Ethernet => by_bridge(&now?.name),
            InterfaceSource::Direct { .. }
            | InterfaceSource::Hostdev
            | InterfaceSource::User
            | InterfaceSource::VhostUser
            | InterfaceSource::Other { .. } => None,
        }
    }

    fn expected_bridge(self, network: Option<usize>) -> Option<IfName> {
        match &self.interface.source {
            InterfaceSource::Network { bridge, .. } => {
                network.and_then(|at| self.networks[at].bridge.clone()).or_else(|| bridge.clone())
            }
            InterfaceSource::Bridge { bridge } => Some(bridge.clone()),
            InterfaceSource::Direct { .. }
            | InterfaceSource::Hostdev
            | InterfaceSource::Ethernet
            | InterfaceSource::User
            | InterfaceSource::VhostUser
            | InterfaceSource::Other { .. } => None,
        }
    }

    fn attachment(self) -> Attachment {
        let network = self.source_network().map(|network| &network.config);
        let virtualport = self
            .interface
            .virtualport
            .as_deref()
            .or_else(|| network.and_then(|config| config.virtualport.as_deref()));
        if virtualport == Some("openvswitch") {
            return Attachment::Invisible;
        }
        match &self.interface.source {
            InterfaceSource::Network { .. } => match network.map(|config| config.mode) {
                Some(ForwardMode::Private | ForwardMode::Vepa | ForwardMode::Passthrough) => {
                    Attachment::Macvtap
                }
                Some(ForwardMode::Bridge) if network.is_some_and(|config| config.bridge.is_none()) => {
                    Attachment::Macvtap
                }
                Some(ForwardMode::Hostdev | ForwardMode::Unknown) => Attachment::Invisible,
                Some(
                    ForwardMode::Bridge
                    | ForwardMode::Isolated
                    | ForwardMode::Nat
                    | ForwardMode::Route
                    | ForwardMode::Open,
                )
                | None => Attachment::Tap,
            },
            InterfaceSource::Bridge { .. } | InterfaceSource::Ethernet => Attachment::Tap,
            InterfaceSource::Direct { .. } => Attachment::Macvtap,
            InterfaceSource::Hostdev
            | InterfaceSource::User
            | InterfaceSource::VhostUser
            | InterfaceSource::Other { .. } => Attachment::Invisible,
        }
    }

    fn plugged_into(self) -> String {
        match &self.interface.source {
            InterfaceSource::Network { network, portgroup: None, .. } => format!("network {network}"),
            InterfaceSource::Network { network, portgroup: Some(group), .. } => {
                format!("network {network}, port group {group}")
            }
            InterfaceSource::Bridge { bridge } => format!("bridge {bridge}"),
            InterfaceSource::Direct { device: Some(device), mode } => format!("macvtap on {device} ({mode})"),
            InterfaceSource::Direct { device: None, mode } => format!("macvtap ({mode})"),
            InterfaceSource::Hostdev => "PCI device of the host".to_owned(),
            InterfaceSource::Ethernet => "tap without a bridge of libvirt's".to_owned(),
            InterfaceSource::User => "user networking".to_owned(),
            InterfaceSource::VhostUser => "vhost-user".to_owned(),
            InterfaceSource::Other { kind } => kind.clone(),
        }
    }

    /// Port isolation and VLANs, from the NIC, else its port group, else its network
    /// (<https://libvirt.org/formatnetwork.html#portgroups>).
    fn inherited(self) -> (bool, Vec<VlanId>) {
        let config = self.source_network().map(|network| &network.config);
        let asked = match &self.interface.source {
            InterfaceSource::Network { portgroup, .. } => portgroup.as_ref(),
            _ => None,
        };
        let group = config.and_then(|config| {
            config.portgroups.iter().find(|group| asked.map_or(group.default, |name| group.name == *name))
        });
        let isolated = self.interface.isolated
            || group.is_some_and(|group| group.port_isolated)
            || config.is_some_and(|config| config.port_isolated);
        let vlans = [
            Some(&self.interface.vlans),
            group.map(|group| &group.vlans),
            config.map(|config| &config.vlans),
        ];
        let vlans = vlans.into_iter().flatten().find(|vlans| !vlans.is_empty()).cloned().unwrap_or_default();
        (isolated, vlans)
    }

    fn filter(self, tap: Option<&Link>) -> Option<String> {
        let bound = || {
            let name = &tap?.name;
            let binding = self.libvirt.filter_bindings.iter().find(|binding| binding.port == *name)?;
            Some(binding.filter.clone())
        };
        self.interface.filter.as_ref().map(|filter| filter.filter.clone()).or_else(bound)
    }

    fn read_mac_tables(self, tap: &Link, nic: &mut Nic) {
        for entry in self.snapshot.fdb.items().iter().filter(|entry| !entry.own) {
            if entry.port == tap.index {
                if !entry.permanent {
                    nic.learned_macs.push(entry.mac);
                }
            } else if entry.mac == nic.mac
                && let Some(port) = self.snapshot.link(entry.port)
            {
                nic.mac_seen_at.push(port.name.clone());
            }
        }
        nic.learned_macs.sort_unstable();
        nic.learned_macs.dedup();
        nic.mac_seen_at.sort_unstable();
        nic.mac_seen_at.dedup();
    }

    /// What is known of the NIC's addresses. What a guest can influence (neighbour table, agent)
    /// counts only inside the network's subnets and never for an address of the host, because probes
    /// are sent from it.
    fn addresses(self, nic: &Nic) -> Vec<NicAddress> {
        let mut known: Vec<NicAddress> = Vec::new();
        let mut add = |address: IpAddr, source| {
            let unusable = match address {
                IpAddr::V4(v4) => v4.is_unspecified() || v4.is_loopback() || v4.is_multicast(),
                IpAddr::V6(v6) => {
                    v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local()
                }
            };
            if unusable {
                return;
            }
            match known.iter_mut().find(|entry| entry.address == address) {
                Some(entry) if entry.sources.contains(&source) => {}
                Some(entry) => entry.sources.push(source),
                None => known.push(NicAddress { address, sources: vec![source] }),
            }
        };
        self.interface.addresses.iter().for_each(|net| add(net.addr(), AddressSource::Xml));
        if let Some(network) = self.source_network().or_else(|| self.network_of_bridge(nic)) {
            let of_nic = |mac: Option<Mac>| mac == Some(nic.mac);
            let hosts = network.config.ips.iter().flat_map(|ip| &ip.hosts);
            hosts.filter(|host| of_nic(host.mac)).for_each(|host| add(host.address, AddressSource::Reserved));
            let now_s = i64::try_from(self.snapshot.taken_ms / 1000).unwrap_or(i64::MAX);
            let valid = network.leases.iter().filter(|lease| lease.expires_s == 0 || lease.expires_s > now_s);
            valid
                .filter(|lease| of_nic(lease.mac))
                .for_each(|lease| add(lease.address, AddressSource::Lease));
        }
        let zone = nic.network.map(|at| &self.networks[at]);
        let plausible = |address: IpAddr| {
            let subnets = zone.map_or(&[][..], |zone| &zone.gateways);
            let mut family =
                subnets.iter().filter(|net| net.addr().is_ipv6() == address.is_ipv6()).peekable();
            let inside = family.peek().is_none() || family.any(|net| net.contains(&address));
            inside && self.is_not_ours(address)
        };
        self.neighbours(nic)
            .filter(|neighbour| plausible(neighbour.address))
            .for_each(|neighbour| add(neighbour.address, AddressSource::Neighbour));
        let agent = self.domain.agent_addresses.iter().flatten();
        agent
            .filter(|entry| entry.mac == Some(nic.mac) && plausible(entry.net.addr()))
            .for_each(|entry| add(entry.net.addr(), AddressSource::Agent));
        known
    }

    /// The guest's link-local address: as its agent says, else as the neighbour table has it, a fresh entry first.
    /// A host has one for each of its devices, so that no subnet tells whether it is plausible; it must not be the
    /// host's own.
    fn link_local(self, nic: &Nic) -> Option<IpAddr> {
        let is_link_local = |address: &IpAddr| match address {
            IpAddr::V6(address) => address.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        let agent = self.domain.agent_addresses.iter().flatten();
        let mut said = agent.filter(|entry| entry.mac == Some(nic.mac)).map(|entry| entry.net.addr());
        let mut heard: Vec<_> = self.neighbours(nic).collect();
        heard.sort_by_key(|neighbour| (neighbour.state != "reachable", neighbour.address));
        let usable = |address: &IpAddr| is_link_local(address) && self.is_not_ours(*address);
        said.find(usable).or_else(|| heard.into_iter().map(|neighbour| neighbour.address).find(usable))
    }

    fn is_not_ours(self, address: IpAddr) -> bool {
        self.snapshot.addresses.items().iter().all(|own| own.net.addr() != address)
    }

    /// What the host's neighbour table has of the NIC on its bridge.
    fn neighbours(self, nic: &Nic) -> impl Iterator<Item = &'a Neighbour> {
        let zone = nic.network.and_then(|at| self.networks[at].bridge_index);
        let devices = [zone, nic.bridge.as_ref().map(|(index, _)| *index)];
        let mac = nic.mac;
        self.snapshot.neighbours.items().iter().filter(move |neighbour| {
            neighbour.mac == Some(mac)
                && devices.contains(&Some(neighbour.device))
                && !neighbour.proxy
                && !matches!(neighbour.state.as_str(), "failed" | "incomplete")
        })
    }

    fn network_of_bridge(self, nic: &Nic) -> Option<&'a Network> {
        let name = &self.networks[nic.network?].name;
        self.libvirt.networks.iter().find(|network| network.name == *name)
    }
}
