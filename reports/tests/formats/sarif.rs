//! SARIF, read into python3-sarif-python-om, the object model that Microsoft generates from the schema: a property that
//! the schema does not know, and a required one that is missing, fail.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use kvmnet_reports::Report;
use serde_json::Value;

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, policed, unknown};
use crate::{all_hosts, render};

const SCRIPT: &str = "
import sarif_om as om
kinds = dict(runs=om.Run, tool=om.Tool, driver=om.ToolComponent, rules=om.ReportingDescriptor, message=om.Message,
    shortDescription=om.MultiformatMessageString, fullDescription=om.MultiformatMessageString,
    help=om.MultiformatMessageString, defaultConfiguration=om.ReportingConfiguration, invocations=om.Invocation,
    toolExecutionNotifications=om.Notification, results=om.Result, locations=om.Location, location=om.Location,
    physicalLocation=om.PhysicalLocation, artifactLocation=om.ArtifactLocation, region=om.Region,
    logicalLocations=om.LogicalLocation, suppressions=om.Suppression)
def build(kind, value):
    names = {field.metadata['schema_property_name']: field.name for field in kind.__attrs_attrs__}
    if kind is om.Suppression: names['status'] = names.pop('state', 'status')
    arguments = {}
    for key, item in value.items():
        if key in kinds:
            item = [build(kinds[key], one) for one in item] if isinstance(item, list) else build(kinds[key], item)
        elif key not in ('properties', 'partialFingerprints', '$schema'):
            assert not isinstance(item, dict), key
        arguments[names[key]] = item
    return kind(**arguments)
def read(text):
    run = build(om.SarifLog, json.loads(text)).runs[0]
    return f'{len(run.results)} {len(run.tool.driver.rules)}'
";

/// The log of each report.
fn read(reports: &[Report]) -> Vec<Value> {
    let texts: Vec<_> = reports.iter().map(|report| render("sarif", report)).collect();
    let said = consumer::python(SCRIPT, "python3-sarif-python-om", &texts);
    let log = |(text, said): (&String, String)| {
        let log: Value = serde_json::from_str(text).expect("JSON");
        let run = &log["runs"][0];
        let (results, rules) = (items(&run["results"]).len(), items(&run["tool"]["driver"]["rules"]).len());
        assert_eq!(said, format!("{results} {rules}"));
        log
    };
    texts.iter().zip(said).map(log).collect()
}

fn log(report: &Report) -> Value {
    read(std::slice::from_ref(report)).remove(0)
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What the specification asks for besides the shape.
#[test]
fn every_log_is_as_the_specification_says() {
    for log in read(&all_hosts()) {
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        let rules: Vec<_> = items(&run["tool"]["driver"]["rules"]).iter().map(|rule| &rule["id"]).collect();
        assert_eq!(rules.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), rules.len());
        for result in items(&run["results"]) {
            // §3.27.6: the index is that of the rule; §3.27.10: only a failure has a level.
            let index =
                usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("a small one");
            assert_eq!(*rules[index], result["ruleId"]);
            let level = result["level"].as_str().expect("a level");
            match result["kind"].as_str() {
                Some("fail") => assert!(["error", "warning", "note"].contains(&level)),
                Some("open") => assert_eq!(level, "none"),
                other => panic!("{other:?}"),
            }
            assert!(!items(&result["locations"]).is_empty());
            for suppression in items(&result["suppressions"]) {
                assert_eq!(
                    (suppression["kind"].as_str(), suppression["status"].as_str()),
                    (Some("external"), Some("accepted"))
                );
            }
        }
        let text = log.to_string();
        assert!(!text.contains("](javascript") || text.contains(r"\\](javascript"), "{text}");
    }
}

#[test]
fn results_are_findings_assertions_and_what_is_unknown() {
    let number = |report: &Report, which: &dyn Fn(&Value) -> bool| {
        items(&log(report)["runs"][0]["results"]).iter().filter(|result| which(result)).count()
    };
    assert_eq!(number(&healthy(), &|_| true), 0);
    // Three findings, and a gap without a cause.
    assert_eq!(number(&broken(), &|result| result["kind"] == "fail"), 4);
    assert_eq!(number(&unknown(), &|result| result["kind"] == "open"), 1);
    let log = log(&unknown());
    let run = &log["runs"][0]["invocations"][0];
    assert_eq!((run["executionSuccessful"].as_bool(), run["exitCode"].as_u64()), (Some(false), Some(3)));
    assert_eq!(run["startTimeUtc"], "2025-10-09T08:53:20.000Z");
    assert_eq!(items(&run["toolExecutionNotifications"]).len(), 2);

    let report = policed();
    assert_eq!(number(&report, &|result| !items(&result["suppressions"]).is_empty()), 2);
    let at_lines = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"];
        place["artifactLocation"]["uri"] == "file:///etc/kvmnet/policy.toml"
            && [8, 13].contains(&place["region"]["startLine"].as_u64().unwrap_or(0))
    };
    assert_eq!(number(&report, &at_lines), 2);
}

/// Without what every release changes.
fn shown(report: &Report) -> String {
    render("sarif", report).replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "\"VERSION\"")
}

#[test]
fn policed_host() {
    assert_snapshot!(shown(&policed()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(shown(&hostile()));
}
