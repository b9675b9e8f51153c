//! The forms in which the doctor writes its report.

use super::{doctor, kvmnet, refused, stderr, stdout};

/// The recorded host has a claim that needs the wire: it is incomplete, whatever the form.
#[test]
fn the_report_comes_in_every_format() {
    for (format, begin, end) in [
        ("table", "demo · Linux", "· exit 3 (incomplete)\n"),
        ("json", "{\n", "}\n"),
        ("junit", "<?xml version=\"1.0\"", "</testsuites>\n"),
        ("tap", "TAP version 13\n1..", "1 unknown, 36 ok\n"),
        ("sarif", "{\n  \"$schema\": ", "}\n"),
        ("github", "::error title=kvmnet%3A incomplete on demo::", "\n"),
        ("markdown", "## kvmnet: incomplete on demo\n", "\n"),
        ("html", "<!DOCTYPE html>", "</html>\n"),
        ("nagios", "KVMNET UNKNOWN - 0 gaps, 1 unknown, 36 ok on demo|", "\n"),
        ("openmetrics", "# HELP kvmnet_", "\n# EOF\n"),
    ] {
        let output = doctor(&["--format", format]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(3), ""), "{format}");
        let text = stdout(&output);
        assert!(text.starts_with(begin) && text.ends_with(end), "{format}: {text}");
    }
}

#[test]
fn formats_of_the_report_are_for_the_report() {
    refused(
        &doctor(&["--dry-run", "--format", "junit"]),
        2,
        &["'--dry-run' cannot be used with '--format junit': what would be sent is written as table or json"],
    );
    let trace = ["trace", "--from", "vm:web1", "--to", "internet"];
    for subcommand in [&trace[..], &["ports"], &["explain", "--list"]] {
        let output = kvmnet(&[subcommand, &["--format", "tap"]].concat());
        refused(&output, 2, &["'tap' for '--format <FORMAT>'", "[possible values: table, json]"]);
    }
}

/// A monitoring system reads standard output alone, and takes 2 for a host that is broken.
#[test]
fn a_plugin_that_fails_is_unknown() {
    let output = kvmnet(&["doctor", "--snapshot", "/no/such/file", "--format", "nagios"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).starts_with("KVMNET UNKNOWN - cannot read the snapshot /no/such/file"));
}
