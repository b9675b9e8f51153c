//! SARIF 2.1.0, for code scanning and for viewers of such results.
//!
//! A finding is a result at logical locations (`vm:web1`), since it is in no file; an assertion of the policy is one at a
//! line of the policy file. What is unknown is `open`, what the policy accepts is suppressed. The types are our own:
//! they are the part of the specification that is used here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::SecondsFormat;
use serde::Serialize;

use super::details;
use super::{Input, Renderer, markdown};
use crate::text::{printable, printable_prose};
use crate::unexplained::{Group, groups};
use crate::words::{acceptance, claims, command};
use crate::{Accepted, Assertion, CellVerdict, Finding, Policy, Report, Severity, SourceStatus, json};

/// Who is affected, and claims, that a result names.
const NAMED: usize = 100;

/// The rules of results that no check makes.
const ASSERTION: &str = "policy-assertion";
const UNDECIDED: &str = "undecided-claim";
const UNEXPLAINED: &str = "unexplained-gap";

pub(super) const RENDERER: Renderer = Renderer {
    name: "sarif",
    about: "SARIF 2.1.0, for code scanning",
    write: |input, out| json::write(&log(input), out),
    ..Renderer::USUAL
};

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    results: Vec<Result>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_description: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_description: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<Message>,
    default_configuration: Configuration,
    properties: RuleProperties<'a>,
}

#[derive(Serialize)]
struct Configuration {
    level: Level,
}

#[derive(Serialize)]
struct RuleProperties<'a> {
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time_utc: Option<String>,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: Level,
    message: Message,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result {
    rule_id: String,
    rule_index: usize,
    kind: Kind,
    level: Level,
    message: Message,
    locations: Vec<Location>,
    partial_fingerprints: Fingerprints,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Properties>,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Fail,
    /// What there is does not suffice to decide.
    Open,
}

#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
enum Level {
    None,
    Note,
    Warning,
    Error,
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Note,
            Severity::Warning => Self::Warning,
            Severity::Error => Self::Error,
        }
    }
}

#[derive(Serialize)]
struct Message {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
}

impl Message {
    /// Text in which a link or a placeholder would be one of ours; there is none.
    fn plain(text: &str) -> Self {
        let mut inert = String::new();
        for char in text.chars() {
            if matches!(char, '[' | ']') {
                inert.push('\\');
            }
            inert.push(char);
        }
        Self { text: without_placeholders(&inert), markdown: None }
    }

    fn with_markdown(self, markdown: &str) -> Self {
        Self { markdown: Some(without_placeholders(markdown)), ..self }
    }
}

/// `{0}` stands for an argument and is written `{{0}}`. Other braces stay as they are: most viewers show what they
/// are given, and rules of nftables are full of them.
fn without_placeholders(text: &str) -> String {
    let mut inert = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        inert.push_str(before);
        let digits = after.len() - after.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        rest = match after[digits..].strip_prefix('}') {
            Some(next) if digits > 0 => {
                let _ = write!(inert, "{{{{{}}}}}", &after[..digits]);
                next
            }
            Some(_) | None => {
                inert.push('{');
                after
            }
        };
    }
    inert + rest
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "subject/v1")]
    subject: String,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
    location: Location,
}

/// What a program can use of a fix.
#[derive(Serialize)]
struct Properties {
    commands: Vec<String>,
    disruptive: bool,
}

/// The rules that results refer to, in the order in which they were asked for.
struct Rules<'a> {
    input: &'a Input<'a>,
    rules: Vec<Rule<'a>>,
}

impl Rules<'_> {
    fn index(&mut self, id: &str, level: Level) -> usize {
        let id = printable(id);
        if let Some(known) = self.rules.iter().position(|rule| rule.id == id) {
            return known;
        }
        let entry = self.input.catalogue.checks.iter().find(|entry| entry.id == id);
        let (summary, explanation) = match (entry, &*id) {
            (Some(entry), _) => (Some(entry.summary), Some(entry.explanation)),
            (None, ASSERTION) => (Some("what the policy asserts does not hold, or cannot be decided"), None),
            (None, UNDECIDED) => (Some("it cannot be said whether a claim is as intended"), None),
            (None, UNEXPLAINED) => (Some("a gap without a known cause"), None),
            (None, _) => (None, None),
        };
        let help = entry.map(|entry| Message::plain(&format!("kvmnet explain {}", entry.id)));
        self.rules.push(Rule {
            id: id.into_owned(),
            short_description: summary.map(Message::plain),
            full_description: explanation.map(Message::plain),
            help,
            default_configuration: Configuration {
                level: entry.map_or(level, |entry| entry.severity.into()),
            },
            properties: RuleProperties { tags: entry.map(|entry| entry.category).into_iter().collect() },
        });
        self.rules.len() - 1
    }

    fn finding(&mut self, finding: &Finding) -> Result {
        let report = self.input.report;
        let level = finding.severity.into();
        let title = printable_prose(&finding.title);
        let mut text = format!("{title}\n");
        for (label, said) in details::of_finding(report, finding) {
            let _ = writeln!(text, "{label}: {said}");
        }
        let body = format!("**{}**\n\n{}", markdown::inline(&title), markdown::body(report, finding));
        let commands = finding.fix.commands.iter().map(|line| command(line).into_owned());
        Result {
            rule_index: self.index(&finding.id, level),
            rule_id: printable(&finding.id).into_owned(),
            kind: Kind::Fail,
            level,
            message: Message::plain(text.trim_end()).with_markdown(&body),
            locations: logical(&finding.subjects),
            partial_fingerprints: fingerprint(&finding.id, &finding.subjects.join(" ")),
            suppressions: Vec::new(),
            properties: Some(Properties { commands: commands.collect(), disruptive: finding.fix.disruptive }),
        }
    }

    fn accepted(&mut self, policy: &Policy, accepted: &Accepted) -> Result {
        let suppression = Suppression {
            kind: "external",
            status: "accepted",
            justification: acceptance(accepted),
            location: physical(policy, accepted.line),
        };
        Result { suppressions: vec![suppression], ..self.finding(&accepted.finding) }
    }

    fn group(&mut self, group: &Group<'_>) -> Result {
        let (id, kind, level, usual) = if group.unknown {
            (UNDECIDED, Kind::Open, Level::None, Level::Warning)
        } else {
            (UNEXPLAINED, Kind::Fail, Level::Error, Level::Error)
        };
        let claims = claims(&group.cells, NAMED);
        let text = format!("{}: {}\nclaims: {claims}", group.title(), group.why);
        let host = [format!("host:{}", self.input.report.host.name)];
        Result {
            rule_index: self.index(id, usual),
            rule_id: id.to_owned(),
            kind,
            level,
            message: Message::plain(&text),
            locations: logical(&host),
            partial_fingerprints: fingerprint(id, &claims),
            suppressions: Vec::new(),
            properties: None,
        }
    }

    /// Nothing if it holds.
    fn assertion(&mut self, policy: &Policy, assertion: &Assertion) -> Option<Result> {
        let (kind, level) = match assertion.verdict {
            CellVerdict::Ok => return None,
            CellVerdict::Gap => (Kind::Fail, Level::Error),
            CellVerdict::Unknown => (Kind::Open, Level::None),
        };
        let report = self.input.report;
        let name = printable_prose(&assertion.name);
        let mut text = format!("{name}: {}", details::verdict_of_assertion(report, assertion));
        for (label, said) in details::of_assertion(report, assertion) {
            let _ = write!(text, "\n{label}: {said}");
        }
        Some(Result {
            rule_index: self.index(ASSERTION, Level::Error),
            rule_id: ASSERTION.to_owned(),
            kind,
            level,
            message: Message::plain(&text),
            locations: vec![physical(policy, assertion.line)],
            partial_fingerprints: fingerprint(ASSERTION, &assertion.name),
            suppressions: Vec::new(),
            properties: None,
        })
    }
}

