//! Intent, proof and wire of one claim, and what follows from them.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, Mac, Snapshot};
use kvmnet_probes::wire::{Answer, Attempt, Observation, Outcome, Sender, Sighting, StandIn, is_unresolved};
use kvmnet_reports::{CellVerdict, Expected, Observed, Predicted};

use super::beyond::{FirstRouter, first_router};
use super::large::tried;
use super::stand_in::says_nothing;
use super::{Plan, Trial};
use crate::engine::{Engine, Fate, Site, Step};
use crate::model::{Claim, Topology, Traffic, Zone};

/// What follows for one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) observed: Observed,
    pub(super) verdict: CellVerdict,
    pub(super) note: Option<String>,
    /// What the wire showed that the proof does not explain.
    pub(super) oddity: Option<Oddity>,
}

/// Where proof and wire part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Oddity {
    /// The wire shows the opposite of what the facts say.
    Disagreement,
    /// The packet left the host and nobody answered.
    UpstreamSilent,
    /// The same, though the host itself is answered by the same target, or by the first router if the target answers
    /// nobody.
    NoWayBack,
    /// The host refused it for want of the next hop's MAC.
    NextHopSilent,
    /// It came to the guest, which did not answer.
    GuestSilent,
    /// It fills the MTU and is lost, while a small one is answered.
    LargeLost,
}

/// What the wire showed, in the words that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Nothing was sent, as planned: the prediction decides alone.
    Unplanned(String),
    /// It could not be sent.
    Failed(String),
    Answered,
    /// Nobody answered, but it came out where it should.
    Arrived,
    /// It came out where it should and was answered, but the answer did not come back to the sender.
    AnswerLost,
    /// It came out where it should, but for another MAC than the guest has: the guest does not take it.
    Misaddressed(Mac),
    /// It came out with a source that should have been rewritten.
    ArrivedUntranslated(IpAddr),
    /// Refused by an address of this host; `unresolved`: as it is when nobody answers for the next hop's address.
    RefusedHere {
        words: String,
        unresolved: bool,
    },
    /// Refused by somebody behind the host.
    RefusedBeyond(String),
    /// It never came out where it should.
    Lost,
    /// Nobody answered where the host itself should have.
    Unanswered,
    /// Somebody else answered.
    Stranger(String),
}

/// Who is answered behind the host besides the VM.
#[derive(Debug, Clone, Copy)]
struct Upstream {
    /// Whether the host itself is, by the same target.
    host: Option<bool>,
    router: FirstRouter,
}

/// What follows for the claim that is number `at` of the plan's. `engine` is needed where a port of kvmnet's own stood
/// in for a VM.
pub(super) fn judge(
    snapshot: &Snapshot,
    topology: &Topology,
    (at, claim): (usize, &Claim),
    fate: &Fate,
    plan: &Plan,
    observations: &[Observation],
    engine: Option<&mut Engine<'_>>,
) -> Judgement {
    let judgement = by_the_wire(snapshot, topology, (at, claim), fate, plan, observations);
    let observation = tried(plan, observations, at).map(|(_, observation)| observation);
    let Some(stand_in) = observation.and_then(|observation| observation.stand_in.as_ref()) else {
        return judgement;
    };
    let (bridge, since) = (&stand_in.bridge.name, &stand_in.since);
    if let Some(why) = says_nothing(engine, claim, fate, stand_in, &judgement) {
        let reason = Seen::Failed(format!("{since}; a port of kvmnet's own in {bridge} cannot tell: {why}"));
        let upstream = Upstream { host: None, router: FirstRouter::Nobody };
        return match claim.expected {
            Expected::Allow => allow(claim, fate, reason, upstream, false),
            Expected::Deny => deny(fate, reason),
        };
    }
    let by = format!("tried by a port of kvmnet's own in {bridge}, since {since}");
    // Whether the guest answers strangers is its own affair.
    Judgement { note: Some(join(judgement.note, &by)), oddity: None, ..judgement }
}

