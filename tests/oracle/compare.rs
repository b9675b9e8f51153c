//! What was predicted against what was seen.

use kvmnet::engine::{Decision, Denial, Fate, Leak, Site, Step};
use kvmnet::model::{Claim, Traffic, Zone};
use kvmnet_probes::facts::{Family, IfName, Snapshot};
use kvmnet_probes::wire::{Answer, Attempt, Observation, Outcome, Probe, Sender};
use kvmnet_reports::Predicted;

use crate::places::PORTS;

/// Whether they agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    Agree,
    /// The proof says that it can go either way, or does not know.
    Undecided,
    /// Nothing was sent: why.
    NotTried(String),
    Disagree(Kind),
}

/// How they disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    AllowedButNotAnswered,
    DeniedButAnswered,
    /// Stopped on the way there, and yet it came out where it was to arrive.
    StoppedButArrived,
    /// Only the answer is stopped, and yet the packet never arrived.
    NotStoppedButLost,
    LeftWithAnotherSource,
    /// An error or reset came back, and not by a site that sends one.
    RefusedByNobody,
    /// It arrived, and yet it is proved that nothing does.
    ProvedButArrived,
    /// All packets are said not to be taken in by the host, and it answers one.
    ProvedButAnswered,
    /// It is said to pass as one of all packets, and alone it is not.
    PassesAmongAllOnly,
}

pub(crate) fn compare(
    snapshot: &Snapshot,
    claim: &Claim,
    fate: &Fate,
    attempt: &Attempt,
    observation: &Observation,
) -> Comparison {
    if let Outcome::NotTried { reason } = &observation.outcome {
        return Comparison::NotTried(reason.clone());
    }
    // What shows a leak may be for any port.
    if matches!(claim.traffic, Traffic::Tcp(port) if !PORTS.contains(&port)) {
        return Comparison::NotTried("nobody listens on that port".to_owned());
    }
    // The host's own ARP and NDP are sent and heard beside its hooks and routes.
    let beside = |step: &Step| match &step.site {
        Site::Netfilter { family, .. } => *family != Family::Bridge,
        Site::BridgePort { .. } | Site::Fdb { .. } | Site::Link { .. } => false,
        _ => true,
    };
    if claim.from == Zone::Host && claim.traffic == Traffic::Resolve && fate.blockers().any(beside) {
        return Comparison::NotTried("ARP and NDP of the host pass beside what stops it".to_owned());
    }
    let out = |step: &Step| step.reply && step.place == sender(attempt).as_str();
    if claim.from == Zone::Outside && fate.predicted == Predicted::Allow && !fate.steps.iter().any(out) {
        return Comparison::NotTried("the answer leaves by another device than is watched".to_owned());
    }
    let passes = |device: &IfName| fate.steps.iter().any(|step| !step.reply && step.place == device.as_str());
    let elsewhere = attempt.arrival.as_ref().is_some_and(|arrival| !passes(&arrival.name));
    if claim.to == Zone::Internet && fate.predicted == Predicted::Allow && elsewhere {
        return Comparison::NotTried(
            "it leaves by another device, and the answer may not come back by it".to_owned(),
        );
    }
    if matches!(attempt.probe, Probe::Resolve { .. }) && claim.traffic != Traffic::Resolve {
        return Comparison::NotTried("of the LAN's router only the MAC is asked for".to_owned());
    }
    let answered = match &observation.outcome {
        // Everybody listens: a reset comes from a rule.
        Outcome::Answered { answer, .. } => *answer != Answer::Reset,
        Outcome::Refused { .. } | Outcome::Silent | Outcome::NotTried { .. } => false,
    };
    let several = |step: &Step| match &step.site {
        Site::Route { text, .. } => text.matches(" dev ").count() > 1,
        _ => false,
    };
    let lost = observation.outcome == Outcome::Silent && fate.steps.iter().any(several);
    match (fate.predicted, answered) {
        (Predicted::Unknown | Predicted::Partial, _) => return Comparison::Undecided,
        _ if lost => {
            let why = "it may have taken another of several equal ways than the one that is watched";
            return Comparison::NotTried(why.to_owned());
        }
        (Predicted::Allow, false) => return Comparison::Disagree(Kind::AllowedButNotAnswered),
        (Predicted::Deny, true) => return Comparison::Disagree(Kind::DeniedButAnswered),
        (Predicted::Allow, true) | (Predicted::Deny, false) => {}
    }
    let kind = where_it_came_out(claim, fate, attempt, observation)
        .or_else(|| refused(snapshot, claim, fate, &observation.outcome));
    kind.map_or(Comparison::Agree, Comparison::Disagree)
}

