//! The intent: for each pair of zones and each kind of traffic, whether it should pass.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
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

/// Which packets a denial is stated of; the default is all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those sent from here.
    pub source: Option<IpNet>,
    /// Those that arrive for here.
    pub destination: Option<IpNet>,
    /// Those that arrive as this.
    pub protocol: Option<Protocol>,
    /// But not those that arrive as one of these.
    pub except: Vec<Protocol>,
}

/// Packets of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// ICMP, or ICMPv6 but for neighbour and router discovery (types 133 to 137), without which there is no IPv6.
    Icmp,
    /// TCP to these ports.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports.
    Udp(RangeInclusive<u16>),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, ports) = match self {
            Self::Icmp => return f.write_str("icmp"),
            Self::Tcp(ports) => ("tcp", ports),
            Self::Udp(ports) => ("udp", ports),
        };
        match (*ports.start(), *ports.end()) {
            (0, u16::MAX) => f.write_str(name),
            (first, last) if first == last => write!(f, "{name}/{first}"),
            (first, last) => write!(f, "{name}/{first}-{last}"),
        }
    }
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
    /// Which packets it is stated of, if it is a denial.
    pub selection: Selection,
    /// The assertion of the policy that states it, by its number; none: the model does.
    pub assertion: Option<usize>,
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