/// What follows from what was seen, whoever sent it.
fn by_the_wire(
    snapshot: &Snapshot,
    topology: &Topology,
    (at, claim): (usize, &Claim),
    fate: &Fate,
    plan: &Plan,
    observations: &[Observation],
) -> Judgement {
    let seen = match plan.trials.get(at) {
        None => Seen::Failed("it was not planned".to_owned()),
        Some(Trial::None(reason)) => Seen::Unplanned(reason.clone()),
        Some(Trial::Attempt(at)) => match (plan.attempts.get(*at), observations.get(*at)) {
            (Some(attempt), Some(observation)) => {
                match see(snapshot, topology, claim, attempt, observation) {
                    Seen::Answered if passes_by(claim, fate) => {
                        Seen::Unplanned("the probe does not pass the host's rules for ARP".to_owned())
                    }
                    Seen::Answered if may_be_unasked(fate, &observation.outcome) => Seen::Unplanned(
                        "a router advertises itself now and then without being asked".to_owned(),
                    ),
                    seen => seen,
                }
            }
            _ => Seen::Failed("the attempt was not made".to_owned()),
        },
    };
    match claim.expected {
        Expected::Allow => {
            let asked = match plan.trials.get(at) {
                Some(Trial::Attempt(at)) => {
                    plan.attempts.get(*at).is_some_and(|attempt| attempt.wants_answer)
                }
                Some(Trial::None(_)) | None => false,
            };
            let upstream = Upstream {
                host: by_the_host(at, plan, observations),
                router: first_router(snapshot, topology, claim, plan, observations),
            };
            allow(claim, fate, seen, upstream, asked)
        }
        Expected::Deny => deny(fate, seen),
    }
}

/// Whether the host is answered itself by whom the claim asks; `None` if it was not tried.
pub(super) fn by_the_host(claim: usize, plan: &Plan, observations: &[Observation]) -> Option<bool> {
    let observation = observations.get((*plan.own.get(claim)?)?)?;
    match observation.outcome {
        Outcome::Answered { .. } => Some(true),
        Outcome::Refused { .. } | Outcome::Silent => Some(false),
        Outcome::NotTried { .. } => None,
    }
}

fn see(
    snapshot: &Snapshot,
    topology: &Topology,
    claim: &Claim,
    attempt: &Attempt,
    observation: &Observation,
) -> Seen {
    let arrival = attempt.arrival.as_ref().and_then(|arrival| {
        let here =
            |sighting: &&Sighting| !sighting.answer && sighting.outgoing && sighting.device == *arrival;
        let mut seen = observation.sightings.iter().filter(here);
        let first = seen.clone().next();
        seen.find(|sighting| other_mac(topology, claim, sighting).is_none()).or(first)
    });
    match &observation.outcome {
        Outcome::NotTried { reason } => Seen::Failed(reason.clone()),
        // An answer to what never came to the guest is another's: the host's own, if it has the guest's address.
        Outcome::Answered { .. } if attempt.arrival.is_some() && arrival.is_none() && for_nic(claim) => {
            Seen::Stranger("somebody else answered: it never came to the tap".to_owned())
        }
        Outcome::Answered { answer, .. } => {
            stranger(snapshot, topology, claim, answer).map_or(Seen::Answered, Seen::Stranger)
        }
        Outcome::Refused { by, error } => {
            let own = snapshot.addresses.items().iter().any(|address| address.net.addr() == *by);
            let words = format!("refused by {by}: {error}");
            let unresolved = is_unresolved(error);
            if own { Seen::RefusedHere { words, unresolved } } else { Seen::RefusedBeyond(words) }
        }
        Outcome::Silent => match arrival {
            Some(sighting) => {
                let misaddressed = other_mac(topology, claim, sighting).map(Seen::Misaddressed);
                let untranslated = || untranslated(topology, claim, sighting).map(Seen::ArrivedUntranslated);
                let answered =
                    |seen: &Sighting| seen.answer && !seen.outgoing && seen.device == sighting.device;
                let lost = || observation.sightings.iter().any(answered).then_some(Seen::AnswerLost);
                misaddressed.or_else(lost).or_else(untranslated).unwrap_or(Seen::Arrived)
            }
            None if attempt.arrival.is_some() => Seen::Lost,
            None => Seen::Unanswered,
        },
    }
}

/// The host's ARP probe leaves and comes in past rules of the ARP family, by which its own would be stopped.
fn passes_by(claim: &Claim, fate: &Fate) -> bool {
    let arp = |step: &Step| matches!(step.site, Site::Netfilter { family: Family::Arp, .. });
    claim.from == Zone::Host && claim.traffic == Traffic::Resolve && fate.blockers().any(arp)
}

/// An advertisement to all proves nothing of the solicitation if the facts say that that is lost: every few minutes
/// one comes by itself, and each time another guest asks.
fn may_be_unasked(fate: &Fate, outcome: &Outcome) -> bool {
    let to_all =
        matches!(outcome, Outcome::Answered { answer: Answer::RouterAdvertisement { to_all: true }, .. });
    to_all && fate.blockers().any(|step| !step.reply)
}

