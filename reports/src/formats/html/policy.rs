//! The policy's assertions, what became of them, and what the policy accepts.

use maud::{Markup, html};

use super::claims::groups;
use super::findings::body;
use super::prose;
use crate::formats::details;
use crate::text::{printable, printable_prose};
use crate::unexplained::causes;
use crate::words::acceptance;
use crate::{CellVerdict, Policy, Report};

pub(super) fn section(report: &Report, policy: &Policy) -> Markup {
    let causes = causes(report);
    html! {
        section #policy aria-labelledby="policy-title" {
            h2 #policy-title { "Policy " (printable_prose(&policy.file)) }
            @for assertion in &policy.assertions {
                @let (class, word) = match assertion.verdict {
                    CellVerdict::Ok => ("good", "holds"),
                    CellVerdict::Gap => ("bad", "FAILS"),
                    CellVerdict::Unknown => ("warn", "unknown"),
                };
                @let cells: Vec<_> =
                    assertion.cells.iter().filter_map(|&at| Some((at, report.matrix.get(at)?))).collect();
                details.finding.(class) open[assertion.verdict != CellVerdict::Ok] {
                    summary {
                        strong.(class) { (word) } " " (printable_prose(&assertion.name)) " "
                        span.dim { "line " (assertion.line) ": " (details::verdict_of_assertion(report, assertion)) }
                    }
                    @if let Some(note) = &assertion.note { p { (prose(&printable_prose(note))) } }
                    (groups(report, &causes, &cells))
                }
            }
            @for note in &policy.notes {
                p { strong.warn { "note" } " line " (note.line) ": " (printable_prose(&note.text)) }
            }
            @for accepted in &policy.accepted {
                details.finding.dim {
                    summary {
                        strong.dim { "accepted" } " " (printable_prose(&accepted.finding.title)) " "
                        code.id { (printable(&accepted.finding.id)) }
                    }
                    p { (acceptance(accepted)) " (line " (accepted.line) ")" }
                    (body(report, &accepted.finding))
                }
            }
        }
    }
}
