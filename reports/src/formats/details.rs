//! What is said of a finding, an assertion or the run as a whole, wherever a format has room for lines with labels.

use chrono::{DateTime, Datelike as _, Utc};

use crate::text::{count, printable, printable_prose};
use crate::words::{
    claim_in_words, claims, command, shortfall, subjects_in_words, unclaimed, undecided, why,
};
use crate::{Assertion, CellVerdict, Finding, Report, Verdict};

/// Lines of evidence, or pairs of ends, that are shown of one finding.
const SHOWN: usize = 6;
/// Claims that are shown of one assertion.
const CLAIMS: usize = 12;

/// A label and what it says, on one line.
pub(super) type Detail = (&'static str, String);

/// A line for each.
pub(super) fn lines(details: &[Detail]) -> String {
    details.iter().map(|(label, said)| format!("{label}: {said}")).collect::<Vec<_>>().join("\n")
}

/// Why it is so, what shows it, whom it concerns, and what to type.
pub(super) fn of_finding(report: &Report, finding: &Finding) -> Vec<Detail> {
    let mut details = vec![("why", printable_prose(&finding.cause).into_owned())];
    let evidence = finding.evidence.iter().take(SHOWN);
    details.extend(
        evidence.map(|item| {
            ("evidence", format!("{}: {}", printable(&item.source), printable_prose(&item.text)))
        }),
    );
    if finding.evidence.len() > SHOWN {
        details.push(("evidence", format!("… and {} more", finding.evidence.len() - SHOWN)));
    }
    if !finding.subjects.is_empty() {
        details.push(("affects", subjects_in_words(finding)));
    }
    let broken: Vec<_> = finding.breaks.iter().filter_map(|index| report.matrix.get(*index)).collect();
    if !broken.is_empty() {
        details.push(("breaks", claims(&broken, SHOWN)));
    }
    details.extend(fix(finding));
    details
}

/// What to type, and what to know of it.
pub(super) fn fix(finding: &Finding) -> Vec<Detail> {
    let mut details: Vec<_> =
        finding.fix.commands.iter().map(|line| ("fix", command(line).into_owned())).collect();
    if finding.fix.disruptive {
        details.push(("note", "this interrupts guests".to_owned()));
    }
    details.extend(finding.fix.note.iter().map(|note| ("note", printable_prose(note).into_owned())));
    details
}

/// The claims that an assertion speaks of and that are not as it says, with what is known of each.
pub(super) fn of_assertion(report: &Report, assertion: &Assertion) -> Vec<Detail> {
    let cells = assertion.cells.iter().filter_map(|index| report.matrix.get(*index));
    let label = |verdict| match verdict {
        CellVerdict::Ok => None,
        CellVerdict::Gap => Some("gap"),
        CellVerdict::Unknown => Some("unknown"),
    };
    let mut failing: Vec<_> = cells.filter_map(|cell| Some((label(cell.verdict)?, cell))).collect();
    failing.sort_by_key(|(label, _)| *label);
    let more = failing.len().saturating_sub(CLAIMS);
    let shown = failing.into_iter().take(CLAIMS);
    let mut details: Vec<_> =
        shown.map(|(label, cell)| (label, format!("{}: {}", claim_in_words(cell), why(cell)))).collect();
    if more > 0 {
        details.push(("more", format!("… and {}", count(more, "claim"))));
    }
    details.extend(assertion.note.iter().map(|note| ("note", printable_prose(note).into_owned())));
    details
}

/// `does not hold for 2 of 5 claims`.
pub(super) fn verdict_of_assertion(report: &Report, assertion: &Assertion) -> String {
    let cells = || assertion.cells.iter().filter_map(|index| report.matrix.get(*index));
    let number = |verdict| cells().filter(|cell| cell.verdict == verdict).count();
    let of = format!("of {}", count(cells().count(), "claim"));
    match assertion.verdict {
        CellVerdict::Ok => format!("holds for {}", count(cells().count(), "claim")),
        CellVerdict::Gap => format!("does not hold for {} {of}", number(CellVerdict::Gap)),
        CellVerdict::Unknown => format!("cannot be decided for {} {of}", number(CellVerdict::Unknown)),
    }
}

/// The sources that are not there in full: the name, how far it was read, why not.
pub(super) fn unread(report: &Report) -> impl Iterator<Item = (String, &'static str, String)> {
    report.sources.iter().filter_map(|source| {
        let status = shortfall(source.status)?;
        let reason = source.reason.as_deref().unwrap_or("no reason given");
        Some((printable(&source.name).into_owned(), status, printable_prose(reason).into_owned()))
    })
}

/// `2 gaps, 1 unknown, 23 ok`, and assertions that are undecided besides, or that nothing was checked at all.
pub(super) fn counts(report: &Report) -> String {
    let summary = &report.summary;
    let (gaps, undecided) = (count(summary.gaps, "gap"), undecided(report));
    format!("{gaps}, {} unknown, {} ok{undecided}{}", summary.unknown, summary.ok, unclaimed(report))
}

/// The verdict in a word.
pub(super) const fn verdict(report: &Report) -> &'static str {
    match report.summary.verdict {
        Verdict::Verified => "verified",
        Verdict::Gaps => "gaps",
        Verdict::Incomplete => "incomplete",
    }
}

/// When reading began, if that is a date.
pub(super) fn taken(report: &Report) -> Option<DateTime<Utc>> {
    let ms = i64::try_from(report.host.taken_ms).ok()?;
    DateTime::from_timestamp_millis(ms).filter(|date| date.year() <= 9999)
}
