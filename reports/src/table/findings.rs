//! What is wrong, why, and the commands that put it right; then what could not be said.

use std::io;

use crate::text::{Form, Paint, count, printable, printable_prose, width_of, wrap};
use crate::unexplained::groups;
use crate::words::{claims, subjects_in_words};
use crate::{Evidence, Finding, Report, Severity};

/// Lines of evidence, or claims, that are shown of one finding.
const SHOWN: usize = 6;
/// The same on a narrow terminal: lines of evidence, as they are broken there, and claims.
const SHOWN_NARROW: (usize, usize) = (3, 2);
/// Groups of claims without a finding.
const GROUPS: usize = 12;

pub(super) fn write(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    for finding in &report.findings {
        entry(report, finding, form, out)?;
    }
    unexplained(report, form, out)
}

pub(super) fn entry(
    report: &Report,
    finding: &Finding,
    form: Form,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let (word, paint) = match finding.severity {
        Severity::Error => ("ERROR", Paint::Red),
        Severity::Warning => ("WARNING", Paint::Yellow),
        Severity::Info => ("INFO", Paint::Dim),
    };
    let label_width =
        finding.evidence.iter().map(|item| width_of(&printable(&item.source))).fold(7, usize::max);
    let mut block = Block { form, out, label_width };
    block.title((word, paint), &printable_prose(&finding.title), &printable(&finding.id))?;
    block.line("why", &printable_prose(&finding.cause))?;
    let evidence = evidence(finding, &block);
    for item in &evidence {
        block.line(&printable(&item.source), &printable_prose(&item.text))?;
    }
    let more = finding.evidence.len() - evidence.len();
    if more > 0 && !form.is_narrow() {
        block.line("", &format!("… and {more} more"))?;
    }
    // The title says who suffers; who else is in the claims they say themselves.
    if !finding.subjects.is_empty() && !form.is_narrow() {
        block.line("affects", &subjects_in_words(finding))?;
    }
    let broken: Vec<_> = finding.breaks.iter().filter_map(|index| report.matrix.get(*index)).collect();
    if !broken.is_empty() {
        let shown = if form.is_narrow() { SHOWN_NARROW.1 } else { SHOWN };
        block.line("breaks", &claims(&broken, shown))?;
    }
    block.fix(finding)?;
    let all = if more > 0 && form.is_narrow() { " · all evidence: --format json" } else { "" };
    block.line("more", &format!("kvmnet explain {}{all}", printable(&finding.id)))
}

/// What is shown of a finding's evidence: where there is little room the first of each kind, as far as they fit.
fn evidence<'a, W>(finding: &'a Finding, block: &Block<'_, W>) -> Vec<&'a Evidence> {
    if !block.form.is_narrow() {
        return finding.evidence.iter().take(SHOWN).collect();
    }
    let mut shown: Vec<&Evidence> = Vec::new();
    let mut room = SHOWN_NARROW.0;
    for item in &finding.evidence {
        let lines = block.wrapped(&printable_prose(&item.text)).len();
        let fits = shown.is_empty() || lines <= room;
        if fits && shown.iter().all(|other| other.source != item.source) {
            room = room.saturating_sub(lines);
            shown.push(item);
        }
    }
    shown
}

/// What no finding explains.
fn unexplained(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let groups = groups(report);
    let more: usize = groups.iter().skip(GROUPS).map(|group| group.cells.len()).sum();
    for group in groups.iter().take(GROUPS) {
        let word = if group.unknown { ("UNKNOWN", Paint::Yellow) } else { ("ERROR", Paint::Red) };
        let mut block = Block { form, out: &mut *out, label_width: 7 };
        block.title(word, &group.title(), "")?;
        block.line("why", &group.why)?;
        block.line("claims", &claims(&group.cells, SHOWN))?;
    }
    if more > 0 {
        writeln!(out, "\n… and {} more (all are in --format json)", count(more, "claim"))?;
    }
    Ok(())
}

/// A title and labelled lines under it.
struct Block<'a, W> {
    form: Form,
    out: &'a mut W,
    label_width: usize,
}

impl<W> Block<'_, W> {
    /// The text as it is broken beside the labels.
    fn wrapped(&self, text: &str) -> Vec<String> {
        wrap(text, self.form.width.saturating_sub(self.label_width + 4))
    }
}

impl<W: io::Write> Block<'_, W> {
    fn title(&mut self, (word, paint): (&str, Paint), text: &str, id: &str) -> io::Result<()> {
        let Form { width, colour } = self.form;
        let indent = width_of(word) + 2;
        let mut lines = wrap(text, width.saturating_sub(indent)).into_iter();
        let first = lines.next().unwrap_or_default();
        let left = indent + width_of(&first);
        let fits = lines.len() == 0 && left + 2 + width_of(id) <= width;
        write!(self.out, "\n{}  {}", paint.apply(word, colour), Paint::Bold.apply(&first, colour))?;
        if fits && !id.is_empty() {
            let gap = width - left - width_of(id);
            write!(self.out, "{:gap$}{}", "", Paint::Dim.apply(id, colour))?;
        }
        writeln!(self.out)?;
        for line in lines {
            writeln!(self.out, "{:indent$}{}", "", Paint::Bold.apply(&line, colour))?;
        }
        // Where there is little room the last line says it.
        if !fits && !self.form.is_narrow() {
            self.line("id", id)?;
        }
        Ok(())
    }

    fn line(&mut self, label: &str, text: &str) -> io::Result<()> {
        for (number, line) in self.wrapped(text).iter().enumerate() {
            self.labelled(if number == 0 { label } else { "" }, line)?;
        }
        Ok(())
    }

    fn labelled(&mut self, label: &str, line: &str) -> io::Result<()> {
        let gap = self.label_width + 2 - width_of(label).min(self.label_width);
        writeln!(self.out, "  {}{:gap$}{line}", Paint::Dim.apply(label, self.form.colour), "")
    }

    /// Commands stay on a line of their own, however long, so that they can be copied.
    fn fix(&mut self, finding: &Finding) -> io::Result<()> {
        let mut label = "fix";
        for command in &finding.fix.commands {
            self.labelled(label, &Paint::Bold.apply(&printable_prose(command), self.form.colour))?;
            label = "";
        }
        // Words are told from commands, so that nobody types them.
        if !finding.fix.commands.is_empty() {
            label = "note";
        }
        if finding.fix.disruptive {
            self.line(label, "this interrupts guests")?;
            label = "";
        }
        if let Some(note) = &finding.fix.note {
            self.line(label, &printable_prose(note))?;
        }
        Ok(())
    }
}