/// Who answered in place of the gateway that the claim is about, if somebody did.
fn stranger(snapshot: &Snapshot, topology: &Topology, claim: &Claim, answer: &Answer) -> Option<String> {
    let Zone::Gateway(at) = claim.to else { return None };
    let network = topology.networks.get(at)?;
    match answer {
        Answer::Offer { server, .. } => {
            let ours = network.gateways.iter().any(|net| net.addr() == IpAddr::V4(*server));
            (!ours).then(|| format!("a DHCP server of another network, {server}, made an offer"))
        }
        // A host answers for its addresses on every link (`arp_ignore` 0), also on a foreign bridge.
        Answer::Mac(mac) if !network.is_lan() => {
            let bridge = network.bridge_index.and_then(|index| snapshot.link(index))?;
            (bridge.mac != Some(*mac)).then(|| format!("{mac} answered, which is not {}", bridge.name))
        }
        Answer::Mac(_)
        | Answer::Holds(_)
        | Answer::Echo
        | Answer::SynAck
        | Answer::Reset
        | Answer::Expired { .. }
        | Answer::TooBig { .. }
        | Answer::Dns(_)
        // The wire takes none but the gateway's.
        | Answer::RouterAdvertisement { .. } => None,
    }
}

fn for_nic(claim: &Claim) -> bool {
    matches!(claim.to, Zone::Nic(_))
}

/// The MAC that the packet is for, if the guest that it should reach has another one.
fn other_mac(topology: &Topology, claim: &Claim, sighting: &Sighting) -> Option<Mac> {
    let Zone::Nic(at) = claim.to else { return None };
    let own = topology.nics.get(at)?.mac;
    sighting.to.filter(|to| *to != own && !to.is_group())
}

/// The guest's own source on a packet that left a network whose sources are rewritten.
fn untranslated(topology: &Topology, claim: &Claim, sighting: &Sighting) -> Option<IpAddr> {
    let (Zone::Nic(at), Zone::Internet) = (claim.from, claim.to) else { return None };
    let network = topology.network_of(&topology.nics[at])?;
    let private = claim.source.filter(|_| network.translates(claim.ipv6))?;
    (sighting.source == Some(private)).then_some(private)
}

/// `asked`: an answer was wanted.
fn allow(claim: &Claim, fate: &Fate, seen: Seen, upstream: Upstream, asked: bool) -> Judgement {
    let proof = fate.predicted;
    match seen {
        Seen::Unplanned(reason) => Judgement {
            observed: Observed::NotTried,
            verdict: by_proof(proof, Expected::Allow),
            note: Some(join(unknown_of(fate), &reason)),
            oddity: None,
        },
        Seen::Failed(reason) => Judgement {
            observed: Observed::NotTried,
            verdict: match by_proof(proof, Expected::Allow) {
                CellVerdict::Ok | CellVerdict::Unknown => CellVerdict::Unknown,
                CellVerdict::Gap => CellVerdict::Gap,
            },
            note: Some(format!("could not be tried: {reason}")),
            oddity: None,
        },
        Seen::Answered => passed(proof, None),
        // The host delivered it; whether a guest answers is the guest's own affair.
        Seen::Arrived if for_nic(claim) && claim.traffic != Traffic::Resolve && !loses_answer(fate) => {
            let judgement = passed(proof, Some("delivered to the tap; the guest does not answer".to_owned()));
            let surely = asked && !fate.unknowns().any(|step| step.reply);
            let oddity = judgement.oddity.or(surely.then_some(Oddity::GuestSilent));
            Judgement { oddity, ..judgement }
        }
        // A question for the MAC of whoever is there: that it left is all that is asked.
        Seen::Arrived if matches!(claim.to, Zone::Gateway(_)) && claim.destination.is_none() => {
            passed(proof, Some("left by the uplink; the LAN's router is not known to the host".to_owned()))
        }
        // Every guest that runs answers for its address.
        Seen::Arrived
            if for_nic(claim)
                && (loses_answer(fate)
                    || claim.traffic == Traffic::Resolve && fate.unknowns().any(|step| step.reply)) =>
        {
            stopped(proof, Some("delivered to the tap; no answer came".to_owned()))
        }
        Seen::Arrived => silent(proof, "left the host's side; nobody answered".to_owned(), upstream),
        Seen::AnswerLost => {
            stopped(proof, Some("answered, but the answer was lost on its way back".to_owned()))
        }
        Seen::RefusedBeyond(words) => silent(proof, words, upstream),
        Seen::ArrivedUntranslated(source) => {
            stopped(proof, Some(format!("left with the source {source}: no answer can find its way back")))
        }
        Seen::Misaddressed(mac) => {
            stopped(proof, Some(format!("came to the tap for {mac}, which is not the guest's MAC")))
        }
        Seen::RefusedHere { words, unresolved: true }
            if claim.to == Zone::Internet && matches!(proof, Predicted::Allow | Predicted::Unknown) =>
        {
            let oddity = Some(Oddity::NextHopSilent);
            Judgement { observed: Observed::NoReply, verdict: CellVerdict::Gap, note: Some(words), oddity }
        }
        Seen::RefusedHere { words, .. } | Seen::Stranger(words) => stopped(proof, Some(words)),
        Seen::Lost => stopped(proof, Some("never came out where it should".to_owned())),
        Seen::Unanswered => stopped(proof, Some("nobody answered".to_owned())),
    }
}

