//! The host that every trial runs on.
//!
//! ```text
//!   web1 .11  web2 .12        db1 .11               lan1 .11            guests: a namespace each
//!    vnet2     vnet3           vnet0                 vnet1
//!   virbr0 (nat) .1           virbr1 (iso) .1       br0 (lan) .2 ─ eth1 ─ .1
//!   192.168.122.0/24          192.168.150.0/24      10.20.0.0/24           │
//!   fd00:122::/64             fd00:150::/64         fd00:20::/64           │
//!                                                                          │
//!   eth0 203.0.113.2, 2001:db8:1::2 ─ 203.0.113.1, 2001:db8:1::1 ── the internet's namespace
//!                                      198.51.100.10, 2001:db8:2::10
//! ```
//!
//! The internet has routes back to `iso` and to the LAN, and none to `nat`: who leaves from there
//! without a translated source gets no answer, as on a real uplink.

use std::net::IpAddr;

use kvmnet_probes::facts::Mac;

/// A guest.
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    pub(crate) network: &'static str,
    pub(crate) tap: &'static str,
    pub(crate) mac: Mac,
    pub(crate) addresses: [&'static str; 2],
}

/// A network with its bridge.
pub(crate) struct Net {
    pub(crate) name: &'static str,
    pub(crate) bridge: &'static str,
    pub(crate) mac: Mac,
    /// The host's addresses there, with their prefix lengths.
    pub(crate) addresses: [&'static str; 2],
}

/// The guests, in the order of a topology.
pub(crate) const GUESTS: [Guest; 4] = [
    Guest {
        name: "db1",
        network: "iso",
        tap: "vnet0",
        mac: Mac([0x52, 0x54, 0, 0xaa, 0, 1]),
        addresses: ["192.168.150.11", "fd00:150::11"],
    },
    Guest {
        name: "lan1",
        network: "lan",
        tap: "vnet1",
        mac: Mac([0x52, 0x54, 0, 0xaa, 0, 2]),
        addresses: ["10.20.0.11", "fd00:20::11"],
    },
    Guest {
        name: "web1",
        network: "nat",
        tap: "vnet2",
        mac: Mac([0x52, 0x54, 0, 0xaa, 0, 3]),
        addresses: ["192.168.122.11", "fd00:122::11"],
    },
    Guest {
        name: "web2",
        network: "nat",
        tap: "vnet3",
        mac: Mac([0x52, 0x54, 0, 0xaa, 0, 4]),
        addresses: ["192.168.122.12", "fd00:122::12"],
    },
];

/// The networks, in the order of a topology.
pub(crate) const NETS: [Net; 3] = [
    Net {
        name: "iso",
        bridge: "virbr1",
        mac: Mac([0x52, 0x54, 0, 0xbb, 0, 1]),
        addresses: ["192.168.150.1/24", "fd00:150::1/64"],
    },
    Net {
        name: "lan",
        bridge: "br0",
        mac: Mac([0x52, 0x54, 0, 0xbb, 0, 2]),
        addresses: ["10.20.0.2/24", "fd00:20::2/64"],
    },
    Net {
        name: "nat",
        bridge: "virbr0",
        mac: Mac([0x52, 0x54, 0, 0xbb, 0, 3]),
        addresses: ["192.168.122.1/24", "fd00:122::1/64"],
    },
];

/// The host's addresses and MAC at the uplink, and those of the router behind it.
pub(crate) const UPLINK: [&str; 2] = ["203.0.113.2", "2001:db8:1::2"];
pub(crate) const UPLINK_MAC: Mac = Mac([0x52, 0x54, 0, 0xcc, 0, 1]);
pub(crate) const ROUTER: [&str; 2] = ["203.0.113.1", "2001:db8:1::1"];
pub(crate) const ROUTER_MAC: Mac = Mac([0x52, 0x54, 0, 0xcc, 0, 2]);

/// The LAN's router, and the MAC of the port that leads to it.
pub(crate) const LAN_ROUTER: [&str; 2] = ["10.20.0.1", "fd00:20::1"];
pub(crate) const LAN_ROUTER_MAC: Mac = Mac([0x52, 0x54, 0, 0xcc, 0, 3]);
pub(crate) const LAN_PORT_MAC: Mac = Mac([0x52, 0x54, 0, 0xcc, 0, 4]);

/// Who answers in the internet.
pub(crate) const INTERNET: [&str; 2] = ["198.51.100.10", "2001:db8:2::10"];

/// The TCP ports that packets are sent to. Everybody listens on all of them, so that a reset means a
/// rule.
pub(crate) const PORTS: [u16; 3] = [22, 80, 443];

/// Every device of the host that rules can name.
pub(crate) const DEVICES: [&str; 9] =
    ["virbr0", "virbr1", "br0", "eth0", "eth1", "vnet0", "vnet1", "vnet2", "vnet3"];

/// The devices that IP packets come in and leave by.
pub(crate) const IP_DEVICES: [&str; 4] = ["virbr0", "virbr1", "br0", "eth0"];

/// The ports of bridges.
pub(crate) const BRIDGE_PORTS: [&str; 5] = ["vnet0", "vnet1", "vnet2", "vnet3", "eth1"];

/// Reads an address of this file.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address of the private host")
}

impl Net {
    /// The host's address there in one family.
    pub(crate) fn gateway(&self, ipv6: bool) -> &'static str {
        let net = self.addresses[usize::from(ipv6)];
        net.split_once('/').expect("an address with its prefix length").0
    }
}

/// A prefix with the bits beyond its length cleared, as `ip route` wants it.
pub(crate) fn network(prefix: &str) -> String {
    let net: ipnet::IpNet = prefix.parse().expect("a prefix of the private host");
    net.trunc().to_string()
}
