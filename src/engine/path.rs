//! The way of a claim's packet, and of its reply, from zone to zone.

use kvmnet_probes::facts::Snapshot;
use kvmnet_reports::Predicted;

use super::{Decision, Fate, Site, Step};
use crate::model::{Claim, Topology};

/// What becomes of the packet that stands for `claim`, and of its reply.
pub fn fate(_snapshot: &Snapshot, _topology: &Topology, _claim: &Claim) -> Fate {
    let what = "the path of this claim is not modelled".to_owned();
    let step = Step {
        reply: false,
        site: Site::Opaque { what: what.clone() },
        decision: Decision::Unknown,
        text: what,
    };
    Fate { predicted: Predicted::Unknown, steps: vec![step], leaves_as: None }
}
