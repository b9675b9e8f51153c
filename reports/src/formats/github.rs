//! Workflow commands of GitHub Actions: annotations of the run, and of the policy file's lines.
//!
//! Each is a line; what would end the line or a property is escaped as the runner undoes it (`%`, carriage return and
//! line feed in the message, `:` and `,` too in properties). GitHub shows the first ten of a kind and step, so the worst
//! come first.

use std::io;

use super::details::{self, lines};
use super::{Input, Renderer};
use crate::text::{printable, printable_prose};
use crate::unexplained::groups;
use crate::words::{acceptance, claims};
use crate::{CellVerdict, Finding, Policy, Report, Severity, Verdict};

/// Pairs of ends that an annotation names.
const NAMED: usize = 12;

pub(super) const RENDERER: Renderer = Renderer {
    name: "github",
    about: "Annotations of a GitHub Actions run",
    write: |input: &Input<'_>, out| write(input.report, out),
    ..Renderer::USUAL
};

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut annotations = of_policy(report);
    annotations.extend(report.findings.iter().map(|finding| of_finding(report, finding)));
    annotations.extend(groups(report).iter().map(|group| {
        let level = if group.unknown { Level::Warning } else { Level::Error };
        let message = format!("why: {}\nclaims: {}", group.why, claims(&group.cells, NAMED));
        Annotation { level, title: group.title(), place: None, message }
    }));
    annotations.extend(details::unread(report).map(|(name, status, reason)| Annotation {
        level: Level::Warning,
        title: format!("{status}: {name}"),
        place: None,
        message: reason,
    }));
    annotations.push(of_run(report));
    annotations.sort_by_key(|annotation| annotation.level);
    annotations.iter().try_for_each(|annotation| annotation.write(out))
}

/// The worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warning,
    Notice,
}

struct Annotation {
    level: Level,
    title: String,
    place: Option<(String, usize)>,
    message: String,
}

impl Annotation {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let command = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        };
        write!(out, "::{command} title={}", property(&self.title))?;
        if let Some((file, line)) = &self.place {
            write!(out, ",file={},line={line}", property(file))?;
        }
        writeln!(out, "::{}", message(&self.message))
    }
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

fn of_finding(report: &Report, finding: &Finding) -> Annotation {
    let level = match finding.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Info => Level::Notice,
    };
    let title = printable_prose(&finding.title).into_owned();
    let said = lines(&details::of_finding(report, finding));
    let message = format!("{said}\nmore: kvmnet explain {}", printable(&finding.id));
    Annotation { level, title, place: None, message }
}

/// Assertions that do not hold, and findings that are accepted.
fn of_policy(report: &Report) -> Vec<Annotation> {
    let Some(policy) = &report.policy else { return Vec::new() };
    let Policy { file, assertions, accepted, notes } = policy;
    let place = |line| Some((printable_prose(file).into_owned(), line));
    let failing = assertions.iter().filter(|assertion| assertion.verdict != CellVerdict::Ok);
    let failing = failing.map(|assertion| Annotation {
        // What cannot be decided is no pass.
        level: Level::Error,
        title: printable_prose(&assertion.name).into_owned(),
        place: place(assertion.line),
        message: format!(
            "{}\n{}",
            details::verdict_of_assertion(report, assertion),
            lines(&details::of_assertion(report, assertion))
        ),
    });
    let accepted = accepted.iter().map(|accepted| Annotation {
        level: Level::Notice,
        title: printable_prose(&accepted.finding.title).into_owned(),
        place: place(accepted.line),
        message: acceptance(accepted),
    });
    let notes = notes.iter().map(|note| Annotation {
        level: Level::Warning,
        title: "the policy accepts this no more".to_owned(),
        place: place(note.line),
        message: printable_prose(&note.text).into_owned(),
    });
    failing.chain(accepted).chain(notes).collect()
}

fn of_run(report: &Report) -> Annotation {
    let level = match report.summary.verdict {
        Verdict::Verified => Level::Notice,
        Verdict::Gaps | Verdict::Incomplete => Level::Error,
    };
    let title = format!("kvmnet: {} on {}", details::verdict(report), printable(&report.host.name));
    Annotation { level, title, place: None, message: details::counts(report) }
}
