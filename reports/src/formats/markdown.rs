//! GitHub-flavoured Markdown, for a job summary, a ticket or a chat.
//!
//! There is no raw HTML in it, and no text of a report begins a line. In running text everything that Markdown gives a
//! meaning to is taken it by a backslash; a word that a forge would make a link, a mention or a formula of is code.

use std::fmt::Write as _;
use std::io;

use super::details::{self, Detail};
use super::{Input, Renderer};
use crate::text::{count, printable, printable_prose};
use crate::unexplained::groups;
use crate::words::{acceptance, claims, command};
use crate::{CellVerdict, Finding, Policy, Report, Severity, table};

/// Findings that are told in full.
const FINDINGS: usize = 50;
/// Groups of claims, and pairs of ends in one.
const GROUPS: usize = 12;

pub(super) const RENDERER: Renderer = Renderer {
    name: "markdown",
    about: "Markdown as GitHub reads it, for job summaries and tickets",
    write: |input: &Input<'_>, out| write(input.report, out),
    ..Renderer::USUAL
};

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    header(report, out)?;
    networks(report, out)?;
    for finding in report.findings.iter().take(FINDINGS) {
        let word = match finding.severity {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
            Severity::Info => "Info",
        };
        writeln!(out, "\n### {word}: {}\n", inline(&printable_prose(&finding.title)))?;
        out.write_all(body(report, finding).as_bytes())?;
    }
    if report.findings.len() > FINDINGS {
        let more = count(report.findings.len() - FINDINGS, "finding");
        writeln!(out, "\n… and {more} more: `kvmnet doctor --format json`")?;
    }
    unexplained(report, out)?;
    if let Some(policy) = &report.policy {
        assertions(report, policy, out)?;
    }
    unread(report, out)
}

fn header(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let host = &report.host;
    writeln!(out, "## kvmnet: {} on {}\n", details::verdict(report), inline(&printable(&host.name)))?;
    let mut line = details::counts(report);
    for severity in [Severity::Error, Severity::Warning] {
        let number = report.findings.iter().filter(|finding| finding.severity == severity).count();
        if number > 0 {
            let _ = write!(line, " · {}", count(number, severity.word()));
        }
    }
    let _ = write!(line, " · Linux {}", inline(&printable(&host.kernel)));
    match &host.libvirt {
        Some(version) => _ = write!(line, " · libvirt {}", inline(&printable(version))),
        None => line.push_str(" · without libvirt"),
    }
    if let Some(taken) = details::taken(report) {
        let _ = write!(line, " · {}", taken.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    writeln!(out, "{line}")
}

fn networks(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let Some(grid) = table::grid(report) else { return Ok(()) };
    let (headings, rows) = grid.rows();
    if rows.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<_>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(|text| cell(&text.replace('\n', ", "))).collect())
        .collect();
    let headings: Vec<_> = headings.into_iter().map(str::to_lowercase).collect();
    self::rows(&headings, &rows, out)
}

/// A table. The cells are Markdown already.
fn rows(headings: &[String], rows: &[Vec<String>], out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "\n| {} |\n|{}", headings.join(" | "), " --- |".repeat(headings.len()))?;
    rows.iter().try_for_each(|row| writeln!(out, "| {} |", row.join(" | ")))
}

/// What is said of a finding below its title. It ends with a line feed.
pub(super) fn body(report: &Report, finding: &Finding) -> String {
    let mut text = String::new();
    let all = details::of_finding(report, finding);
    let is_fix = |detail: &&Detail| matches!(detail.0, "fix" | "note");
    for (label, said) in all.iter().filter(|detail| !is_fix(detail)) {
        let _ = writeln!(text, "- **{label}** {}", inline(said));
    }
    let commands: Vec<_> = finding.fix.commands.iter().map(|line| command(line)).collect();
    if !commands.is_empty() {
        let commands = commands.join("\n");
        let fence = "`".repeat(3.max(longest_run(&commands) + 1));
        let _ = writeln!(text, "\n{fence}sh\n{commands}\n{fence}");
    }
    text.push('\n');
    for (label, said) in all.iter().filter(|detail| detail.0 == "note") {
        let _ = writeln!(text, "- **{label}** {}", inline(said));
    }
    let _ = writeln!(text, "- **more** {}", code(&format!("kvmnet explain {}", printable(&finding.id))));
    text
}

fn unexplained(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let groups = groups(report);
    for group in groups.iter().take(GROUPS) {
        let word = if group.unknown { "Unknown" } else { "Error" };
        writeln!(out, "\n### {word}: {}\n", group.title())?;
        writeln!(out, "- **why** {}", inline(&group.why))?;
        writeln!(out, "- **claims** {}", inline(&claims(&group.cells, GROUPS)))?;
    }
    let more: usize = groups.iter().skip(GROUPS).map(|group| group.cells.len()).sum();
    if more > 0 {
        writeln!(out, "\n… and {} more: `kvmnet doctor --format json`", count(more, "claim"))?;
    }
    Ok(())
}

