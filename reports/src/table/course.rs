//! What has changed since the last run: what is new in full, the rest in a line each.

use std::io;

use super::findings::entry;
use crate::text::{Form, Paint, printable, printable_prose, wrap};
use crate::{Course, Report};

pub(super) fn write(
    report: &Report,
    course: &Course,
    form: Form,
    out: &mut impl io::Write,
) -> io::Result<()> {
    for finding in course.new.iter().filter_map(|at| report.findings.get(*at)) {
        entry(report, finding, form, out)?;
    }
    let now = report.host.taken_ms;
    let found = |at: usize| report.findings.get(at);
    let still = course.still.iter().filter_map(|still| Some((found(still.finding)?, still.since_ms)));
    let mut lines: Vec<(&str, Paint, String)> = Vec::new();
    for gone in &course.healed {
        lines.push((
            "HEALED",
            Paint::Green,
            told(&gone.title, &gone.id, Some(now.saturating_sub(gone.since_ms))),
        ));
    }
    for (finding, since) in still {
        lines.push(("STILL", Paint::Red, told(&finding.title, &finding.id, Some(now.saturating_sub(since)))));
    }
    for gone in &course.absent {
        lines.push(("PERHAPS HEALED", Paint::Yellow, told(&gone.title, &gone.id, None)));
    }
    for finding in course.pending.iter().filter_map(|at| found(*at)) {
        lines.push(("PERHAPS NEW", Paint::Yellow, told(&finding.title, &finding.id, None)));
    }
    if !lines.is_empty() {
        writeln!(out)?;
    }
    for (word, paint, text) in lines {
        let wrapped = wrap(&text, form.width.saturating_sub(word.len() + 2));
        for (number, line) in wrapped.iter().enumerate() {
            let label =
                if number == 0 { paint.apply(word, form.colour) } else { " ".repeat(word.len()).into() };
            writeln!(out, "{label}  {line}")?;
        }
    }
    Ok(())
}

fn told(title: &str, id: &str, for_ms: Option<u64>) -> String {
    let time = for_ms.map(|ms| format!(", for {}", crate::text::duration(ms / 1000))).unwrap_or_default();
    format!("{} ({}){time}", printable_prose(title), printable(id))
}
