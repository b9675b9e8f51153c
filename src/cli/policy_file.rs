//! Policy files: read, and told what is wrong with them by the line.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kvmnet_probes::facts::Snapshot;

use super::failure::{Failure, name};
use super::read::{self, Limit};
use crate::checks::CHECKS;
use crate::model::policy::{At, Policy, Unmatched, parse};

/// A policy, and what is needed to speak of it.
#[derive(Debug)]
pub(super) struct PolicyFile {
    path: PathBuf,
    name: String,
    text: String,
    pub(super) policy: Policy,
    /// The day in UTC.
    pub(super) today: Date,
}

/// What is wrong with a policy.
#[derive(Debug)]
pub(crate) struct BadPolicy {
    path: PathBuf,
    line: usize,
    what: String,
    /// The line as it stands there.
    pub(super) place: Vec<String>,
    /// What kind of name is missing.
    pub(super) kind: &'static str,
    /// A name that nobody has, and those that there are.
    pub(super) wanted: Option<(String, Vec<String>)>,
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", name(&self.path), self.line, self.what)
    }
}

impl PolicyFile {
    pub(super) fn read(path: PathBuf) -> Result<Self, Failure> {
        let text = read::text(&path, Limit::POLICY)
            .map_err(|source| Failure::ReadPolicy { path: path.clone(), source })?;
        let policy = parse(&text).map_err(|error| {
            let place = place(&text, error.line, Some(error.column));
            let (path, kind) = (path.clone(), "word");
            let bad = BadPolicy { path, line: error.line, what: error.what, place, kind, wanted: None };
            Failure::BadPolicy(Box::new(bad))
        })?;
        let name = path.display().to_string();
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let file = Self { path, name, text, policy, today };
        file.look_up_findings()?;
        Ok(file)
    }

    /// Whether each finding that is accepted can be one.
    fn look_up_findings(&self) -> Result<(), Failure> {
        for At { value, line } in self.policy.accept.iter().map(|accept| &accept.finding) {
            if CHECKS.iter().any(|check| value.matches(check.id)) {
                continue;
            }
            let known = CHECKS.iter().map(|check| check.id.to_owned()).collect();
            return Err(Failure::BadPolicy(Box::new(BadPolicy {
                path: self.path.clone(),
                what: format!("there is no finding `{value}`"),
                line: *line,
                place: place(&self.text, *line, None),
                kind: "check",
                wanted: Some((value.to_string(), known)),
            })));
        }
        Ok(())
    }

    /// The file's name and what it says.
    pub(super) fn held(&self) -> (&str, &Policy) {
        (&self.name, &self.policy)
    }

    /// A name in it that nobody has. If libvirt was not read nobody knows.
    pub(super) fn unmatched(&self, error: &Unmatched, snapshot: &Snapshot) -> Failure {
        if let (Some((wanted, _)), Some(reason)) = (&error.wanted, snapshot.libvirt.reason()) {
            let wanted = wanted.clone();
            return Failure::NamesUnknown { kind: "name", wanted, reason: reason.to_owned() };
        }
        Failure::BadPolicy(Box::new(BadPolicy {
            path: self.path.clone(),
            what: error.what.clone(),
            line: error.line,
            place: place(&self.text, error.line, None),
            kind: "name",
            wanted: error.wanted.clone(),
        }))
    }
}

/// The line of the text, and a mark below its column.
fn place(text: &str, line: usize, column: Option<usize>) -> Vec<String> {
    let Some(found) = line.checked_sub(1).and_then(|line| text.lines().nth(line)) else { return Vec::new() };
    let number = line.to_string();
    let gap = " ".repeat(number.len());
    let mut place = vec![format!("{gap} |"), format!("{number} | {found}")];
    if let Some(column) = column.and_then(|column| column.checked_sub(1)) {
        place.push(format!("{gap} | {}^", " ".repeat(column)));
    }
    place
}
