//! The intent: for each pair of zones and each kind of traffic, whether it should pass.

use std::net::IpAddr;

use kvmnet_reports::Expected;

/// One end of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zone {
    /// A NIC, an index into [`super::Topology::nics`].
    Nic(usize),
    /// The gateway of a network, an index into [`super::Topology::networks`].
    Gateway(usize),
    /// The host itself.
    Host,
    /// What lies behind the uplink, asked from inside.
    Internet,
    /// What lies behind the uplink, asking unasked.
    Outside,
}

/// What is claimed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// ARP for IPv4, NDP for IPv6.
    Resolve,
    /// ICMP or ICMPv6 echo.
    Icmp,
    /// An echo as long as the VM's device carries, which must not be fragmented.
    FullSize,
    /// A TCP connection to this port.
    Tcp(u16),
    /// A UDP datagram to this port.
    Udp(u16),
    /// A DHCP exchange.
    Dhcp,
    /// A DNS question to the gateway.
    Dns,
    /// The gateway's router advertisement, solicited, by which guests learn IPv6 addresses and their router
    /// (RFC 4861). Of IPv6 alone.
    RouterAdvertisement,
}

/// A pair of zones, a kind of traffic, and whether it should pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where the flow begins.
    pub from: Zone,
    /// Where it goes.
    pub to: Zone,
    /// The source address that stands for `from`; `None` if none is known.
    pub source: Option<IpAddr>,
    /// The destination address that stands for `to`; `None` if none is known.
    pub destination: Option<IpAddr>,
    /// The family, also where no address is known.
    pub ipv6: bool,
    /// What is sent.
    pub traffic: Traffic,
    /// What is wanted.
    pub expected: Expected,
}

impl Claim {
    /// `arp`, `ndp`, `icmp`, `icmp-full-size`, `tcp/443`, `dhcp`, `router-advertisement`, ….
    pub fn traffic_in_words(&self) -> String {
        match self.traffic {
            Traffic::Resolve if self.ipv6 => "ndp".to_owned(),
            Traffic::Resolve => "arp".to_owned(),
            Traffic::Icmp => "icmp".to_owned(),
            Traffic::FullSize => "icmp-full-size".to_owned(),
            Traffic::Tcp(port) => format!("tcp/{port}"),
            Traffic::Udp(port) => format!("udp/{port}"),
            Traffic::Dhcp => "dhcp".to_owned(),
            Traffic::Dns => "dns".to_owned(),
            Traffic::RouterAdvertisement => "router-advertisement".to_owned(),
        }
    }
}
