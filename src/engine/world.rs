//! The facts of the host as the engine asks for them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use kvmnet_probes::facts::{
    Address, BaseChain, Bridge, Chain, Family, FdbEntry, IfIndex, IfName, Link, LinkKind, Mac, Neighbour,
    Route, Snapshot, Sysctls, Table,
};

use super::packets::Device;
use super::tracking::Tracking;

/// The facts of one host, and where those stand that every packet asks for.
#[derive(Debug)]
pub struct Facts<'a> {
    snapshot: &'a Snapshot,
    by_number: HashMap<IfIndex, &'a Link>,
    by_name: HashMap<&'a str, &'a Link>,
    fdb: HashMap<(Option<IfIndex>, Mac), Vec<&'a FdbEntry>>,
    addresses: HashMap<IfIndex, Vec<&'a Address>>,
    own: HashSet<IpAddr>,
    neighbours: HashMap<(IfIndex, IpAddr), &'a Neighbour>,
    /// By table and family, the best first.
    routes: HashMap<(u32, bool), Vec<&'a Route>>,
    base_chains: Vec<Entry<'a>>,
    tracking: Tracking,
}

/// A base chain and its table.
pub(super) type Entry<'a> = (&'a Table, &'a Chain, &'a BaseChain);

impl<'a> Facts<'a> {
    /// Of the snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        // Of two the first counts.
        let links = || snapshot.links.items().iter().rev();
        let mut fdb: HashMap<_, Vec<_>> = HashMap::new();
        for entry in snapshot.fdb.items() {
            fdb.entry((entry.bridge, entry.mac)).or_default().push(entry);
        }
        let mut addresses: HashMap<_, Vec<_>> = HashMap::new();
        for address in snapshot.addresses.items() {
            addresses.entry(address.device).or_default().push(address);
        }
        let mut routes: HashMap<_, Vec<_>> = HashMap::new();
        for route in snapshot.routes.items() {
            routes.entry((route.table, route.destination.addr().is_ipv6())).or_default().push(route);
        }
        for routes in routes.values_mut() {
            routes.sort_by_key(|route| (std::cmp::Reverse(route.destination.prefix_len()), route.metric));
        }
        let neighbours = snapshot.neighbours.items().iter().rev();
        let tables = snapshot.nf_tables.items().iter().chain(snapshot.xtables_legacy.items());
        let base_chains = tables.filter(|table| !table.dormant).flat_map(|table| {
            table.chains.iter().filter_map(move |chain| Some((table, chain, chain.base.as_ref()?)))
        });
        Self {
            snapshot,
            by_number: links().map(|link| (link.index, link)).collect(),
            by_name: links().map(|link| (link.name.as_str(), link)).collect(),
            fdb,
            addresses,
            own: snapshot.addresses.items().iter().map(|address| address.net.addr()).collect(),
            neighbours: neighbours.map(|entry| ((entry.device, entry.address), entry)).collect(),
            routes,
            base_chains: base_chains.collect(),
            tracking: Tracking::on(snapshot),
        }
    }
}

/// One host.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) facts: &'a Facts<'a>,
}

impl<'a> World<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        Self { snapshot: facts.snapshot, facts }
    }

    pub(super) fn link(self, index: IfIndex) -> Option<&'a Link> {
        self.facts.by_number.get(&index).copied()
    }

    pub(super) fn link_named(self, name: &str) -> Option<&'a Link> {
        self.facts.by_name.get(name).copied()
    }

    /// The routes of a table, the best first.
    pub(super) fn routes(self, table: u32, ipv6: bool) -> &'a [&'a Route] {
        self.facts.routes.get(&(table, ipv6)).map_or(&[], Vec::as_slice)
    }

    /// The base chains of tables that are not dormant, in the order in which they were read.
    pub(super) fn base_chains(self) -> &'a [Entry<'a>] {
        &self.facts.base_chains
    }

    /// What is known of who has an address on a link.
    pub(super) fn neighbour(self, device: IfIndex, address: IpAddr) -> Option<&'a Neighbour> {
        self.facts.neighbours.get(&(device, address)).copied()
    }

    pub(super) fn device(self, index: IfIndex) -> Device {
        Device { index, name: self.name(index) }
    }

    /// The device's name; `ifN`, as iproute2 writes it, if there is no such device.
    pub(super) fn name(self, index: IfIndex) -> IfName {
        self.link(index).map_or_else(|| IfName(format!("if{index}")), |link| link.name.clone())
    }

    /// Whether connections of the family are tracked.
    pub(super) fn tracks(self, family: Family) -> bool {
        self.facts.tracking.is_of(family)
    }

    /// The device by which the host sends to itself.
    pub(super) fn loopback(self) -> Option<IfIndex> {
        let links = self.snapshot.links.items();
        links.iter().find(|link| link.kind == LinkKind::Loopback).map(|link| link.index)
    }

    pub(super) fn mac(self, index: IfIndex) -> Option<Mac> {
        self.link(index)?.mac
    }

    pub(super) fn bridge(self, index: IfIndex) -> Option<&'a Bridge> {
        match &self.link(index)?.kind {
            LinkKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    /// The bridge that the device is a port of.
    pub(super) fn bridge_of(self, port: IfIndex) -> Option<IfIndex> {
        let master = self.link(port)?.master?;
        self.bridge(master).map(|_| master)
    }

    pub(super) fn sysctls(self) -> Option<&'a Sysctls> {
        self.snapshot.sysctls.known()
    }

    /// The entry of a bridge's table for a MAC, of the VLAN if the bridge filters by VLAN.
    pub(super) fn fdb(self, bridge: IfIndex, mac: Mac, vlan: Option<u16>) -> Option<&'a FdbEntry> {
        let entries = self.facts.fdb.get(&(Some(bridge), mac))?;
        let of_vlan = |entry: &&&FdbEntry| vlan.is_none() || entry.vlan.map(|vlan| vlan.0) == vlan;
        entries.iter().filter(|entry| !entry.own).find(of_vlan).copied()
    }

    pub(super) fn addresses(self, device: IfIndex, ipv6: bool) -> impl Iterator<Item = &'a Address> {
        let all = self.facts.addresses.get(&device).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(move |address| address.net.addr().is_ipv6() == ipv6)
    }

    /// Whether any device has the address; `None` if that is not known.
    pub(super) fn owns(self, address: Option<IpAddr>) -> Option<bool> {
        self.snapshot.addresses.known()?;
        Some(self.facts.own.contains(&address?))
    }

    /// The source that the kernel chooses for what leaves by `device` to `next_hop`: the first
    /// primary address that is on the link with it, else the first one (`inet_select_addr`). `None`
    /// if there is none.
    pub(super) fn source_for(self, device: IfIndex, ipv6: bool, next_hop: Option<IpAddr>) -> Option<IpAddr> {
        let usable = |address: &&Address| {
            !matches!(address.scope.as_str(), "link" | "host")
                && !address
                    .flags
                    .iter()
                    .any(|flag| matches!(flag.as_str(), "secondary" | "tentative" | "dadfailed"))
        };
        let on_link = |address: &&Address| next_hop.is_some_and(|hop| address.net.contains(&hop));
        let of_device = |index| self.addresses(index, ipv6).filter(usable);
        of_device(device)
            .find(on_link)
            .or_else(|| of_device(device).next())
            .map(|address| address.net.addr())
            .or_else(|| {
                let all = self.snapshot.addresses.items().iter();
                let mut family = all.filter(|address| address.net.addr().is_ipv6() == ipv6);
                family.find(usable).map(|address| address.net.addr())
            })
    }
}
