//! The findings: each broken claim's causes, joined so that one cause is one finding.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kvmnet_probes::wire::{Observation, Sighting};
use kvmnet_reports::{Cell, CellVerdict, Evidence, Expected, Finding, Predicted, Severity, ZoneKind};

use super::beyond::{FirstRouter, first_router};
use super::judge::{Judgement, Oddity, by_the_host, way};
use super::large::{bytes, loss, tried};
use super::symptom::symptom;
use super::{Plan, Trial};
use crate::checks::{
    Check, Diagnosis, Gap, LargeLoss, Scene, duplicate_ip, explain, guest_silent, hazards, mtu_differs,
    next_hop_silent, no_way_back, pmtu_blackhole, policy_against_mode, upstream_silent, wire_disagrees,
};
use crate::engine::{Fate, Proof, Site, Step};
use crate::model::{Claim, Traffic, Zone};

/// How many examples of one kind of evidence a finding shows.
const EXAMPLES: usize = 3;

/// Everything that the findings are made from, item by item in the claims' order.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) claims: &'a [Claim],
    pub(super) fates: &'a [Fate],
    pub(super) plan: &'a Plan,
    pub(super) observations: &'a [Observation],
    pub(super) judgements: &'a [Judgement],
    pub(super) cells: &'a [Cell],
}

/// A finding that is being put together.
struct Draft {
    check: &'static Check,
    diagnosis: Diagnosis,
    breaks: Vec<usize>,
    evidence: Vec<Evidence>,
}

