//! The first router behind the host, whatever becomes of the target: a packet that expires there is answered
//! by the router itself. That answer proves the way through the host, its NAT and the router, there and back.

use std::net::IpAddr;

use kvmnet_probes::facts::{IfIndex, Snapshot};
use kvmnet_probes::wire::{Answer, Attempt, EchoForm, NextHopMac, Observation, Outcome, Probe};
use kvmnet_reports::Expected;

use super::Plan;
use crate::model::{Claim, Topology, Zone};

/// The attempts that expire one router beyond the host, for one network in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// The network, an index into [`Topology::networks`].
    pub network: usize,
    /// The family.
    pub ipv6: bool,
    /// The attempt as one of the network's VMs.
    pub guest: usize,
    /// The attempt as the host, where it routes the network's packets by its own way.
    pub host: Option<usize>,
}

/// Whom the first router answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstRouter {
    /// A VM of the network.
    Guest(IpAddr),
    /// The host, and no VM of the network.
    HostAlone(IpAddr),
    /// Nobody, or it was not tried: many routers say nothing.
    Nobody,
}

/// The network of a claim about what a VM should reach behind the host.
pub(super) fn outward(topology: &Topology, claim: &Claim) -> Option<usize> {
    match (claim.from, claim.to, claim.expected) {
        (Zone::Nic(nic), Zone::Internet, Expected::Allow) => topology.nics.get(nic)?.network,
        _ => None,
    }
}

/// Plans what expires beyond the host: for each network and family, as the first VM of which a claim is tried, and
/// as the host once for each device and family. `tried`: the attempt of each claim that is tried; `as_host`: the one
/// by which the host would ask for the same.
pub(super) fn expiring<'c>(
    topology: &Topology,
    tried: impl Iterator<Item = (&'c Claim, usize)>,
    as_host: impl Fn(&Claim) -> Option<Attempt>,
    attempts: &mut Vec<Attempt>,
) -> Vec<Expiring> {
    let mut planned: Vec<(Expiring, &Claim)> = Vec::new();
    for (claim, attempt) in tried {
        let Some(network) = outward(topology, claim) else { continue };
        let known = |(known, _): &(Expiring, _)| (known.network, known.ipv6) == (network, claim.ipv6);
        // What the host routes has passed one hop before it leaves.
        let hops = if topology.networks[network].is_lan() { 1 } else { 2 };
        if planned.iter().any(known) {
            continue;
        }
        if let Some(expiring) = expire(&attempts[attempt], hops) {
            let (ipv6, guest) = (claim.ipv6, attempts.len());
            planned.push((Expiring { network, ipv6, guest, host: None }, claim));
            attempts.push(expiring);
        }
    }
    // Routers limit how many errors they send, and to the host's address go those for its guests too: if one is
    // lost it is the host's own.
    let mut asked: Vec<((IfIndex, bool), usize)> = Vec::new();
    for (expiring, claim) in &mut planned {
        let Some(attempt) = as_host(claim).and_then(|plain| expire(&plain, 1)) else { continue };
        let Some(device) = attempt.arrival.as_ref().map(|uplink| uplink.index) else { continue };
        let same = (device, claim.ipv6);
        expiring.host = asked.iter().find(|(known, _)| *known == same).map(|(_, at)| *at);
        if expiring.host.is_none() {
            asked.push((same, attempts.len()));
            expiring.host = Some(attempts.len());
            attempts.push(attempt);
        }
    }
    planned.into_iter().map(|(expiring, _)| expiring).collect()
}

/// The same as an echo request that may pass so many hops.
fn expire(attempt: &Attempt, hops: u8) -> Option<Attempt> {
    let (target, via): (IpAddr, NextHopMac) = match &attempt.probe {
        Probe::Echo { target, via, .. } | Probe::TcpSyn { target, via, .. } => (*target, *via),
        Probe::Resolve { .. }
        | Probe::Discover { .. }
        | Probe::DhcpDiscover
        | Probe::DnsQuery { .. }
        | Probe::RouterSolicit { .. } => return None,
    };
    let probe = Probe::Echo { target, via, form: EchoForm::Expiring { hops } };
    Some(Attempt { probe, ..attempt.clone() })
}

/// Whom the first router behind the host answers of those who ask what the claim asks.
pub(super) fn first_router(
    snapshot: &Snapshot,
    topology: &Topology,
    claim: &Claim,
    plan: &Plan,
    observations: &[Observation],
) -> FirstRouter {
    let network = outward(topology, claim);
    let same = |expiring: &&Expiring| Some(expiring.network) == network && expiring.ipv6 == claim.ipv6;
    let Some(expiring) = plan.expiring.iter().find(same) else { return FirstRouter::Nobody };
    let is_own = |address: IpAddr| snapshot.addresses.items().iter().any(|known| known.net.addr() == address);
    let outcome = |at: usize| observations.get(at).map(|observation| &observation.outcome);
    let router = |at: usize| match outcome(at) {
        // From an address of the host itself it would say that it came nowhere.
        Some(Outcome::Answered { answer: Answer::Expired { by }, .. }) if !is_own(*by) => Some(*by),
        _ => None,
    };
    // What a port of our own met is not what a VM met.
    if observations.get(expiring.guest).is_some_and(|observation| observation.stand_in.is_some()) {
        return FirstRouter::Nobody;
    }
    let host = expiring.host.and_then(router);
    match (router(expiring.guest), outcome(expiring.guest), host) {
        (Some(by), ..) => FirstRouter::Guest(by),
        (None, Some(Outcome::Silent), Some(by)) => FirstRouter::HostAlone(by),
        (None, ..) => FirstRouter::Nobody,
    }
}
