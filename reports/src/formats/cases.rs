//! The report as test cases, which is what JUnit and TAP have in common.
//!
//! Invariants: what is unknown is never a pass; what the policy accepts is skipped with its reason; no two cases of
//! a suite have one name, because their readers compare runs by name. Everything in a case may be shown.

use std::collections::BTreeMap;

use super::details::{self, Detail};
use crate::text::{printable, printable_prose};
use crate::unexplained::{Cause, causes};
use crate::words::{self, acceptance, claim_in_words, expected, network_of, shortfall};
use crate::{Cell, CellVerdict, Finding, Policy, Report, Severity, Verdict};

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Pass,
    Fail,
    Unknown,
    /// It does not hold, and the policy accepts that.
    Skip,
}

/// Cases of one kind.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) cases: Vec<Case>,
}

/// One thing that is as it should be, or is not.
#[derive(Debug)]
pub(super) struct Case {
    /// What it belongs to: `claims.default`, `findings.forward-policy-drop`, `policy`, `sources`.
    pub(super) group: String,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// Why it did not pass, in a line; empty if it did.
    pub(super) why: String,
    pub(super) details: Vec<Detail>,
    /// The file and the line where it is asked for.
    pub(super) place: Option<(String, usize)>,
}

/// All that can be said of a host as test cases.
pub(super) fn suites(report: &Report) -> Vec<Suite> {
    let mut suites = vec![
        Suite { name: "claims", cases: claims(report) },
        Suite {
            name: "findings",
            cases: report.findings.iter().map(|finding| finding_case(report, finding)).collect(),
        },
    ];
    if let Some(policy) = &report.policy {
        suites.push(Suite { name: "policy", cases: policy_cases(report, policy) });
    }
    suites.push(Suite { name: "sources", cases: sources(report) });
    for suite in &mut suites {
        tell_apart(&mut suite.cases);
    }
    suites
}

fn claims(report: &Report) -> Vec<Case> {
    let causes = causes(report);
    report.modelled().map(|(at, cell)| claim(cell, &causes[at])).collect()
}

fn claim(cell: &Cell, causes: &[Cause<'_>]) -> Case {
    let accepted: Vec<_> = causes.iter().filter_map(|cause| cause.accepted).collect();
    let outcome = match cell.verdict {
        CellVerdict::Ok => Outcome::Pass,
        CellVerdict::Unknown => Outcome::Unknown,
        CellVerdict::Gap if !accepted.is_empty() && accepted.len() == causes.len() => Outcome::Skip,
        CellVerdict::Gap => Outcome::Fail,
    };
    let why = match (outcome, accepted.first()) {
        (Outcome::Pass, _) => String::new(),
        (Outcome::Skip, Some(accepted)) => acceptance(accepted),
        (Outcome::Skip | Outcome::Fail | Outcome::Unknown, _) => words::why(cell),
    };
    let details = causes.iter().filter(|_| outcome != Outcome::Pass).map(|cause| {
        let Finding { id, title, .. } = cause.finding;
        ("finding", format!("{}: {}", printable(id), printable_prose(title)))
    });
    Case {
        group: format!("claims.{}", network_of(cell).map_or("host".into(), printable)),
        name: format!("{}: {}", claim_in_words(cell), expected(cell)),
        outcome,
        why,
        details: details.collect(),
        place: None,
    }
}

/// Only an error fails: a warning breaks nothing yet.
fn finding_case(report: &Report, finding: &Finding) -> Case {
    let outcome = match finding.severity {
        Severity::Error => Outcome::Fail,
        Severity::Warning | Severity::Info => Outcome::Pass,
    };
    let why = match outcome {
        Outcome::Pass => String::new(),
        Outcome::Fail | Outcome::Unknown | Outcome::Skip => printable_prose(&finding.cause).into_owned(),
    };
    let mut details = vec![("severity", finding.severity.word().to_owned())];
    // What is said already is not said again.
    details.extend(details::of_finding(report, finding).into_iter().filter(|(_, text)| *text != why));
    Case {
        group: format!("findings.{}", printable(&finding.id)),
        name: printable_prose(&finding.title).into_owned(),
        outcome,
        why,
        details,
        place: None,
    }
}

fn policy_cases(report: &Report, policy: &Policy) -> Vec<Case> {
    let file = || printable_prose(&policy.file).into_owned();
    let assertions = policy.assertions.iter().map(|assertion| {
        let outcome = match assertion.verdict {
            CellVerdict::Ok => Outcome::Pass,
            CellVerdict::Gap => Outcome::Fail,
            CellVerdict::Unknown => Outcome::Unknown,
        };
        let why = match outcome {
            Outcome::Pass => String::new(),
            Outcome::Fail | Outcome::Unknown | Outcome::Skip => {
                details::verdict_of_assertion(report, assertion)
            }
        };
        Case {
            group: "policy".to_owned(),
            name: printable_prose(&assertion.name).into_owned(),
            outcome,
            why,
            details: details::of_assertion(report, assertion),
            place: Some((file(), assertion.line)),
        }
    });
    let accepted = policy.accepted.iter().map(|accepted| {
        let case = finding_case(report, &accepted.finding);
        let mut details = case.details;
        if !case.why.is_empty() {
            details.insert(1, ("why", case.why));
        }
        let (outcome, why) = (Outcome::Skip, acceptance(accepted));
        Case { outcome, why, details, place: Some((file(), accepted.line)), ..case }
    });
    let notes = policy.notes.iter().map(|note| Case {
        group: "policy".to_owned(),
        name: format!("line {}", note.line),
        outcome: Outcome::Skip,
        why: printable_prose(&note.text).into_owned(),
        details: Vec::new(),
        place: Some((file(), note.line)),
    });
    assertions.chain(accepted).chain(notes).collect()
}

/// What was not read is an error, unless the verdict holds without it.
fn sources(report: &Report) -> Vec<Case> {
    let unread = match report.summary.verdict {
        Verdict::Verified => Outcome::Skip,
        Verdict::Gaps | Verdict::Incomplete => Outcome::Unknown,
    };
    let sources = report.sources.iter().map(|source| {
        let status = shortfall(source.status);
        let outcome = if status.is_some() { unread } else { Outcome::Pass };
        let reason = source.reason.as_deref().unwrap_or("no reason given");
        Case {
            group: "sources".to_owned(),
            name: printable(&source.name).into_owned(),
            outcome,
            why: status.map(|status| format!("{status}: {}", printable_prose(reason))).unwrap_or_default(),
            details: Vec::new(),
            place: None,
        }
    });
    sources.collect()
}

/// Numbers the second and every further case of one name.
fn tell_apart(cases: &mut [Case]) {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for case in cases {
        let number = seen.entry((case.group.clone(), case.name.clone())).or_default();
        *number += 1;
        if *number > 1 {
            case.name = format!("{} ({number})", case.name);
        }
    }
}
