//! TAP (testanything.org), for test harnesses such as `prove`.
//!
//! What is written is TAP 14 and announced as 13, which it is too: the `prove` of Debian 12 refuses any later number.
//!
//! A gap, an error and what is unknown are `not ok`, what the policy accepts is `# SKIP`. Every string of a diagnostic
//! is quoted as JSON does it, which YAML reads too.

use std::io;

use super::cases::{Case, Outcome, suites};
use super::details::{self, Detail};
use super::{Input, Renderer};
use crate::Report;
use crate::text::printable;

pub(super) const RENDERER: Renderer = Renderer {
    name: "tap",
    about: "TAP, for test harnesses such as prove",
    write: |input: &Input<'_>, out| write(input.report, out),
    ..Renderer::USUAL
};

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let suites = suites(report);
    writeln!(out, "TAP version 13")?;
    writeln!(out, "1..{}", suites.iter().map(|suite| suite.cases.len()).sum::<usize>())?;
    for (number, case) in suites.iter().flat_map(|suite| &suite.cases).enumerate() {
        point(number + 1, case, out)?;
    }
    writeln!(out, "# {}: {}", printable(&report.host.name), details::counts(report))
}

fn point(number: usize, case: &Case, out: &mut dyn io::Write) -> io::Result<()> {
    let (word, severity) = match case.outcome {
        Outcome::Pass => ("ok", None),
        Outcome::Skip => ("ok", Some("skipped")),
        Outcome::Fail => ("not ok", Some("fail")),
        Outcome::Unknown => ("not ok", Some("unknown")),
    };
    write!(out, "{word} {number} - {}: {}", escaped(&case.group), escaped(&case.name))?;
    match case.outcome {
        Outcome::Skip => writeln!(out, " # SKIP {}", escaped(&case.why))?,
        Outcome::Pass | Outcome::Fail | Outcome::Unknown => writeln!(out)?,
    }
    if case.outcome == Outcome::Pass && case.details.is_empty() {
        return Ok(());
    }
    writeln!(out, "  ---")?;
    if let Some(severity) = severity {
        writeln!(out, "  message: {}", quoted(&case.why)?)?;
        writeln!(out, "  outcome: {severity}")?;
    }
    if let Some((file, line)) = &case.place {
        writeln!(out, "  at:\n    file: {}\n    line: {line}", quoted(file)?)?;
    }
    for (at, (label, text)) in case.details.iter().enumerate() {
        let same = |details: &[Detail]| details.iter().filter(|(other, _)| other == label).count();
        // A key stands once. What has several lines is numbered: perl takes `- "a: b"` for a mapping.
        match (same(&case.details[..at]), same(&case.details)) {
            (_, 1) => writeln!(out, "  {label}: {}", quoted(text)?)?,
            (before, _) => {
                if before == 0 {
                    writeln!(out, "  {label}:")?;
                }
                writeln!(out, "    {}: {}", before + 1, quoted(text)?)?;
            }
        }
    }
    writeln!(out, "  ...")
}

/// A description: a hash begins a directive, a backslash takes the meaning from either.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('#', r"\#")
}

fn quoted(text: &str) -> io::Result<String> {
    Ok(serde_json::to_string(text)?)
}
