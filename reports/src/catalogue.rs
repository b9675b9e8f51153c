//! The catalogue of checks: what kvmnet can diagnose, and what each diagnosis means.

use std::io;

use serde::Serialize;

use crate::Severity;
use crate::grid::{Grid, Heading};
use crate::text::{Form, Paint, wrap};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.checks/1";

/// Checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Catalogue {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The checks, by id.
    pub checks: Vec<CheckEntry>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckEntry {
    /// Its permanent name.
    pub id: &'static str,
    /// How bad it is where it breaks no claim; a broken claim is always an error.
    pub severity: Severity,
    /// What it is about: `link`, `routing`, `firewall`, `libvirt`, `isolation`, `wire`.
    pub category: &'static str,
    /// One line.
    pub summary: &'static str,
    /// A paragraph for whoever has to mend it.
    pub explanation: &'static str,
    /// The sources of facts that it needs.
    pub needs: &'static [&'static str],
    /// Where the knowledge comes from.
    pub basis: &'static str,
    /// The version that has it first.
    pub since: &'static str,
}

/// Writes a line for each check.
pub fn list(catalogue: &Catalogue, form: Form, mut out: impl io::Write) -> io::Result<()> {
    let headings = ["CHECK", "CATEGORY", "SEVERITY", "SUMMARY"].map(Heading::new);
    let [check, category, severity, summary] = headings;
    let mut grid = Grid::new([check, category.dispensable(1), severity.dispensable(2), summary]);
    for entry in &catalogue.checks {
        grid.push([
            entry.id.to_owned().into(),
            entry.category.to_owned().into(),
            entry.severity.word().to_owned().into(),
            entry.summary.to_owned().into(),
        ]);
    }
    grid.write(form, &mut out)
}

/// Writes everything that is to be said of each check.
pub fn write(catalogue: &Catalogue, form: Form, mut out: impl io::Write) -> io::Result<()> {
    for (at, entry) in catalogue.checks.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let title = format!("{}: {}", entry.id, entry.summary);
        for line in wrap(&title, form.width) {
            writeln!(out, "{}", Paint::Bold.apply(&line, form.colour))?;
        }
        writeln!(out)?;
        for line in wrap(entry.explanation, form.width.min(100)) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        let needs = if entry.needs.is_empty() { "nothing".to_owned() } else { entry.needs.join(", ") };
        let severity = match entry.severity {
            Severity::Error => "error".to_owned(),
            milder => format!("{}; error where it breaks a claim", milder.word()),
        };
        for (label, text) in [
            ("severity", severity),
            ("category", entry.category.to_owned()),
            ("needs", needs),
            ("basis", entry.basis.to_owned()),
            ("since", entry.since.to_owned()),
        ] {
            for (at, line) in wrap(&text, form.width.min(100).saturating_sub(12)).iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                writeln!(out, "  {}{line}", Paint::Dim.apply(&format!("{label:<10}"), form.colour))?;
            }
        }
    }
    Ok(())
}
