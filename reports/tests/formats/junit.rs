//! JUnit XML, read by libxml2 and by python3-junitparser.

use insta::assert_snapshot;
use kvmnet_reports::Report;
use kvmnet_reports::SourceStatus;

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, invaded, policed, unknown};
use crate::{all_hosts, render};

/// One line for each case: suite, class, name, outcome, message.
const SCRIPT: &str = "
import junitparser
def read(text):
    lines = []
    for suite in junitparser.JUnitXml.fromstring(text.encode()):
        kinds = dict(failures=0, errors=0, skipped=0, tests=0)
        for case in suite:
            results = case.result if isinstance(case.result, list) else [case.result]
            results = [result for result in results if result is not None]
            assert len(results) <= 1, results
            kind = type(results[0]).__name__.lower() if results else 'passed'
            kinds['tests'] += 1
            for key, word in dict(failures='failure', errors='error', skipped='skipped').items():
                kinds[key] += kind == word
            message = results[0].message if results else ''
            lines.append('\\t'.join([suite.name, case.classname, case.name, kind, message or '']))
        for key, number in kinds.items():
            assert getattr(suite, key) == number, (suite.name, key)
    return '\\n'.join(lines)
";

type Case = [String; 5];

/// The cases of each report.
fn read(reports: &[Report]) -> Vec<Vec<Case>> {
    let texts: Vec<_> = reports.iter().map(|report| render("junit", report)).collect();
    for text in &texts {
        consumer::read("xmllint", &["--noout", "--nonet", "-"], "libxml2-utils", text);
    }
    let case = |line: &str| -> Case {
        let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().unwrap_or_else(|fields| panic!("{fields:?}"))
    };
    let said = consumer::python::<String>(SCRIPT, "python3-junitparser", &texts);
    said.iter().map(|said| said.split('\n').map(case).collect()).collect()
}

fn cases(report: &Report) -> Vec<Case> {
    read(std::slice::from_ref(report)).remove(0)
}

fn number(cases: &[Case], suite: &str, kind: &str) -> usize {
    cases.iter().filter(|case| case[0] == suite && case[3] == kind).count()
}

#[test]
fn the_outcomes_are_what_a_ci_server_counts() {
    let report = healthy();
    let found = cases(&report);
    assert_eq!(number(&found, "claims", "passed"), report.summary.ok);
    assert_eq!(found.len(), report.matrix.len() + report.sources.len());

    let report = broken();
    let found = cases(&report);
    assert_eq!(number(&found, "claims", "failure"), report.summary.gaps);
    assert_eq!((number(&found, "findings", "failure"), number(&found, "findings", "passed")), (2, 1));

    let report = unknown();
    let found = cases(&report);
    assert_eq!(number(&found, "claims", "error"), report.summary.unknown);
    assert_eq!(number(&found, "sources", "error"), 2);

    let found = cases(&policed());
    let policy = ["passed", "failure", "error", "skipped"].map(|kind| number(&found, "policy", kind));
    assert_eq!(policy, [1, 1, 1, 3], "a note is no case that passes");
    // The leak's claim is skipped with it.
    assert_eq!(number(&found, "claims", "skipped"), 1);
    assert!(found.iter().any(|case| case[4] == "accepted until 2027-01-31: iso is started by hand"));
}

/// What is not needed for the verdict does not make a verified host fail.
#[test]
fn what_was_not_read_fails_only_with_the_verdict() {
    let mut report = healthy();
    report.sources[0].status = SourceStatus::Missing;
    let found = cases(&report);
    assert_eq!((number(&found, "sources", "skipped"), number(&found, "sources", "error")), (1, 0));
}

#[test]
fn names_are_unique_and_nothing_is_forged() {
    let reports = all_hosts();
    for (report, found) in reports.iter().zip(read(&reports)) {
        let names: std::collections::BTreeSet<_> = found.iter().map(|case| &case[..3]).collect();
        assert_eq!(names.len(), found.len());
        let policy = report.policy.as_ref();
        let expected =
            policy.map_or(0, |policy| policy.assertions.len() + policy.accepted.len() + policy.notes.len());
        assert_eq!(
            found.len(),
            report.modelled().count() + report.findings.len() + report.sources.len() + expected
        );
    }
    let found = cases(&invaded("<b>&\"'</b>"));
    assert!(found.iter().any(|case| case[2] == "<b>&\"'</b>"), "{found:?}");
}

#[test]
fn policed_host() {
    assert_snapshot!(render("junit", &policed()));
}

#[test]
fn unknown_host() {
    assert_snapshot!(render("junit", &unknown()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("junit", &hostile()));
}
