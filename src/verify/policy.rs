//! A report, held against the policy.

use jiff::civil::Date;
use kvmnet_reports::{Accepted, Assertion, CellVerdict, Report, Severity};

use super::report::summary;
use crate::model::Claim;
use crate::model::policy::{Policy, Reading};

/// Says what became of the policy's assertions, and puts the findings aside that it accepts on this day. `claims` are
/// those that the report's matrix is about; `readings` say how each assertion was read.
pub fn hold_against(
    report: &mut Report,
    policy: (&str, &Policy),
    claims: &[Claim],
    readings: &[Reading],
    today: Date,
    fail_on: Severity,
) {
    let (file, policy) = policy;
    let mut accepted = Vec::new();
    for finding in std::mem::take(&mut report.findings) {
        match policy.accepts(&finding, today) {
            Some(by) => accepted.push(Accepted {
                finding,
                reason: by.reason.clone(),
                until: by.until.map(|until| until.to_string()),
                line: by.line,
            }),
            None => report.findings.push(finding),
        }
    }
    let assertions = policy.assertions.iter().enumerate().map(|(number, assertion)| {
        let stated = |at: &usize| claims[*at].assertion == Some(number);
        let cells: Vec<usize> = (0..claims.len()).filter(stated).collect();
        let any = |verdict| cells.iter().any(|&at| report.matrix[at].verdict == verdict);
        let verdict = if any(CellVerdict::Gap) {
            CellVerdict::Gap
        } else if cells.is_empty() || any(CellVerdict::Unknown) {
            CellVerdict::Unknown
        } else {
            CellVerdict::Ok
        };
        let Reading { pairs, note } = readings.get(number).cloned().unwrap_or_default();
        Assertion { name: assertion.title(), line: assertion.line, pairs, cells, verdict, note }
    });
    let assertions = assertions.collect();
    let notes = policy.expired(today).collect();
    report.policy = Some(kvmnet_reports::Policy { file: file.to_owned(), assertions, accepted, notes });
    report.summary = summary(report, fail_on);
}

/// Leaves of a report what its policy's assertions are about: hazards and the like are for the doctor to say.
pub fn reduce(report: &mut Report, fail_on: Severity) {
    report.findings.retain(|finding| !finding.breaks.is_empty());
    report.summary = summary(report, fail_on);
}
