//! OpenMetrics, read by python3-prometheus-client: by its parser of OpenMetrics, and by that of Prometheus' older text
//! format, which node_exporter's textfile collector reads.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use kvmnet_reports::Report;
use serde_json::Value;

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, invaded, policed, unknown};
use crate::{all_hosts, render};

const SCRIPT: &str = "
from prometheus_client.openmetrics import parser as new
from prometheus_client import parser as old
def samples(families):
    return [[s.name, s.labels, s.value] for family in families for s in family.samples]
def read(text):
    found = list(new.text_string_to_metric_families(text))
    assert all(family.type == 'gauge' and family.documentation for family in found), found
    samples_of_old = samples(old.text_string_to_metric_families(text))
    assert samples(found) == samples_of_old, (samples(found), samples_of_old)
    return json.dumps(samples(found))
";

/// Every sample: its name, its labels, its value.
fn read(reports: &[Report]) -> Vec<Vec<Value>> {
    let texts: Vec<_> = reports.iter().map(|report| render("openmetrics", report)).collect();
    let said = consumer::python::<String>(SCRIPT, "python3-prometheus-client", &texts);
    said.iter().map(|said| serde_json::from_str(said).expect("JSON")).collect()
}

/// The sum of what has this name and these labels.
fn sum(samples: &[Value], name: &str, labels: &[(&str, &str)]) -> f64 {
    let chosen = samples
        .iter()
        .filter(|sample| sample[0] == name && labels.iter().all(|(label, value)| sample[1][label] == *value));
    chosen.filter_map(|sample| sample[2].as_f64()).sum()
}

#[test]
#[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "small whole numbers are exact")]
fn the_samples_are_the_report() {
    for report in [healthy(), broken(), unknown(), policed()] {
        let samples = read(std::slice::from_ref(&report)).remove(0);
        let summary = &report.summary;
        for (verdict, number) in [("ok", summary.ok), ("gap", summary.gaps), ("unknown", summary.unknown)] {
            assert_eq!(sum(&samples, "kvmnet_claims", &[("verdict", verdict)]), number as f64);
        }
        assert_eq!(sum(&samples, "kvmnet_findings", &[]), report.findings.len() as f64);
        assert_eq!(sum(&samples, "kvmnet_verdict", &[]), 1.0);
        assert_eq!(sum(&samples, "kvmnet_run_timestamp_seconds", &[]), 1_760_000_000.0);
    }
    let samples = read(&[unknown(), policed()]);
    assert_eq!(sum(&samples[0], "kvmnet_up", &[]), 1.0);
    assert_eq!(sum(&samples[0], "kvmnet_up", &[("source", "nf-tables")]), 0.0);
    assert_eq!(sum(&samples[0], "kvmnet_verdict", &[("verdict", "incomplete")]), 1.0);
    let asserted = |verdict| sum(&samples[1], "kvmnet_assertions", &[("verdict", verdict)]);
    assert_eq!(["ok", "gap", "unknown"].map(asserted), [1.0, 1.0, 1.0]);
    let web = [("name", "web servers reach the internet"), ("line", "8")];
    assert_eq!(sum(&samples[1], "kvmnet_assertions", &web), 1.0);
    let leak = [("id", "isolated-network-forwarded-by-a-foreign-rule"), ("severity", "error")];
    assert_eq!(sum(&samples[1], "kvmnet_accepted_findings", &leak), 1.0);
    let over = [("id", "mtu-differs"), ("line", "28"), ("until", "2026-01-31")];
    assert_eq!(sum(&samples[1], "kvmnet_expired_acceptances", &over), 1.0);
    assert_eq!(sum(&samples[1], "kvmnet_expired_acceptances", &[]), 1.0);
}

#[test]
fn nothing_is_forged_and_the_end_is_the_end() {
    let reports = all_hosts();
    let names: BTreeSet<_> = read(&[policed()])[0].iter().map(|sample| sample[0].to_string()).collect();
    for (report, samples) in reports.iter().zip(read(&reports)) {
        let text = render("openmetrics", report);
        assert!(text.ends_with("\n# EOF\n") && text.matches("\n# EOF").count() == 1, "{text}");
        assert!(samples.iter().all(|sample| names.contains(&sample[0].to_string())), "{samples:?}");
    }
    let samples = read(&[invaded("a\"b\\c,d=\"e\"")]).remove(0);
    assert!(samples.iter().any(|sample| sample[1]["network"] == "a\"b\\c,d=\"e\""), "{samples:?}");
}

#[test]
fn policed_host() {
    assert_snapshot!(render("openmetrics", &policed()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("openmetrics", &hostile()));
}