/// The drafts by check and key.
#[derive(Default)]
struct Drafts(BTreeMap<(&'static str, String), Draft>);

impl Drafts {
    /// The draft for a diagnosis. Another one with the same key adds its subjects, commands and evidence.
    fn of(&mut self, (check, diagnosis): (&'static Check, Diagnosis)) -> &mut Draft {
        let entry = self.0.entry((check.id, diagnosis.key.clone()));
        entry
            .and_modify(|draft| {
                let known = &mut draft.diagnosis;
                extend(&mut known.subjects, &diagnosis.subjects);
                extend(&mut known.fix.commands, &diagnosis.fix.commands);
                extend(&mut known.evidence, &diagnosis.evidence);
            })
            .or_insert_with(|| Draft { check, diagnosis, breaks: Vec::new(), evidence: Vec::new() })
    }
}

fn extend<T: PartialEq + Clone>(known: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
}

/// Every finding, the worst first.
pub(super) fn findings(case: Case<'_>) -> Vec<Finding> {
    let mut drafts = Drafts::default();
    for at in 0..case.cells.len() {
        if case.cells[at].verdict == CellVerdict::Gap {
            causes(case, at, &mut drafts);
        } else if let Some(oddity) = case.judgements[at].oddity {
            odd(case, at, oddity, &mut drafts);
        }
    }
    for diagnosis in hazards(&case.scene) {
        drafts.of(diagnosis);
    }
    let mut findings: Vec<Finding> = drafts.0.into_values().map(|draft| finish(case, draft)).collect();
    findings.sort_by(|a, b| {
        let order = |finding: &Finding| {
            (std::cmp::Reverse(finding.severity), std::cmp::Reverse(finding.breaks.len()), finding.id.clone())
        };
        order(a).cmp(&order(b)).then_with(|| a.title.cmp(&b.title))
    });
    findings
}

/// Adds a broken cell to the findings of all its causes.
fn causes(case: Case<'_>, at: usize, drafts: &mut Drafts) {
    let (claim, fate) = (&case.claims[at], &case.fates[at]);
    let steps: Vec<&Step> = match claim.expected {
        // The first of what the facts leave open: the wire has shown that it is lost there.
        Expected::Allow if fate.predicted == Predicted::Unknown => fate.unknowns().take(1).collect(),
        Expected::Allow => independent(fate),
        Expected::Deny => Vec::new(),
    };
    // What came back may have gone to the other of two guests.
    if let (Expected::Allow, Some(_)) = (claim.expected, case.judgements[at].oddity)
        && let Some(found) = duplicate_ip(&case.scene, claim)
    {
        drafts.of(found).add(case, at, None);
        return;
    }
    match case.judgements[at].oddity {
        Some(Oddity::NoWayBack) => {
            let source = left_as(case, at);
            let router = match router_of(case, at) {
                FirstRouter::HostAlone(by) if host_is_answered(case, at) != Some(true) => Some(by),
                FirstRouter::Guest(_) | FirstRouter::HostAlone(_) | FirstRouter::Nobody => None,
            };
            drafts.of(no_way_back(&case.scene, claim, &fate.steps, source, router)).add(case, at, None);
            return;
        }
        Some(Oddity::NextHopSilent) => {
            drafts.of(next_hop_silent(claim, &fate.steps)).add(case, at, None);
            return;
        }
        Some(Oddity::LargeLost) => {
            drafts.of(large_lost(case, at)).add(case, at, None);
            return;
        }
        Some(Oddity::Disagreement | Oddity::UpstreamSilent | Oddity::GuestSilent) | None => {}
    }
    if steps.is_empty() && claim.expected == Expected::Allow || case.judgements[at].oddity.is_some() {
        let draft = drafts.of(wire_disagrees(claim.expected == Expected::Deny));
        draft.add(case, at, None);
        return;
    }
    if steps.is_empty() {
        drafts.of(explain(&case.scene, &Gap { claim, step: None, steps: &fate.steps })).add(case, at, None);
    }
    for step in steps {
        drafts.of(explain(&case.scene, &Gap { claim, step: Some(step), steps: &fate.steps })).add(
            case,
            at,
            Some(step),
        );
    }
}

/// The blockers that are no mere consequence of an earlier one: where the link itself is broken, the
/// kernel takes its routes away, and nobody is there who could serve.
fn independent(fate: &Fate) -> Vec<&Step> {
    let mut kept: Vec<&Step> = Vec::new();
    for step in fate.blockers() {
        let follows = kept.iter().any(|earlier| is_consequence(&step.site, &earlier.site));
        if !follows {
            kept.push(step);
        }
    }
    kept
}

fn is_consequence(site: &Site, of: &Site) -> bool {
    let broken_link = matches!(
        of,
        Site::NoTap { .. }
            | Site::Link { .. }
            | Site::NoMaster { .. }
            | Site::OtherBridge { .. }
            | Site::BridgePort { .. }
            | Site::NoLanPort { .. }
            | Site::NoAddress { .. }
    );
    match site {
        // Somebody set it down, whatever else is wrong elsewhere.
        Site::Link { device, state } if state == "down" => {
            broken_link && site != of && of.device() == Some(device)
        }
        Site::NoTap { .. }
        | Site::Link { .. }
        | Site::NoMaster { .. }
        | Site::OtherBridge { .. }
        | Site::BridgePort { .. }
        | Site::Fdb { .. }
        | Site::Neighbour { .. }
        | Site::NoAddress { .. }
        | Site::NoService { .. } => broken_link && site != of,
        Site::Route { .. } => broken_link && site.is_last_resort() || matches!(of, Site::Route { .. }),
        Site::Rule { .. } => matches!(of, Site::Route { .. }),
        // It belongs to the device by which the packet came in.
        Site::Sysctl { .. } => matches!(of, Site::OtherBridge { .. }),
        Site::Netfilter { .. } | Site::NoNat { .. } => {
            // Beyond a missing route there is no device to leave by: what follows is guesswork. Past a route
            // that refuses, the packet would have gone its usual way.
            of.is_last_resort() || matches!(of, Site::OtherBridge { .. })
        }
        Site::NoLanPort { .. } | Site::Opaque { .. } | Site::MissingFact { .. } => false,
    }
}

/// The source with which the packet was seen to leave.
fn left_as(case: Case<'_>, at: usize) -> Option<IpAddr> {
    let Trial::Attempt(attempt) = &case.plan.trials[at] else { return None };
    let arrival = case.plan.attempts.get(*attempt)?.arrival.as_ref()?;
    let sightings = &case.observations.get(*attempt)?.sightings;
    let left = |seen: &&Sighting| seen.outgoing && !seen.answer && seen.device == *arrival;
    sightings.iter().find(left)?.source
}

fn host_is_answered(case: Case<'_>, at: usize) -> Option<bool> {
    by_the_host(at, case.plan, case.observations)
}

fn router_of(case: Case<'_>, at: usize) -> FirstRouter {
    let Scene { snapshot, topology } = case.scene;
    first_router(snapshot, topology, &case.claims[at], case.plan, case.observations)
}

/// Full-size packets are lost: between ports of different size, or who knows where.
fn large_lost(case: Case<'_>, at: usize) -> (&'static Check, Diagnosis) {
    let claim = &case.claims[at];
    let tried = tried(case.plan, case.observations, at);
    let host = host_is_answered(case, at);
    let loss =
        tried.map_or(LargeLoss::Beyond(host), |(attempt, observation)| loss(attempt, observation, host));
    let lan = case.scene.networks_of(claim).find(|zone| zone.is_lan() && loss == LargeLoss::OnHost);
    let bytes = tried.and_then(|(attempt, _)| bytes(attempt)).unwrap_or_default();
    lan.and_then(|zone| mtu_differs(&case.scene, zone))
        .unwrap_or_else(|| pmtu_blackhole(&case.scene, claim, bytes, loss))
}

/// Adds a cell that is not broken but odd.
fn odd(case: Case<'_>, at: usize, oddity: Oddity, drafts: &mut Drafts) {
    let claim = &case.claims[at];
    let diagnosis = match oddity {
        Oddity::GuestSilent => {
            let Zone::Nic(nic) = claim.to else { return };
            guest_silent(&case.scene.topology.nics[nic])
        }
        // No gap: it was forgiven.
        Oddity::NoWayBack | Oddity::NextHopSilent => return,
        Oddity::LargeLost => large_lost(case, at),
        Oddity::Disagreement => wire_disagrees(true),
        Oddity::UpstreamSilent => {
            let target = claim.destination.map_or_else(|| "the destination".to_owned(), |to| to.to_string());
            let host_too = host_is_answered(case, at) == Some(false);
            let router = match router_of(case, at) {
                FirstRouter::Guest(by) => Some(by),
                FirstRouter::HostAlone(_) | FirstRouter::Nobody => None,
            };
            match claim.to {
                Zone::Internet => upstream_silent(&target, host_too, router),
                Zone::Gateway(_) | Zone::Host | Zone::Outside => {
                    upstream_silent(&format!("the LAN's router {target}"), false, None)
                }
                Zone::Nic(nic) => upstream_silent(&case.scene.topology.nics[nic].label(), false, None),
            }
        }
    };
    drafts.of(diagnosis).add(case, at, None);
}

impl Draft {
    fn add(&mut self, case: Case<'_>, at: usize, step: Option<&Step>) {
        if self.breaks.last() != Some(&at) {
            self.breaks.push(at);
        }
        let what = title(&case.cells[at]);
        if let Some(step) = step {
            let way = if step.reply { "the reply to " } else { "" };
            self.show("proof", format!("{way}{what}: {step}"));
        }
        if let Proof::Passing(packets) = &case.fates[at].proof {
            self.show("proof", format!("all of {packets} passes"));
        }
        if let Trial::Attempt(attempt) = case.plan.trials[at]
            && let (Some(attempt), Some(observation)) =
                (case.plan.attempts.get(attempt), case.observations.get(attempt))
        {
            self.show("wire", format!("{what}: {}", way(attempt, observation)));
            if case.judgements[at].oddity == Some(Oddity::UpstreamSilent)
                && let FirstRouter::Guest(router) = router_of(case, at)
            {
                let who = title(&case.cells[at]);
                self.show(
                    "wire",
                    format!("{who}, expiring behind the host: answered by the router {router}"),
                );
            }
        }
    }

    fn show(&mut self, source: &str, text: String) {
        let shown = self.evidence.iter().filter(|evidence| evidence.source == source).count();
        let evidence = Evidence { source: source.to_owned(), text };
        if shown < EXAMPLES && !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
    }
}

/// `web1 → 1.1.1.1 icmp`.
fn title(cell: &Cell) -> String {
    let name = |zone: &kvmnet_reports::Zone| match zone.zone {
        ZoneKind::Vm => zone.vm.clone().unwrap_or_default(),
        ZoneKind::Gateway => zone.address.clone().unwrap_or_else(|| "gateway".to_owned()),
        ZoneKind::Host => "host".to_owned(),
        ZoneKind::Internet | ZoneKind::Outside => {
            zone.address.clone().unwrap_or_else(|| "outside".to_owned())
        }
    };
    format!("{} → {} {}", name(&cell.from), name(&cell.to), cell.traffic)
}

fn finish(case: Case<'_>, draft: Draft) -> Finding {
    let Draft { check, diagnosis, breaks, evidence } = draft;
    let cells: Vec<&Cell> = breaks.iter().map(|&at| &case.cells[at]).collect();
    let broken: Vec<&Cell> = cells.iter().copied().filter(|cell| cell.verdict == CellVerdict::Gap).collect();
    let members = |network: &str| {
        let zone = case.scene.topology.networks.iter().find(|zone| zone.name == network);
        zone.map_or(0, |zone| {
            let mut vms: Vec<&str> = case.scene.members(zone).map(|nic| nic.vm.as_str()).collect();
            vms.dedup();
            vms.len()
        })
    };
    let of_cause: Vec<&str> =
        diagnosis.subjects.iter().filter_map(|subject| subject.strip_prefix("vm:")).collect();
    // What is true of large packets alone is no cut.
    let is_large = |at: &usize| case.claims[*at].traffic == Traffic::FullSize;
    // What the policy wants is said by whom it names.
    let by_policy = |at: &usize| {
        let claim = &case.claims[*at];
        claim.assertion.is_some() && (claim.expected == Expected::Deny || check.id == policy_against_mode())
    };
    let particular = breaks.iter().all(is_large) || !breaks.is_empty() && breaks.iter().all(by_policy);
    let symptom = if particular { None } else { symptom(&broken, &of_cause, members) };
    let title = symptom.unwrap_or(diagnosis.title);
    let mut subjects = diagnosis.subjects;
    let vms = cells.iter().flat_map(|cell| [&cell.from, &cell.to]).filter_map(|zone| zone.vm.as_deref());
    let mut vms: Vec<String> = vms.map(|vm| format!("vm:{vm}")).collect();
    vms.sort_unstable();
    extend(&mut subjects, &vms);
    Finding {
        id: check.id.to_owned(),
        severity: if broken.is_empty() { check.severity } else { Severity::Error },
        title,
        subjects,
        cause: diagnosis.cause,
        evidence: diagnosis.evidence.into_iter().chain(evidence).collect(),
        breaks,
        fix: diagnosis.fix,
    }
}
