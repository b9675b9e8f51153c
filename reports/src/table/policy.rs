//! The policy's assertions, and what became of them.

use std::io;

use crate::grid::{Entry, Grid, Heading};
use crate::text::{Form, Paint, count, printable, printable_prose, wrap};
use crate::{Cell, CellVerdict, Expected, Policy, Predicted, Proof, Report};

use crate::words::zone_in_words;

/// Cells that are shown of an assertion that does not hold.
const SHOWN: usize = 4;

/// Something of the policy does not hold, is not known or is to be noted.
pub(super) fn is_open(report: &Report) -> bool {
    report.policy.as_ref().is_some_and(|policy| {
        let open = policy.assertions.iter().any(|assertion| assertion.verdict != CellVerdict::Ok);
        open || !policy.notes.is_empty()
    })
}

pub(super) fn write(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let Some(policy) = &report.policy else { return Ok(()) };
    if !policy.assertions.is_empty() {
        writeln!(out)?;
        grid(report, policy, form, out)?;
    }
    for accepted in &policy.accepted {
        let until = accepted.until.as_deref().map(|until| format!(" until {}", printable(until)));
        let line = format!(
            "accepted{}: {} ({}): {}",
            until.unwrap_or_default(),
            printable_prose(&accepted.finding.title),
            printable(&accepted.finding.id),
            printable_prose(&accepted.reason)
        );
        writeln!(out)?;
        for line in wrap(&line, form.width) {
            writeln!(out, "{}", Paint::Dim.apply(&line, form.colour))?;
        }
    }
    for note in &policy.notes {
        let line = format!("{}:{} {}", printable_prose(&policy.file), note.line, printable_prose(&note.text));
        writeln!(out)?;
        for line in wrap(&line, form.width) {
            writeln!(out, "{}", Paint::Yellow.apply(&line, form.colour))?;
        }
    }
    Ok(())
}

fn grid(report: &Report, policy: &Policy, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let mut grid = Grid::new([
        Heading::new("ASSERTION"),
        Heading::new("LINE").number().dispensable(2),
        Heading::new("PAIRS").number().dispensable(1),
        Heading::new("VERDICT"),
    ]);
    for assertion in &policy.assertions {
        let verdict = match assertion.verdict {
            CellVerdict::Ok => Entry::painted("holds", Paint::Green),
            CellVerdict::Gap => Entry::painted("FAILS", Paint::Red),
            CellVerdict::Unknown => Entry::painted("unknown", Paint::Yellow),
        };
        grid.push([
            printable_prose(&assertion.name).into_owned().into(),
            assertion.line.to_string().into(),
            assertion.pairs.to_string().into(),
            verdict,
        ]);
    }
    grid.write(form, out)?;
    for assertion in &policy.assertions {
        let wrong: Vec<&Cell> = assertion
            .cells
            .iter()
            .filter_map(|cell| report.matrix.get(*cell))
            .filter(|cell| cell.verdict != CellVerdict::Ok)
            .collect();
        let note = assertion.note.as_deref().map(printable_prose);
        if wrong.is_empty() && note.is_none() {
            continue;
        }
        let title = format!(
            "{}:{} {}",
            printable_prose(&policy.file),
            assertion.line,
            printable_prose(&assertion.name)
        );
        writeln!(out)?;
        for line in wrap(&title, form.width) {
            writeln!(out, "{}", Paint::Bold.apply(&line, form.colour))?;
        }
        let more = wrong.len().saturating_sub(SHOWN);
        let lines = wrong.into_iter().take(SHOWN).map(in_words).chain(note.map(std::borrow::Cow::into_owned));
        for line in lines.chain((more > 0).then(|| format!("… and {} more", count(more, "claim")))) {
            for line in wrap(&line, form.width.saturating_sub(2)) {
                writeln!(out, "  {line}")?;
            }
        }
    }
    Ok(())
}

/// `web1 192.168.122.11 → db1 192.168.122.12, tcp/22: passes and must not`.
fn in_words(cell: &Cell) -> String {
    let end = |zone: &crate::Zone| match (&zone.vm, &zone.address) {
        (Some(vm), Some(address)) => format!("{} {}", printable(vm), printable(address)),
        _ => zone_in_words(zone),
    };
    let outcome = match (cell.verdict, cell.expected, cell.predicted) {
        (CellVerdict::Ok, ..) => "as intended",
        (CellVerdict::Unknown, Expected::Deny, Predicted::Unknown) if cell.proof == Proof::OnePacket => {
            "cannot be proved for all packets"
        }
        (CellVerdict::Unknown, ..) => "cannot be decided",
        (CellVerdict::Gap, Expected::Deny, _) => "passes and must not",
        (CellVerdict::Gap, Expected::Allow, _) => "should pass and does not",
    };
    let note = cell.note.as_deref().filter(|_| cell.verdict == CellVerdict::Unknown);
    let note = note.map(|note| format!(": {}", printable_prose(note))).unwrap_or_default();
    format!("{} → {}, {}: {outcome}{note}", end(&cell.from), end(&cell.to), printable(&cell.traffic))
}
