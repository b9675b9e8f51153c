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

/// One attempt for each NIC within reach that runs and is plugged in: which IPv4 addresses does it hold? If some
/// are known the NIC is asked to confirm them, otherwise every address of the subnet is asked for. The
/// questions go to the NIC's own MAC, so that no other guest hears them.
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
    let candidates = candidates(network, nic);
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

fn candidates(network: &NetworkZone, nic: &Nic) -> Vec<Ipv4Addr> {
    let known: Vec<Ipv4Addr> = nic
        .addresses
        .iter()
        .filter_map(|known| match known.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    if !known.is_empty() {
        return known;
    }
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
