//! The claims behind a word: what is wanted, what the facts say, step by step, and what the wire showed.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::findings::TOLD;
use super::{class, prose};
use crate::text::{count, printable, printable_list, printable_prose};
use crate::trace::{TraceDecision, TraceStep};
use crate::unexplained::Cause;
use crate::words::{by_facts, claim_in_words, on_the_wire, sent_as, wanted};
use crate::{Cell, CellVerdict, Proof, Report, ZoneKind, table};

/// Groups of claims that are told in one place.
const GROUPS: usize = 12;
/// Steps that are told of one packet's way.
const STEPS: usize = 40;

/// What a word opens.
pub(super) struct Popover<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) word: &'a str,
    /// It is printed, too.
    pub(super) printed: bool,
}

impl Popover<'_> {
    /// `cells` with their indices; `causes` of every cell.
    pub(super) fn show(
        &self,
        report: &Report,
        causes: &[Vec<Cause<'_>>],
        cells: &[(usize, &Cell)],
    ) -> Markup {
        html! {
            div.claims.printed[self.printed] id=(self.id) popover role="dialog" aria-label=(self.title) {
                button.close type="button" popovertarget=(self.id) popovertargetaction="hide" { "Close" }
                h3 { (self.title) ": " (self.word.replace('\n', ", ")) }
                (groups(report, causes, cells))
            }
        }
    }
}

/// Claims of which all is the same but the NICs: the worst first.
pub(super) fn groups(report: &Report, causes: &[Vec<Cause<'_>>], cells: &[(usize, &Cell)]) -> Markup {
    let mut groups: BTreeMap<_, Vec<(usize, &Cell)>> = BTreeMap::new();
    for (at, cell) in cells {
        let rank = match cell.verdict {
            CellVerdict::Gap => 0,
            CellVerdict::Unknown => 1,
            CellVerdict::Ok => 2,
        };
        let ids: Vec<_> =
            causes.get(*at).into_iter().flatten().map(|cause| cause.finding.id.as_str()).collect();
        let end =
            |zone: &crate::Zone| (zone.zone, zone.address.clone().filter(|_| zone.zone != ZoneKind::Vm));
        // What one says that others do not is in the note, of which the first one's is shown.
        let said = [wanted(cell), by_facts(cell), on_the_wire(cell), cell.sender.map_or("", sent_as)];
        let key =
            (rank, ids, &cell.traffic, end(&cell.from), end(&cell.to), said, cell.proof == Proof::AllPackets);
        groups.entry(key).or_default().push((*at, cell));
    }
    let more = groups.values().skip(GROUPS).map(Vec::len).sum();
    html! {
        @for (number, group) in groups.values().take(GROUPS).enumerate() { (one(report, causes, group, number == 0)) }
        @if more > 0 { p { "… and " (count(more, "claim")) " more: " code { "kvmnet doctor --format json" } } }
    }
}

fn one(report: &Report, causes: &[Vec<Cause<'_>>], group: &[(usize, &Cell)], open: bool) -> Markup {
    // All are alike; one of whose packet's way is known shows it.
    let Some((at, cell)) = group.iter().find(|(_, cell)| !cell.steps.is_empty()).or(group.first()) else {
        return html! {};
    };
    let entry = table::word(cell);
    let (word, class) = (&entry.text, class(entry.paint));
    let vm = |cell: &'_ Cell| {
        let about = if cell.from.zone == ZoneKind::Vm { &cell.from } else { &cell.to };
        about.vm.clone().unwrap_or_default()
    };
    let names: Vec<String> = group.iter().map(|(_, cell)| vm(cell)).collect();
    html! {
        details.claim.(class) open[open] {
            summary {
                strong.(class) { (word) } " " (claim_in_words(cell))
                @if group.len() > 1 { " and " (group.len() - 1) " like it" }
            }
            dl {
                @if group.len() > 1 { div { dt { "all of" } dd { (printable_list(names.iter().map(String::as_str))) } } }
                div { dt { "wanted" } dd { (wanted(cell)) } }
                div {
                    dt { "proof" }
                    dd {
                        (by_facts(cell))
                        @if cell.proof == Proof::AllPackets { ", and that is proved for all packets" }
                    }
                }
                @if !cell.steps.is_empty() { div { dt { "path" } dd { (path(&cell.steps)) } } }
                div {
                    dt { "wire" }
                    dd {
                        (on_the_wire(cell))
                        @if let Some(sender) = cell.sender { "; it was sent " (sent_as(sender)) }
                    }
                }
                @if let Some(note) = &cell.note { div { dt { "note" } dd { (prose(&printable_prose(note))) } } }
                @for cause in causes.get(*at).into_iter().flatten() {
                    div { dt { "because" } dd { (because(report, cause)) } }
                }
            }
        }
    }
}

fn because(report: &Report, cause: &Cause<'_>) -> Markup {
    let title = printable_prose(&cause.finding.title);
    let at = report.findings.iter().position(|finding| std::ptr::eq(finding, cause.finding));
    html! {
        @match (cause.accepted, at) {
            (None, Some(at)) if at < TOLD => a href=(format!("#finding-{}", at + 1)) { (title) },
            (None, _) => { (title) },
            (Some(_), _) => { (title) " (accepted)" },
        }
    }
}

/// The packet's way, and its reply's.
fn path(steps: &[TraceStep]) -> Markup {
    let more = steps.len().saturating_sub(STEPS);
    html! {
        ol.path {
            @for step in steps.iter().take(STEPS) {
                @let (class, mark) = match step.decision {
                    TraceDecision::Pass | TraceDecision::Rewrite => ("plain", ""),
                    TraceDecision::Drop => ("bad", " DROPPED HERE"),
                    TraceDecision::Reject => ("bad", " REJECTED HERE"),
                    TraceDecision::Unknown => ("warn", " ?"),
                };
                li.(class) {
                    @if step.reply { "reply: " }
                    b { (printable(&step.place)) } " " (printable_prose(&step.text)) strong { (mark) }
                    @if let (true, Some(owner)) = (step.stops(), &step.site.owner) { " (" (printable(owner)) ")" }
                }
            }
        }
        @if more > 0 { p { "… and " (count(more, "step")) " more" } }
    }
}
