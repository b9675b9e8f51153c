//! What is wrong, why, and the commands that put it right; then what could not be said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use crate::text::{Form, Paint, count, printable, printable_list, printable_prose, width_of, wrap};
use crate::{
    Cell, CellVerdict, Evidence, Expected, Finding, Observed, Predicted, Report, Severity, Zone, ZoneKind,
};

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

fn entry(report: &Report, finding: &Finding, form: Form, out: &mut impl io::Write) -> io::Result<()> {
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
        let subjects: Vec<_> = finding.subjects.iter().map(|subject| subject_in_words(subject)).collect();
        block.line("affects", &printable_list(subjects.iter().map(String::as_str)))?;
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

/// `vm:web1` → `web1`, `network:default` → `network default`.
fn subject_in_words(subject: &str) -> String {
    match subject.split_once(':') {
        Some(("vm", name)) => name.to_owned(),
        Some((kind, name)) => format!("{kind} {name}"),
        None => subject.to_owned(),
    }
}

pub(super) fn zone_in_words(zone: &Zone) -> String {
    let kind = match zone.zone {
        ZoneKind::Vm => return printable(zone.vm.as_deref().unwrap_or("a VM")).into_owned(),
        ZoneKind::Host => return "host".to_owned(),
        ZoneKind::Gateway => "gateway",
        ZoneKind::Internet => "internet",
        ZoneKind::Outside => "outside",
    };
    match &zone.address {
        Some(address) => format!("{kind} {}", printable(address)),
        None => kind.to_owned(),
    }
}

/// `web1 → internet 198.51.100.10: icmp, tcp/443 · web2 → …`.
fn claims(cells: &[&Cell], shown: usize) -> String {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for cell in cells {
        let pair = format!("{} → {}", zone_in_words(&cell.from), zone_in_words(&cell.to));
        let traffic = printable(&cell.traffic).into_owned();
        match pairs.iter().position(|(known, _)| *known == pair) {
            Some(known) => pairs[known].1.push(traffic),
            None if pairs.len() < shown => pairs.push((pair, vec![traffic])),
            None => {}
        }
    }
    let told: usize = pairs.iter().map(|(_, kinds)| kinds.len()).sum();
    let mut text = pairs
        .iter()
        .map(|(pair, kinds)| format!("{pair}: {}", kinds.join(", ")))
        .collect::<Vec<_>>()
        .join(" · ");
    if told < cells.len() {
        let _ = write!(text, " · … and {} more", cells.len() - told);
    }
    text
}

/// Claims that are not as intended and that no finding explains, then those of which nothing can be
/// said, grouped by what is known of them.
fn unexplained(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let mut explained = vec![false; report.matrix.len()];
    for index in report.findings.iter().flat_map(|finding| &finding.breaks) {
        if let Some(explained) = explained.get_mut(*index) {
            *explained = true;
        }
    }
    let mut groups: BTreeMap<(bool, String), Vec<&Cell>> = BTreeMap::new();
    for (cell, explained) in report.matrix.iter().zip(explained) {
        let unknown = match cell.verdict {
            CellVerdict::Ok => continue,
            CellVerdict::Gap if explained => continue,
            CellVerdict::Gap => false,
            CellVerdict::Unknown => true,
        };
        groups.entry((unknown, what_is_known(cell))).or_default().push(cell);
    }
    let more: usize = groups.values().skip(GROUPS).map(Vec::len).sum();
    for ((unknown, why), cells) in groups.into_iter().take(GROUPS) {
        let (word, text) = if unknown {
            (("UNKNOWN", Paint::Yellow), format!("{} cannot be decided", count(cells.len(), "claim")))
        } else {
            (("ERROR", Paint::Red), format!("{} without a known cause", count(cells.len(), "gap")))
        };
        let mut block = Block { form, out: &mut *out, label_width: 7 };
        block.title(word, &text, "")?;
        block.line("why", &why)?;
        block.line("claims", &claims(&cells, SHOWN))?;
    }
    if more > 0 {
        writeln!(out, "\n… and {} more (all are in --format json)", count(more, "claim"))?;
    }
    Ok(())
}

fn what_is_known(cell: &Cell) -> String {
    if let Some(note) = &cell.note {
        return printable_prose(note).into_owned();
    }
    let expected = match cell.expected {
        Expected::Allow => "should pass",
        Expected::Deny => "should not pass",
    };
    let predicted = match cell.predicted {
        Predicted::Allow => "the facts say that it passes",
        Predicted::Deny => "the facts say that it does not pass",
        Predicted::Partial => "the facts say that some of it passes",
        Predicted::Unknown => "the facts do not decide",
    };
    let observed = match cell.observed {
        Observed::Reply => "it was answered on the wire",
        Observed::NoReply => "nothing came back on the wire",
        Observed::NotTried => "it was not tried on the wire",
    };
    format!("{expected}; {predicted}; {observed}")
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
