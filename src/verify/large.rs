//! Packets that fill the MTU, held against the small ones on the same way.

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::{Answer, Attempt, EchoForm, Observation, Outcome, Probe, Sighting};
use kvmnet_reports::{CellVerdict, Observed, Predicted};

use super::beyond::outward;
use super::judge::{Judgement, Oddity, by_the_host};
use super::plan::can_be_tried;
use super::{Plan, Trial};
use crate::checks::LargeLoss;
use crate::engine::Fate;
use crate::model::{Claim, Topology, Traffic};

/// One claim about full-size packets for each network and family of which it is claimed that VMs reach the internet: by
/// the first VM as which it can be tried, and to the first target. The facts say nothing of it, so that there is none where
/// it cannot be tried.
pub fn full_size(snapshot: &Snapshot, topology: &Topology, claims: &[Claim]) -> Vec<Claim> {
    let mut found: Vec<(usize, Claim)> = Vec::new();
    for claim in claims.iter().filter(|claim| claim.traffic == Traffic::Icmp) {
        let Some(network) = outward(topology, claim) else { continue };
        let full = Claim { traffic: Traffic::FullSize, ..claim.clone() };
        let is_new = found.iter().all(|(known, first)| (*known, first.ipv6) != (network, claim.ipv6));
        if is_new && can_be_tried(snapshot, topology, &full) {
            found.push((network, full));
        }
    }
    found.into_iter().map(|(_, claim)| claim).collect()
}

/// Full-size packets that are lost where a small one is answered are a matter of their own. Where the host's own are lost
/// behind it too, it is not the VM's.
pub(super) fn weigh(
    claims: &[Claim],
    fates: &[Fate],
    plan: &Plan,
    observations: &[Observation],
    judgements: &mut [Judgement],
) {
    for at in (0..claims.len()).filter(|&at| claims[at].traffic == Traffic::FullSize) {
        let Some((attempt, observation)) = tried(plan, observations, at) else { continue };
        if let Outcome::Answered { answer: Answer::TooBig { by, mtu }, .. } = &observation.outcome {
            let says = format!("{by} says that the way on carries {mtu} bytes");
            // Who was tried in place of the VM stays said.
            judgements[at].note = Some(match judgements[at].note.take() {
                Some(note) => format!("{says}; {note}"),
                None => says,
            });
            continue;
        }
        let small = claims.iter().position(|claim| {
            let ends = |claim: &Claim| (claim.from, claim.to, claim.source, claim.destination);
            claim.traffic == Traffic::Icmp && ends(claim) == ends(&claims[at])
        });
        let answered = small.is_some_and(|small| {
            let small = &judgements[small];
            small.observed == Observed::Reply && small.verdict == CellVerdict::Ok
        });
        let open = matches!(fates[at].predicted, Predicted::Allow | Predicted::Unknown);
        if !answered || !open || judgements[at].observed != Observed::NoReply {
            continue;
        }
        let loss = loss(attempt, observation, by_the_host(at, plan, observations));
        let judgement = &mut judgements[at];
        judgement.oddity = Some(Oddity::LargeLost);
        judgement.verdict = match loss {
            LargeLoss::Beyond(Some(false)) => CellVerdict::Unknown,
            LargeLoss::OnHost | LargeLoss::OnReturn(_) | LargeLoss::Beyond(Some(true) | None) => {
                CellVerdict::Gap
            }
        };
        judgement.note = Some(match (loss, &judgement.note) {
            (LargeLoss::OnReturn(Some(by)), _) => {
                format!(
                    "small packets are answered; what {by} says to this comes to the host and not to the VM"
                )
            }
            (_, Some(note)) => format!("small packets are answered; this {note}"),
            (_, None) => "small packets are answered".to_owned(),
        });
    }
}

/// The attempt that stands for a claim, and what became of it.
pub(super) fn tried<'a>(
    plan: &'a Plan,
    observations: &'a [Observation],
    at: usize,
) -> Option<(&'a Attempt, &'a Observation)> {
    let Trial::Attempt(attempt) = plan.trials.get(at)? else { return None };
    Some((plan.attempts.get(*attempt)?, observations.get(*attempt)?))
}

/// How far a packet came that was not answered. `host`: whether the host's own is.
pub(super) fn loss(attempt: &Attempt, observation: &Observation, host: Option<bool>) -> LargeLoss {
    let Some(uplink) = &attempt.arrival else { return LargeLoss::Beyond(host) };
    let at_uplink = || observation.sightings.iter().filter(|sighting| sighting.device == *uplink);
    let is_back = |sighting: &&Sighting| sighting.answer && !sighting.outgoing;
    match at_uplink().find(is_back) {
        Some(back) => LargeLoss::OnReturn(back.source),
        None if at_uplink().any(|sighting| sighting.outgoing && !sighting.answer) => LargeLoss::Beyond(host),
        None => LargeLoss::OnHost,
    }
}

/// How long the packet was, IP header included.
pub(super) fn bytes(attempt: &Attempt) -> Option<u16> {
    match attempt.probe {
        Probe::Echo { form: EchoForm::Filled { bytes }, .. } => Some(bytes),
        Probe::Echo { form: EchoForm::Plain | EchoForm::Expiring { .. }, .. }
        | Probe::TcpSyn { .. }
        | Probe::DnsQuery { .. }
        | Probe::Resolve { .. }
        | Probe::Discover { .. }
        | Probe::DhcpDiscover
        | Probe::RouterSolicit { .. } => None,
    }
}
