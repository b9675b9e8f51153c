//! `--from` and `--to`: the ends of a packet's path in the user's words.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kvmnet_probes::facts::Snapshot;

use super::failure::Failure;
use super::select;
use crate::model::{DEFAULT_INTERNET_TARGETS, Nic, Topology, Traffic, Zone};

/// An end as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A NIC of a domain, counted from 1.
    Vm { name: String, nic: usize },
    /// The host's address on the sender's network, or the LAN's router.
    Gateway,
    /// The host itself.
    Host,
    /// What lies behind the uplink.
    Internet,
    /// The same, asking unasked.
    Outside(Option<IpAddr>),
    /// Whoever has this address.
    Address(IpAddr),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("vm", vm)) => {
                let (name, nic) = match vm.rsplit_once('/') {
                    Some((name, nic)) => {
                        (name, nic.parse().map_err(|_| format!("`{nic}` is no number of a NIC"))?)
                    }
                    None => (vm, 1),
                };
                match (name, nic) {
                    ("", _) => Err("the VM has no name".to_owned()),
                    (_, 0) => Err("NICs are counted from 1".to_owned()),
                    (name, nic) => Ok(Self::Vm { name: name.to_owned(), nic }),
                }
            }
            Some(("outside", address)) => match address.parse() {
                Ok(address) => Ok(Self::Outside(Some(address))),
                Err(_) => Err(format!("`{address}` is no address")),
            },
            _ => match text {
                "gateway" => Ok(Self::Gateway),
                "host" => Ok(Self::Host),
                "internet" => Ok(Self::Internet),
                "outside" => Ok(Self::Outside(None)),
                address => address.parse().map(Self::Address).map_err(|_| {
                    "neither an address nor one of vm:NAME, gateway, host, internet, outside".to_owned()
                }),
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vm { name, nic: 1 } => write!(f, "vm:{name}"),
            Self::Vm { name, nic } => write!(f, "vm:{name}/{nic}"),
            Self::Gateway => f.write_str("gateway"),
            Self::Host => f.write_str("host"),
            Self::Internet => f.write_str("internet"),
            Self::Outside(_) => f.write_str("outside"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Both ends on this host, with the addresses that stand for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) from: Zone,
    pub(crate) to: Zone,
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
}

/// Finds the ends among the host's NICs, networks and addresses.
pub(crate) fn resolve(
    snapshot: &Snapshot,
    topology: &Topology,
    from: &Endpoint,
    to: &Endpoint,
    traffic: Traffic,
) -> Result<Ends, Failure> {
    let from_zone = match from {
        Endpoint::Vm { name, nic } => Zone::Nic(position(snapshot, topology, name, *nic)?),
        Endpoint::Host => Zone::Host,
        Endpoint::Outside(_) => Zone::Outside,
        Endpoint::Gateway | Endpoint::Internet | Endpoint::Address(_) => {
            return Err(Failure::Usage("--from takes vm:NAME, host, outside or outside:ADDR"));
        }
    };
    let to_zone = match to {
        Endpoint::Vm { name, nic } => Zone::Nic(position(snapshot, topology, name, *nic)?),
        Endpoint::Host => Zone::Host,
        Endpoint::Gateway => gateway(topology, from_zone)?,
        Endpoint::Internet => Zone::Internet,
        Endpoint::Outside(_) => return Err(Failure::Usage("--to takes `internet` for what lies outside")),
        Endpoint::Address(address) => behind(snapshot, topology, from_zone, *address)?,
    };
    match (from_zone, to_zone) {
        (Zone::Host | Zone::Outside, Zone::Nic(_)) | (Zone::Nic(_), _) if from_zone != to_zone => {}
        _ => return Err(Failure::Usage("one end must be a VM, and the other end somebody else")),
    }
    let advertised = traffic == Traffic::RouterAdvertisement;
    if advertised && !matches!((from_zone, to_zone), (Zone::Nic(_), Zone::Gateway(_))) {
        return Err(Failure::Usage("a router advertisement comes to a VM from its gateway: --to gateway"));
    }
    let ipv6 = match (from, to) {
        _ if advertised => true,
        (Endpoint::Outside(Some(address)), _) | (_, Endpoint::Address(address)) => address.is_ipv6(),
        _ => false,
    };
    let internet = || DEFAULT_INTERNET_TARGETS.into_iter().find(|address| address.is_ipv6() == ipv6);
    let stands_for = |zone: Zone| match zone {
        Zone::Nic(nic) if advertised => topology.nics[nic].link_local,
        Zone::Nic(nic) => topology.nics[nic].address(ipv6),
        Zone::Gateway(network) => {
            let network = &topology.networks[network];
            let lan = network.lan_gateway.filter(|address| address.is_ipv6() == ipv6);
            if network.is_lan() { lan } else { network.gateway(ipv6).map(|net| net.addr()) }
        }
        Zone::Host => {
            let network = [from_zone, to_zone].into_iter().find_map(|zone| network_of(topology, zone));
            network.and_then(|at| topology.networks[at].gateway(ipv6)).map(|net| net.addr())
        }
        Zone::Internet | Zone::Outside => internet(),
    };
    Ok(Ends {
        from: from_zone,
        to: to_zone,
        source: match from {
            Endpoint::Outside(Some(address)) => Some(*address),
            _ => stands_for(from_zone),
        },
        destination: match to {
            Endpoint::Address(address) => Some(*address),
            _ => stands_for(to_zone),
        },
    })
}

