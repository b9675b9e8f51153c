//! Which packets stand for which claims.

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::Attempt;

use crate::engine::Fate;
use crate::model::{Claim, Topology};

/// How a claim is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// By this attempt of the plan.
    Attempt(usize),
    /// Not at all, for this reason; the prediction decides alone.
    None(String),
}

/// The attempts, and for each claim which of them stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is sent.
    pub attempts: Vec<Attempt>,
    /// How each claim is tried, in the claims' order.
    pub trials: Vec<Trial>,
}

impl Plan {
    /// Nothing is sent, for one reason.
    pub fn untried(claims: &[Claim], reason: &str) -> Self {
        Self { attempts: Vec::new(), trials: vec![Trial::None(reason.to_owned()); claims.len()] }
    }
}

/// An attempt for every claim that a packet can stand for on this host as it is now.
pub fn plan(_snapshot: &Snapshot, _topology: &Topology, claims: &[Claim], _fates: &[Fate]) -> Plan {
    Plan::untried(claims, "not tried")
}
