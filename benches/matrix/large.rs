//! A large host: 60 NAT, 30 isolated and 10 times ten guests on the LAN, both families, 10,000 rules.
//!
//! Beside libvirt's rules for each network (some 1,300) there are the administrator's: which ports of each
//! guest may be reached from other networks (six rules for each of the 900 guests on networks of the host's own),
//! ports of the host that lead to guests (500), and addresses on a list (2,700).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use kvmnet_probes::facts::Snapshot;
use serde_json::{Value, json};

use super::{GUESTS, HOST, add_guests, copy_sysctls, like, list, loaded};

const NETWORKS: u32 = 100;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nat,
    Isolated,
    Lan,
}

#[derive(Clone, Copy)]
struct Network(u32);

impl Network {
    fn all() -> impl Iterator<Item = Self> {
        (0..NETWORKS).map(Self)
    }

    fn mode(self) -> Mode {
        match self.0 % 10 {
            0..6 => Mode::Nat,
            6..9 => Mode::Isolated,
            _ => Mode::Lan,
        }
    }

    fn bridge(self) -> u32 {
        1000 + self.0 * 100
    }

    fn ipv4(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 100, u8::try_from(self.0).expect("few"), last)
    }

    fn ipv6(self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, u16::try_from(self.0).expect("few"), 0, 0, 0, last)
    }
}

/// The host, unless its rules cannot be loaded.
pub(super) fn host() -> Option<Snapshot> {
    let mut host: Value = serde_json::from_str(HOST).expect("the recorded host is JSON");
    let rules = rules();
    list(&mut host, "/nf_tables/value").clear();
    list(&mut host, "/nf_tables/value").extend(loaded(&rules)?);
    let sysctls = host.pointer_mut("/sysctls/value").and_then(Value::as_object_mut).expect("sysctls");
    sysctls
        .iter_mut()
        .filter(|(key, _)| key.contains("ipv6") && key.ends_with("/forwarding"))
        .for_each(|(_, value)| *value = json!("1"));
    list(&mut host, "/addresses/value").push(address(5, "2001:db8::2/64"));
    list(&mut host, "/routes/value").extend([
        route(254, "unicast", 5, "2001:db8::/64", None),
        route(254, "unicast", 5, "::/0", Some("2001:db8::1")),
        route(255, "local", 5, "2001:db8::2/128", None),
    ]);
    for network in Network::all() {
        let (name, macs) = (format!("net{}", network.0), format!("52:54:00:fe:{:02x}", network.0));
        if network.mode() == Mode::Lan {
            add_guests(&mut host, GUESTS, "lan", 4, network.bridge(), &macs);
        } else {
            add_network(&mut host, network);
            let given = add_guests(&mut host, GUESTS, &name, network.bridge(), network.bridge(), &macs);
            add_config(&mut host, network, &name, &given);
        }
    }
    Some(serde_json::from_value(host).expect("a snapshot"))
}

fn address(device: u32, net: &str) -> Value {
    json!({"device": device, "net": net, "peer": null, "scope": "global", "flags": ["permanent"]})
}

fn route(table: u32, kind: &str, device: u32, destination: &str, gateway: Option<&str>) -> Value {
    json!({"table": table, "kind": kind, "destination": destination, "source": null, "tos": 0, "metric": 0,
        "preferred_source": null, "protocol": 2, "scope": 0, "mtu": null, "nexthop_id": null,
        "next_hops": [{"device": device, "gateway": gateway, "weight": 1, "flags": []}]})
}

/// The bridge with its addresses, routes and sysctls.
fn add_network(host: &mut Value, network: Network) {
    let bridge = network.bridge();
    let name = format!("virbr{bridge}");
    let link = like(host, "virbr0", &[("index", json!(bridge)), ("name", json!(name))]);
    list(host, "/links/value").push(link);
    let (first, first6) = (network.ipv4(1), network.ipv6(1));
    list(host, "/addresses/value")
        .extend([address(bridge, &format!("{first}/24")), address(bridge, &format!("{first6}/64"))]);
    list(host, "/routes/value").extend([
        route(254, "unicast", bridge, &format!("{}/24", network.ipv4(0)), None),
        route(255, "local", bridge, &format!("{first}/32"), None),
        route(255, "broadcast", bridge, &format!("{}/32", network.ipv4(255)), None),
        route(254, "unicast", bridge, &format!("{}/64", network.ipv6(0)), None),
        route(255, "local", bridge, &format!("{first6}/128"), None),
    ]);
    copy_sysctls(host, &name);
}

/// What libvirt says of the network: the guests with these MACs have reserved addresses.
fn add_config(host: &mut Value, network: Network, name: &str, macs: &[String]) {
    let nat = network.mode() == Mode::Nat;
    let hosts = |address: &dyn Fn(u8) -> String| -> Vec<Value> {
        let all = macs.iter().zip(11..);
        all.map(|(mac, last)| json!({"mac": mac, "name": null, "address": address(last)})).collect()
    };
    let (ipv4, ipv6) =
        (hosts(&|last| network.ipv4(last).to_string()), hosts(&|last| network.ipv6(last.into()).to_string()));
    let all = list(host, "/libvirt/value/networks");
    let mut config = all.iter().find(|one| one["name"] == "default").expect("it is recorded").clone();
    config["name"] = json!(name);
    config["config"]["mode"] = json!(if nat { "nat" } else { "isolated" });
    config["config"]["nat_ipv6"] = json!(nat);
    config["config"]["bridge"] = json!(format!("virbr{}", network.bridge()));
    config["config"]["ips"] = json!([
        {"net": format!("{}/24", network.ipv4(1)), "dhcp": true, "ranges": [], "hosts": ipv4},
        {"net": format!("{}/64", network.ipv6(1)), "dhcp": true, "ranges": [], "hosts": ipv6},
    ]);
    all.push(config);
}

