//! `kvmnet trace` on the recorded demonstration host: what passes, what is stopped and by what.

#![expect(clippy::disallowed_methods, reason = "tests start programs")]

use std::process::{Command, Output};

use serde_json::Value;

const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/host.json");

fn trace(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kvmnet"))
        .args(["trace", "--snapshot", HOST])
        .args(arguments.split(' '))
        .output()
        .expect("kvmnet starts")
}

/// The exit code and the trace.
fn json(arguments: &str) -> (Option<i32>, Value) {
    let output = trace(&format!("{arguments} --format json"));
    let trace = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{arguments}: no trace ({error}): {}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.code(), trace)
}

/// `forward drop`, for each step that stops the packet.
fn stops(trace: &Value) -> Vec<String> {
    let steps = trace["steps"].as_array().expect("steps");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    steps
        .iter()
        .map(|step| (word(&step["place"]), word(&step["decision"])))
        .filter(|(_, decision)| decision == "drop" || decision == "reject")
        .map(|(place, decision)| format!("{place} {decision}"))
        .collect()
}

#[test]
fn the_three_models_show_in_traces() {
    for (arguments, code, stopped) in [
        ("--from vm:web1 --to 198.51.100.10 --proto tcp --dport 443", 0, &[][..]),
        ("--from vm:web1 --to internet", 0, &[]),
        ("--from vm:web1 --to gateway --proto dhcp", 0, &[]),
        ("--from vm:web1 --to 192.168.122.1 --proto dns", 0, &[]),
        ("--from vm:web1 --to vm:web2 --proto arp", 0, &[]),
        ("--from host --to vm:db1", 0, &[]),
        ("--from vm:lan1 --to internet --proto udp --dport 53", 0, &[]),
        ("--from vm:db1 --to 198.51.100.10", 1, &["forward reject", "forward reject"]),
        ("--from vm:web1 --to vm:db1", 1, &["forward reject"]),
        ("--from outside:203.0.113.9 --to vm:web1 --proto tcp --dport 22", 1, &["forward reject"]),
    ] {
        let (found, trace) = json(arguments);
        assert_eq!(
            (found, &stops(&trace)[..]),
            (Some(code), &stopped.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
            "{arguments}: {trace:#}"
        );
    }
}

#[test]
fn a_step_names_what_decides() {
    let (_, trace) = json("--from vm:db1 --to 198.51.100.10");
    assert_eq!(trace["schema"], "kvmnet.trace/1");
    assert_eq!(trace["predicted"], "deny");
    let steps = trace["steps"].as_array().expect("steps");
    let stop = steps.iter().find(|step| step["decision"] == "reject").expect("a step that rejects");
    let site = &stop["site"];
    assert_eq!(
        (&site["kind"], &site["table"], &site["chain"], &site["owner"]),
        (&"netfilter".into(), &"ip libvirt_network".into(), &"guest_output".into(), &"libvirt".into())
    );
    assert!(site["handle"].is_u64());
    assert_eq!(stop["reply"], false);
}

#[test]
fn the_way_on_is_told_past_a_drop() {
    let output = trace("--from vm:db1 --to 198.51.100.10");
    let text = String::from_utf8(output.stdout).expect("text");
    let order = [
        "tap-db1",
        "forward",
        "REJECTED HERE (libvirt)",
        "(if it had passed)",
        "eth0",
        "reply",
        "does not pass",
    ];
    let mut rest = text.as_str();
    for part in order {
        rest = rest.split_once(part).unwrap_or_else(|| panic!("no `{part}` in its place: {text}")).1;
    }
}

#[test]
fn ends_that_cannot_be_are_refused() {
    for (arguments, said) in [
        ("--from vm:web3 --to internet", "did you mean `web2`?"),
        ("--from vm:web1/2 --to internet", "web1 has no NIC 2"),
        ("--from internet --to vm:web1", "--from takes vm:NAME"),
        ("--from vm:web1 --to vm:web1", "the other end somebody else"),
        (
            "--from vm:web1 --to 192.168.150.77",
            "no VM is known to have 192.168.150.77, an address of network iso",
        ),
        ("--from vm:web1 --to internet --proto tcp", "--dport PORT"),
        ("--from vm:web1 --to internet --dport 80", "--dport goes with"),
        ("--from vm:web1 --to nowhere", "neither an address nor one of"),
        ("--from vm:web1 --to internet --proto ra", "comes to a VM from its gateway"),
    ] {
        let output = trace(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(said), "{arguments}: no `{said}` in: {error}");
    }
}

/// What of all packets arrives by each way, and where the others are stopped.
#[test]
fn all_packets_are_told_by_what_becomes_of_them() {
    let (code, survey) = json("--from vm:web1 --to 198.51.100.10 --all");
    assert_eq!(code, Some(0), "{survey:#}");
    let ways = survey["ways"].as_array().expect("ways");
    let way = ways.iter().find(|way| way["arrive"].is_string()).expect("one way leads there");
    let arrive = way["arrive"].as_str().expect("text");
    assert!(arrive.contains("ip saddr { 192.168.122.0, 192.168.122.2-192.168.122.254 }"), "{arrive}");
    let stops = way["stops"].as_array().expect("stops");
    let rejected =
        stops.iter().find(|stop| stop["decision"] == "reject").expect("forged sources are rejected");
    assert!(
        rejected["packets"].as_str().expect("text").contains("ip saddr != 192.168.122.0/24"),
        "{rejected:#}"
    );

    let (code, survey) = json("--from vm:web1 --to vm:db1 --all");
    assert_eq!(code, Some(1), "{survey:#}");
    let ways = survey["ways"].as_array().expect("ways");
    assert!(!ways.is_empty() && ways.iter().all(|way| way["arrive"].is_null()), "{survey:#}");

    for (arguments, arrives) in [
        ("--from host --to vm:web1 --all", "ip daddr 192.168.122.11"),
        ("--from vm:web1 --to host --all", "192.168.122.1"),
    ] {
        let (code, survey) = json(arguments);
        assert_eq!(code, Some(0), "{survey:#}");
        let ways = survey["ways"].as_array().expect("ways");
        let told = ways.iter().filter_map(|way| way["arrive"].as_str()).any(|set| set.contains(arrives));
        assert!(told, "{arguments}: {survey:#}");
    }
}
