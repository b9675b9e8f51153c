//! Entries of systemd's journal, taken by a journald of their own and read by journalctl.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use kvmnet_reports::{Course, Healed, Report};
use serde_json::{Value, json};

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, invaded, invasions, policed, unknown};
use crate::render;

const SCRIPT: &str = include_str!("journald.py");

/// What journald has of the entries of each report.
fn read(reports: &[Report]) -> Vec<Vec<Value>> {
    let texts: Vec<_> = reports.iter().map(|report| render("journal", report)).collect();
    let arguments = ["--mount", "--pid", "--fork", "--mount-proc", "/usr/bin/python3", "-c", SCRIPT];
    let said = consumer::read("unshare", &arguments, "systemd", &json!(texts).to_string());
    serde_json::from_str(&said).expect("JSON")
}

/// The entries in which a field has this value.
fn with<'a>(entries: &'a [Value], field: &'a str, value: &'a str) -> impl Iterator<Item = &'a Value> {
    entries.iter().filter(move |entry| entry[field] == value)
}

#[test]
fn the_entries_are_the_report() {
    let reports = [healthy(), broken(), unknown(), policed()];
    for (report, entries) in reports.iter().zip(read(&reports)) {
        let findings = entries.iter().filter(|entry| !entry["KVMNET_FINDING"].is_null());
        assert_eq!(findings.count(), report.findings.len());
        for finding in &report.findings {
            let entry = with(&entries, "KVMNET_FINDING", &finding.id).next().expect("an entry");
            let severity = entry["KVMNET_SEVERITY"].as_str().expect("a severity");
            let priority = [("error", "3"), ("warning", "4"), ("info", "6")]
                .iter()
                .find_map(|(word, priority)| (*word == severity).then_some(*priority));
            assert_eq!(entry["PRIORITY"].as_str(), priority);
            assert_eq!(entry["KVMNET_CAUSE"], finding.cause.as_str());
            let subjects = match &entry["KVMNET_SUBJECT"] {
                Value::Array(subjects) => subjects.len(),
                Value::Null => 0,
                _ => 1,
            };
            assert_eq!(subjects, finding.subjects.len());
        }
        let last = entries.last().expect("an entry");
        let gaps = report.summary.gaps.to_string();
        assert_eq!(
            (last["KVMNET_GAPS"].as_str(), last["SYSLOG_IDENTIFIER"].as_str()),
            (Some(&*gaps), Some("kvmnet"))
        );
        // Kinds are what programs look for.
        assert!(entries.iter().all(|entry| entry["MESSAGE_ID"].as_str().is_some_and(|id| id.len() == 32)));
    }
}

/// Where findings are remembered what was told before is not told again.
#[test]
fn what_is_new_and_what_has_healed_is_told() {
    let healed =
        Healed { id: "ip-forward-off".to_owned(), title: "forwarding is off".to_owned(), since_ms: 0 };
    let course = Course { new: vec![1], healed: vec![healed], ..Course::default() };
    let report = Report { course: Some(course), ..broken() };
    let new = report.findings[1].id.clone();
    let entries = read(&[report]).remove(0);
    let changes: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry["KVMNET_CHANGE"].as_str()?, entry["KVMNET_FINDING"].as_str()?)))
        .collect();
    assert_eq!(changes, [("new", &*new), ("healed", "ip-forward-off")]);
    let groups = with(&entries, "MESSAGE_ID", "91a7e35cf0824d6cb64a18d20c5fe973").count();
    assert_eq!(entries.len() - groups, 3, "and the result");
    // What has no finding is not remembered.
    assert_eq!(groups, 1);
}

/// Whatever a guest writes, there are the entries and fields that there are for a harmless name.
#[test]
fn nothing_is_forged() {
    let hosts: Vec<_> = std::iter::once(invaded("web1")).chain(invasions()).collect();
    // What is there twice has a list of values.
    let values = |value: &Value| value.as_array().map_or(1, Vec::len);
    let outline = |entries: &[Value]| -> Vec<BTreeMap<String, usize>> {
        let fields = |entry: &Value| {
            let fields = entry.as_object().expect("an entry").iter();
            let ours = fields.filter(|(name, _)| !name.starts_with('_'));
            ours.map(|(name, value)| (name.clone(), values(value))).collect()
        };
        entries.iter().map(fields).collect()
    };
    let said = read(&hosts);
    for entries in &said {
        assert_eq!(outline(entries), outline(&said[0]));
    }
}

#[test]
fn policed_host() {
    assert_snapshot!(render("journal", &policed()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("journal", &hostile()));
}