fn log<'a>(input: &'a Input<'a>) -> Log<'a> {
    let report = input.report;
    let mut rules = Rules { input, rules: Vec::new() };
    let mut results: Vec<_> = report.findings.iter().map(|finding| rules.finding(finding)).collect();
    results.extend(groups(report).iter().map(|group| rules.group(group)));
    if let Some(policy) = &report.policy {
        results.extend(policy.assertions.iter().filter_map(|entry| rules.assertion(policy, entry)));
        results.extend(policy.accepted.iter().map(|entry| rules.accepted(policy, entry)));
    }
    let driver = Driver { name: "kvmnet", version: env!("CARGO_PKG_VERSION"), rules: rules.rules };
    Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run { tool: Tool { driver }, invocations: [invocation(report)], results }],
    }
}

/// What could not be read is said of the run, not of the host.
fn invocation(report: &Report) -> Invocation {
    let level = |status: &str| if status == "not read" { Level::Error } else { Level::Warning };
    let unread = details::unread(report).map(|(name, status, reason)| Notification {
        level: level(status),
        message: Message::plain(&format!("{status}: {name}: {reason}")),
    });
    let notes = report.policy.iter().flat_map(|policy| &policy.notes).map(|note| Notification {
        level: Level::Warning,
        message: Message::plain(&format!("policy line {}: {}", note.line, printable_prose(&note.text))),
    });
    Invocation {
        execution_successful: report.sources.iter().all(|source| source.status != SourceStatus::Missing),
        exit_code: report.summary.verdict.exit_code(),
        start_time_utc: details::taken(report)
            .map(|taken| taken.to_rfc3339_opts(SecondsFormat::Millis, true)),
        tool_execution_notifications: unread.chain(notes).collect(),
    }
}

/// Each name once, as the schema wants it.
fn logical(subjects: &[String]) -> Vec<Location> {
    let mut named = BTreeSet::new();
    let names = subjects.iter().map(|subject| printable_prose(subject).into_owned());
    let locations = names.filter(|name| named.insert(name.clone())).take(NAMED).map(|name| Location {
        physical_location: None,
        logical_locations: vec![LogicalLocation {
            kind: name.split_once(':').map(|(kind, _)| printable(kind).into_owned()),
            fully_qualified_name: name,
        }],
    });
    locations.collect()
}

fn physical(policy: &Policy, line: usize) -> Location {
    let region = Region { start_line: line.max(1) };
    Location {
        physical_location: Some(PhysicalLocation {
            artifact_location: ArtifactLocation { uri: uri(&policy.file) },
            region,
        }),
        logical_locations: Vec::new(),
    }
}

/// The path as a URI (RFC 3986), absolute or relative as the path is.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// What is the same as long as it is the same cause with the same subjects.
fn fingerprint(id: &str, subjects: &str) -> Fingerprints {
    Fingerprints { subject: printable_prose(&format!("{id} {subjects}")).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_links_are_text() {
        for (text, shown) in [
            ("{0} {12}}", "{{0}} {{12}}}"),
            ("tcp dport { 80, 443 } {}", "tcp dport { 80, 443 } {}"),
            ("{{1}", "{{{1}}"),
            ("[x](y)", "\\[x\\](y)"),
        ] {
            assert_eq!(Message::plain(text).text, shown);
        }
    }

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("/etc/kvmnet/policy.toml"), "file:///etc/kvmnet/policy.toml");
        assert_eq!(uri("a b/ü:#?.toml"), "a%20b/%C3%BC%3A%23%3F.toml");
    }
}
