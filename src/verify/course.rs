//! What has become of findings from one run to the next.
//!
//! A finding is told once it was there in so many runs in a row, and is healed once it was gone in as many: what comes and
//! goes between two runs raises no alarm.

use std::collections::BTreeMap;

use kvmnet_reports::{Course, Finding, Healed, Report, Severity, Still, Verdict};
use serde::{Deserialize, Serialize};

use super::report::{is_blind, summary};

/// The version of the record's form.
pub const RECORD: &str = "kvmnet.state/1";

/// What is remembered from one run to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`RECORD`].
    pub schema: String,
    /// The host's node name, and to what the runs were limited: another host or another part of it is another matter.
    about: (String, Vec<String>),
    /// The findings that were there, by what they are and whom they are about.
    findings: BTreeMap<String, Known>,
}

impl Record {
    /// Whether it is about this host, limited in the same way.
    pub fn is_about(&self, report: &Report, limits: &[String]) -> bool {
        self.about.0 == report.host.name && self.about.1 == limits
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
/// there in `confirm` runs in a row makes the verdict; in the first run, before which nothing is remembered, all of it does.
/// Where needed sources were not read, what is not seen has not healed.
pub fn follow(
    record: Option<&Record>,
    report: &mut Report,
    limits: &[String],
    confirm: u32,
    fail_on: Severity,
) -> Record {
    let confirm = if record.is_some() { confirm } else { 1 };
    let remembered = record.map(|record| &record.findings).into_iter().flatten();
    let remembered: BTreeMap<&String, &Known> = remembered.collect();
    let blind = is_blind(report);
    let now = report.host.taken_ms;
    let mut course = Course::default();
    let mut next = Record {
        schema: RECORD.to_owned(),
        about: (report.host.name.clone(), limits.to_vec()),
        findings: BTreeMap::new(),
    };
    for (at, finding) in report.findings.iter().enumerate() {
        let key = key(finding);
        let before = remembered.get(&key).copied();
        let mut known = Known {
            id: finding.id.clone(),
            title: finding.title.clone(),
            severity: finding.severity,
            since_ms: before.map_or(now, |known| known.since_ms),
            seen: before.map_or(0, |known| known.seen).saturating_add(1),
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
    // What was told counts until it has healed.
    let mut broken = false;
    for (key, known) in remembered {
        if next.findings.contains_key(key) || !known.told && !blind {
            continue;
        }
        let missed = if blind { known.missed } else { known.missed.saturating_add(1) };
        let gone = Healed { id: known.id.clone(), title: known.title.clone(), since_ms: known.since_ms };
        if known.told && missed >= confirm {
            course.healed.push(gone);
            continue;
        }
        if known.told {
            broken |= known.severity >= fail_on;
            course.absent.push(gone);
        }
        next.findings.insert(key.clone(), Known { missed, ..known.clone() });
    }
    let mut told = course.new.iter().copied().chain(course.still.iter().map(|still| still.finding));
    broken |= told.any(|at| report.findings[at].severity >= fail_on);
    report.course = Some(course);
    report.summary = summary(report, fail_on);
    report.summary.verdict = match report.summary.verdict {
        _ if broken => Verdict::Gaps,
        // What is not confirmed is no gap yet, and no pass either.
        Verdict::Gaps => Verdict::Incomplete,
        verdict => verdict,
    };
    next
}

#[cfg(test)]
mod tests {
    use kvmnet_reports::Fix;

    use super::*;
    use crate::testing::snapshot;

    /// A run at which these findings are there. `blind`: libvirt was not read.
    fn run_as(record: &mut Option<Record>, ids: &[&str], blind: bool) -> (Course, Verdict) {
        let mut snapshot = snapshot();
        if blind {
            snapshot.libvirt = kvmnet_probes::facts::Fact::Missing { reason: "no daemon".to_owned() };
        }
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
        *record = Some(follow(record.as_ref(), &mut report, &[], 2, Severity::Error));
        (report.course.unwrap(), report.summary.verdict)
    }

    fn run(record: &mut Option<Record>, ids: &[&str]) -> (Course, Verdict) {
        run_as(record, ids, false)
    }

    /// A host that was healthy when it was first looked at.
    fn healthy() -> Option<Record> {
        let mut record = None;
        run(&mut record, &[]);
        record
    }

    #[test]
    fn what_stays_is_told_once_and_healed_once() {
        let record = &mut healthy();
        let (first, verdict) = run(record, &["a"]);
        assert_eq!((first.pending, first.new, verdict), (vec![0], vec![], Verdict::Incomplete));
        let (second, verdict) = run(record, &["a"]);
        assert_eq!((second.new, verdict), (vec![0], Verdict::Gaps));
        let (third, verdict) = run(record, &["a"]);
        assert_eq!((third.new.len(), third.still.len(), verdict), (0, 1, Verdict::Gaps));
        let (fourth, verdict) = run(record, &[]);
        assert_eq!((fourth.healed.len(), fourth.absent.len(), verdict), (0, 1, Verdict::Gaps));
        let (fifth, verdict) = run(record, &[]);
        assert_eq!((fifth.healed.len(), verdict), (1, Verdict::Verified));
        assert_eq!(run(record, &[]).0, Course::default());
        assert_eq!(*record, healthy());
    }

    #[test]
    fn what_is_there_at_the_first_look_is_told_at_once() {
        let (course, verdict) = run(&mut None, &["a"]);
        assert_eq!((course.new, verdict), (vec![0], Verdict::Gaps));
    }

    #[test]
    fn what_comes_and_goes_is_not_told() {
        let record = &mut healthy();
        for ids in [&["a"][..], &[], &["a"], &[], &["b"], &["a"]] {
            let (course, verdict) = run(record, ids);
            assert!(course.new.is_empty() && course.healed.is_empty(), "{course:?}");
            assert_ne!(verdict, Verdict::Gaps);
        }
    }

    #[test]
    fn what_is_told_may_be_missed_once() {
        let record = &mut None;
        run(record, &["a"]);
        run(record, &[]);
        let (course, verdict) = run(record, &["a"]);
        assert_eq!((course.new.len(), course.still.len(), verdict), (0, 1, Verdict::Gaps));
    }

    /// Where nobody looked nothing has healed.
    #[test]
    fn who_does_not_see_does_not_heal() {
        let record = &mut None;
        run(record, &["a"]);
        for _ in 0..3 {
            let (course, verdict) = run_as(record, &[], true);
            assert_eq!((course.healed.len(), course.absent.len(), verdict), (0, 1, Verdict::Gaps));
        }
        run(record, &[]);
        assert_eq!(run(record, &[]).0.healed.len(), 1);
    }
}
