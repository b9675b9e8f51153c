//! The commands of all findings as a shell script that a person reads before running it.

use std::collections::BTreeSet;
use std::io;

use crate::text::{printable, printable_prose};
use crate::{Finding, Report, Severity};

/// Columns of a comment.
const WIDTH: usize = 100;

/// Commands that open an editor: a person has to be there.
const INTERACTIVE: &[&str] = &["virsh edit ", "virsh net-edit "];

/// Writes the script. A command that several findings ask for is written once; one that needs a person,
/// and one that holds characters which do not show, is written as a comment.
pub fn write(report: &Report, mut out: impl io::Write) -> io::Result<()> {
    let host = printable(&report.host.name);
    let commands = report.findings.iter().map(|finding| finding.fix.commands.len()).sum::<usize>();
    writeln!(out, "#!/bin/sh")?;
    comment(
        &mut out,
        "",
        &format!(
            "What `kvmnet doctor` prints to mend the network of {host}: {} findings, {commands} commands. None of them \
             has been run. Read them, then run this as root, and call the doctor again.",
            report.findings.len()
        ),
    )?;
    writeln!(out, "set -eu")?;
    let mut written = BTreeSet::new();
    for finding in &report.findings {
        writeln!(out)?;
        explain(finding, &mut out)?;
        for command in &finding.fix.commands {
            if !written.insert(command) {
                writeln!(out, "# the same as above: {}", printable_prose(command))?;
            } else if INTERACTIVE.iter().any(|start| command.starts_with(start)) {
                writeln!(out, "# by hand: {}", printable_prose(command))?;
            } else if printable_prose(command) == *command {
                writeln!(out, "{command}")?;
            } else {
                writeln!(
                    out,
                    "# by hand, as it holds characters that do not show: {}",
                    printable_prose(command)
                )?;
            }
        }
    }
    Ok(())
}

fn explain(finding: &Finding, out: &mut impl io::Write) -> io::Result<()> {
    let severity = match finding.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    comment(out, "", &format!("{severity} {}: {}", finding.id, finding.title))?;
    comment(out, "  ", &finding.cause)?;
    if finding.fix.disruptive {
        comment(out, "  ", "This interrupts guests.")?;
    }
    if let Some(note) = &finding.fix.note {
        comment(out, "  ", &format!("Note: {note}"))?;
    }
    Ok(())
}

/// A comment of as many lines as it takes. Names are a guest's to choose: none of them ends a line.
fn comment(out: &mut impl io::Write, indent: &str, text: &str) -> io::Result<()> {
    let mut line = format!("#{indent}");
    for word in printable_prose(text).split_whitespace() {
        if line.len() + word.len() >= WIDTH && line.len() > indent.len() + 1 {
            writeln!(out, "{line}")?;
            line = format!("#{indent}");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(out, "{line}")
}
