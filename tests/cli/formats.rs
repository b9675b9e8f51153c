//! The forms in which the doctor writes its report.

use std::fs;

use serde_json::Value;

use super::{HOST, directory, doctor, kvmnet, refused, stderr, stdout};

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

/// Nothing is claimed of a VM that is off: nothing is wrong, and zeros alone would look as if all was well.
#[test]
fn a_host_on_which_no_vm_runs_is_told_as_one() {
    let mut host: Value = serde_json::from_str(&fs::read_to_string(HOST).expect("a host")).expect("JSON");
    let domains = host["libvirt"]["value"]["domains"].as_array_mut().expect("domains");
    for domain in domains {
        domain["state"] = "shut-off".into();
    }
    let path = directory("no-vm-runs").join("host.json");
    fs::write(&path, host.to_string()).expect("written");
    let path = path.to_str().expect("text");
    for (format, said) in [
        ("table", "0 gaps, 0 unknown, 0 ok (no VM runs: no claim was checked) · 1 warning · exit 0\n"),
        ("nagios", "KVMNET OK - 0 gaps, 0 unknown, 0 ok (no VM runs: no claim was checked) on demo|"),
        ("github", "0 gaps, 0 unknown, 0 ok (no VM runs: no claim was checked)\n"),
    ] {
        let output = kvmnet(&["doctor", "--snapshot", path, "--format", format]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{format}");
        assert!(stdout(&output).contains(said), "{format}: {}", stdout(&output));
    }
}
