//! The report as the administrator reads it: the networks, what reaches what, and what to do.

mod course;
mod findings;
mod fold;
mod networks;
mod policy;

pub(crate) use fold::{Pair, Place, word};
pub(crate) use networks::{ABOUT, Folded, Kind, alarming_words, grid};

use std::fmt::Write as _;
use std::io;

use crate::diff;
use crate::formats::Renderer;
use crate::text::{Form, Paint, count, printable, printable_prose, wrap};
use crate::words::{shortfall, unclaimed, undecided};
use crate::{Observed, Report, Severity, SourceStatus, Verdict};

pub(crate) const RENDERER: Renderer = Renderer {
    name: "table",
    about: "For people",
    write: |input, out| write(input.report, input.form, out),
    ..Renderer::USUAL
};

/// Writes the report as a table with its findings.
pub fn write(report: &Report, form: Form, mut out: impl io::Write) -> io::Result<()> {
    header(report, form, &mut out)?;
    if let Some(course) = &report.course {
        course::write(report, course, form, &mut out)?;
        if policy::is_open(report) {
            policy::write(report, form, &mut out)?;
        }
    } else {
        networks::write(report, form, &mut out)?;
        policy::write(report, form, &mut out)?;
        findings::write(report, form, &mut out)?;
    }
    if let Some(diff) = &report.since {
        writeln!(out)?;
        diff::changes(diff, form, &mut out)?;
    }
    sources(report, form, &mut out)?;
    summary(report, form, &mut out)
}

fn header(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let line = headline(report, form.is_narrow());
    wrap(&line, form.width)
        .iter()
        .try_for_each(|line| writeln!(out, "{}", Paint::Bold.apply(line, form.colour)))
}

/// Which host was examined, and how much of it; `short` where there is little room.
pub(crate) fn headline(report: &Report, short: bool) -> String {
    let host = &report.host;
    let libvirt = match (&host.libvirt, &host.firewall_backend) {
        (Some(version), Some(backend)) => {
            format!("libvirt {}, {}", printable(version), printable(backend))
        }
        (Some(version), None) => format!("libvirt {}", printable(version)),
        (None, _) => "without libvirt".to_owned(),
    };
    let tried = report.matrix.iter().filter(|cell| cell.observed != Observed::NotTried).count();
    let (networks, nics) = (count(report.networks.len(), "network"), count(report.nics.len(), "NIC"));
    let (name, claims) = (printable(&host.name), count(report.matrix.len(), "claim"));
    if short {
        format!("{name} · {libvirt} · {networks}, {nics} · {claims}, {tried} tried")
    } else {
        let kernel = printable(&host.kernel);
        format!(
            "{name} · Linux {kernel} · {libvirt} · {networks}, {nics} · {claims}, {tried} tried on the wire"
        )
    }
}

/// Names every source that is not there in full: what it would have said is unknown.
fn sources(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let mut first = true;
    for source in &report.sources {
        let Some(label) = shortfall(source.status) else { continue };
        if std::mem::take(&mut first) {
            writeln!(out)?;
        }
        let reason = source.reason.as_deref().unwrap_or("no reason given");
        let line = format!("{label}: {}: {}", printable(&source.name), printable_prose(reason));
        for line in wrap(&line, form.width) {
            writeln!(out, "{}", Paint::Yellow.apply(&line, form.colour))?;
        }
    }
    Ok(())
}

fn summary(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let (paint, line) = result(report);
    writeln!(out, "\n{}", paint.apply(&line, form.colour))
}

/// The counts and the verdict in a line.
pub(crate) fn result(report: &Report) -> (Paint, String) {
    let summary = &report.summary;
    let found = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let incomplete =
        summary.unknown > 0 || report.sources.iter().any(|source| source.status == SourceStatus::Missing);
    let (paint, note) = match summary.verdict {
        Verdict::Verified => (Paint::Green, ""),
        Verdict::Gaps if incomplete => (Paint::Red, " (and incomplete)"),
        Verdict::Gaps => (Paint::Red, ""),
        Verdict::Incomplete => (Paint::Yellow, " (incomplete)"),
    };
    let mut line = format!("{}, {} unknown, {} ok", count(summary.gaps, "gap"), summary.unknown, summary.ok);
    if summary.proved > 0 {
        let _ = write!(line, " ({} proved for all packets)", summary.proved);
    }
    line.push_str(&undecided(report));
    line.push_str(unclaimed(report));
    for (severity, noun) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        if found(severity) > 0 {
            let _ = write!(line, " · {}", count(found(severity), noun));
        }
    }
    let _ = write!(line, " · exit {}{note}", summary.verdict.exit_code());
    (paint, line)
}
