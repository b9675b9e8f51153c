//! Ports of kvmnet's own that stand in for VMs as which no packet can be sent.
//!
//! What such a port meets is what every port of its bridge meets. It never meets what means the VM's tap, MAC or
//! address, so that it can confirm what the facts say of the VM and decide nothing: where it meets another fate than
//! they say, or they do not know, it is as if nothing had been sent. It is plugged only where nobody but VMs and the host
//! can notice.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kvmnet_probes::facts::{Bridge, IfIndex, IfName, Libvirt, Link, LinkKind, Snapshot};
use kvmnet_probes::wire::{Device, SHADOW_TAP_OUI, Shadow, StandIn};

use kvmnet_reports::{Observed, Predicted};

use super::judge::{Judgement, by_proof};
use crate::engine::{Decision, Engine, Facts, Fate, Site, set_apart};
use crate::model::{Claim, NetworkZone, Nic, Topology};

/// Longer than this no port is waited for. It is what libvirt's networks take: spanning tree is on there, with the least
/// delay that the kernel takes, 2 s for each of listening and learning.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// So many addresses are asked for at once whether they are free.
const CANDIDATES: usize = 4;

/// So many addresses are looked at from the end of a subnet on.
const MOST_LOOKED_AT: u32 = 1024;

/// For each NIC the port that may stand in for it, or why there must be none.
pub(super) fn stand_ins(snapshot: &Snapshot, topology: &Topology) -> Vec<Result<Box<Shadow>, String>> {
    let apart = set_apart(&Facts::new(snapshot), topology);
    let mut places: HashMap<(IfIndex, Option<usize>), Result<Place, String>> = HashMap::new();
    let mut stand_in = |nic: &Nic, apart: bool| {
        if apart {
            return Err(format!("rules or settings of this host mean {} alone", nic.label()));
        }
        let tap = nic.tap_index.and_then(|tap| snapshot.link(tap));
        let tap = tap.ok_or_else(|| format!("{} has no tap", nic.label()))?;
        let port = tap.port.clone().ok_or_else(|| format!("{} is in no bridge", tap.name))?;
        let bridge = tap.master.and_then(|bridge| snapshot.link(bridge));
        let bridge = bridge.ok_or_else(|| format!("the bridge of {} is gone", tap.name))?;
        let name = &bridge.name;
        if port.locked || !port.learning {
            return Err(format!("{name} learns no MAC behind {}", tap.name));
        }
        if tap.mtu != bridge.mtu {
            return Err(format!("{} and {name} have different MTUs", tap.name));
        }
        // A bridge whose MAC nobody set takes the lowest of its ports.
        let is_lower = tap.mac.is_some_and(|mac| mac.0[..3] < SHADOW_TAP_OUI[..]);
        if bridge.mac_fixed != Some(true) && !is_lower {
            return Err(format!("{name} would take another MAC"));
        }
        let place = places.entry((bridge.index, nic.network));
        let place = place.or_insert_with(|| place_in(snapshot, topology, bridge, topology.network_of(nic)));
        let Place { listens, addresses, prefix } = place.clone()?;
        let bridge = Device { index: bridge.index, name: name.clone() };
        Ok(Box::new(Shadow { mtu: tap.mtu, bridge, port, listens, addresses, prefix }))
    };
    topology.nics.iter().zip(apart).map(|(nic, apart)| stand_in(nic, apart)).collect()
}

/// What every port in a bridge finds there.
#[derive(Debug, Clone)]
struct Place {
    listens: Duration,
    addresses: Vec<Ipv4Addr>,
    prefix: Option<Ipv6Net>,
}

fn place_in(
    snapshot: &Snapshot,
    topology: &Topology,
    bridge: &Link,
    network: Option<&NetworkZone>,
) -> Result<Place, String> {
    let LinkKind::Bridge(settings) = &bridge.kind else {
        return Err(format!("{} is no bridge of Linux", bridge.name));
    };
    if settings.vlan_filtering {
        return Err(format!("{} tells VLANs apart", bridge.name));
    }
    let taps: HashSet<IfIndex> = topology.nics.iter().filter_map(|nic| nic.tap_index).collect();
    let mut ports = snapshot.links.items().iter().filter(|link| link.master == Some(bridge.index));
    if let Some(other) = ports.find(|port| !taps.contains(&port.index)) {
        // Switches behind it would remember a MAC that is nobody's, or shut the port for one too many; and other
        // bridges would change their spanning tree.
        return Err(format!("others than VMs are behind {} in {}", other.name, bridge.name));
    }
    let listens = listens(&bridge.name, settings)?;
    // On a LAN others than this host know which addresses are free.
    let network = network.filter(|network| !network.is_lan() && network.bridge_index == Some(bridge.index));
    let nets = || network.into_iter().flat_map(|network| &network.gateways);
    let subnet = nets().find_map(|net| match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    });
    let prefix = nets().find_map(|net| match net {
        IpNet::V6(net) if net.prefix_len() == 64 => Some(net.trunc()),
        IpNet::V6(_) | IpNet::V4(_) => None,
    });
    let addresses = subnet.zip(network).map(|(subnet, network)| free(snapshot, topology, network, subnet));
    Ok(Place { listens, addresses: addresses.unwrap_or_default(), prefix })
}

