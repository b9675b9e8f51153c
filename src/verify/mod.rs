//! From a snapshot and what the wire showed to a report.
//!
//! The order of a run: [`prove`] fates for the claims, [`plan()`] attempts for them, let
//! `kvmnet_probes::wire::run` try them, and [`report()`] what follows. [`discover()`] and [`learn`] come
//! first where packets may be sent: they find addresses that nothing else knows. Pure: whoever calls
//! does the sending. A run without packets gives [`Plan::untried`] in place of a plan.

mod beyond;
mod course;
mod diff;
mod discover;
mod dry_run;
mod findings;
mod inventory;
mod judge;
mod large;
mod plan;
mod policy;
mod reach;
mod report;
mod single;
mod stand_in;
mod steps;
mod symptom;

pub use crate::model::Scope;
pub use beyond::Expiring;
pub use course::{RECORD, Record, follow};
pub use diff::diff;
pub use discover::{discover, learn};
pub use dry_run::dry_run;
pub use inventory::{Inventory, inventory};
pub use large::full_size;
pub use plan::{Plan, Trial, plan};
pub use policy::{hold_against, reduce};
pub use reach::Reach;
pub use report::{is_doubtful, report};
pub use single::{Single, single};
pub use steps::{add_steps, step};

use kvmnet_reports::{Expected, Predicted};

use crate::engine::{Decision, Denial, Engine, Facts, Fate, Proof, Site, Step};
use crate::model::{Claim, Topology};

/// The fate of every claim, in the same order. A denial is proved for all packets. Where it does not hold
/// the packet that shows it takes the place of the one that stood for the claim, so that it is traced, and
/// tried on the wire.
pub fn prove(facts: &Facts<'_>, topology: &Topology, claims: &mut [Claim]) -> Vec<Fate> {
    let mut engine = Engine::new(facts, topology);
    claims.iter_mut().map(|claim| proved(&mut engine, claim)).collect()
}

fn proved(engine: &mut Engine<'_>, claim: &mut Claim) -> Fate {
    match engine.deny(claim) {
        None if claim.assertion.is_some() && claim.expected == Expected::Deny => {
            let mut fate = engine.fate(claim);
            if fate.predicted == Predicted::Deny && !fate.blockers().any(|step| step.site.stops_all()) {
                fate.predicted = Predicted::Unknown;
                fate.steps.push(undecided("what of all packets passes here cannot be followed".to_owned()));
            }
            fate
        }
        None => engine.fate(claim),
        // The packet that stands for the claim is one of them.
        Some(Denial::Proven) => {
            Fate { predicted: Predicted::Deny, steps: Vec::new(), leaves_as: None, proof: Proof::All }
        }
        Some(Denial::Leaks(leak)) => {
            (claim.source, claim.destination) = (Some(leak.ends.0), Some(leak.ends.1));
            claim.traffic = leak.traffic.unwrap_or(claim.traffic);
            let fate = engine.fate(claim);
            // One packet is denied if no answer comes back; that it arrives is a leak all the same.
            let predicted =
                if fate.predicted == Predicted::Deny { Predicted::Partial } else { fate.predicted };
            Fate { predicted, proof: Proof::Passing(leak.packets), ..fate }
        }
        Some(Denial::Open(why)) => {
            let mut fate = engine.fate(claim);
            if fate.predicted == Predicted::Deny {
                fate.predicted = Predicted::Unknown;
                fate.steps.extend(why.into_iter().map(undecided));
            }
            fate
        }
    }
}

/// What leaves a denial open.
fn undecided(what: String) -> Step {
    Step {
        reply: false,
        place: "all packets".to_owned(),
        site: Site::Opaque { what: what.clone() },
        decision: Decision::Unknown,
        text: what,
    }
}
