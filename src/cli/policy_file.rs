//! Policy files: read, and told what is wrong with them by the line.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use kvmnet_probes::facts::Snapshot;
use kvmnet_reports::text::printable_prose;

use super::exit;
use super::failure::{Failure, name};
use super::read::{self, Limit};
use crate::checks::{CHECKS, Meant, RETIRED, Retired, meant};
use crate::model::policy::{At, Malformed, Policy, Unmatched, parse};

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
    /// What kind of name is missing: of a host, of a check, or a word of the format.
    pub(super) kind: &'static str,
    /// A name that is not known, and those that are.
    pub(super) wanted: Option<(String, Vec<String>)>,
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", name(&self.path), self.line, self.what)
    }
}

impl PolicyFile {
    /// Reads the file, and warns of what accepts nothing any more because its check is gone.
    pub(super) fn read(path: PathBuf) -> Result<Self, Failure> {
        let text = read::text(&path, Limit::POLICY)
            .map_err(|source| Failure::ReadPolicy { path: path.clone(), source })?;
        let file = Self::of(path, text)?;
        for warning in file.look_up_findings(RETIRED)? {
            exit::tell(&format!("warning: {}\n", printable_prose(&warning)));
        }
        Ok(file)
    }

    fn of(path: PathBuf, text: String) -> Result<Self, Failure> {
        let policy = parse(&text).map_err(|error| {
            let place = place(&text, error.line, Some(error.column));
            let (path, kind) = (path.clone(), "word");
            let Malformed { what, line, wanted, .. } = error;
            Failure::BadPolicy(Box::new(BadPolicy { path, line, what, place, kind, wanted }))
        })?;
        let name = path.display().to_string();
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        Ok(Self { path, name, text, policy, today })
    }

    /// Whether each finding that is accepted can be one, or could once: of those there is a warning.
    fn look_up_findings(&self, retired: &[Retired]) -> Result<Vec<String>, Failure> {
        let mut warnings = Vec::new();
        for At { value, line } in self.policy.accept.iter().map(|accept| &accept.finding) {
            match meant(|id| value.matches(id), retired) {
                Meant::Check(_) => {}
                Meant::Retired(gone) => {
                    let place = format!("{}:{line}", name(&self.path));
                    warnings.extend(gone.into_iter().map(|gone| format!("{place}: {}", gone.told())));
                }
                Meant::Nobody => {
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
            }
        }
        Ok(warnings)
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

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Retired = Retired { id: "bridge-gone", since: "1.1.0", why: "bridge-missing tells it" };

    fn looked_up(finding: &str, retired: &[Retired]) -> Result<Vec<String>, Failure> {
        let text = format!("version: 1\naccept:\n  - {{finding: '{finding}', reason: ours}}\n");
        PolicyFile::of("kvmnet.yaml".into(), text).expect("a policy").look_up_findings(retired)
    }

    #[test]
    fn a_finding_that_was_known_once_is_warned_about_and_not_refused() {
        let warning = "kvmnet.yaml:3: since kvmnet 1.1.0 there is no finding `bridge-gone` any more: \
                       bridge-missing tells it";
        assert_eq!(looked_up("bridge-gone", &[GONE]).expect("a warning"), [warning]);
        assert_eq!(looked_up("bridge-g*", &[GONE]).expect("a warning"), [warning]);
        // It accepts what is there all the same.
        assert_eq!(looked_up("bridge-*", &[GONE]).expect("no warning"), [""; 0]);
        let refused = looked_up("bridge-gone", &[]).expect_err("never known").to_string();
        assert_eq!(refused, "kvmnet.yaml:3: there is no finding `bridge-gone`");
    }
}
