//! The report.

use std::net::IpAddr;

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::{self, Observation};
use kvmnet_reports::{
    Cell, CellVerdict, Expected, Finding, Host, Observed, Proof, Report, SCHEMA, Sender, Severity, Source,
    SourceStatus, Summary, Verdict, ZoneKind,
};

use super::Plan;
use super::findings::{Case, findings};
use super::inventory::{Inventory, inventory};
use super::judge::{Judgement, Oddity, judge};
use super::large;
use crate::checks::{Scene, wire_disagrees};
use crate::engine::{self, Engine, Facts, Fate};
use crate::model::{Claim, Topology, Traffic, Zone};

/// Sources without which a verdict may be wrong. The others (managers, configuration files, multicast
/// groups, …) only better the explanation, or make the cells that depend on them unknown by themselves.
const NEEDED: &[&str] = &[
    "links",
    "addresses",
    "routes",
    "rules",
    "fdb",
    "nf-tables",
    "xtables-legacy",
    "sysctls",
    "traffic-control",
    "libvirt",
];

/// Whether proof and wire disagree somewhere, so that a second look may tell more. That something arrived which
/// must not is enough: no second look makes it undone.
pub fn is_doubtful(report: &Report) -> bool {
    let (check, _) = wire_disagrees(true);
    let mut doubtful = report.findings.iter().filter(|finding| finding.id == check.id).peekable();
    let leaks =
        |finding: &Finding| finding.breaks.iter().any(|at| report.matrix[*at].expected == Expected::Deny);
    doubtful.peek().is_some() && !doubtful.any(leaks)
}

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
    let stood_in = observations.iter().any(|observation| observation.stand_in.is_some());
    let facts = stood_in.then(|| Facts::new(snapshot));
    let mut engine = facts.as_ref().map(|facts| Engine::new(facts, topology));
    let mut judgements: Vec<Judgement> = claims
        .iter()
        .enumerate()
        .zip(fates)
        .map(|(claim, fate)| judge(snapshot, topology, claim, fate, plan, observations, engine.as_mut()))
        .collect();
    large::weigh(claims, fates, plan, observations, &mut judgements);
    forgive_choosy_targets(claims, &mut judgements);
    let matrix: Vec<Cell> = claims
        .iter()
        .zip(fates)
        .zip(&judgements)
        .enumerate()
        .map(|(at, ((claim, fate), judgement))| Cell {
            sender: sender(plan, observations, at).filter(|_| judgement.observed != Observed::NotTried),
            ..cell(topology, claim, fate, judgement)
        })
        .collect();
    let scene = Scene { snapshot, topology };
    let findings =
        findings(Case { scene, claims, fates, plan, observations, judgements: &judgements, cells: &matrix });
    let Inventory { networks, nics, sources } = inventory(snapshot, topology);
    let summary = Summary { ok: 0, gaps: 0, unknown: 0, proved: 0, verdict: Verdict::Incomplete };
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        host: host(snapshot),
        sources,
        networks,
        nics,
        matrix,
        findings,
        policy: None,
        course: None,
        since: None,
        summary,
    };
    report.summary = self::summary(&report, fail_on);
    report
}

/// A target that answers one kind of traffic proves the path for the others: that it ignores those is
/// its own affair.
fn forgive_choosy_targets(claims: &[Claim], judgements: &mut [Judgement]) {
    let answered: Vec<&Claim> = claims
        .iter()
        .zip(judgements.iter())
        .filter(|(_, judgement)| {
            judgement.observed == Observed::Reply && judgement.verdict == CellVerdict::Ok
        })
        .map(|(claim, _)| claim)
        .collect();
    for (claim, judgement) in claims.iter().zip(judgements.iter_mut()) {
        let same_path = |other: &&Claim| {
            (other.from, other.to, other.destination) == (claim.from, claim.to, claim.destination)
                && other.traffic != claim.traffic
                && other.traffic != Traffic::Resolve
        };
        if matches!(judgement.oddity, Some(Oddity::UpstreamSilent | Oddity::NoWayBack))
            && claim.to == Zone::Internet
            && let Some(other) = answered.iter().copied().find(same_path)
        {
            judgement.verdict = CellVerdict::Ok;
            judgement.oddity = None;
            let proof = other.traffic_in_words();
            judgement.note = Some(if claim.traffic == Traffic::FullSize {
                format!("the target answers no ping, so that nothing tells whether this passes; {proof} does")
            } else {
                format!("the target does not answer this; {proof} proves the path")
            });
        }
    }
}

