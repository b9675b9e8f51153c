//! The table of reports that are healthy, broken, unknown, hostile and large.

#[expect(dead_code, reason = "the tests of the formats look at more hosts")]
mod hosts;

use hosts::{broken, healthy, hostile, policed, thousand, unknown};
use insta::assert_snapshot;
use kvmnet_reports::Report;
use kvmnet_reports::table::write;
use kvmnet_reports::text::Form;

fn render(report: &Report, width: usize, colour: bool) -> String {
    let mut text = Vec::new();
    write(report, Form { width, colour }, &mut text).expect("a Vec takes every byte");
    String::from_utf8(text).expect("the table is text")
}

fn columns(line: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(line)
}

#[test]
fn healthy_host() {
    assert_snapshot!(render(&healthy(), 140, false));
    assert_snapshot!(render(&healthy(), 80, false));
}

#[test]
fn broken_host() {
    assert_snapshot!(render(&broken(), 140, false));
    assert_snapshot!(render(&broken(), 80, false));
}

#[test]
fn policed_host() {
    assert_snapshot!(render(&policed(), 140, false));
    assert_snapshot!(render(&policed(), 80, false));
}

#[test]
fn colour_changes_no_word() {
    let coloured = render(&broken(), 140, true);
    assert_snapshot!(coloured.replace('\x1b', "␛"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    plain += rest;
    let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&plain), lines(&render(&broken(), 140, false)));
}

#[test]
fn unknown_host() {
    assert_snapshot!(render(&unknown(), 140, false));
    assert_snapshot!(render(&unknown(), 80, false));
}

#[test]
fn hostile_names() {
    let text = render(&hostile(), 80, false);
    assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
    assert!(!text.contains('\u{202e}'));
    assert_snapshot!(text);
}

#[test]
fn a_thousand_nics_fit_a_screen() {
    let text = render(&thousand(), 80, false);
    assert!(text.lines().count() < 60, "{text}");
    assert_snapshot!(text);
}

#[test]
fn nothing_but_commands_is_wider_than_the_terminal() {
    for report in [healthy(), broken(), unknown(), hostile(), thousand()] {
        let commands = &report.findings.iter().flat_map(|finding| &finding.fix.commands).collect::<Vec<_>>();
        for width in [60, 72, 80, 100, 132, 200] {
            for line in render(&report, width, false).lines() {
                let command = commands.iter().any(|command| line.ends_with(command.as_str()));
                assert!(command || columns(line) <= width, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn every_width_renders() {
    for width in 0..60 {
        for report in [healthy(), broken(), unknown(), hostile()] {
            assert!(render(&report, width, false).contains("exit"), "{width}");
        }
    }
}
