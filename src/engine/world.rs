//! The facts of the host as the engine asks for them.

use std::net::IpAddr;

use kvmnet_probes::facts::{
    Address, Bridge, FdbEntry, IfIndex, IfName, Link, LinkKind, Mac, Snapshot, Sysctls,
};

use super::packets::Device;

/// One host.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    pub(super) snapshot: &'a Snapshot,
}

impl<'a> World<'a> {
    pub(super) fn link(self, index: IfIndex) -> Option<&'a Link> {
        self.snapshot.links.items().iter().find(|link| link.index == index)
    }

    pub(super) fn link_named(self, name: &IfName) -> Option<&'a Link> {
        self.snapshot.links.items().iter().find(|link| link.name == *name)
    }

    pub(super) fn device(self, index: IfIndex) -> Device {
        Device { index, name: self.name(index) }
    }

    /// The device's name; `ifN`, as iproute2 writes it, if there is no such device.
    pub(super) fn name(self, index: IfIndex) -> IfName {
        self.link(index).map_or_else(|| IfName(format!("if{index}")), |link| link.name.clone())
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
        self.snapshot.fdb.items().iter().find(|entry| {
            entry.bridge == Some(bridge)
                && entry.mac == mac
                && !entry.own
                && (vlan.is_none() || entry.vlan.map(|vlan| vlan.0) == vlan)
        })
    }

    pub(super) fn addresses(self, device: IfIndex, ipv6: bool) -> impl Iterator<Item = &'a Address> {
        self.snapshot
            .addresses
            .items()
            .iter()
            .filter(move |address| address.device == device && address.net.addr().is_ipv6() == ipv6)
    }

    /// Whether any device has the address; `None` if that is not known.
    pub(super) fn owns(self, address: Option<IpAddr>) -> Option<bool> {
        Some(self.snapshot.addresses.known()?.iter().any(|own| Some(own.net.addr()) == address))
            .filter(|_| address.is_some())
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
