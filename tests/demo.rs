//! The demonstration host, healthy and with each of its faults, and the example in the README.
//!
//! Run as root with `KVMNET_UPDATE=1` to write the example again.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests start programs, read files and say what they skip"
)]

use std::process::{Command, Output};

use kvmnet_reports::text::Form;
use kvmnet_reports::{CellVerdict, Report, Severity};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// How the example in the README begins.
const EXAMPLE: &str = "$ kvmnet demo --fault forward-policy-drop\n";

/// `kvmnet demo` with these arguments; `None` if private network namespaces cannot be made here.
fn demo(arguments: &[&str]) -> Option<Output> {
    if !nix::unistd::geteuid().is_root() {
        assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "root is required");
        eprintln!("skipped: sending as a VM needs root");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvmnet"));
    command.arg("demo").args(arguments).env_remove("NO_COLOR").env("COLUMNS", "100");
    Some(command.output().expect("kvmnet starts"))
}

/// The exit code and the report of the doctor on the demonstration host.
fn report(fault: Option<&str>) -> Option<(i32, Report)> {
    let doctor = ["--", "doctor", "--internet-target", "198.51.100.10", "--format", "json"];
    let broken = fault.map(|fault| ["--fault", fault]);
    let output = demo(&[broken.as_ref().map_or(&[][..], |broken| broken), &doctor].concat())?;
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{fault:?}: no report ({error}): {}", String::from_utf8_lossy(&output.stderr))
    });
    Some((output.status.code().expect("kvmnet ends by itself"), report))
}

#[test]
fn a_healthy_host_is_verified() {
    let Some((code, report)) = report(None) else { return };
    assert_eq!((code, &report.findings[..]), (0, &[][..]));
    assert!(report.matrix.len() > 30 && report.matrix.iter().all(|cell| cell.verdict == CellVerdict::Ok));
}

#[test]
fn every_fault_is_named_and_nothing_else() {
    let Some(help) = demo(&["--help"]) else { return };
    let help = String::from_utf8(help.stdout).expect("help is text");
    let (_, faults) = help.split_once("\nFaults:\n").expect("the faults are told");
    let faults: Vec<_> =
        faults.lines().map_while(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    assert!(faults.len() > 10, "{faults:?}");
    for fault in faults {
        let Some((code, report)) = report(Some(fault)) else { return };
        let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
        // One fault may break several networks, each of which is told.
        let mut blamed: Vec<_> = errors.map(|finding| finding.id.as_str()).collect();
        blamed.dedup();
        assert_eq!((code, &blamed[..]), (1, &[fault][..]), "{:#?}", report.findings);
    }
}

/// Whoever has one broken VM and a terminal of 80 columns and 24 lines sees all of it at once.
#[test]
fn one_broken_vm_fits_a_small_terminal() {
    for fault in ["vnet-not-in-bridge", "uplink-not-in-bridge"] {
        let Some((_, report)) = report(Some(fault)) else { return };
        let mut table = Vec::new();
        kvmnet_reports::table::write(&report, Form { width: 80, colour: false }, &mut table)
            .expect("a Vec takes every byte");
        let table = String::from_utf8(table).expect("the table is text");
        assert!(table.lines().count() < 24, "{table}");
    }
}

/// The README shows what the program says, save for the versions in the first line.
#[test]
fn the_readme_shows_a_real_report() {
    let Some(output) = demo(&["--fault", "forward-policy-drop"]) else { return };
    let said = String::from_utf8(output.stdout).expect("the report is text");
    let (header, rest) = said.split_once('\n').expect("the report has lines");
    let of_host = header.split_once(" · 3 networks").expect("the header counts the networks").1;
    let example =
        format!("{EXAMPLE}kvm1 · Linux 6.12.48-amd64 · libvirt 11.3.0 · 3 networks{of_host}\n{rest}");

    let readme = std::fs::read_to_string(README).expect("the README is there");
    let from = readme.find(EXAMPLE).expect("the README has the example");
    let length = readme[from..].find("```").expect("the example ends");
    if std::env::var_os("KVMNET_UPDATE").is_some() {
        let mut fresh = readme.clone();
        fresh.replace_range(from..from + length, &example);
        std::fs::write(README, fresh).expect("the README can be written");
    } else {
        let stale = "README.md is stale: run this test as root with KVMNET_UPDATE=1";
        assert_eq!(&readme[from..from + length], example, "{stale}");
    }
}