/// The rules, as nft reads them.
fn rules() -> String {
    let mut text = String::new();
    for family in ["ip", "ip6"] {
        libvirt(&mut text, family);
    }
    site(&mut text);
    text
}

/// What libvirt writes for its networks (`src/network/network_nftables.c`).
fn libvirt(text: &mut String, family: &str) {
    let ipv4 = family == "ip";
    // Bridge, subnet, whether it is translated: those of the recorded host and the others.
    let mut networks = if ipv4 {
        vec![(2, "192.168.122.0/24".to_owned(), true), (3, "192.168.150.0/24".to_owned(), false)]
    } else {
        Vec::new()
    };
    networks.extend(Network::all().filter(|network| network.mode() != Mode::Lan).map(|network| {
        let net = if ipv4 { format!("{}/24", network.ipv4(0)) } else { format!("{}/64", network.ipv6(0)) };
        (network.bridge(), net, network.mode() == Mode::Nat)
    }));
    let mut chain = |name: &str, rules: Vec<String>| {
        writeln!(text, "add table {family} libvirt_network").expect("memory");
        writeln!(text, "table {family} libvirt_network {{ chain {name} {{\n{}\n}}\n}}", rules.join("\n"))
            .expect("memory");
    };
    let (mut cross, mut input, mut output, mut translate) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let to_none: &[&str] = if ipv4 { &["224.0.0.0/24", "255.255.255.255/32"] } else { &["ff02::/16"] };
    for (bridge, net, nat) in &networks {
        cross.push(format!("iif {bridge} oif {bridge} counter accept"));
        if *nat {
            input.push(format!(
                "oif {bridge} {family} daddr {net} ct state established,related counter accept"
            ));
            output.push(format!("iif {bridge} {family} saddr {net} counter accept"));
            let from = format!("{family} saddr {net} {family} daddr");
            translate.extend(to_none.iter().map(|to| format!("{from} {to} counter return")));
            translate
                .extend(["tcp", "udp"].map(|l4| {
                    format!("meta l4proto {l4} {from} != {net} counter masquerade to :1024-65535")
                }));
            translate.push(format!("{from} != {net} counter masquerade"));
        }
        input.push(format!("oif {bridge} counter reject"));
        output.push(format!("iif {bridge} counter reject"));
    }
    chain("guest_cross", cross);
    chain("guest_input", input);
    chain("guest_output", output);
    let policy = "policy accept";
    chain(
        "forward",
        vec![
            format!("type filter hook forward priority filter; {policy}"),
            "counter jump guest_cross".to_owned(),
            "counter jump guest_input".to_owned(),
            "counter jump guest_output".to_owned(),
        ],
    );
    let mut all = vec![format!("type nat hook postrouting priority srcnat; {policy}")];
    all.extend(translate);
    chain("guest_nat", all);
}

/// What the administrator wrote.
fn site(text: &mut String) {
    let mut filter = String::from("table inet site {\n");
    let mut line = |text: &str| {
        filter.push_str(text);
        filter.push('\n');
    };
    let own: Vec<Network> = Network::all().filter(|network| network.mode() != Mode::Lan).collect();
    let guests =
        |network: Network| (11..11 + u8::try_from(GUESTS).expect("few")).map(move |last| (network, last));
    line("chain listed {");
    let benchmarking = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    for number in 0..2700 {
        line(&format!("ip saddr {}/27 counter drop", Ipv4Addr::from(benchmarking + number * 32)));
    }
    line("}");
    for network in &own {
        line(&format!("chain to_{} {{", network.0));
        for (network, last) in guests(*network) {
            let (to, to6) = (network.ipv4(last), network.ipv6(last.into()));
            for port in [22, 443, 9100] {
                line(&format!("ip daddr {to} tcp dport {port} counter accept"));
            }
            line(&format!("ip6 daddr {to6} tcp dport 443 counter accept"));
            line(&format!("ip daddr {to} icmp type echo-request counter accept"));
            line(&format!("ip saddr 10.0.0.0/16 ip daddr {to} udp dport 161 counter accept"));
        }
        line("}");
    }
    line("chain forward { type filter hook forward priority -10; policy accept;");
    line("ct state established,related counter accept");
    line("iifname \"eth0\" jump listed");
    for network in &own {
        line(&format!("oifname \"virbr{}\" jump to_{}", network.bridge(), network.0));
    }
    line("}\n}");
    text.push_str(&filter);
    text.push_str(
        "table ip site_nat { chain prerouting { type nat hook prerouting priority dstnat; policy accept;\n",
    );
    for (port, (network, last)) in own.iter().flat_map(|network| guests(*network)).take(500).enumerate() {
        let to = network.ipv4(last);
        writeln!(
            text,
            "iifname \"eth0\" ip daddr 203.0.113.2 tcp dport {} counter dnat to {to}:443",
            20_000 + port
        )
        .expect("memory");
    }
    text.push_str("}\n}\n");
}
