//! A plugin of Nagios, Icinga, Naemon and others, as the guidelines of monitoring-plugins.org say.
//!
//! The first line is the state, a sentence and, after a bar, the performance data; the lines below it say more. The
//! exit code is the plugin's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Web pages and notification commands make something
//! of what stands in these lines: bars, angle brackets, backticks and dollars are shown as escapes.

use std::io;

use super::{Input, Plugin, Renderer, details};
use crate::text::{printable, printable_prose};
use crate::unexplained::{causes, groups};
use crate::words::{acceptance, claims, command};
use crate::{CellVerdict, Finding, Report, Severity, Verdict};

/// Findings, and groups of claims, that are told.
const TOLD: usize = 30;
/// Pairs of ends that a line names.
const NAMED: usize = 6;

pub(super) const RENDERER: Renderer = Renderer {
    name: "nagios",
    about: "A Nagios or Icinga plugin's output, with its exit codes",
    write: |input: &Input<'_>, out| write(input.report, out),
    plugin: Some(Plugin {
        exit_code: |report| State::of(report).exit_code(),
        failed: |reason| {
            (format!("KVMNET UNKNOWN - {}\n", inert(&printable_prose(reason))), State::Unknown.exit_code())
        },
    }),
    ..Renderer::USUAL
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl State {
    /// The report's verdict in a plugin's words. Of gaps, what no more than warns of what is to come is a warning.
    fn of(report: &Report) -> Self {
        match report.summary.verdict {
            Verdict::Verified => Self::Ok,
            Verdict::Incomplete => Self::Unknown,
            Verdict::Gaps if is_critical(report) => Self::Critical,
            Verdict::Gaps => Self::Warning,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

/// Something is broken or leaks, and the policy does not accept it.
fn is_critical(report: &Report) -> bool {
    let gap = |(cell, causes): (&crate::Cell, Vec<_>)| {
        let accepted = |cause: &crate::unexplained::Cause<'_>| cause.accepted.is_some();
        cell.verdict == CellVerdict::Gap && (causes.is_empty() || !causes.iter().all(accepted))
    };
    let assertions = report.policy.iter().flat_map(|policy| &policy.assertions);
    report.findings.iter().any(|finding| finding.severity == Severity::Error)
        || assertions.into_iter().any(|assertion| assertion.verdict == CellVerdict::Gap)
        || report.matrix.iter().zip(causes(report)).any(gap)
}

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let word = State::of(report).word();
    writeln!(out, "KVMNET {word} - {}|{}", inert(&sentence(report)), performance(report))?;
    let mut line = |text: String| writeln!(out, "{}", inert(&text));
    for finding in report.findings.iter().take(TOLD) {
        line(format!("{}: {}", finding.severity.word(), printable_prose(&finding.title)))?;
        line(format!("  why: {}", printable_prose(&finding.cause)))?;
        fix(finding).into_iter().try_for_each(&mut line)?;
    }
    let more = report.findings.len().saturating_sub(TOLD);
    if more > 0 {
        line(format!("… and {more} more: kvmnet doctor"))?;
    }
    for group in groups(report).iter().take(TOLD) {
        let word = if group.unknown { "unknown" } else { "error" };
        line(format!("{word}: {}: {}: {}", group.title(), group.why, claims(&group.cells, NAMED)))?;
    }
    if let Some(policy) = &report.policy {
        for assertion in &policy.assertions {
            let word = match assertion.verdict {
                CellVerdict::Ok => continue,
                CellVerdict::Gap => "error",
                CellVerdict::Unknown => "unknown",
            };
            let said = details::verdict_of_assertion(report, assertion);
            line(format!(
                "{word}: policy line {}: {}: {said}",
                assertion.line,
                printable_prose(&assertion.name)
            ))?;
        }
        for accepted in policy.accepted.iter().take(TOLD) {
            line(format!("{}: {}", printable_prose(&accepted.finding.title), acceptance(accepted)))?;
        }
        for note in policy.notes.iter().take(TOLD) {
            line(format!("policy line {}: {}", note.line, printable_prose(&note.text)))?;
        }
    }
    details::unread(report).try_for_each(|(name, status, reason)| line(format!("{status}: {name}: {reason}")))
}

/// What to type, a command on each line.
fn fix(finding: &Finding) -> Vec<String> {
    finding.fix.commands.iter().map(|text| format!("  fix: {}", command(text))).collect()
}

/// The worst in a few words: this line is what a pager shows.
fn sentence(report: &Report) -> String {
    let worst = match State::of(report) {
        State::Ok | State::Unknown => None,
        State::Warning | State::Critical => worst(report),
    };
    let worst = worst.map_or(String::new(), |title| format!("{}; ", printable(title)));
    format!("{worst}{} on {}", details::counts(report), printable(&report.host.name))
}

/// What the worst finding is called, or the first assertion that does not hold.
fn worst(report: &Report) -> Option<&str> {
    let finding = report.findings.iter().rev().max_by_key(|finding| finding.severity);
    let mut assertions = report.policy.iter().flat_map(|policy| &policy.assertions);
    let failing = assertions.find(|assertion| assertion.verdict == CellVerdict::Gap);
    finding.map(|finding| &*finding.title).or(failing.map(|assertion| &*assertion.name))
}

/// Numbers with their thresholds: `label=value;warning;critical;minimum`.
fn performance(report: &Report) -> String {
    let severity = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let mut items = vec![
        format!("gaps={};;0;0", report.summary.gaps),
        format!("unknown={};;;0", report.summary.unknown),
        format!("ok={};;;0", report.summary.ok),
        format!("proved={};;;0", report.summary.proved),
        format!("errors={};;0;0", severity(Severity::Error)),
        format!("warnings={};0;;0", severity(Severity::Warning)),
        format!("unread={};;;0", details::unread(report).count()),
    ];
    if let Some(policy) = &report.policy {
        let number = |verdict| policy.assertions.iter().filter(|entry| entry.verdict == verdict).count();
        items.push(format!("assertions_ok={};;;0", number(CellVerdict::Ok)));
        items.push(format!("assertions_failed={};;0;0", number(CellVerdict::Gap)));
        items.push(format!("assertions_unknown={};;;0", number(CellVerdict::Unknown)));
        items.push(format!("accepted={};;;0", policy.accepted.len()));
    }
    items.join(" ")
}

/// A line that neither ends early nor means anything to a web page or a shell.
fn inert(text: &str) -> String {
    let mut inert = String::new();
    for char in text.chars() {
        if "|<>`$".contains(char) {
            inert.extend(char.escape_unicode());
        } else {
            inert.push(char);
        }
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_unknown() {
        let said = RENDERER.failed("cannot read a|b: <x>");
        assert_eq!(said, Some(("KVMNET UNKNOWN - cannot read a\\u{7c}b: \\u{3c}x\\u{3e}\n".to_owned(), 3)));
    }
}
