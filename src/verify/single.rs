//! One packet on the wire, held against what the facts say of it.

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::Observation;
use kvmnet_reports::{CellVerdict, Observed};

use super::Plan;
use super::judge::{Oddity, judge};
use crate::engine::{Engine, Facts, Fate};
use crate::model::{Claim, Topology};

/// What follows from facts and wire for one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Single {
    /// Whether it came through.
    pub observed: Observed,
    /// Whether it does what its claim says.
    pub verdict: CellVerdict,
    /// What is to be said of it.
    pub note: Option<String>,
    /// The wire shows the opposite of what the facts say.
    pub contradicts: bool,
}

/// Holds the observation of a plan that is about this claim alone against the packet's fate.
pub fn single(
    snapshot: &Snapshot,
    topology: &Topology,
    claim: &Claim,
    fate: &Fate,
    plan: &Plan,
    observations: &[Observation],
) -> Option<Single> {
    let facts = Facts::new(snapshot);
    let mut engine = Engine::new(&facts, topology);
    let judgement = judge(snapshot, topology, (0, claim), fate, plan, observations, Some(&mut engine));
    Some(Single {
        observed: judgement.observed,
        verdict: judgement.verdict,
        note: judgement.note,
        contradicts: judgement.oddity == Some(Oddity::Disagreement),
    })
}
