//! Two recorded states of a host, held against each other from the outside.

#![expect(clippy::disallowed_methods, reason = "tests start programs and read files")]

#[expect(dead_code, reason = "other tests ask more of the recorded host")]
mod recorded;

use std::path::Path;
use std::process::{Command, Output};

use recorded::{HOST, PROGRAM, changed, forwarding_off, text};
use serde_json::Value;

fn diff(after: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["diff", HOST]).arg(after).args(more).env_remove("NO_COLOR");
    command.output().expect("kvmnet starts")
}

#[test]
fn a_host_is_as_it_was() {
    let output = diff(Path::new(HOST), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("nothing has changed for any packet · exit 0"));
}

#[test]
fn what_packets_lost_is_told_by_its_cause() {
    let off = forwarding_off("forwarding-off");
    let output = diff(&off, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let diff: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let changes = diff["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 1, "{diff:#}");
    assert_eq!(changes[0]["direction"], "lost");
    assert_eq!(changes[0]["cause"], "forward net/ipv4/ip_forward = 0");
    let shown = self::diff(&off, &[]);
    assert!(
        text(&shown.stdout).contains("LOST  now: forward net/ipv4/ip_forward = 0"),
        "{}",
        text(&shown.stdout)
    );
}

#[test]
fn a_vm_that_is_off_has_gone() {
    let off = changed("vm-off", |host| {
        let domains = host["libvirt"]["value"]["domains"].as_array_mut().expect("domains");
        let db1 = domains.iter_mut().find(|domain| domain["name"] == "db1").expect("db1");
        db1["state"] = "shut-off".into();
    });
    let output = diff(&off, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("gone: db1"), "{}", text(&output.stdout));
}

#[test]
fn what_was_not_read_is_no_change_that_is_known() {
    let unread = changed("unread", |host| {
        host["nf_tables"] = serde_json::json!({"status": "missing", "reason": "no permission"});
    });
    let output = diff(&unread, &[]);
    assert_eq!(output.status.code(), Some(3), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("nf-tables"), "{}", text(&output.stdout));
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let output = diff(Path::new("nowhere.json"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("nowhere.json"), "{}", text(&output.stderr));
}
