//! The whole matrix of a host by proof, as `kvmnet doctor --static` makes it: the recorded host, hosts grown from
//! it, with many networks like its NAT network and ten guests on each, a usual one, with the rules of Docker
//! and firewalld beside libvirt's, and a large one with a mix of networks and 10,000 rules. Rules are loaded in a
//! network namespace of its own, which needs root.

#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "it runs nft, and says if it cannot")]

use std::io::Write;
use std::process::{Command, Stdio};

use divan::Bencher;
use kvmnet::engine::{Facts, representatives};
use kvmnet::model::{Scope, Topology, claims};
use kvmnet::verify;
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::sources::{self, Context};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

mod large;

fn main() {
    divan::main();
}

/// What Docker and firewalld load.
const RULES: &str = include_str!("../docker_firewalld.nft");

/// The rules as the kernel tells them once they are loaded; `None` without root.
fn loaded(rules: &str) -> Option<Vec<Value>> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: a network namespace of its own needs root: {error}");
        return None;
    }
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft runs");
    nft.stdin.take().expect("it is a pipe").write_all(rules.as_bytes()).expect("nft reads");
    assert!(nft.wait().expect("nft ends").success(), "nft refused the rules");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tables = runtime.block_on(sources::nf_tables(&Context::default()));
    Some(tables.items().iter().map(|table| json!(table)).collect())
}

#[divan::bench(max_time = 5)]
fn with_docker_and_firewalld(bencher: Bencher<'_, '_>) {
    let Some(tables) = loaded(RULES) else { return };
    let mut host: Value = serde_json::from_str(HOST).expect("the recorded host is JSON");
    list(&mut host, "/nf_tables/value").extend(tables);
    // Four guests more on the NAT network.
    add_guests(&mut host, 4, "default", BRIDGE, 100, "52:54:00:ff:00");
    let snapshot: Snapshot = serde_json::from_value(host).expect("a snapshot");
    bench(bencher, &snapshot);
}

const HOST: &str = include_str!("../../tests/hosts/demo.json");
/// Guests on each network.
const GUESTS: usize = 10;
/// The recorded NAT network: its bridge's number and its subnet.
const BRIDGE: u32 = 2;
const SUBNET: &str = "192.168.122";

#[divan::bench(max_time = 10)]
fn large_mix(bencher: Bencher<'_, '_>) {
    if let Some(snapshot) = large::host() {
        bench(bencher, &snapshot);
    }
}

#[divan::bench(args = [0, 10, 100], max_time = 10)]
fn matrix(bencher: Bencher<'_, '_>, networks: usize) {
    bench(bencher, &grown(networks));
}

fn bench(bencher: Bencher<'_, '_>, snapshot: &Snapshot) {
    bencher.bench_local(|| {
        let topology = Topology::from_snapshot(snapshot);
        let facts = Facts::new(snapshot);
        let alike = representatives(&facts, &topology);
        let mut claims = claims(&topology, &Scope::default(), &alike);
        verify::prove(&facts, &topology, &mut claims)
    });
}

/// The recorded host with so many networks more.
fn grown(networks: usize) -> Snapshot {
    let mut host: Value = serde_json::from_str(HOST).expect("the recorded host is JSON");
    for number in 0..networks {
        add_network(&mut host, u32::try_from(number).expect("few"));
    }
    serde_json::from_value(host).expect("a snapshot")
}

fn list<'v>(host: &'v mut Value, name: &str) -> &'v mut Vec<Value> {
    host.pointer_mut(name).and_then(Value::as_array_mut).expect("a list")
}

