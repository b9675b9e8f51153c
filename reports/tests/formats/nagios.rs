//! The output of a monitoring plugin: its performance data, read by libmonitoring-plugin-perl. Of the rest no consumer is
//! packaged without its daemon: it is taken apart by the rules of the guidelines (monitoring-plugins.org, "Plugin Output
//! for Nagios" and "Performance data").

use std::collections::BTreeMap;

use insta::assert_snapshot;
use kvmnet_reports::formats::Renderer;
use kvmnet_reports::{CellVerdict, Report, Severity, Verdict};

use crate::hosts::{broken, healthy, hostile, policed, unknown};
use crate::{all_hosts, consumer, render};

/// Numbers by their labels, each with the state that its thresholds give.
type Performance = BTreeMap<String, (usize, u8)>;

const SCRIPT: &str = "
use strict;
use JSON::PP;
use Monitoring::Plugin::Performance;
sub numbers {
    map { $_->label => [0 + $_->value, $_->threshold->get_status($_->value)] }
        Monitoring::Plugin::Performance->parse_perfstring(shift)
}
print encode_json([map { +{ numbers($_) } } @{decode_json(join '', <STDIN>)}]);
";

fn exit_code(report: &Report) -> u8 {
    Renderer::named("nagios").expect("it is listed").exit_code(report)
}

/// `label=value[unit];[warn];[crit];[min];[max]`, the label of letters, the rest of numbers.
fn is_performance_datum(item: &str) -> bool {
    let Some((label, values)) = item.split_once('=') else { return false };
    let mut values = values.split(';');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && values.next().is_some_and(number)
        && values.clone().count() <= 4
        && values.all(|text| text.is_empty() || number(text))
}

#[test]
fn every_line_is_as_the_guidelines_say() {
    for report in all_hosts() {
        let text = render("nagios", &report);
        let (first, rest) = text.split_once('\n').expect("a line");
        let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][usize::from(exit_code(&report))];
        let (said, data) = first.split_once('|').expect("performance data");
        assert!(said.starts_with(&format!("KVMNET {word} - ")), "{said}");
        assert!(said.chars().count() < 700, "{said}");
        assert!(data.split(' ').all(is_performance_datum), "{data}");
        // Another bar would begin more data; the rest is for web pages and shells.
        assert!(!said.contains(['|', '<', '>', '`', '$']), "{said}");
        assert!(!rest.contains(['|', '<', '>', '`', '$']), "{rest}");
        assert!(rest.lines().all(|line| !line.is_empty()), "{rest}");
    }
}

#[test]
fn a_monitoring_system_reads_the_numbers() {
    let reports = [healthy(), broken(), unknown(), policed()];
    let data = reports.iter().map(|report| {
        let text = render("nagios", report);
        let first = text.lines().next().expect("a line");
        first.split_once('|').expect("performance data").1.to_owned()
    });
    let data = serde_json::to_string(&data.collect::<Vec<_>>()).expect("JSON");
    let said = consumer::read("perl", &["-e", SCRIPT], "libmonitoring-plugin-perl", &data);
    let said: Vec<Performance> = serde_json::from_str(&said).expect("JSON");
    for (report, numbers) in reports.iter().zip(&said) {
        let summary = &report.summary;
        assert_eq!(numbers["ok"], (summary.ok, 0));
        assert_eq!(numbers["unknown"], (summary.unknown, 0));
        // Any gap is critical, any warning warns.
        assert_eq!(numbers["gaps"], (summary.gaps, if summary.gaps > 0 { 2 } else { 0 }));
        let warnings = report.findings.iter().filter(|found| found.severity == Severity::Warning).count();
        assert_eq!(numbers["warnings"], (warnings, u8::from(warnings > 0)));
    }
}

#[test]
fn the_exit_code_is_the_plugins() {
    assert_eq!(exit_code(&healthy()), 0);
    assert_eq!(exit_code(&broken()), 2);
    assert_eq!(exit_code(&unknown()), 3);
    assert_eq!(exit_code(&policed()), 2);

    // Nothing but a warning, and it was asked to fail on those.
    let mut warned = healthy();
    warned.findings =
        broken().findings.into_iter().filter(|found| found.severity == Severity::Warning).collect();
    warned.summary.verdict = Verdict::Gaps;
    assert_eq!(exit_code(&warned), 1);
    warned.matrix[0].verdict = CellVerdict::Gap;
    assert_eq!(exit_code(&warned), 2);

    // A gap that the policy accepts is not critical.
    let mut accepted = policed();
    accepted.findings.clear();
    let policy = accepted.policy.as_mut().expect("there is a policy");
    policy.assertions.clear();
    let breaks = policy.accepted[0].finding.breaks.clone();
    for (at, cell) in accepted.matrix.iter_mut().enumerate() {
        if !breaks.contains(&at) {
            cell.verdict = CellVerdict::Ok;
        }
    }
    assert_eq!(exit_code(&accepted), 1);
}

#[test]
fn policed_host() {
    assert_snapshot!(render("nagios", &policed()));
}

#[test]
fn healthy_host() {
    assert_snapshot!(render("nagios", &healthy()));
}

#[test]
fn unknown_host() {
    assert_snapshot!(render("nagios", &unknown()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("nagios", &hostile()));
}
