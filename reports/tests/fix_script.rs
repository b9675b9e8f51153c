//! The script of reports that are healthy, broken and hostile.

#[expect(dead_code, reason = "the tests of the table look at more hosts")]
mod hosts;

use hosts::{broken, healthy, hostile};
use insta::assert_snapshot;
use kvmnet_reports::Report;
use kvmnet_reports::fix_script::write;

fn script(report: &Report) -> String {
    let mut text = Vec::new();
    write(report, &mut text).expect("a Vec takes every byte");
    String::from_utf8(text).expect("the script is text")
}

#[test]
fn broken_host() {
    assert_snapshot!(script(&broken()));
}

#[test]
fn healthy_host() {
    assert_snapshot!(script(&healthy()));
}

/// What runs is what the findings say, whatever is in names.
#[test]
fn hostile_names() {
    let report = hostile();
    let text = script(&report);
    assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
    let commands: Vec<&String> = report.findings.iter().flat_map(|finding| &finding.fix.commands).collect();
    let runs = |line: &&str| !line.is_empty() && !line.starts_with('#') && *line != "set -eu";
    for line in text.lines().filter(runs) {
        assert!(commands.iter().any(|command| *command == line), "{line}");
    }
    assert_snapshot!(text);
}

#[test]
fn a_command_is_written_once() {
    let mut report = broken();
    let again = report.findings[0].clone();
    report.findings.push(again);
    let text = script(&report);
    for command in &report.findings[0].fix.commands {
        assert_eq!(text.lines().filter(|line| line == command).count(), 1, "{command}");
        assert!(text.contains(&format!("# the same as above: {command}")), "{command}");
    }
}