/// Everything that the host has of its NAT network once more, under other names.
fn add_network(host: &mut Value, number: u32) {
    let bridge = 1000 + number * 100;
    let name = format!("virbr{bridge}");
    let subnet = format!("10.{}.{}", number / 200, number % 200);
    let moved = |value: &Value| -> Value {
        let text = value.to_string().replace(SUBNET, &subnet).replace("virbr0", &name);
        let text = text.replace(&format!("\"device\":{BRIDGE}"), &format!("\"device\":{bridge}"));
        serde_json::from_str(&text).expect("still JSON")
    };
    for path in ["/addresses/value", "/routes/value"] {
        let all = list(host, path);
        let own: Vec<Value> = all.iter().filter(|one| one.to_string().contains(SUBNET)).map(moved).collect();
        all.extend(own);
    }
    copy_sysctls(host, &name);
    rules(host, bridge, &subnet);
    let link = like(host, "virbr0", &[("index", json!(bridge)), ("name", json!(name))]);
    list(host, "/links/value").push(link);
    let network_name = format!("net{number}");
    let macs = format!("52:54:00:{:02x}:{:02x}", number / 256, number % 256);
    let hosts: Vec<Value> = add_guests(host, GUESTS, &network_name, bridge, bridge, &macs)
        .into_iter()
        .zip(11..)
        .map(|(mac, last)| json!({"mac": mac, "name": null, "address": format!("{subnet}.{last}")}))
        .collect();
    let all = list(host, "/libvirt/value/networks");
    let mut network = moved(all.iter().find(|one| one["name"] == "default").expect("it is recorded"));
    network["name"] = json!(network_name);
    network["config"]["ips"][0]["hosts"] = json!(hosts);
    all.push(network);
}

/// The sysctls of the recorded NAT network's bridge for another one.
fn copy_sysctls(host: &mut Value, name: &str) {
    let sysctls = host.pointer_mut("/sysctls/value").and_then(Value::as_object_mut).expect("sysctls");
    let own: Vec<(String, Value)> = sysctls
        .iter()
        .filter(|(key, _)| key.contains("/virbr0/"))
        .map(|(key, value)| (key.replace("virbr0", name), value.clone()))
        .collect();
    sysctls.extend(own);
}

/// A recorded device, with changes.
fn like(host: &mut Value, wanted: &str, changes: &[(&str, Value)]) -> Value {
    let links = list(host, "/links/value");
    let mut link = links.iter().find(|link| link["name"] == wanted).expect("it is recorded").clone();
    for (key, value) in changes {
        link[*key] = value.clone();
    }
    link
}

/// Guests of a network, whose taps are in the bridge and have the numbers after `first`; gives their MACs.
fn add_guests(
    host: &mut Value,
    count: usize,
    network: &str,
    bridge: u32,
    first: u32,
    macs: &str,
) -> Vec<String> {
    let mut given = Vec::new();
    for guest in 1..=count {
        let index = first + u32::try_from(guest).expect("few");
        let (tap, mac) = (format!("vnet{index}"), format!("{macs}:{guest:02x}"));
        let changes =
            [("index", json!(index)), ("name", json!(tap)), ("master", json!(bridge)), ("mac", json!(mac))];
        let link = like(host, "tap-web1", &changes);
        list(host, "/links/value").push(link);
        let domains = list(host, "/libvirt/value/domains");
        let mut domain = domains.iter().find(|one| one["name"] == "web1").expect("it is recorded").clone();
        domain["name"] = json!(format!("vm{index}"));
        let nic = &mut domain["interfaces"][0];
        nic["source"]["network"] = json!(network);
        nic["target"] = json!(tap);
        nic["mac"] = json!(mac);
        domains.push(domain);
        given.push(mac);
    }
    given
}

/// libvirt's rules for the network, after those of the networks before.
fn rules(host: &mut Value, bridge: u32, subnet: &str) {
    let hex = |octets: &[u8]| -> String {
        let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    };
    let octets: Vec<u8> = subnet.split('.').map(|part| part.parse().expect("an octet")).collect();
    let (own_bridge, own_net) = (hex(&BRIDGE.to_ne_bytes()), hex(&[192, 168, 122]));
    let tables = list(host, "/nf_tables/value");
    let table = tables.iter_mut().find(|table| table["name"] == "libvirt_network").expect("libvirt's table");
    for chain in table["chains"].as_array_mut().expect("chains") {
        let all = chain["rules"].as_array_mut().expect("rules");
        let copies: Vec<Value> = all
            .iter()
            .filter(|rule| rule["handle"].as_u64().is_some_and(|handle| handle < 100))
            .filter(|rule| rule.to_string().contains(&own_bridge) || rule.to_string().contains(&own_net))
            .map(|rule| {
                let text = rule.to_string().replace(&own_bridge, &hex(&bridge.to_ne_bytes()));
                let mut rule: Value =
                    serde_json::from_str(&text.replace(&own_net, &hex(&octets))).expect("still JSON");
                rule["handle"] = json!(rule["handle"].as_u64().unwrap_or(0) + u64::from(bridge) * 100);
                rule
            })
            .collect();
        all.extend(copies);
    }
}
