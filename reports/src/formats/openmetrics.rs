//! OpenMetrics, for Prometheus: by a scrape, a push or a file of node_exporter's textfile collector.
//!
//! Everything is a gauge: the collector reads Prometheus' own text format, which knows no `stateset` and no `info`. What
//! can be in one of some states has a line for each, 1 for that in which it is, so that alerts need no absent series.

use std::collections::BTreeMap;
use std::{fmt, io};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{Input, Renderer};
use crate::text::{printable, printable_prose};
use crate::words::network_of;
use crate::{CellVerdict, Expired, Finding, Policy, Report, SourceStatus, Verdict};

pub(super) const RENDERER: Renderer = Renderer {
    name: "openmetrics",
    about: "OpenMetrics, for Prometheus",
    write: |input: &Input<'_>, out| write(input.report, out),
    ..Renderer::USUAL
};

const VERDICTS: [(CellVerdict, &str); 3] =
    [(CellVerdict::Ok, "ok"), (CellVerdict::Gap, "gap"), (CellVerdict::Unknown, "unknown")];
const VERDICTS_OF_REPORTS: [(Verdict, &str); 3] =
    [(Verdict::Verified, "verified"), (Verdict::Gaps, "gaps"), (Verdict::Incomplete, "incomplete")];

fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(metrics(report))));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(io::Error::other)?;
    out.write_all(text.as_bytes())
}

/// A gauge and its samples, by their labels.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: BTreeMap<Labels, Number>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Clone, Copy)]
enum Number {
    Count(u64),
    Seconds(f64),
}

impl Metric {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: BTreeMap::new() }
    }

    fn set(&mut self, labels: &[(&'static str, &str)], number: Number) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        self.samples.insert(labels, number);
    }

    /// Adds to what has the same labels.
    fn add(&mut self, labels: &[(&'static str, &str)], more: bool) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        let sample = self.samples.entry(labels).or_insert(Number::Count(0));
        if let Number::Count(number) = sample {
            *number += u64::from(more);
        }
    }
}

#[derive(Debug)]
struct Metrics(Vec<Metric>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, samples } in &self.0 {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, number) in samples {
                let sample = metric.encode_family(labels)?;
                match *number {
                    Number::Count(number) => ConstGauge::new(number).encode(sample)?,
                    Number::Seconds(number) => ConstGauge::new(number).encode(sample)?,
                }
            }
        }
        Ok(())
    }
}

fn metrics(report: &Report) -> Vec<Metric> {
    let mut metrics = vec![run(report), verdict(report), up(report), claims(report), proved(report)];
    metrics.push(findings(
        Metric::new("kvmnet_findings", "Findings by the check that made them"),
        report.findings.iter(),
    ));
    if let Some(policy) = &report.policy {
        let mut assertions = Metric::new("kvmnet_assertions", "What became of an assertion of the policy");
        for assertion in &policy.assertions {
            let (name, line) = (printable_prose(&assertion.name), assertion.line.to_string());
            for (verdict, word) in VERDICTS {
                let labels = [("name", &*name), ("line", &*line), ("verdict", word)];
                assertions.add(&labels, verdict == assertion.verdict);
            }
        }
        metrics.push(assertions);
        metrics.push(findings(
            Metric::new("kvmnet_accepted_findings", "Findings that the policy accepts"),
            policy.accepted.iter().map(|accepted| &accepted.finding),
        ));
        metrics.push(expired(policy));
    }
    metrics
}

/// Milliseconds are kept: they are exact in a float for the next 200,000 years.
#[expect(clippy::cast_precision_loss, reason = "a time in this age of the world is exact")]
fn run(report: &Report) -> Metric {
    let mut metric =
        Metric::new("kvmnet_run_timestamp_seconds", "When reading of the host began, since the Unix epoch");
    metric.set(&[], Number::Seconds(report.host.taken_ms as f64 / 1000.0));
    metric
}

fn verdict(report: &Report) -> Metric {
    let mut metric = Metric::new("kvmnet_verdict", "The verdict on the host");
    for (verdict, word) in VERDICTS_OF_REPORTS {
        metric.add(&[("verdict", word)], verdict == report.summary.verdict);
    }
    metric
}

fn up(report: &Report) -> Metric {
    let mut metric = Metric::new("kvmnet_up", "Whether a source of facts was read in full");
    for source in &report.sources {
        metric.add(&[("source", &printable(&source.name))], source.status == SourceStatus::Read);
    }
    metric
}

/// Claims by the network of the VM that they are about.
fn claims(report: &Report) -> Metric {
    let mut metric = Metric::new("kvmnet_claims", "Claims by what became of them");
    for cell in &report.matrix {
        let network = network_of(cell).map_or("".into(), printable);
        for (verdict, word) in VERDICTS {
            metric.add(&[("network", &network), ("verdict", word)], verdict == cell.verdict);
        }
    }
    metric
}

fn proved(report: &Report) -> Metric {
    let mut metric = Metric::new("kvmnet_claims_proved", "Denials that hold for every packet");
    metric.set(&[], Number::Count(report.summary.proved as u64));
    metric
}

fn findings<'a>(mut metric: Metric, findings: impl Iterator<Item = &'a Finding>) -> Metric {
    for finding in findings {
        metric.add(&[("id", &printable(&finding.id)), ("severity", finding.severity.word())], true);
    }
    metric
}

/// Entries by what they accepted and where they are: one of them is to be prolonged, mended or deleted.
fn expired(policy: &Policy) -> Metric {
    let mut metric =
        Metric::new("kvmnet_expired_acceptances", "What the policy accepted until a day that is over");
    for note in &policy.notes {
        let Some(Expired { finding, until }) = &note.expired else { continue };
        let (id, line, until) = (printable(finding), note.line.to_string(), printable(until));
        metric.add(&[("id", &id), ("line", &line), ("until", &until)], true);
    }
    metric
}