/// The facts say that the packet arrives and that its answer does not.
fn loses_answer(fate: &Fate) -> bool {
    let mut blockers = fate.blockers().peekable();
    blockers.peek().is_some() && blockers.all(|step| step.reply)
}

/// An answer is a fact: the claim holds, whatever the proof says.
fn passed(proof: Predicted, note: Option<String>) -> Judgement {
    let contradicts = proof == Predicted::Deny;
    let oddity = contradicts.then_some(Oddity::Disagreement);
    Judgement { observed: Observed::Reply, verdict: CellVerdict::Ok, note, oddity }
}

/// The host did its share and nobody answered beyond it.
fn silent(proof: Predicted, note: String, upstream: Upstream) -> Judgement {
    let Upstream { host, router } = upstream;
    let host_too = match host {
        Some(true) => "; the host itself is answered",
        Some(false) => "; nor is the host itself answered",
        None => "",
    };
    let expired = match router {
        FirstRouter::Guest(by) => format!("; the router {by} answers what expires there"),
        FirstRouter::HostAlone(by) => {
            format!("; the router {by} answers the host's packets that expire there, and not the VM's")
        }
        FirstRouter::Nobody => String::new(),
    };
    let note = note + host_too + &expired;
    let (verdict, oddity) = match (proof, host, router) {
        (Predicted::Deny | Predicted::Partial, ..) => (CellVerdict::Gap, None),
        (Predicted::Allow | Predicted::Unknown, Some(true), _)
        | (Predicted::Allow | Predicted::Unknown, Some(false) | None, FirstRouter::HostAlone(_)) => {
            (CellVerdict::Gap, Some(Oddity::NoWayBack))
        }
        (
            Predicted::Allow | Predicted::Unknown,
            Some(false) | None,
            FirstRouter::Guest(_) | FirstRouter::Nobody,
        ) => (CellVerdict::Unknown, Some(Oddity::UpstreamSilent)),
    };
    Judgement { observed: Observed::NoReply, verdict, note: Some(note), oddity }
}

/// The host lost or refused it. Where the facts leave it open the wire has decided.
fn stopped(proof: Predicted, note: Option<String>) -> Judgement {
    let oddity = match proof {
        Predicted::Deny | Predicted::Partial | Predicted::Unknown => None,
        Predicted::Allow => Some(Oddity::Disagreement),
    };
    Judgement { observed: Observed::NoReply, verdict: CellVerdict::Gap, note, oddity }
}

fn deny(fate: &Fate, seen: Seen) -> Judgement {
    let proof = fate.predicted;
    let by_proof = by_proof(proof, Expected::Deny);
    let (observed, note) = match seen {
        Seen::Answered
        | Seen::Arrived
        | Seen::AnswerLost
        | Seen::Misaddressed(_)
        | Seen::ArrivedUntranslated(_) => {
            let contradicts = proof == Predicted::Deny;
            return Judgement {
                observed: Observed::Reply,
                verdict: CellVerdict::Gap,
                note: Some("seen to arrive".to_owned()),
                oddity: contradicts.then_some(Oddity::Disagreement),
            };
        }
        Seen::Unplanned(reason) => (Observed::NotTried, Some(reason)),
        Seen::Failed(reason) => (Observed::NotTried, Some(format!("could not be tried: {reason}"))),
        Seen::RefusedHere { words, .. } | Seen::RefusedBeyond(words) | Seen::Stranger(words) => {
            (Observed::NoReply, Some(words))
        }
        Seen::Lost | Seen::Unanswered => (Observed::NoReply, None),
    };
    let note = match by_proof {
        CellVerdict::Unknown => Some(join(unknown_of(fate), note.as_deref().unwrap_or_default())),
        CellVerdict::Ok | CellVerdict::Gap => note,
    };
    Judgement { observed, verdict: by_proof, note, oddity: None }
}

