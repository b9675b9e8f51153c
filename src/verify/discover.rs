//! Addresses that only the NIC itself knows: asked for on the wire.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use kvmnet_probes::facts::PortState;
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::{Answer, Attempt, Device, Observation, Outcome, Probe, Sender};

use super::Reach;
use super::reach::Within;
use crate::model::{Attachment, NetworkZone, Nic, Topology};

/// The shortest prefix whose addresses are all asked for: 1022 of them.
const SHORTEST_PREFIX: u8 = 22;

/// Up to so many NICs of one network are each asked for the addresses of the others.
const MOST_NEIGHBOURS: usize = 16;

/// One attempt for each NIC within reach that runs and is plugged in: which IPv4 addresses does it hold? If some
/// are known the NIC is asked to confirm them, and for those of its neighbours, which it must not hold; otherwise
/// every address of the subnet is asked for. The questions go to the NIC's own MAC, so that no other guest hears
/// them.
pub fn discover(snapshot: &Snapshot, topology: &Topology, reach: Reach) -> Vec<Attempt> {
    let within = Within::new(reach, snapshot, topology);
    let nics = topology.nics.iter().filter(|nic| within.covers_nic(nic));
    nics.filter_map(|nic| question(snapshot, topology, nic)).collect()
}

fn question(snapshot: &Snapshot, topology: &Topology, nic: &Nic) -> Option<Attempt> {
    let network = topology.network_of(nic)?;
    let forwards = snapshot.link(nic.tap_index?)?.port.as_ref()?.state == PortState::Forwarding;
    let in_place = nic.bridge.as_ref().map(|(_, name)| name) == nic.expected_bridge.as_ref();
    if nic.attachment != Attachment::Tap || nic.paused || !nic.link_up || !forwards || !in_place {
        return None;
    }
    let mut candidates = known(nic);
    if candidates.is_empty() {
        candidates = all(network);
    } else {
        candidates.extend(of_neighbours(topology, nic));
        candidates.sort_unstable();
        candidates.dedup();
    }
    if candidates.is_empty() {
        return None;
    }
    let bridge = snapshot.link(network.bridge_index?)?;
    Some(Attempt {
        sender: Sender::AsHost {
            device: Device { index: bridge.index, name: bridge.name.clone() },
            mac: bridge.mac?,
            address: network.gateway(false).map(|net| net.addr()),
        },
        probe: Probe::Discover { mac: nic.mac, candidates },
        watch: Vec::new(),
        arrival: None,
        wants_answer: true,
    })
}

/// The IPv4 addresses that are known of a NIC.
fn known(nic: &Nic) -> Vec<Ipv4Addr> {
    let known = nic.addresses.iter().filter_map(|known| match known.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    known.collect()
}

/// Those that are known of the other VMs on its network, if they are few. A VM answers on each of its NICs for the
/// addresses of all of them (`arp_ignore` 0), so that its own others are not asked for.
fn of_neighbours(topology: &Topology, nic: &Nic) -> Vec<Ipv4Addr> {
    let neighbours: Vec<&Nic> =
        topology.nics.iter().filter(|other| other.active && other.network == nic.network).collect();
    if neighbours.len() > MOST_NEIGHBOURS {
        return Vec::new();
    }
    neighbours.into_iter().filter(|other| other.vm != nic.vm).flat_map(known).collect()
}

/// Every address of the network's first subnet that is not too large, but the host's own.
fn all(network: &NetworkZone) -> Vec<Ipv4Addr> {
    let own: Vec<IpAddr> = network.gateways.iter().map(IpNet::addr).collect();
    network
        .gateways
        .iter()
        .filter_map(|net| match net {
            IpNet::V4(net) => Some(net.trunc()),
            IpNet::V6(_) => None,
        })
        .find(|net| net.prefix_len() >= SHORTEST_PREFIX)
        .map(|net: Ipv4Net| net.hosts().filter(|address| !own.contains(&IpAddr::V4(*address))).collect())
        .unwrap_or_default()
}

/// Adds what the answers to [`discover`]'s questions say to what is known of the NICs.
pub fn learn(topology: &mut Topology, attempts: &[Attempt], observations: &[Observation]) {
    for (attempt, observation) in attempts.iter().zip(observations) {
        if let Probe::Discover { mac, .. } = &attempt.probe
            && let Outcome::Answered { answer: Answer::Holds(addresses), .. } = &observation.outcome
        {
            let addresses: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::V4).collect();
            topology.add_wire_addresses(*mac, &addresses);
        }
    }
}
