//! Policies from the outside: what holds, what fails and how, and what cannot be used.

#![expect(clippy::disallowed_methods, reason = "tests start programs and read files")]

#[expect(dead_code, reason = "other tests ask more of the recorded host")]
mod recorded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use recorded::{HOST, PROGRAM, changed, file, text, utf8};
use serde_json::Value;

/// A policy in a file of its own.
fn policy(name: &str, text: &str) -> PathBuf {
    let path = file(&format!("{name}.yaml"));
    fs::write(&path, text).expect("a file can be written");
    path
}

fn kvmnet(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("NO_COLOR").env("RUST_BACKTRACE", "0");
    command.output().expect("kvmnet starts")
}

/// Holds the recorded host against the policy.
fn check(path: &Path, more: &[&str]) -> Output {
    kvmnet(&[&["check", utf8(path), "--snapshot", HOST], more].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

const GOOD: &str = "\
version: 1
assertions:
  - name: the NAT reaches out
    from: network:default
    to: internet
    allow: [icmp, tcp/443]
  - {from: 'network:iso', to: internet, deny: any}
  - {from: outside, to: ['network:default', 'network:iso'], deny: any}
  - {from: 'vm:web*', to: gateway, allow: udp/53}
  - {from: 'vm:web*', to: 192.168.150.0/24, deny: any}
";

#[test]
fn what_is_meant_holds() {
    let path = policy("good", GOOD);
    let output = check(&path, &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("the NAT reaches out") && shown.contains("holds") && !shown.contains("NETWORK "));
    let report = report(&check(&path, &["--format", "json"]));
    let assertions = report["policy"]["assertions"].as_array().expect("assertions");
    assert_eq!(assertions.len(), 5);
    for assertion in assertions {
        assert_eq!(assertion["verdict"], "ok");
        for cell in assertion["cells"].as_array().expect("cells") {
            let cell = &report["matrix"][usize::try_from(cell.as_u64().expect("a number")).expect("small")];
            let proof = if cell["expected"] == "deny" { "all-packets" } else { "one-packet" };
            assert_eq!(cell["proof"], proof, "{cell}");
        }
    }
}

#[test]
fn what_is_not_so_fails_with_a_packet_that_shows_it() {
    let path = policy(
        "bad",
        "version: 1\nassertions:\n  - {name: no ssh, from: 'vm:web1', to: 'vm:web2', deny: tcp/22}\n  - {from: 'vm:db1', \
         to: internet, allow: tcp/443}\n  - {from: 'network:iso', to: internet, deny: any}\n",
    );
    let output = check(&path, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    let verdict = |at: usize| report["policy"]["assertions"][at]["verdict"].clone();
    assert_eq!([verdict(0), verdict(1), verdict(2)], ["gap", "gap", "ok"]);
    let leak = &report["matrix"][0];
    assert_eq!((&leak["traffic"], &leak["predicted"]), (&"tcp/22".into(), &"allow".into()), "{leak}");
    let ids: Vec<_> =
        report["findings"].as_array().expect("findings").iter().map(|found| &found["id"]).collect();
    assert_eq!(ids, ["policy-leak", "policy-against-mode"]);
    let shown = check(&path, &[]);
    for said in ["FAILS", "passes and must not", "should pass and does not", "bad.yaml:3 no ssh"] {
        assert!(text(&shown.stdout).contains(said), "{said}: {}", text(&shown.stdout));
    }
}

/// The doctor takes a policy along, and what it accepts is none of its findings.
#[test]
fn the_doctor_holds_the_host_against_it_too() {
    let path = policy(
        "doctor",
        &format!(
            "{GOOD}networks: [{{name: iso, mode: isolated}}]\naccept: [{{finding: '*', reason: all is well}}]\n"
        ),
    );
    let path = utf8(&path);
    let doctor = |more: &[&str]| {
        let networks = ["--network", "default", "--network", "iso"];
        kvmnet(&[&["doctor", "--snapshot", HOST], &networks[..], more].concat())
    };
    let output = doctor(&["--policy", path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("NETWORK") && shown.contains("ASSERTION"), "{shown}");
    let with = report(&doctor(&["--policy", path, "--format", "json"]));
    let without = report(&doctor(&["--format", "json"]));
    let count = |report: &Value, place: &str| report.pointer(place).and_then(Value::as_array).map(Vec::len);
    assert_eq!(count(&with, "/findings"), Some(0));
    assert_eq!(count(&with, "/policy/accepted"), count(&without, "/findings"));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_line() {
    for (name, content, said) in [
        ("unknown", "version: 1\nassertions:\n  - form: vm:web1\n", "unknown.yaml:3: unknown field `form`"),
        (
            "typo",
            "version: 1\nassertions:\n  - {from: 'vm:wbe1', to: internet, deny: any}\n",
            "did you mean `web1`?",
        ),
        ("key", "version: 1\nassertion: []\n", "hint: did you mean `assertions`?"),
        ("end", "version: 1\nassertions:\n  - {from: '!hots', deny: any}\n", "hint: did you mean `host`?"),
        ("kind", "version: 1\nassertions:\n  - {to: host, deny: [icmp, tpc/22]}\n", "did you mean `tcp/22`?"),
        ("mode", "version: 1\nnetworks:\n  - {name: iso, mode: isolted}\n", "did you mean `isolated`?"),
        ("on", "version: 1\naccept:\n  - {finding: '*', on: 'vms:a', reason: b}\n", "did you mean `vm:a`?"),
        ("cut", "version: 1\nassertions: [{from: 'vm:we", "cut.yaml:"),
    ] {
        let output = check(&policy(name, content), &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.starts_with("error: ") && error.contains(said), "{error}");
        assert!(output.stdout.is_empty());
    }
    let missing = check(Path::new("nowhere.yaml"), &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("kvmnet policy init"), "{}", text(&missing.stderr));
}

/// Names that nobody has are no pass where libvirt could not be read, and no mistake either.
#[test]
fn without_libvirt_nothing_is_said() {
    let host = changed("without-libvirt", |host| {
        host["libvirt"] = serde_json::json!({"status": "missing", "reason": "no permission"});
    });
    let path = policy("without-libvirt", GOOD);
    let output = kvmnet(&["check", utf8(&path), "--snapshot", utf8(&host)]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn a_policy_is_drafted_looked_over_and_holds() {
    let path = policy("draft", "");
    let path = utf8(&path);
    fs::write(path, "hours of work").expect("a file can be written");
    let init = ["policy", "init", "--snapshot", HOST, "-o", path];
    let refused = kvmnet(&init);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("draft.yaml is there already\n\nhint: --force"));
    assert_eq!(fs::read_to_string(path).expect("the file"), "hours of work");
    let drafted = kvmnet(&[&init[..], &["--force"]].concat());
    assert_eq!(drafted.status.code(), Some(0), "{}", text(&drafted.stderr));
    let linted = kvmnet(&["policy", "lint", path, "--snapshot", HOST]);
    assert_eq!(linted.status.code(), Some(0), "{}", text(&linted.stderr));
    assert!(text(&linted.stdout).contains("assertions, 0 findings accepted"), "{}", text(&linted.stdout));
    assert_eq!(check(Path::new(path), &[]).status.code(), Some(0));
}

#[test]
fn what_is_accepted_no_more_is_said_wherever_the_policy_is_used() {
    let entry = "accept: [{finding: network-inactive, reason: <b>, until: 2020-01-01}]\n";
    let path = policy("expired", &format!("{GOOD}{entry}"));
    let linted = kvmnet(&["policy", "lint", utf8(&path)]);
    assert_eq!(linted.status.code(), Some(0));
    assert!(text(&linted.stderr).starts_with("note: ") && text(&linted.stderr).contains("2020-01-01"));
    for format in ["table", "json", "junit", "tap", "sarif", "github", "markdown", "nagios", "openmetrics"] {
        for subcommand in [&["check", utf8(&path)][..], &["doctor", "--policy", utf8(&path)]] {
            let output = kvmnet(&[subcommand, &["--snapshot", HOST, "--format", format]].concat());
            assert!(text(&output.stdout).contains("2020-01-01"), "{format}: {}", text(&output.stdout));
        }
    }
}

#[test]
fn what_is_accepted_must_be_known() {
    for (name, entry, said) in [
        ("no-finding", "finding: network-inactve", "did you mean `network-inactive`?"),
        ("nobody", "finding: '*', on: 'vm:wbe1'", "did you mean `web1`?"),
        ("no-network", "finding: 'network-*', on: 'network:isolated'", "there is no network `isolated`"),
    ] {
        let path = policy(name, &format!("version: 1\naccept:\n  - {{{entry}, reason: x}}\n"));
        let linted = kvmnet(&["policy", "lint", utf8(&path), "--snapshot", HOST]);
        assert_eq!(linted.status.code(), Some(2), "{entry}");
        let error = text(&linted.stderr);
        assert!(error.contains(&format!("{name}.yaml:3: ")) && error.contains(said), "{error}");
    }
}

#[test]
fn what_never_ends_is_not_read_on() {
    let path = policy("endless", GOOD);
    for arguments in [
        &["check", "/dev/zero"][..],
        &["check", utf8(&path), "--snapshot", "/dev/zero"],
        &["doctor", "--snapshot", HOST, "--state", "/dev/zero"],
    ] {
        let output = kvmnet(arguments);
        assert_eq!(output.status.code(), Some(2));
        let error = text(&output.stderr);
        assert!(error.contains("/dev/zero: it is larger than ") && error.contains(" MiB"), "{error}");
    }
}

/// Of a VM that is off nothing is claimed, and no format passes that over; networks are not asked for.
#[test]
fn what_cannot_be_asked_is_undecided() {
    let host = changed("off", |host| {
        let domains = host["libvirt"]["value"]["domains"].as_array_mut().expect("domains");
        let db1 = domains.iter_mut().find(|domain| domain["name"] == "db1").expect("it is recorded");
        db1["state"] = "shut-off".into();
    });
    let path = policy("off", "version: 1\nassertions:\n  - {from: 'vm:db1', to: internet, deny: any}\n");
    for format in ["table", "nagios", "markdown", "tap"] {
        let output = kvmnet(&["check", utf8(&path), "--snapshot", utf8(&host), "--format", format]);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        assert!(shown.contains("0 ok, 1 assertion undecided"), "{shown}");
        assert!(!shown.to_lowercase().contains("gateway"), "{shown}");
    }
}

/// The policy in the documentation is one.
#[test]
fn the_documented_policy_is_read() {
    let documented = include_str!("../docs/policy.md");
    let yaml =
        documented.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a policy");
    let path = policy("documented", yaml);
    let linted = kvmnet(&["policy", "lint", utf8(&path), "--snapshot", HOST]);
    assert_eq!(linted.status.code(), Some(0), "{}", text(&linted.stderr));
}
