//! What is wrong, why, and the commands that put it right; then what could not be said.

use maud::{Markup, html};

use super::prose;
use crate::catalogue::CheckEntry;
use crate::formats::{Input, details};
use crate::text::{count, printable, printable_prose};
use crate::unexplained::groups;
use crate::words::{claims, command};
use crate::{Finding, Report, Severity};

/// Findings that are told, and those that are open from the beginning.
pub(super) const TOLD: usize = 200;
const OPEN: usize = 20;
/// Groups of claims, and pairs of ends in one.
const GROUPS: usize = 12;

pub(super) fn section(input: &Input<'_>) -> Markup {
    let report = input.report;
    let groups = groups(report);
    let more = report.findings.len().saturating_sub(TOLD);
    html! {
        section #findings aria-labelledby="findings-title" {
            h2 #findings-title { "Findings" }
            @if report.findings.is_empty() && groups.is_empty() { p { "Nothing is wrong." } }
            @for (at, finding) in report.findings.iter().enumerate().take(TOLD) {
                (entry(input, at, finding))
            }
            @if more > 0 { p { "… and " (count(more, "finding")) " more: " code { "kvmnet doctor --format json" } } }
            @for group in groups.iter().take(GROUPS) {
                @let (class, word) = if group.unknown { ("warn", "unknown") } else { ("bad", "error") };
                details.finding.(class) open {
                    summary { strong.(class) { (word) } " " (group.title()) }
                    dl {
                        div { dt { "why" } dd { (prose(&group.why)) } }
                        div { dt { "claims" } dd { (claims(&group.cells, GROUPS)) } }
                    }
                }
            }
            @let rest: usize = groups.iter().skip(GROUPS).map(|group| group.cells.len()).sum();
            @if rest > 0 { p { "… and " (count(rest, "claim")) " more: " code { "kvmnet doctor --format json" } } }
        }
    }
}

fn entry(input: &Input<'_>, at: usize, finding: &Finding) -> Markup {
    let class = match finding.severity {
        Severity::Error => "bad",
        Severity::Warning => "warn",
        Severity::Info => "dim",
    };
    let meaning = input.catalogue.checks.iter().find(|entry| entry.id == finding.id);
    html! {
        details.finding.(class) id=(format!("finding-{}", at + 1)) open[at < OPEN] {
            summary {
                strong.(class) { (finding.severity.word()) } " " (printable_prose(&finding.title)) " "
                code.id { (printable(&finding.id)) }
            }
            (body(input.report, finding))
            @if let Some(meaning) = meaning { (means(meaning)) }
        }
    }
}

/// Why it is so, what shows it, whom it concerns, and what to type.
pub(super) fn body(report: &Report, finding: &Finding) -> Markup {
    let all = details::of_finding(report, finding);
    let commands: Vec<_> = finding.fix.commands.iter().map(|line| command(line)).collect();
    html! {
        dl {
            @for (label, said) in all.iter().filter(|(label, _)| *label != "fix") {
                @if *label == "note" && !commands.is_empty() { } @else {
                    div { dt { (label) } dd { (prose(said)) } }
                }
            }
            @if !commands.is_empty() {
                div {
                    dt { "fix" }
                    dd {
                        pre.commands tabindex="0" { code { (commands.join("\n")) } }
                        @for (_, said) in all.iter().filter(|(label, _)| *label == "note") { p { (prose(said)) } }
                    }
                }
            }
        }
    }
}

/// What kvmnet explains of the check.
fn means(meaning: &CheckEntry) -> Markup {
    html! {
        details {
            summary { "What this means, and how far it can be trusted" }
            p { (prose(meaning.explanation)) }
            dl {
                div { dt { "needs" } dd { (meaning.needs.join(", ")) } }
                div { dt { "basis" } dd { (prose(meaning.basis)) } }
            }
        }
    }
}
