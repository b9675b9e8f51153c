//! What no finding explains: gaps without a cause, and claims of which nothing can be said.

use std::collections::BTreeMap;

use crate::text::count;
use crate::words::what_is_known;
use crate::{Cell, CellVerdict, Report};

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

/// The gaps, then the unknown, grouped by what is known of them.
pub(crate) fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut explained = vec![false; report.matrix.len()];
    for index in report.findings.iter().flat_map(|finding| &finding.breaks) {
        if let Some(explained) = explained.get_mut(*index) {
            *explained = true;
        }
    }
    let mut groups: BTreeMap<(bool, String), Vec<&Cell>> = BTreeMap::new();
    for (cell, explained) in report.matrix.iter().zip(explained) {
        let unknown = match cell.verdict {
            CellVerdict::Ok => continue,
            CellVerdict::Gap if explained => continue,
            CellVerdict::Gap => false,
            CellVerdict::Unknown => true,
        };
        groups.entry((unknown, what_is_known(cell))).or_default().push(cell);
    }
    groups.into_iter().map(|((unknown, why), cells)| Group { unknown, why, cells }).collect()
}
