//! What no finding explains: gaps without a cause, and claims of which nothing can be said.

use std::collections::BTreeMap;

use crate::text::count;
use crate::words::what_is_known;
use crate::{Cell, CellVerdict, Finding, Report};

/// Claims of which the same is known.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// They cannot be decided; if not, they are gaps.
    pub(crate) unknown: bool,
    /// What is known, as it may be shown.
    pub(crate) why: String,
    pub(crate) cells: Vec<&'a Cell>,
}

impl Group<'_> {
    /// `12 claims cannot be decided`.
    pub(crate) fn title(&self) -> String {
        if self.unknown {
            format!("{} cannot be decided", count(self.cells.len(), "claim"))
        } else {
            format!("{} without a known cause", count(self.cells.len(), "gap"))
        }
    }
}

/// For each cell of the matrix the findings that break it, those that the policy accepts among them.
pub(crate) fn causes(report: &Report) -> Vec<Vec<Cause<'_>>> {
    let mut causes = vec![Vec::new(); report.matrix.len()];
    let open = report.findings.iter().map(|finding| Cause { finding, accepted: None });
    let accepted = report.policy.iter().flat_map(|policy| &policy.accepted);
    let accepted = accepted.map(|entry| Cause { finding: &entry.finding, accepted: Some(entry) });
    for cause in open.chain(accepted) {
        for index in &cause.finding.breaks {
            if let Some(causes) = causes.get_mut(*index) {
                causes.push(cause);
            }
        }
    }
    causes
}

/// A finding that breaks a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    pub(crate) finding: &'a Finding,
    /// What the policy says of it, if it accepts it.
    pub(crate) accepted: Option<&'a crate::Accepted>,
}

/// The gaps, then the unknown, grouped by what is known of them.
pub(crate) fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(bool, String), Vec<&Cell>> = BTreeMap::new();
    for (cell, causes) in report.matrix.iter().zip(causes(report)) {
        let unknown = match cell.verdict {
            CellVerdict::Ok => continue,
            CellVerdict::Gap if !causes.is_empty() => continue,
            CellVerdict::Gap => false,
            CellVerdict::Unknown => true,
        };
        groups.entry((unknown, what_is_known(cell))).or_default().push(cell);
    }
    groups.into_iter().map(|((unknown, why), cells)| Group { unknown, why, cells }).collect()
}
