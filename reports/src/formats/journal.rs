//! Entries for systemd's journal: a message for people, and beside it fields by which `journalctl` and whatever reads
//! the journal find it.
//!
//! An entry is what journald takes in one datagram, in its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL); written
//! one after another with an empty line between them they are the journal's export format. No value has a second line; a
//! field may be there more than once. Where findings are remembered only what is new and what has healed is told, and the
//! result.

use std::io;

use super::{Input, Renderer, details};
use crate::text::{printable, printable_prose};
use crate::unexplained::groups;
use crate::words::{claims, command};
use crate::{CellVerdict, Finding, Report, Severity, Verdict};

pub(super) const RENDERER: Renderer = Renderer {
    name: "journal",
    about: "Entries for systemd's journal, which it sends there itself",
    write: |input: &Input<'_>, out| write(input.report, out),
    entries: Some(|input| entries(input.report)),
    ..Renderer::USUAL
};

/// What kind of entry it is (`MESSAGE_ID`, systemd.journal-fields(7)).
const FINDING: &str = "5e1b0c9a7d234f0fa3b86c2f41d97e60";
const HEALED: &str = "c8f2d6417a9b4b1e8d05e37fb2a6490c";
const UNEXPLAINED: &str = "91a7e35cf0824d6cb64a18d20c5fe973";
const ASSERTION: &str = "2d40b98e63c14a57985f7b1ea0cd326f";
const NOTE: &str = "e4907c1bd35f42a8b6190fa27c8d3e55";
const UNREAD: &str = "f63c81d5b29e4e80a71d045be8932ca4";
const RESULT: &str = "7b0df4a2e8c6491593b1ca6d8027fe35";

/// Priorities of syslog(3).
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;

/// VMs, networks and others that are named in one entry, each in a field of its own.
const SUBJECTS: usize = 100;
/// Commands in a message, and lines about a finding: journald takes no entry that is too large.
const COMMANDS: usize = 4;
const DETAILS: usize = 200;
/// Pairs of ends that a line names.
const NAMED: usize = 6;

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    for entry in entries(report) {
        writeln!(out, "{entry}")?;
    }
    Ok(())
}

fn entries(report: &Report) -> Vec<String> {
    let course = report.course.as_ref();
    let told = |at: &usize| course.is_none_or(|course| course.new.contains(at));
    let findings = report.findings.iter().enumerate().filter(|(at, _)| told(at));
    let findings = findings.map(|(_, finding)| of_finding(report, finding, course.is_some()));
    let healed = course.iter().flat_map(|course| &course.healed).map(|healed| {
        let mut entry = Entry::new(HEALED, NOTICE, &format!("healed: {}", printable_prose(&healed.title)));
        entry.field("KVMNET_FINDING", &printable(&healed.id)).field("KVMNET_CHANGE", "healed");
        entry
    });
    let unexplained = groups(report).into_iter().map(|group| {
        let (priority, word) = if group.unknown { (WARNING, "unknown") } else { (ERROR, "error") };
        let mut entry =
            Entry::new(UNEXPLAINED, priority, &format!("{word}: {}: {}", group.title(), group.why));
        entry.field("KVMNET_SEVERITY", word).field("KVMNET_CAUSE", &group.why);
        entry.field("KVMNET_CLAIMS", &claims(&group.cells, NAMED));
        entry
    });
    let assertions = report.policy.iter().flat_map(|policy| &policy.assertions);
    let assertions = assertions.filter_map(|assertion| {
        let (priority, word) = match assertion.verdict {
            CellVerdict::Ok => return None,
            CellVerdict::Gap => (ERROR, "gap"),
            CellVerdict::Unknown => (WARNING, "unknown"),
        };
        let name = printable_prose(&assertion.name);
        let said = details::verdict_of_assertion(report, assertion);
        let mut entry = Entry::new(ASSERTION, priority, &format!("{name}: {said}"));
        entry.field("KVMNET_ASSERTION", &name).field("KVMNET_LINE", &assertion.line.to_string());
        entry.field("KVMNET_VERDICT", word);
        for (label, text) in details::of_assertion(report, assertion) {
            entry.field("KVMNET_CLAIMS", &format!("{label}: {text}"));
        }
        Some(entry)
    });
    let notes = report.policy.iter().flat_map(|policy| &policy.notes).map(|note| {
        let text = format!("policy line {}: {}", note.line, printable_prose(&note.text));
        let mut entry = Entry::new(NOTE, WARNING, &text);
        entry.field("KVMNET_LINE", &note.line.to_string());
        entry
    });
    let unread = details::unread(report).map(|(name, status, reason)| {
        let mut entry = Entry::new(UNREAD, WARNING, &format!("{status}: {name}: {reason}"));
        entry.field("KVMNET_SOURCE", &name);
        entry
    });
    findings
        .chain(healed)
        .chain(unexplained)
        .chain(assertions)
        .chain(notes)
        .chain(unread)
        .chain([result(report)])
        .map(|entry| entry.0)
        .collect()
}

