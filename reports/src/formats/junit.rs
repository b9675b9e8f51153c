//! JUnit XML, for CI servers: GitLab, Jenkins, Buildkite and others.
//!
//! A gap and an error are a failure, what is unknown is an error, what the policy accepts is skipped.

use std::io;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::cases::{Case, Outcome, suites};
use super::details::{self, lines};
use super::{Input, Renderer};
use crate::Report;
use crate::text::printable;

pub(super) const RENDERER: Renderer = Renderer {
    name: "junit",
    about: "JUnit XML, for CI servers",
    write: |input: &Input<'_>, out| write(input.report, out),
    ..Renderer::USUAL
};

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut junit = quick_junit::Report::new("kvmnet");
    if let Some(taken) = details::taken(report) {
        junit.set_timestamp(taken);
    }
    for suite in suites(report) {
        let mut junit_suite = TestSuite::new(suite.name);
        if suite.name == "claims" {
            junit_suite.add_properties(properties(report));
        }
        junit_suite.add_test_cases(suite.cases.iter().map(test_case));
        junit.add_test_suite(junit_suite);
    }
    junit.serialize(out).map_err(io::Error::other)
}

/// What was examined.
fn properties(report: &Report) -> Vec<Property> {
    let host = &report.host;
    let known = [
        ("host", Some(&host.name)),
        ("kernel", Some(&host.kernel)),
        ("libvirt", host.libvirt.as_ref()),
        ("firewall-backend", host.firewall_backend.as_ref()),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some(Property::new(name, printable(value?))));
    known.chain([Property::new("verdict", details::verdict(report))]).collect()
}

fn test_case(case: &Case) -> TestCase {
    let status = match case.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::Skip => TestCaseStatus::skipped(),
        Outcome::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let mut junit = TestCase::new(&case.name, status);
    junit.set_classname(&case.group);
    if let Some((file, line)) = &case.place {
        junit.extra.insert("file".into(), file.into());
        junit.extra.insert("line".into(), line.to_string().into());
    }
    if case.outcome == Outcome::Pass {
        if !case.details.is_empty() {
            junit.set_system_out(lines(&case.details));
        }
        return junit;
    }
    junit.status.set_message(&case.why).set_type(match case.outcome {
        Outcome::Unknown => "unknown",
        Outcome::Skip => "skipped",
        Outcome::Pass | Outcome::Fail => &case.group,
    });
    if !case.details.is_empty() {
        junit.status.set_description(lines(&case.details));
    }
    junit
}