pub(super) fn by_proof(proof: Predicted, expected: Expected) -> CellVerdict {
    match (proof, expected) {
        (Predicted::Allow, Expected::Allow) | (Predicted::Deny, Expected::Deny) => CellVerdict::Ok,
        (Predicted::Allow | Predicted::Partial, Expected::Deny)
        | (Predicted::Deny | Predicted::Partial, Expected::Allow) => CellVerdict::Gap,
        (Predicted::Unknown, _) => CellVerdict::Unknown,
    }
}

/// What the proof stumbled over.
fn unknown_of(fate: &Fate) -> Option<String> {
    fate.unknowns().next().map(ToString::to_string)
}

fn join(first: Option<String>, second: &str) -> String {
    match first {
        Some(first) if second.is_empty() => first,
        Some(first) => format!("{first}; {second}"),
        None => second.to_owned(),
    }
}

/// The way of a packet in words: where it was seen, in order, and where it was not.
pub(super) fn way(attempt: &Attempt, observation: &Observation) -> String {
    let mut words: Vec<String> = Vec::new();
    let sender = match &attempt.sender {
        Sender::AsVm { tap, .. } => match &observation.stand_in {
            Some(StandIn { device, bridge, .. }) => {
                format!("sent by a port of kvmnet's own, {} in {}", device.name, bridge.name)
            }
            None => format!("sent at {}", tap.name),
        },
        Sender::AsHost { device, .. } => format!("sent from {}", device.name),
        Sender::AsOutside { uplink, .. } => format!("sent at {}", uplink.name),
    };
    words.push(sender);
    for device in &attempt.watch {
        let seen =
            observation.sightings.iter().find(|sighting| sighting.device == *device && !sighting.answer);
        words.push(match seen {
            Some(Sighting { outgoing: true, source: Some(source), .. }) => {
                format!("left by {} from {source}", device.name)
            }
            Some(Sighting { outgoing: true, .. }) => format!("left by {}", device.name),
            Some(_) => format!("came up at {}", device.name),
            None => format!("never seen at {}", device.name),
        });
    }
    let is_back = |sighting: &&Sighting| {
        sighting.answer && !sighting.outgoing && Some(&sighting.device) == attempt.arrival.as_ref()
    };
    if observation.outcome == Outcome::Silent
        && let Some(Sighting { source: Some(source), device, .. }) =
            observation.sightings.iter().find(is_back)
    {
        words.push(format!("{source} answered at {}", device.name));
    }
    words.push(match &observation.outcome {
        Outcome::Answered { answer: Answer::Expired { by }, .. } => format!("answered by the router {by}"),
        Outcome::Answered { answer: Answer::TooBig { by, mtu }, .. } => {
            format!("answered by {by}: the way on carries {mtu} bytes")
        }
        Outcome::Answered { .. } => "answered".to_owned(),
        Outcome::Refused { by, error } => format!("refused by {by}: {error}"),
        Outcome::Silent => "no answer".to_owned(),
        Outcome::NotTried { reason } => format!("not sent: {reason}"),
    });
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Decision, Proof};

    #[test]
    fn an_advertisement_to_all_is_no_answer_to_a_question_that_is_lost() {
        let fate = |decision, reply| {
            let (site, place) = (Site::Opaque { what: String::new() }, String::new());
            let steps = vec![Step { reply, place, site, decision, text: String::new() }];
            Fate { predicted: Predicted::Deny, steps, leaves_as: None, proof: Proof::One }
        };
        let advertised =
            |to_all| Outcome::Answered { after_us: 1, answer: Answer::RouterAdvertisement { to_all } };
        for (decision, reply, to_all, expected) in [
            (Decision::Drop, false, true, true),
            // To who asked only.
            (Decision::Drop, false, false, false),
            // If the answer is said to be lost, the facts are wrong whoever it was for.
            (Decision::Drop, true, true, false),
            (Decision::Unknown, false, true, false),
        ] {
            let unasked = may_be_unasked(&fate(decision, reply), &advertised(to_all));
            assert_eq!(unasked, expected, "{decision:?} reply={reply} to_all={to_all}");
        }
        assert!(!may_be_unasked(&fate(Decision::Drop, false), &Outcome::Silent));
    }
}