fn of_finding(report: &Report, finding: &Finding, remembered: bool) -> Entry {
    let priority = match finding.severity {
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
        Severity::Info => INFO,
    };
    let word = finding.severity.word();
    let (title, cause) = (printable_prose(&finding.title), printable_prose(&finding.cause));
    let commands: Vec<_> = finding.fix.commands.iter().take(COMMANDS).map(|line| command(line)).collect();
    let fix = if commands.is_empty() { String::new() } else { format!(" Fix: {}", commands.join("; ")) };
    let more = finding.fix.commands.len().saturating_sub(COMMANDS);
    let fix = if more > 0 { format!("{fix}; … and {more} more") } else { fix };
    let mut entry = Entry::new(FINDING, priority, &format!("{word}: {title}: {cause}{fix}"));
    entry.field("KVMNET_FINDING", &printable(&finding.id)).field("KVMNET_SEVERITY", word);
    for (label, text) in details::of_finding(report, finding).into_iter().take(DETAILS) {
        let name = match label {
            "why" => "KVMNET_CAUSE",
            "evidence" => "KVMNET_EVIDENCE",
            "breaks" => "KVMNET_CLAIMS",
            "fix" => "KVMNET_FIX",
            "note" => "KVMNET_NOTE",
            // Each has a field of its own.
            _ => continue,
        };
        entry.field(name, &text);
    }
    for subject in finding.subjects.iter().take(SUBJECTS) {
        entry.field("KVMNET_SUBJECT", &printable(subject));
    }
    if remembered {
        entry.field("KVMNET_CHANGE", "new");
    }
    entry
}

fn result(report: &Report) -> Entry {
    let priority = match report.summary.verdict {
        Verdict::Verified => INFO,
        Verdict::Gaps => ERROR,
        Verdict::Incomplete => WARNING,
    };
    let (verdict, summary) = (details::verdict(report), &report.summary);
    let mut entry = Entry::new(RESULT, priority, &format!("{verdict}: {}", details::counts(report)));
    entry.field("KVMNET_VERDICT", verdict);
    for (name, number) in
        [("KVMNET_GAPS", summary.gaps), ("KVMNET_UNKNOWN", summary.unknown), ("KVMNET_OK", summary.ok)]
    {
        entry.field(name, &number.to_string());
    }
    entry
}

/// What journald takes in one datagram.
struct Entry(String);

impl Entry {
    fn new(kind: &str, priority: u8, message: &str) -> Self {
        let mut entry = Self(String::new());
        entry.field("MESSAGE", message).field("MESSAGE_ID", kind).field("PRIORITY", &priority.to_string());
        entry.field("SYSLOG_IDENTIFIER", "kvmnet");
        entry
    }

    fn field(&mut self, name: &str, value: &str) -> &mut Self {
        // A second line would be a field of its own.
        let value = value.replace('\n', " ");
        self.0.extend([name, "=", &value, "\n"]);
        self
    }
}