/// Whether what is said of all packets holds of this one.
pub(crate) fn compare_all(
    denial: &Denial,
    claim: &Claim,
    fate: &Fate,
    (attempt, observation): (&Attempt, &Observation),
) -> Comparison {
    let arrived = attempt.arrival.as_ref().is_some_and(|arrival| {
        observation.sightings.iter().any(|seen| !seen.answer && seen.outgoing && seen.device == *arrival)
    });
    // A reset may come from a rule that rejects, and an answer from where the packet was sent on to.
    let answered =
        matches!(observation.outcome, Outcome::Answered { answer: Answer::Echo | Answer::SynAck, .. });
    let taken_in = answered && !fate.steps.iter().any(|step| !step.reply && redirects(step));
    match denial {
        Denial::Proven if taken_in => Comparison::Disagree(Kind::ProvedButAnswered),
        // Who asks for a MAC stays in the bridge, and is not asked about.
        Denial::Proven if arrived && claim.traffic != Traffic::Resolve => {
            Comparison::Disagree(Kind::ProvedButArrived)
        }
        // Whether beyond the host somebody answers to a source that is not translated is asked of one alone.
        Denial::Leaks(leak)
            if is_shown_by(leak, claim)
                && matches!(claim.to, Zone::Nic(_))
                && fate.predicted == Predicted::Deny =>
        {
            Comparison::Disagree(Kind::PassesAmongAllOnly)
        }
        Denial::Proven | Denial::Leaks(_) | Denial::Open(_) => Comparison::Agree,
    }
}

/// The claim's packet is the one that shows the leak, and its answer comes back.
fn is_shown_by(leak: &Leak, claim: &Claim) -> bool {
    leak.answered
        && leak.honest
        && leak.traffic == Some(claim.traffic)
        && (Some(leak.ends.0), Some(leak.ends.1)) == (claim.source, claim.destination)
}

fn sender(attempt: &Attempt) -> &IfName {
    match &attempt.sender {
        Sender::AsVm { tap: device, .. }
        | Sender::AsHost { device, .. }
        | Sender::AsOutside { uplink: device, .. } => &device.name,
    }
}

/// Whether it came out where it was to arrive if and as it should have.
fn where_it_came_out(
    claim: &Claim,
    fate: &Fate,
    attempt: &Attempt,
    observation: &Observation,
) -> Option<Kind> {
    let arrival = attempt.arrival.as_ref()?;
    let arrived =
        observation.sightings.iter().find(|seen| !seen.answer && seen.outgoing && seen.device == *arrival);
    // It leaves all the same; only no answer comes back.
    let stops = |step: &&Step| !step.reply && !matches!(step.site, Site::NoNat { .. });
    let undecided = fate.unknowns().any(|step| !step.reply);
    // It may leave by another device than the plan looks at.
    let there = fate.steps.iter().any(|step| !step.reply && step.place == arrival.name.as_str());
    if fate.steps.iter().any(|step| !step.reply && redirects(step)) {
        return None;
    }
    match (fate.blockers().any(|step| stops(&step)), arrived) {
        (true, Some(_)) => Some(Kind::StoppedButArrived),
        (false, None) if fate.predicted == Predicted::Deny && there && !undecided => {
            Some(Kind::NotStoppedButLost)
        }
        // Who asks for a MAC is not translated.
        (false, Some(seen)) if claim.to == Zone::Internet && claim.traffic != Traffic::Resolve => {
            let other = fate.leaves_as.is_some() && fate.leaves_as != seen.source;
            (other && !undecided).then_some(Kind::LeftWithAnotherSource)
        }
        _ => None,
    }
}

/// The packet goes elsewhere: whether it does is told by the answer alone.
fn redirects(step: &Step) -> bool {
    step.decision == Decision::Rewrite && step.text.contains(" → destination ")
}

/// Whether an error that came back is the first blocker's.
fn refused(snapshot: &Snapshot, claim: &Claim, fate: &Fate, outcome: &Outcome) -> Option<Kind> {
    let by_host = match outcome {
        // What a socket of the host is told is the same for a drop and a refusal.
        Outcome::Refused { .. } if claim.from == Zone::Host => false,
        Outcome::Refused { by, .. } => {
            snapshot.addresses.items().iter().any(|address| address.net.addr() == *by)
        }
        Outcome::Answered { answer, .. } => *answer == Answer::Reset,
        Outcome::Silent | Outcome::NotTried { .. } => false,
    };
    // Who is routed elsewhere may be refused there.
    let rejects = |step: &Step| step.decision == Decision::Reject || matches!(step.site, Site::Route { .. });
    let rejects = fate.blockers().any(rejects);
    let undecided = fate.unknowns().next().is_some();
    (by_host && !rejects && !undecided).then_some(Kind::RefusedByNobody)
}
