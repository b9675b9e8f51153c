//! TAP, read by perl's own TAP::Parser.

use insta::assert_snapshot;
use kvmnet_reports::Report;

use crate::consumer;
use crate::hosts::{broken, healthy, hostile, policed, unknown};
use crate::{all_hosts, render};

/// One line for each test point: whether it passes, its directive, its description; then how many YAML blocks there
/// are. It dies of anything that it does not understand.
const SCRIPT: &str = r#"
use TAP::Parser; use strict; use open qw(:std :encoding(UTF-8));
my $text = do { local $/; <STDIN> };
my $parser = TAP::Parser->new({ tap => $text });
my $yaml = 0;
while (my $line = $parser->next) {
    if ($line->is_test) {
        print join("\t", $line->is_actual_ok ? "ok" : "not ok", $line->directive, $line->description), "\n";
    } elsif ($line->is_yaml) {
        $yaml++;
        die "no data" unless ref $line->data eq 'HASH';
    } elsif ($line->is_unknown) {
        die "not understood: " . $line->raw;
    }
}
die join("; ", $parser->parse_errors) if $parser->parse_errors;
die "version" unless $parser->version >= 13;
print "yaml\t$yaml\n";
"#;

fn points(report: &Report) -> Vec<[String; 3]> {
    let said = consumer::read("perl", &["-e", SCRIPT], "perl", &render("tap", report));
    let mut lines: Vec<_> = said.split_terminator('\n').collect();
    let yaml: usize =
        lines.pop().and_then(|line| line.strip_prefix("yaml\t")?.parse().ok()).expect("a number");
    let points: Vec<[String; 3]> = lines
        .into_iter()
        .map(|line| {
            let fields: Vec<_> = line.splitn(3, '\t').map(str::to_owned).collect();
            fields.try_into().unwrap_or_else(|fields| panic!("{fields:?}"))
        })
        .collect();
    let failing = points.iter().filter(|point| point[0] == "not ok").count();
    assert!(yaml >= failing, "{yaml} diagnostics for {failing} failures");
    points
}

fn number(points: &[[String; 3]], word: &str, directive: &str) -> usize {
    points.iter().filter(|point| point[0] == word && point[1] == directive).count()
}

#[test]
fn the_outcomes_are_what_a_harness_counts() {
    let report = healthy();
    assert_eq!(number(&points(&report), "ok", ""), report.matrix.len() + report.sources.len());
    let report = broken();
    assert_eq!(number(&points(&report), "not ok", ""), report.summary.gaps + 2);
    let report = unknown();
    assert_eq!(number(&points(&report), "not ok", ""), report.summary.unknown + 2);
    let report = policed();
    let found = points(&report);
    // One claim and two findings are accepted, a note is none that passes; a finding and two assertions fail besides the models' claims.
    assert_eq!(number(&found, "ok", "SKIP"), 4);
    let wrong = report.modelled().filter(|(_, cell)| cell.verdict != kvmnet_reports::CellVerdict::Ok).count();
    assert_eq!(number(&found, "not ok", ""), wrong - 1 + 3);
}

#[test]
fn nothing_is_forged_and_nothing_becomes_a_directive() {
    for report in all_hosts() {
        let policy = report.policy.as_ref();
        let expected =
            policy.map_or(0, |policy| policy.assertions.len() + policy.accepted.len() + policy.notes.len());
        let found = points(&report);
        assert_eq!(
            found.len(),
            report.modelled().count() + report.findings.len() + report.sources.len() + expected
        );
        let skipped = policy.map_or(0, |policy| 3 + policy.notes.len());
        assert_eq!(number(&found, "ok", "SKIP"), skipped, "{}", render("tap", &report));
        assert!(found.iter().all(|point| point[1] != "TODO"));
    }
}

#[test]
fn policed_host() {
    assert_snapshot!(render("tap", &policed()));
}

#[test]
fn hostile_names() {
    assert_snapshot!(render("tap", &hostile()));
}