fn network_of(topology: &Topology, zone: Zone) -> Option<usize> {
    match zone {
        Zone::Nic(nic) => topology.nics.get(nic)?.network,
        Zone::Gateway(network) => Some(network),
        Zone::Host | Zone::Internet | Zone::Outside => None,
    }
}

fn position(snapshot: &Snapshot, topology: &Topology, name: &str, nic: usize) -> Result<usize, Failure> {
    select::check(snapshot, topology, std::slice::from_ref(&name.to_owned()), &[])?;
    let is = |candidate: &Nic| candidate.vm == name && candidate.position + 1 == nic;
    topology.nics.iter().position(is).ok_or_else(|| Failure::NoSuchNic {
        vm: name.to_owned(),
        nic,
        has: topology.nics.iter().filter(|candidate| candidate.vm == name).count(),
    })
}

fn gateway(topology: &Topology, from: Zone) -> Result<Zone, Failure> {
    network_of(topology, from)
        .map(Zone::Gateway)
        .ok_or(Failure::Usage("only a VM of a known network has a gateway"))
}

/// Who has the address. What no NIC and no device of the host is known to have lies in the internet,
/// unless it would have to be on a network of this host.
fn behind(snapshot: &Snapshot, topology: &Topology, from: Zone, address: IpAddr) -> Result<Zone, Failure> {
    let has = |nic: &Nic| nic.active && nic.addresses.iter().any(|known| known.address == address);
    if let Some(nic) = topology.nics.iter().position(has) {
        return Ok(Zone::Nic(nic));
    }
    let own = network_of(topology, from);
    let at_gateway = |at: &usize| topology.networks[*at].gateways.iter().any(|net| net.addr() == address);
    if let Some(network) = own.filter(at_gateway) {
        return Ok(Zone::Gateway(network));
    }
    if snapshot.addresses.items().iter().any(|own| own.net.addr() == address) {
        return Ok(Zone::Host);
    }
    let on = topology
        .networks
        .iter()
        .find(|network| !network.is_lan() && network.gateways.iter().any(|net| net.contains(&address)));
    match on {
        Some(network) => Err(Failure::NobodyHas { address, network: network.name.clone() }),
        None => Ok(Zone::Internet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_and_written_alike() {
        for text in
            ["vm:web1", "vm:a/b/2", "gateway", "host", "internet", "outside", "192.0.2.1", "2001:db8::1"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "vm:", "vm:web1/0", "vm:web1/x", "web1", "outside:x", "192.0.2.256"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
