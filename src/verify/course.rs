//! What has become of findings from one run to the next.
//!
//! A finding is told once it was there in so many runs in a row, and is healed once it was gone in as many: what comes and
//! goes between two runs raises no alarm.

use std::collections::BTreeMap;

use kvmnet_reports::{Course, Finding, Healed, Report, Severity, Still};
use serde::{Deserialize, Serialize};

use super::report::summary;

/// The version of the record's form.
pub const RECORD: &str = "kvmnet.state/1";

/// What is remembered from one run to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD`].
    pub schema: String,
    /// The findings that were there, by what they are and whom they are about.
    findings: BTreeMap<String, Known>,
}

impl Default for Record {
    fn default() -> Self {
        Self { schema: RECORD.to_owned(), findings: BTreeMap::new() }
    }
}

/// A finding that was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    id: String,
    title: String,
    severity: Severity,
    /// When it was there first, in milliseconds since the Unix epoch.
    since_ms: u64,
    /// In how many runs in a row it was there.
    seen: u32,
    /// In how many runs in a row it was not.
    missed: u32,
    /// It was told.
    told: bool,
}

/// What it is and whom it is about; VMs in their order.
fn key(finding: &Finding) -> String {
    let mut subjects = finding.subjects.clone();
    subjects.sort_unstable();
    format!("{} {}", finding.id, subjects.join(" "))
}

/// Says in the report what is new, what is still there and what has healed, and gives what is to be remembered. Only what was
/// there in `confirm` runs in a row makes the verdict.
pub fn follow(record: &Record, report: &mut Report, confirm: u32, fail_on: Severity) -> Record {
    let now = report.host.taken_ms;
    let mut course = Course::default();
    let mut next = Record::default();
    for (at, finding) in report.findings.iter().enumerate() {
        let key = key(finding);
        let before = record.findings.get(&key);
        let seen = before.map_or(0, |known| if known.missed > 0 && !known.told { 0 } else { known.seen });
        let mut known = Known {
            id: finding.id.clone(),
            title: finding.title.clone(),
            severity: finding.severity,
            since_ms: before.map_or(now, |known| known.since_ms),
            seen: seen.saturating_add(1),
            missed: 0,
            told: before.is_some_and(|known| known.told),
        };
        if known.told {
            course.still.push(Still { finding: at, since_ms: known.since_ms });
        } else if known.seen >= confirm {
            known.told = true;
            course.new.push(at);
        } else {
            course.pending.push(at);
        }
        next.findings.insert(key, known);
    }
    for (key, known) in
        record.findings.iter().filter(|(key, _)| !next.findings.contains_key(*key)).collect::<Vec<_>>()
    {
        let missed = known.missed.saturating_add(1);
        let gone = Healed { id: known.id.clone(), title: known.title.clone(), since_ms: known.since_ms };
        match (known.told, missed >= confirm) {
            (true, true) => course.healed.push(gone),
            (true, false) => {
                course.absent.push(gone);
                next.findings.insert(key.clone(), Known { missed, seen: 0, ..known.clone() });
            }
            // It was never told.
            (false, _) => {}
        }
    }
    let severe = |severity: Severity| severity >= fail_on;
    let told = course.new.iter().copied().chain(course.still.iter().map(|still| still.finding));
    let mut broken = told.into_iter().any(|at| severe(report.findings[at].severity));
    broken |= next.findings.values().any(|known| known.told && known.missed > 0 && severe(known.severity));
    report.course = Some(course);
    report.summary = summary(report, fail_on);
    report.summary.verdict = match report.summary.verdict {
        _ if broken => kvmnet_reports::Verdict::Gaps,
        // What is not confirmed is nothing yet.
        kvmnet_reports::Verdict::Gaps => kvmnet_reports::Verdict::Verified,
        verdict => verdict,
    };
    next
}

#[cfg(test)]
mod tests {
    use kvmnet_reports::{Fix, Verdict};

    use super::*;
    use crate::testing::snapshot;

    /// A run at which these findings are there.
    fn run(record: &mut Record, ids: &[&str]) -> (Course, Verdict) {
        let snapshot = snapshot();
        let topology = crate::model::Topology::from_snapshot(&snapshot);
        let plan = crate::verify::Plan::untried(&[], "");
        let mut report = crate::verify::report(&snapshot, &topology, &[], &[], &plan, &[], Severity::Error);
        report.findings = ids
            .iter()
            .map(|id| Finding {
                id: (*id).to_owned(),
                severity: Severity::Error,
                title: String::new(),
                subjects: Vec::new(),
                cause: String::new(),
                evidence: Vec::new(),
                breaks: Vec::new(),
                fix: Fix::default(),
            })
            .collect();
        *record = follow(record, &mut report, 2, Severity::Error);
        (report.course.unwrap(), report.summary.verdict)
    }

    #[test]
    fn what_stays_is_told_once_and_healed_once() {
        let record = &mut Record::default();
        let (first, verdict) = run(record, &["a"]);
        assert_eq!((first.pending, first.new, verdict), (vec![0], vec![], Verdict::Verified));
        let (second, verdict) = run(record, &["a"]);
        assert_eq!((second.new, verdict), (vec![0], Verdict::Gaps));
        let (third, verdict) = run(record, &["a"]);
        assert_eq!((third.new.len(), third.still.len(), verdict), (0, 1, Verdict::Gaps));
        let (fourth, verdict) = run(record, &[]);
        assert_eq!((fourth.healed.len(), fourth.absent.len(), verdict), (0, 1, Verdict::Gaps));
        let (fifth, verdict) = run(record, &[]);
        assert_eq!((fifth.healed.len(), verdict), (1, Verdict::Verified));
        assert_eq!(run(record, &[]).0, Course::default());
        assert_eq!(*record, Record::default());
    }

    #[test]
    fn what_comes_and_goes_is_not_told() {
        let record = &mut Record::default();
        for ids in [&["a"][..], &[], &["a"], &[], &["b"], &["a"]] {
            let (course, verdict) = run(record, ids);
            assert!(course.new.is_empty() && course.healed.is_empty(), "{course:?}");
            assert_eq!(verdict, Verdict::Verified);
        }
    }

    #[test]
    fn what_is_told_may_be_missed_once() {
        let record = &mut Record::default();
        for ids in [["a"], ["a"]] {
            run(record, &ids);
        }
        run(record, &[]);
        let (course, verdict) = run(record, &["a"]);
        assert_eq!((course.new.len(), course.still.len(), verdict), (0, 1, Verdict::Gaps));
    }
}
