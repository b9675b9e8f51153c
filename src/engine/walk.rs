//! The trace that a packet leaves.

use std::net::IpAddr;

use kvmnet_reports::Predicted;

use super::world::World;
use super::{Decision, Fate, Site, Step};
use crate::model::Topology;

/// One walk along the path, there and back.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) world: World<'a>,
    pub(super) topology: &'a Topology,
    pub(super) steps: Vec<Step>,
    pub(super) reply: bool,
    /// Which of several equal ways is taken wherever there is a choice.
    pub(super) pick: usize,
    /// The greatest number of equal ways met.
    pub(super) ways: usize,
    pub(super) leaves_as: Option<IpAddr>,
    /// A program before may have taken the packet past everything that follows.
    diverted: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(world: World<'a>, topology: &'a Topology, pick: usize) -> Self {
        Self {
            world,
            topology,
            steps: Vec::new(),
            reply: false,
            pick,
            ways: 1,
            leaves_as: None,
            diverted: false,
        }
    }

    /// Adds a step of the way that is being walked.
    pub(super) fn step(&mut self, place: &str, site: Site, decision: Decision, text: impl Into<String>) {
        self.add(Step { reply: self.reply, place: place.to_owned(), site, decision, text: text.into() });
    }

    /// Adds a step, which is one of the way that is being walked.
    pub(super) fn add(&mut self, step: Step) {
        let decision = match step.decision {
            Decision::Drop | Decision::Reject if self.diverted => Decision::Unknown,
            decision => decision,
        };
        let step = Step { reply: self.reply, decision, ..step };
        // What stops the packet there and back is named once.
        let again = |earlier: &Step| {
            let stops = !matches!(step.decision, Decision::Pass | Decision::Rewrite);
            stops && earlier.site == step.site && earlier.decision == step.decision
        };
        if !self.steps.iter().any(|earlier| *earlier == step || again(earlier)) {
            self.steps.push(step);
        }
    }

    /// A source of facts on which the way depends could not be read.
    pub(super) fn missing(&mut self, place: &str, source: &str) {
        let site = Site::MissingFact { source: source.to_owned() };
        self.step(place, site, Decision::Unknown, format!("{source} could not be read"));
    }

    /// Something that is not understood may take the packet.
    pub(super) fn opaque(&mut self, place: &str, what: impl Into<String>) {
        let what = what.into();
        self.step(
            place,
            Site::Opaque { what: what.clone() },
            Decision::Unknown,
            format!("{what}: not understood"),
        );
    }

    /// A program may take the packet past all that follows, so that a later drop proves nothing.
    pub(super) fn program(&mut self, place: &str, what: impl Into<String>) {
        self.opaque(place, what);
        self.diverted = true;
    }

    /// The fate that the steps amount to.
    pub(super) fn fate(self) -> Fate {
        let any = |decisions: &[Decision]| self.steps.iter().any(|step| decisions.contains(&step.decision));
        let predicted = if any(&[Decision::Drop, Decision::Reject]) {
            Predicted::Deny
        } else if any(&[Decision::Unknown]) {
            Predicted::Unknown
        } else {
            Predicted::Allow
        };
        Fate { predicted, steps: self.steps, leaves_as: self.leaves_as }
    }
}
