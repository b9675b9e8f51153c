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

/// The first cause comes first, and VMs that no rule tells apart are all named.
#[test]
fn a_bridge_that_is_down_is_told_before_what_follows() {
    let down = changed("bridge-down", |host| {
        let links = host["links"]["value"].as_array_mut().expect("links");
        let bridge = links.iter_mut().find(|link| link["name"] == "virbr0").expect("virbr0");
        bridge["up"] = false.into();
        let index = bridge["index"].clone();
        let routes = host["routes"]["value"].as_array_mut().expect("routes");
        routes.retain(|route| route["kind"] == "local" || route["next_hops"][0]["device"] != index);
    });
    let output = diff(&down, &[]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let first = shown.split("\n\n").nth(1).expect("a change");
    assert!(first.starts_with("LOST  now: virbr0 down\n"), "{shown}");
    assert!(first.contains("web1 → internet (and so web2): ") && first.contains("host → web1"), "{shown}");
    assert_eq!(shown.matches("LOST  now: virbr0 down").count(), 1, "{shown}");
}

/// What lets packets pass is told, not what stopped them; of a rule that has gone, that it is there no more.
#[test]
fn what_packets_gained_is_told_by_its_cause() {
    // The same accept in front of the reject, and behind it, where it lets nothing pass.
    let with_accept = |name: &str, at: usize| {
        changed(name, |host| {
            let chain = host.pointer_mut("/nf_tables/value/0/chains/2/rules").expect("a chain");
            let rules = chain.as_array_mut().expect("rules");
            let mut rule = rules[1].clone();
            assert_eq!(rule["exprs"][2]["expr"], "reject", "{rule:#}");
            rule["handle"] = 99.into();
            rule["exprs"][2] = accept();
            rules.insert(at, rule);
        })
    };
    let (accept, behind) = (with_accept("accept", 0), with_accept("accept-behind", 2));
    let shown = |before: &str, after: &str| {
        let output = Command::new(PROGRAM).args(["diff", before, after]).output().expect("kvmnet starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let accept = accept.to_str().expect("text");
    let gained = shown(HOST, accept);
    assert!(gained.contains("GAINED  now: forward ip libvirt_network guest_input, handle 99: "), "{gained}");
    assert!(!gained.contains("no more"), "{gained}");
    let lost = shown(accept, HOST);
    assert!(lost.contains("LOST  now: forward ip libvirt_network guest_input, handle 1"), "{lost}");
    let off = forwarding_off("forwarding-on");
    let gained = shown(off.to_str().expect("text"), HOST);
    assert!(gained.contains("GAINED  no more: forward net/ipv4/ip_forward = 0"), "{gained}");
    // A rule that was moved is where it was not.
    let gained = shown(behind.to_str().expect("text"), accept);
    assert!(gained.contains("GAINED  now: forward ip libvirt_network guest_input, handle 99: "), "{gained}");
    assert!(!gained.contains("no more"), "{gained}");
}

/// An accept in a table of its own lets nothing pass that another one stops.
#[test]
fn a_new_rule_elsewhere_is_no_cause() {
    let docker = changed("docker", |host| {
        let tables = host["nf_tables"]["value"].as_array_mut().expect("tables");
        let mut table = tables[0].clone();
        table["name"] = "other".into();
        table["chains"] = serde_json::json!([{
            "name": "forward", "handle": 1,
            "base": {"kind": "filter", "hook": "forward", "priority": -10, "policy": "accept"},
            "rules": [{"handle": 2, "comment": null, "counter": null, "exprs": [accept()]}],
        }]);
        tables.push(table);
    });
    let off = forwarding_off("forwarding-off-before-docker");
    let output = Command::new(PROGRAM).arg("diff").args([&off, &docker]).output().expect("kvmnet starts");
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(shown.contains("GAINED  no more: forward net/ipv4/ip_forward = 0"), "{shown}");
    assert!(!shown.contains("GAINED  now"), "{shown}");
}

/// What accepts, as an expression of a rule.
fn accept() -> Value {
    serde_json::json!({"expr": "immediate", "destination": 0, "data": {"verdict": {"verdict": "accept"}}})
}

/// Every device has a route for link-local addresses: which comes first is nothing that a packet notices.
#[test]
fn link_local_addresses_go_by_their_device() {
    let other = changed("link-local", |host| {
        let virbr0 =
            |route: &Value| route["destination"] == "fe80::/64" && route["next_hops"][0]["device"] == 2;
        let routes = host["routes"]["value"].as_array_mut().expect("routes");
        let at = routes.iter().position(virbr0).expect("a route of virbr0");
        let route = routes.remove(at);
        routes.insert(0, route);
    });
    let output = diff(&other, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
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
