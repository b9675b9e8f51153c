//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};

use kvmnet::engine::Site;
use kvmnet::model::{Traffic, Zone};
use kvmnet_reports::Predicted;

use crate::compare::{Comparison, Kind};
use crate::trial::{Result, Trial, Tried};

/// What tells one disagreement from another: its kind, the kind of the first blocker and whether that
/// is on the way of the reply, where the flow begins and ends, and the traffic.
type Symptom = (Kind, Option<(Discriminant<Site>, bool)>, [Discriminant<Zone>; 2], Discriminant<Traffic>);

/// What a run of trials gave.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    trials: usize,
    agreed: usize,
    allowed: usize,
    denied: usize,
    pub(crate) undecided: usize,
    not_tried: BTreeMap<String, usize>,
    items: usize,
    refused_items: usize,
    disagreements: BTreeMap<Kind, usize>,
    /// Why packets were undecided.
    reasons: BTreeMap<String, usize>,
    seen: Vec<Symptom>,
    /// Disagreements, made small.
    pub(crate) shown: Vec<String>,
}

impl Tally {
    /// Adds a trial.
    pub(crate) fn count(&mut self, trial: &Trial, result: &Result) {
        self.trials += 1;
        self.items += trial.items.len();
        self.refused_items += trial.items.len() - result.taken.len();
        for tried in &result.tried {
            match &tried.comparison {
                Comparison::Agree => {
                    self.agreed += 1;
                    self.allowed += usize::from(tried.fate.predicted == Predicted::Allow);
                    self.denied += usize::from(tried.fate.predicted == Predicted::Deny);
                }
                Comparison::Undecided => {
                    self.undecided += 1;
                    let reason = tried.fate.unknowns().next().map_or("partial".to_owned(), |step| {
                        step.text.rsplit("undecided: ").next().unwrap_or_default().to_owned()
                    });
                    *self.reasons.entry(reason.chars().take(60).collect()).or_default() += 1;
                }
                Comparison::NotTried(reason) => *self.not_tried.entry(reason.clone()).or_default() += 1,
                Comparison::Disagree(kind) => *self.disagreements.entry(*kind).or_default() += 1,
            }
        }
    }

    /// The packets that were sent.
    pub(crate) fn packets(&self) -> usize {
        self.agreed + self.undecided + self.disagreements()
    }

    pub(crate) fn disagreements(&self) -> usize {
        self.disagreements.values().sum()
    }

    /// Whether this disagreement is to be shrunk: one of its kind, and not more than `most`
    /// in all.
    pub(crate) fn is_new(&mut self, kind: Kind, tried: &Tried, most: usize) -> bool {
        let claim = &tried.claim;
        let blocker = tried.fate.blockers().next().map(|step| (discriminant(&step.site), step.reply));
        let ends = [claim.from, claim.to].map(|zone| discriminant(&zone));
        let key = (kind, blocker, ends, discriminant(&claim.traffic));
        let new = self.seen.len() < most && !self.seen.contains(&key);
        if new {
            self.seen.push(key);
        }
        new
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packets = self.packets();
        let percent = |part: usize| part * 100 / packets.max(1);
        writeln!(
            f,
            "{} trials, {} items of which the kernel refused {}; {packets} packets: {} % allowed, {} % denied, \
             {} % undecided",
            self.trials,
            self.items,
            self.refused_items,
            percent(self.allowed),
            percent(self.denied),
            percent(self.undecided)
        )?;
        for (kind, count) in &self.disagreements {
            writeln!(f, "  disagree: {count} × {kind:?}")?;
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (reason, count) in reasons.into_iter().take(12) {
            writeln!(f, "  undecided: {count} × {reason}")?;
        }
        self.not_tried.iter().try_for_each(|(reason, count)| writeln!(f, "  not sent: {count} × {reason}"))
    }
}
