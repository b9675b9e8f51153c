//! How far packets may go.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use kvmnet_probes::facts::{IfIndex, Snapshot};

use crate::model::{Claim, Nic, Topology, Zone};

/// How far what is sent may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Wherever claims go.
    Anywhere,
    /// Nowhere but on this host.
    ThisHost,
}

/// What is within reach on a host.
pub(super) struct Within<'a> {
    topology: &'a Topology,
    /// `None`: everything.
    host: Option<Inside>,
}

/// What surely stays on the host.
struct Inside {
    /// For each network whether every port of its bridge is a NIC's: by another one a frame may be flooded out.
    networks: Vec<bool>,
    /// Bridges with another port.
    leading_out: HashSet<IfIndex>,
    /// The subnets that the host has a bridge for, so that the default route does not get what is for them.
    subnets: Vec<IpNet>,
}

impl<'a> Within<'a> {
    pub(super) fn new(reach: Reach, snapshot: &Snapshot, topology: &'a Topology) -> Self {
        let host = match reach {
            Reach::Anywhere => None,
            Reach::ThisHost => Some(Inside::new(snapshot, topology)),
        };
        Self { topology, host }
    }

    /// Whether the packet that stands for the claim, and whatever answers it, stays within reach.
    pub(super) fn covers(&self, claim: &Claim) -> bool {
        let Some(host) = &self.host else { return true };
        let is_inside = |zone| match zone {
            Zone::Nic(at) => self.topology.nics.get(at).is_some_and(|nic| self.covers_nic(nic)),
            Zone::Gateway(at) => host.networks.get(at) == Some(&true),
            Zone::Host => true,
            // What comes from outside is answered there.
            Zone::Internet | Zone::Outside => false,
        };
        let is_here = |to: IpAddr| host.subnets.iter().any(|net| net.contains(&to));
        is_inside(claim.from) && is_inside(claim.to) && claim.destination.is_none_or(is_here)
    }

    /// Whether frames to and from the NIC stay within reach.
    pub(super) fn covers_nic(&self, nic: &Nic) -> bool {
        let Some(host) = &self.host else { return true };
        // Its tap may be in another bridge than its network's.
        let strays = nic.bridge.as_ref().is_some_and(|(at, _)| host.leading_out.contains(at));
        !strays && nic.network.is_some_and(|at| host.networks.get(at) == Some(&true))
    }
}

impl Inside {
    fn new(snapshot: &Snapshot, topology: &Topology) -> Self {
        let taps: HashSet<IfIndex> = topology.nics.iter().filter_map(|nic| nic.tap_index).collect();
        let leading_out: HashSet<IfIndex> = snapshot
            .links
            .items()
            .iter()
            .filter(|link| !taps.contains(&link.index))
            .filter_map(|link| link.master)
            .collect();
        let networks = topology
            .networks
            .iter()
            .map(|network| {
                !network.is_lan() && network.bridge_index.is_some_and(|at| !leading_out.contains(&at))
            })
            .collect();
        let up = |index| snapshot.link(index).is_some_and(|link| link.up);
        let subnets = topology
            .networks
            .iter()
            .filter(|network| network.bridge_index.is_some_and(up))
            .flat_map(|network| network.gateways.iter().copied())
            .collect();
        Self { networks, leading_out, subnets }
    }
}
