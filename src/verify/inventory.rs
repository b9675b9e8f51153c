//! The networks and NICs of a host as reports show them.

use kvmnet_probes::facts::Snapshot;
use kvmnet_reports::{LinkState, Network, Nic, NicState, Source, SourceStatus};

use crate::model::{self, Attachment, NetworkZone, Topology};

/// What a host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Its networks, in the topology's order.
    pub networks: Vec<Network>,
    /// Its NICs, in the topology's order.
    pub nics: Vec<Nic>,
    /// Where that is known from, and what could not be read.
    pub sources: Vec<Source>,
}

/// The networks and the NICs, and what could not be read.
pub fn inventory(snapshot: &Snapshot, topology: &Topology) -> Inventory {
    Inventory {
        networks: topology.networks.iter().map(|network| self::network(snapshot, network)).collect(),
        nics: topology.nics.iter().map(|nic| self::nic(snapshot, topology, nic)).collect(),
        sources: sources(snapshot),
    }
}

fn sources(snapshot: &Snapshot) -> Vec<Source> {
    let statuses = snapshot.sources();
    statuses
        .into_iter()
        .map(|source| {
            let (status, reason) = match source.missing {
                Some(reason) => (SourceStatus::Missing, Some(reason.to_owned())),
                None if source.caveats.is_empty() => (SourceStatus::Read, None),
                None => (SourceStatus::Partial, Some(source.caveats.join("; "))),
            };
            Source { name: source.name.to_owned(), status, reason }
        })
        .collect()
}

fn network(snapshot: &Snapshot, network: &NetworkZone) -> Network {
    let own = network.gateways.iter().map(|net| net.addr().to_string());
    let gateways = if network.is_lan() {
        network.lan_gateway.iter().map(ToString::to_string).collect()
    } else {
        own.collect()
    };
    Network {
        name: network.name.clone(),
        mode: network.mode.word().to_owned(),
        bridge: network.bridge.as_ref().map(ToString::to_string),
        uplink: network.uplink.as_ref().map(|(_, name)| name.to_string()),
        subnets: network.gateways.iter().map(|net| net.trunc().to_string()).collect(),
        gateways,
        active: network.active,
        bridge_state: bridge_state(snapshot, network),
    }
}

fn bridge_state(snapshot: &Snapshot, network: &NetworkZone) -> Option<LinkState> {
    network.bridge.as_ref().filter(|_| snapshot.links.reason().is_none())?;
    let link = network.bridge_index.and_then(|index| snapshot.link(index));
    Some(link.map_or(LinkState::Missing, |link| if link.up { LinkState::Up } else { LinkState::Down }))
}

fn nic(snapshot: &Snapshot, topology: &Topology, nic: &model::Nic) -> Nic {
    Nic {
        vm: nic.vm.clone(),
        mac: nic.mac.to_string(),
        tap: nic.tap.as_ref().map(ToString::to_string),
        bridge: nic.bridge.as_ref().map(|(_, name)| name.to_string()),
        network: topology.network_of(nic).map(|network| network.name.clone()),
        addresses: nic.addresses.iter().map(|known| known.address.to_string()).collect(),
        nic: nic.position + 1,
        state: state(snapshot, nic),
    }
}

/// The first of what keeps packets from passing; nothing if it is not known.
fn state(snapshot: &Snapshot, nic: &model::Nic) -> Option<NicState> {
    let host_end = nic.tap_index.and_then(|index| snapshot.link(index));
    let expected = nic.expected_bridge.as_ref();
    Some(match (nic.attachment, host_end) {
        _ if !nic.active => NicState::Off,
        _ if !nic.link_up => NicState::Unplugged,
        (Attachment::Invisible, _) => NicState::Unseen,
        (_, None) if snapshot.links.reason().is_some() => return None,
        (_, None) => NicState::Missing,
        (_, Some(link)) if !link.up => NicState::Down,
        (Attachment::Tap, Some(_))
            if expected.is_some() && nic.bridge.as_ref().map(|(_, name)| name) != expected =>
        {
            NicState::WrongBridge
        }
        _ if nic.paused => NicState::Paused,
        (Attachment::Tap | Attachment::Macvtap, Some(_)) => NicState::Up,
    })
}
