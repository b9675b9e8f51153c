//! Workflow commands, taken apart as GitHub's runner does it (`ActionCommand.TryParseV2` of actions/runner).

use std::collections::BTreeMap;

use insta::assert_snapshot;
use kvmnet_reports::Report;

use crate::hosts::{healthy, hostile, invaded, policed, unknown};
use crate::{all_hosts, render};

#[derive(Debug)]
struct Command {
    name: String,
    properties: BTreeMap<String, String>,
    message: String,
}

fn unescaped(text: &str, tokens: &[(&str, &str)]) -> String {
    tokens.iter().fold(text.to_owned(), |text, (escaped, token)| text.replace(escaped, token))
}

fn parse(line: &str) -> Option<Command> {
    let data = [("%0D", "\r"), ("%0A", "\n"), ("%25", "%")];
    let property = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
    let (info, message) = line.trim_start().strip_prefix("::")?.split_once("::")?;
    let (name, properties) = info.split_once(' ').unwrap_or((info, ""));
    let properties = properties.trim().split(',').filter_map(|pair| pair.split_once('='));
    Some(Command {
        name: name.to_owned(),
        properties: properties.map(|(name, value)| (name.to_owned(), unescaped(value, &property))).collect(),
        message: unescaped(message, &data),
    })
}

fn commands(report: &Report) -> Vec<Command> {
    let text = render("github", report);
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("no command: {line}"))).collect()
}

fn number(commands: &[Command], name: &str) -> usize {
    commands.iter().filter(|command| command.name == name).count()
}

#[test]
fn every_line_is_a_command_of_ours() {
    let usual = commands(&invaded("web1"));
    for report in all_hosts() {
        let found = commands(&report);
        for command in &found {
            assert!(["error", "warning", "notice"].contains(&command.name.as_str()), "{command:?}");
            let names: Vec<_> = command.properties.keys().map(String::as_str).collect();
            assert!(names == ["title"] || names == ["file", "line", "title"], "{command:?}");
        }
        if report.policy.as_ref().is_some_and(|policy| policy.file != "/etc/kvmnet/policy.toml") {
            assert_eq!(found.len(), usual.len());
        }
    }
}

#[test]
fn what_is_escaped_comes_out_as_it_was() {
    let text = "50% of a:b,c %0A ::error::";
    let found = commands(&invaded(text));
    assert!(found.iter().any(|command| command.properties["title"] == text), "{found:?}");
    assert!(found.iter().any(|command| command.message.contains(text)), "{found:?}");
}

#[test]
fn the_worst_comes_first_and_unknown_is_no_notice() {
    let found = commands(&healthy());
    assert_eq!((found.len(), number(&found, "notice")), (1, 1));
    let found = commands(&unknown());
    assert_eq!(["error", "warning", "notice"].map(|name| number(&found, name)), [1, 3, 0]);
    let found = commands(&policed());
    let rank =
        |command: &Command| ["error", "warning", "notice"].iter().position(|name| *name == command.name);
    assert!(found.is_sorted_by_key(rank), "{found:?}");
    assert_eq!(found[0].properties["line"], "8");
}

#[test]
fn policed_host() {
    assert_snapshot!(render("github", &policed()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("github", &hostile()));
}
