//! From a snapshot and what the wire showed to a report.
//!
//! The order of a run: [`predict`] fates for the claims, [`plan()`] attempts for them, let
//! `kvmnet_probes::wire::run` try them, and [`report()`] what follows. [`discover()`] and [`learn`] come
//! first where packets may be sent: they find addresses that nothing else knows. Pure: whoever calls
//! does the sending. A run without packets gives [`Plan::untried`] in place of a plan.

mod discover;
mod findings;
mod judge;
mod plan;
mod report;
mod symptom;

pub use crate::model::Scope;
pub use discover::{discover, learn};
pub use plan::{Plan, Trial, plan};
pub use report::report;

use kvmnet_probes::facts::Snapshot;

use crate::engine::{Engine, Fate};
use crate::model::{Claim, Topology};

/// The fate of every claim, in the same order.
pub fn predict(snapshot: &Snapshot, topology: &Topology, claims: &[Claim]) -> Vec<Fate> {
    let mut engine = Engine::new(snapshot, topology);
    claims.iter().map(|claim| engine.fate(claim)).collect()
}
