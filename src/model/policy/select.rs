//! `from` and `to`: who is meant.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use wildmatch::WildMatch;

use super::{Misread, Unmatched};
use crate::model::{Nic, Topology};

/// Who is meant by a word of a policy.
#[derive(Debug, Clone, PartialEq)]
pub enum Selector {
    /// The NICs of the domains whose name matches.
    Vm(WildMatch),
    /// The NICs of the domains with a tag that matches.
    Tag(WildMatch),
    /// The NICs of the networks whose name matches.
    Network(WildMatch),
    /// The NICs with an address in here, and what lies there beyond the host.
    Net(IpNet),
    /// The host itself.
    Host,
    /// The gateway of the VM's network.
    Gateway,
    /// What lies behind the uplink.
    Beyond,
    /// But not these.
    Not(Box<Selector>),
}

/// Where something that is no NIC lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beyond {
    /// On the host itself.
    Host,
    /// At the gateway of the VM's network.
    Gateway,
    /// Behind the uplink, with these addresses if they are given.
    Uplink(Option<IpNet>),
}

/// How selectors are written.
const WORDS: &[&str] = &[
    "vm:NAME",
    "tag:TAG",
    "network:NAME",
    "host",
    "gateway",
    "internet",
    "outside",
    "ADDRESS",
    "NET/LENGTH",
];

impl FromStr for Selector {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        if let Some(rest) = text.strip_prefix('!') {
            return match rest.parse()? {
                Self::Not(_) => Err(format!("`{text}` says twice what is not meant").into()),
                inner => Ok(Self::Not(Box::new(inner))),
            };
        }
        match text.split_once(':') {
            Some(("vm" | "tag" | "network", "")) => return Err(format!("`{text}` names nobody").into()),
            Some(("vm", name)) => return Ok(Self::Vm(WildMatch::new(name))),
            Some(("tag", name)) => return Ok(Self::Tag(WildMatch::new(name))),
            Some(("network", name)) => return Ok(Self::Network(WildMatch::new(name))),
            _ => {}
        }
        match text {
            "host" => Ok(Self::Host),
            "gateway" => Ok(Self::Gateway),
            "internet" | "outside" => Ok(Self::Beyond),
            _ => {
                let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                net.map(|net| Self::Net(net.trunc())).map_err(|_| Misread::NoneOf(text.to_owned(), WORDS))
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm(name) => write!(f, "vm:{name}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Self::Net(net) => write!(f, "{net}"),
            Self::Host => f.write_str("host"),
            Self::Gateway => f.write_str("gateway"),
            Self::Beyond => f.write_str("internet"),
            Self::Not(inner) => write!(f, "!{inner}"),
        }
    }
}

impl Selector {
    /// The gateway, or anybody but it.
    pub(super) fn is_gateway(&self) -> bool {
        match self {
            Self::Gateway => true,
            Self::Not(inner) => inner.is_gateway(),
            Self::Vm(_) | Self::Tag(_) | Self::Network(_) | Self::Net(_) | Self::Host | Self::Beyond => false,
        }
    }

    /// The NICs that are meant, those of VMs that are off among them. A name that nobody has is a mistake.
    pub(super) fn nics(&self, topology: &Topology, line: usize) -> Result<Vec<usize>, Unmatched> {
        let of = |is: &dyn Fn(&Nic) -> bool| -> Vec<usize> {
            (0..topology.nics.len()).filter(|&at| is(&topology.nics[at])).collect()
        };
        match self {
            Self::Vm(name) => {
                let nics = of(&|nic| name.matches(&nic.vm));
                if nics.is_empty() { Err(Unmatched::vm(name, line, topology)) } else { Ok(nics) }
            }
            Self::Tag(tag) => {
                let nics = of(&|nic| nic.tags.iter().any(|own| tag.matches(own)));
                if nics.is_empty() { Err(Unmatched::tag(tag, line, topology)) } else { Ok(nics) }
            }
            Self::Network(name) => {
                if !topology.networks.iter().any(|network| name.matches(&network.name)) {
                    return Err(Unmatched::network(&name.to_string(), line, topology));
                }
                let nics =
                    of(&|nic| topology.network_of(nic).is_some_and(|network| name.matches(&network.name)));
                if nics.is_empty() { Err(Unmatched::empty(&name.to_string(), line)) } else { Ok(nics) }
            }
            Self::Net(net) => {
                // Of whom no address is known, it may be one of these.
                let nics = of(&|nic| match nic.address(net.addr().is_ipv6()) {
                    Some(_) => nic.addresses.iter().any(|known| net.contains(&known.address)),
                    None => topology.network_of(nic).is_some_and(|network| {
                        network.gateways.iter().any(|own| own.contains(net) || net.contains(own))
                    }),
                });
                if nics.is_empty() && self.beyond(topology).is_none() {
                    return Err(Unmatched::address(*net, line));
                }
                Ok(nics)
            }
            Self::Not(inner) => inner.nics(topology, line),
            Self::Host | Self::Gateway | Self::Beyond => Ok(Vec::new()),
        }
    }

    /// What is meant besides NICs.
    pub(super) fn beyond(&self, topology: &Topology) -> Option<Beyond> {
        match self {
            Self::Vm(_) | Self::Tag(_) | Self::Network(_) => None,
            Self::Host => Some(Beyond::Host),
            Self::Gateway => Some(Beyond::Gateway),
            Self::Beyond => Some(Beyond::Uplink(None)),
            Self::Net(net) => {
                // Within a network of the host lie its NICs alone; a LAN has others besides.
                let within = topology
                    .networks
                    .iter()
                    .filter(|network| !network.is_lan())
                    .any(|network| network.gateways.iter().any(|subnet| subnet.contains(net)));
                (!within).then_some(Beyond::Uplink(Some(*net)))
            }
            Self::Not(inner) => inner.beyond(topology),
        }
    }
}
