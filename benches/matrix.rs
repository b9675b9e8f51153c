//! The whole matrix of a host by proof, as `kvmnet doctor --static` makes it: the recorded host, and hosts
//! grown from it, with many networks like its NAT network and ten guests on each.

use divan::Bencher;
use kvmnet::engine::{Facts, representatives};
use kvmnet::model::{Scope, Topology, claims};
use kvmnet::verify;
use kvmnet_probes::facts::Snapshot;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

const HOST: &str = include_str!("../tests/hosts/demo.json");
/// Guests on each network.
const GUESTS: usize = 10;
/// The recorded NAT network: its bridge's number and its subnet.
const BRIDGE: u32 = 2;
const SUBNET: &str = "192.168.122";

#[divan::bench(args = [0, 10, 100], max_time = 10)]
fn matrix(bencher: Bencher<'_, '_>, networks: usize) {
    let snapshot = grown(networks);
    bencher.bench_local(|| {
        let topology = Topology::from_snapshot(&snapshot);
        let facts = Facts::new(&snapshot);
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
    let sysctls = host.pointer_mut("/sysctls/value").and_then(Value::as_object_mut).expect("sysctls");
    let own: Vec<(String, Value)> = sysctls
        .iter()
        .filter(|(key, _)| key.contains("/virbr0/"))
        .map(|(key, value)| (key.replace("virbr0", &name), value.clone()))
        .collect();
    sysctls.extend(own);
    rules(host, bridge, &subnet);
    let links = list(host, "/links/value");
    let with = |links: &[Value], wanted: &str, changes: &[(&str, Value)]| {
        let mut link = links.iter().find(|link| link["name"] == wanted).expect("it is recorded").clone();
        for (key, value) in changes {
            link[*key] = value.clone();
        }
        link
    };
    let mut added = vec![with(links, "virbr0", &[("index", json!(bridge)), ("name", json!(name))])];
    let (mut domains, mut hosts) = (Vec::new(), Vec::new());
    for guest in 1..=GUESTS {
        let index = bridge + u32::try_from(guest).expect("few");
        let (tap, vm) = (format!("vnet{index}"), format!("vm{index}"));
        let mac = format!("52:54:00:{:02x}:{:02x}:{guest:02x}", number / 256, number % 256);
        let changes =
            [("index", json!(index)), ("name", json!(tap)), ("master", json!(bridge)), ("mac", json!(mac))];
        added.push(with(links, "tap-web1", &changes));
        hosts.push(json!({"mac": mac, "name": null, "address": format!("{subnet}.{}", guest + 10)}));
        domains.push((vm, tap, mac));
    }
    links.extend(added);
    let all = list(host, "/libvirt/value/networks");
    let mut network = moved(all.iter().find(|one| one["name"] == "default").expect("it is recorded"));
    network["name"] = json!(format!("net{number}"));
    network["config"]["ips"][0]["hosts"] = json!(hosts);
    all.push(network);
    let all = list(host, "/libvirt/value/domains");
    let recorded = all.iter().find(|one| one["name"] == "web1").expect("it is recorded").clone();
    all.extend(domains.into_iter().map(|(vm, tap, mac)| {
        let mut domain = recorded.clone();
        domain["name"] = json!(vm);
        let nic = &mut domain["interfaces"][0];
        nic["source"]["network"] = json!(format!("net{number}"));
        nic["target"] = json!(tap);
        nic["mac"] = json!(mac);
        domain
    }));
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
