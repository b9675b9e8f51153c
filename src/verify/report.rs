//! The report.

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::Observation;
use kvmnet_reports::{Host, Network, Nic, Report, SCHEMA, Severity, Source, SourceStatus, Summary, Verdict};

use super::Plan;
use crate::engine::Fate;
use crate::model::{Claim, Topology};

/// What follows from intent, proof and wire. `observations` are those of the plan's attempts, in their
/// order; findings below `fail_on` do not make the verdict [`Verdict::Gaps`].
pub fn report(
    snapshot: &Snapshot,
    topology: &Topology,
    claims: &[Claim],
    fates: &[Fate],
    plan: &Plan,
    observations: &[Observation],
    fail_on: Severity,
) -> Report {
    let _ = (claims, fates, plan, observations, fail_on);
    Report {
        schema: SCHEMA.to_owned(),
        host: host(snapshot),
        sources: sources(snapshot),
        networks: networks(topology),
        nics: nics(topology),
        matrix: Vec::new(),
        findings: Vec::new(),
        summary: Summary { ok: 0, gaps: 0, unknown: 0, verdict: Verdict::Incomplete },
    }
}

fn host(snapshot: &Snapshot) -> Host {
    let libvirt = snapshot.libvirt.known();
    Host {
        name: snapshot.host.name.clone(),
        kernel: snapshot.host.kernel.clone(),
        libvirt: libvirt.map(|libvirt| libvirt.version.clone()),
        firewall_backend: libvirt.and_then(|libvirt| libvirt.firewall_backend.clone()),
        taken_ms: snapshot.taken_ms,
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

fn networks(topology: &Topology) -> Vec<Network> {
    topology
        .networks
        .iter()
        .map(|network| Network {
            name: network.name.clone(),
            mode: network.mode.word().to_owned(),
            bridge: network.bridge.as_ref().map(ToString::to_string),
            uplink: network.uplink.as_ref().map(|(_, name)| name.to_string()),
            subnets: network.gateways.iter().map(|net| net.trunc().to_string()).collect(),
            active: network.active,
        })
        .collect()
}

fn nics(topology: &Topology) -> Vec<Nic> {
    topology
        .nics
        .iter()
        .map(|nic| Nic {
            vm: nic.vm.clone(),
            mac: nic.mac.to_string(),
            tap: nic.tap.as_ref().map(ToString::to_string),
            bridge: nic.bridge.as_ref().map(|(_, name)| name.to_string()),
            network: topology.network_of(nic).map(|network| network.name.clone()),
            addresses: nic.addresses.iter().map(|known| known.address.to_string()).collect(),
        })
        .collect()
}