/// How long spanning tree keeps a new port of the bridge from forwarding.
fn listens(name: &IfName, settings: &Bridge) -> Result<Duration, String> {
    match settings.stp {
        0 => return Ok(Duration::ZERO),
        1 => {}
        _ => return Err(format!("a daemon runs spanning tree in {name}")),
    }
    let wait = Duration::from_millis(u64::from(settings.forward_delay_cs) * 10) * 2;
    if wait > LONGEST_WAIT {
        return Err(format!(
            "spanning tree would keep it from forwarding for {} s in {name}",
            wait.as_secs()
        ));
    }
    Ok(wait)
}

/// Addresses of the subnet that nobody is known to hold, those that DHCP gives to nobody first.
fn free(snapshot: &Snapshot, topology: &Topology, network: &NetworkZone, subnet: Ipv4Net) -> Vec<Ipv4Addr> {
    let libvirt = snapshot.libvirt.known();
    let served = || {
        let networks = libvirt.into_iter().flat_map(|libvirt| &libvirt.networks);
        networks.filter(|known| known.name == network.name).flat_map(|known| &known.config.ips)
    };
    let reserved = served().flat_map(|ip| &ip.hosts).map(|host| host.address);
    let held = topology.nics.iter().flat_map(|nic| &nic.addresses).map(|known| known.address);
    let seen = snapshot.neighbours.items().iter().map(|neighbour| neighbour.address);
    let own = snapshot.addresses.items().iter().map(|address| address.net.addr());
    let leased = libvirt.into_iter().flat_map(Libvirt::leases).map(|lease| lease.address);
    let taken: HashSet<IpAddr> = reserved.chain(held).chain(seen).chain(own).chain(leased).collect();
    let is_dynamic = |address: Ipv4Addr| {
        served()
            .flat_map(|ip| &ip.ranges)
            .any(|(first, last)| (*first..=*last).contains(&IpAddr::V4(address)))
    };
    let last = u32::from(subnet.broadcast()).saturating_sub(1);
    let first = last.saturating_sub(MOST_LOOKED_AT).max(u32::from(subnet.network()) + 1);
    let mut free: Vec<Ipv4Addr> = (first..=last)
        .rev()
        .map(Ipv4Addr::from)
        .filter(|address| !taken.contains(&IpAddr::V4(*address)))
        .collect();
    free.sort_by_key(|address| is_dynamic(*address));
    free.truncate(CANDIDATES);
    free
}

/// Why what the port met says nothing of the VM, if so.
pub(super) fn says_nothing(
    engine: Option<&mut Engine<'_>>,
    claim: &Claim,
    fate: &Fate,
    stand_in: &StandIn,
    judgement: &Judgement,
) -> Option<String> {
    let confirmed = match (fate.predicted, judgement.observed) {
        (Predicted::Unknown, _) => return Some("the facts do not tell what the VM meets".to_owned()),
        (Predicted::Allow | Predicted::Partial, Observed::Reply) | (Predicted::Deny, Observed::NoReply) => {
            true
        }
        (Predicted::Allow | Predicted::Partial, Observed::NoReply | Observed::NotTried)
        | (Predicted::Deny, Observed::Reply | Observed::NotTried) => false,
    };
    if !confirmed || judgement.verdict != by_proof(fate.predicted, claim.expected) {
        let met = judgement.note.as_deref().unwrap_or("it was lost");
        return Some(format!("the port met what the facts do not say of the VM ({met})"));
    }
    if stand_in.address.is_none() || claim.source.is_none() {
        return None;
    }
    let own = Claim { source: stand_in.address, ..claim.clone() };
    let same = engine.is_some_and(|engine| decided(&engine.fate(claim)) == decided(&engine.fate(&own)));
    (!same).then(|| "rules of this host tell its address from the VM's".to_owned())
}

/// What decides about a packet and its reply.
fn decided(fate: &Fate) -> Vec<(bool, &Site, Decision)> {
    let rules = fate.steps.iter().filter(|step| match &step.site {
        Site::Sysctl { .. }
        | Site::Route { .. }
        | Site::Rule { .. }
        | Site::Netfilter { .. }
        | Site::NoNat { .. }
        | Site::Opaque { .. }
        | Site::MissingFact { .. } => true,
        Site::NoTap { .. }
        | Site::Link { .. }
        | Site::NoMaster { .. }
        | Site::OtherBridge { .. }
        | Site::BridgePort { .. }
        | Site::NoLanPort { .. }
        | Site::Fdb { .. }
        | Site::Neighbour { .. }
        | Site::NoAddress { .. }
        | Site::NoService { .. } => false,
    });
    rules.map(|step| (step.reply, &step.site, step.decision)).collect()
}