fn assertions(report: &Report, policy: &Policy, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "\n### Policy {}", inline(&printable_prose(&policy.file)))?;
    if !policy.assertions.is_empty() {
        let headings = ["line", "assertion", "verdict"].map(str::to_owned);
        let row = |assertion: &crate::Assertion| {
            let word = match assertion.verdict {
                CellVerdict::Ok => "ok",
                CellVerdict::Gap => "**gap**",
                CellVerdict::Unknown => "**unknown**",
            };
            let said = details::verdict_of_assertion(report, assertion);
            vec![
                assertion.line.to_string(),
                cell(&printable_prose(&assertion.name)),
                format!("{word}: {said}"),
            ]
        };
        rows(&headings, &policy.assertions.iter().map(row).collect::<Vec<_>>(), out)?;
    }
    for assertion in policy.assertions.iter().filter(|assertion| assertion.verdict != CellVerdict::Ok) {
        writeln!(out, "\nLine {}:\n", assertion.line)?;
        for (label, said) in details::of_assertion(report, assertion) {
            writeln!(out, "- **{label}** {}", inline(&said))?;
        }
    }
    if !policy.accepted.is_empty() {
        writeln!(out, "\n#### Accepted\n")?;
    }
    for accepted in &policy.accepted {
        let (id, title) = (printable(&accepted.finding.id), printable_prose(&accepted.finding.title));
        let said = inline(&acceptance(accepted));
        writeln!(out, "- line {}: {}: {}: {said}", accepted.line, code(&id), inline(&title))?;
    }
    if !policy.notes.is_empty() {
        writeln!(out, "\n#### Notes\n")?;
    }
    for note in &policy.notes {
        writeln!(out, "- line {}: {}", note.line, inline(&printable_prose(&note.text)))?;
    }
    Ok(())
}

fn unread(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    for (at, (name, status, reason)) in details::unread(report).enumerate() {
        if at == 0 {
            writeln!(out, "\n### Not read\n")?;
        }
        writeln!(out, "- {}: {status}: {}", inline(&name), inline(&reason))?;
    }
    Ok(())
}

/// Text in a cell of a table, where a bar would end the cell, even in code.
fn cell(text: &str) -> String {
    inline(&text.replace('|', r"\u{7c}"))
}

/// Text within a line that means nothing but itself. What stands between backticks is code, as the checks write it.
pub(super) fn inline(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        words(before, &mut shown);
        // One that is never closed quotes nothing.
        let Some((quoted, after)) = after.split_once('`').filter(|(quoted, _)| !quoted.trim().is_empty())
        else {
            shown.push_str(r"\`");
            rest = after;
            continue;
        };
        shown.push_str(&code(quoted));
        rest = after;
    }
    words(rest, &mut shown);
    shown
}

/// Text without backticks, word by word.
fn words(text: &str, shown: &mut String) {
    for (at, word) in text.split(' ').enumerate() {
        if at > 0 {
            shown.push(' ');
        }
        if is_alive(word) {
            shown.push_str(&code(word));
            continue;
        }
        for char in word.chars() {
            // Of these none means anything within a line.
            if char.is_ascii_punctuation() && !".,;:'\"/-%+=?()".contains(char) {
                shown.push('\\');
            }
            shown.push(char);
        }
    }
}

/// What a forge makes something of after Markdown has been read, so that no backslash helps: addresses, mentions,
/// numbers of issues, formulas.
fn is_alive(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.contains(['@', '#', '$'])
        || ["://", "www.", "gh-", "mailto:", "xmpp:"].iter().any(|sign| word.contains(sign))
}

/// A code span, in which nothing but its own end has a meaning.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text) + 1);
    let edge = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
    let space = if edge { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Backticks in a row.
fn longest_run(text: &str) -> usize {
    text.split(|char| char != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_line_has_a_meaning_but_code() {
        for (text, shown) in [
            ("web1: 192.168.122.0/24", "web1: 192.168.122.0/24"),
            ("run `ip link` now", "run `ip link` now"),
            ("a ` b", r"a \` b"),
            ("``", r"\`\`"),
            ("<b> [x](y) *z* &lt; a_b ~c~ !", r"\<b\> \[x\](y) \*z\* \&lt; a\_b \~c\~ \!"),
            ("see https://example.org, @you", "see `https://example.org,` `@you`"),
            (r"\u{7}", r"\\u\{7\}"),
        ] {
            assert_eq!(inline(text), shown);
        }
    }

    #[test]
    fn code_is_longer_fenced_than_what_it_holds() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`a"), "`` `a ``");
    }
}