fn cell(topology: &Topology, claim: &Claim, fate: &Fate, judgement: &Judgement) -> Cell {
    Cell {
        from: zone(topology, claim.from, claim.source),
        to: zone(topology, claim.to, claim.destination),
        traffic: claim.traffic_in_words(),
        expected: claim.expected,
        predicted: fate.predicted,
        proof: if fate.proof == engine::Proof::All { Proof::AllPackets } else { Proof::OnePacket },
        sender: None,
        observed: judgement.observed,
        verdict: judgement.verdict,
        note: judgement.note.clone(),
        steps: Vec::new(),
    }
}

/// As whom the packet for a claim was sent.
fn sender(plan: &Plan, observations: &[Observation], at: usize) -> Option<Sender> {
    let (attempt, observation) = large::tried(plan, observations, at)?;
    Some(match &attempt.sender {
        wire::Sender::AsVm { .. } if observation.stand_in.is_some() => Sender::Shadow,
        wire::Sender::AsVm { .. } => Sender::AsVm,
        wire::Sender::AsHost { .. } => Sender::AsHost,
        wire::Sender::AsOutside { .. } => Sender::AsOutside,
    })
}

pub(super) fn zone(topology: &Topology, zone: Zone, address: Option<IpAddr>) -> kvmnet_reports::Zone {
    let (kind, vm, network) = match zone {
        Zone::Nic(at) => {
            let nic = &topology.nics[at];
            (ZoneKind::Vm, Some(nic.vm.clone()), topology.network_of(nic))
        }
        Zone::Gateway(at) => (ZoneKind::Gateway, None, topology.networks.get(at)),
        Zone::Host => (ZoneKind::Host, None, None),
        Zone::Internet => (ZoneKind::Internet, None, None),
        Zone::Outside => (ZoneKind::Outside, None, None),
    };
    kvmnet_reports::Zone {
        zone: kind,
        vm,
        network: network.map(|network| network.name.clone()),
        address: address.map(|address| address.to_string()),
    }
}

/// A source was not read without which the verdict may be wrong.
pub(super) fn is_blind(report: &Report) -> bool {
    let missing =
        |source: &Source| source.status == SourceStatus::Missing && NEEDED.contains(&source.name.as_str());
    report.sources.iter().any(missing)
}

/// The counts and the verdict of a report. A gap of which every finding is accepted is none any more, unless the policy
/// asserts the opposite.
pub(super) fn summary(report: &Report, fail_on: Severity) -> Summary {
    let Report { matrix, findings, policy, .. } = report;
    let count = |verdict| matrix.iter().filter(|cell| cell.verdict == verdict).count();
    let assertions = policy.iter().flat_map(|policy| &policy.assertions);
    let broken = assertions.clone().any(|assertion| assertion.verdict == CellVerdict::Gap);
    let open = assertions.clone().any(|assertion| assertion.verdict == CellVerdict::Unknown);
    let missing = is_blind(report);
    let unknown = count(CellVerdict::Unknown);
    let verdict = if broken || findings.iter().any(|finding| finding.severity >= fail_on) {
        Verdict::Gaps
    } else if unknown > 0 || open || missing {
        Verdict::Incomplete
    } else {
        Verdict::Verified
    };
    let proved = matrix.iter().filter(|cell| cell.proof == Proof::AllPackets).count();
    Summary { ok: count(CellVerdict::Ok), gaps: count(CellVerdict::Gap), unknown, proved, verdict }
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
