//! Tables of nft: chains, sets and rules.

use super::tests::{address, device, device_or_prefix, guest, mac, port, prefix, range, unless};
use crate::config::Item;
use crate::places::{NETS, UPLINK};
use crate::random::Random;

/// Where a rule stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The table's family.
    family: &'a str,
    hook: &'a str,
    /// `filter`, `nat` or `route`.
    kind: &'a str,
    /// Chains that may be jumped to.
    chains: &'a [String],
    /// Sets of addresses (IPv4, IPv6), ports and address with port.
    sets: &'a [(String, &'static str)],
}

/// A table with its chains and rules.
pub(super) fn table(random: &mut Random, number: usize, items: &mut Vec<Item>) {
    let family = random.pick(&["ip", "ip", "ip6", "ip6", "inet", "inet", "bridge", "netdev", "arp"]);
    let name = format!("t{number}");
    let mut add = |line: String| items.push(Item::Nft(line));
    add(format!("add table {family} {name}"));
    let sets = sets(random, family);
    for (set, kind) in &sets {
        for line in set_lines(random, &format!("{family} {name} {set}"), kind) {
            add(line);
        }
    }
    let base = base_chains(random, family);
    let called: Vec<String> = (0..random.between(0, 2)).map(|at| format!("c{at}")).collect();
    for chain in &called {
        add(format!("add chain {family} {name} {chain}"));
    }
    for (at, chain) in base.iter().enumerate() {
        add(format!("add chain {family} {name} b{at} {{ {} }}", chain.declaration));
    }
    let hook = |at: usize| base[at.min(base.len() - 1)].hook;
    // What is called may be called from any of the hooks; rules that do not fit are refused.
    for (at, chain) in called.iter().enumerate() {
        let chains = &called[at + 1..];
        let place = Place { family, hook: hook(0), kind: base[0].kind, chains, sets: &sets };
        for _ in 0..random.between(1, 3) {
            add(format!("add rule {family} {name} {chain} {}", rule(random, place)));
        }
    }
    for (at, chain) in base.iter().enumerate() {
        let place = Place { family, hook: hook(at), kind: chain.kind, chains: &called, sets: &sets };
        for _ in 0..random.between(1, 5) {
            add(format!("add rule {family} {name} b{at} {}", rule(random, place)));
        }
    }
}

struct Base {
    kind: &'static str,
    hook: &'static str,
    declaration: String,
}

fn base_chains(random: &mut Random, family: &str) -> Vec<Base> {
    (0..random.between(1, 3)).map(|_| base_chain(random, family)).collect()
}

fn base_chain(random: &mut Random, family: &str) -> Base {
    let hook = match family {
        "netdev" => random.pick(&["ingress", "ingress", "egress"]),
        "arp" => random.pick(&["input", "output"]),
        _ => random.pick(&["prerouting", "input", "forward", "forward", "output", "postrouting"]),
    };
    let kind = match (family, hook) {
        ("ip" | "ip6" | "inet", "prerouting" | "postrouting") if random.percent(60) => "nat",
        ("ip" | "ip6" | "inet", "input" | "output") if random.percent(15) => "nat",
        ("ip" | "ip6" | "inet", "output") if random.percent(30) => "route",
        _ => "filter",
    };
    let hook = if family == "inet" && kind == "filter" && random.percent(10) { "ingress" } else { hook };
    // Never at conntrack's or NAT's own priority.
    let priority = match kind {
        "nat" => random.pick(&["-100", "100", "0", "-90"]),
        "route" => "-150",
        _ => random.pick(&[
            "-300", "-250", "-199", "-150", "-101", "-99", "-1", "0", "0", "0", "1", "50", "99", "101", "300",
        ]),
    };
    let device = if matches!(hook, "ingress" | "egress") {
        format!("device {} ", device(random))
    } else {
        String::new()
    };
    let policy = if kind != "nat" && random.percent(12) { "drop" } else { "accept" };
    let declaration = format!("type {kind} hook {hook} {device}priority {priority}; policy {policy};");
    Base { kind, hook, declaration }
}

fn sets(random: &mut Random, family: &str) -> Vec<(String, &'static str)> {
    let address: &[&str] = match family {
        "ip" => &["ipv4_addr", "ipv4_addr . inet_service", "ipv4_addr . ipv4_addr"],
        "ip6" => &["ipv6_addr", "ipv6_addr . inet_service", "ipv6_addr . ipv6_addr"],
        _ => &["ipv4_addr", "ipv6_addr", "ipv4_addr . inet_service", "ipv6_addr . ipv6_addr", "ether_addr"],
    };
    let general = ["inet_service", "ifname", "mark", "ifname . ifname"];
    (0..random.between(0, 2))
        .map(|at| {
            let kind = if random.percent(70) { random.pick(address) } else { random.pick(&general) };
            (format!("s{at}"), kind)
        })
        .collect()
}

fn set_lines(random: &mut Random, name: &str, kind: &str) -> Vec<String> {
    let interval = !kind.starts_with("ifname") && random.percent(60);
    let flags = if interval { " flags interval; auto-merge;" } else { "" };
    // Merging overlaps is not for concatenations.
    let flags = if kind.contains(" . ") { flags.replace(" auto-merge;", "") } else { flags.to_owned() };
    let mut lines = vec![format!("add set {name} {{ type {kind};{flags} }}")];
    for _ in 0..random.between(1, 3) {
        let fields: Vec<String> = kind.split(" . ").map(|field| element(random, field, interval)).collect();
        lines.push(format!("add element {name} {{ {} }}", fields.join(" . ")));
    }
    lines
}

fn element(random: &mut Random, field: &str, interval: bool) -> String {
    match field {
        "ipv4_addr" | "ipv6_addr" => addresses(random, field == "ipv6_addr", interval),
        "inet_service" if interval && random.percent(50) => "1-100".to_owned(),
        "inet_service" => port(random).to_string(),
        "ifname" => format!("\"{}\"", device(random)),
        "ether_addr" => mac(random),
        _ => random.pick(&["0", "1", "2"]).to_owned(),
    }
}

fn addresses(random: &mut Random, ipv6: bool, interval: bool) -> String {
    match random.below(3) {
        0 if interval => crate::places::network(&prefix(random, ipv6)),
        1 if interval => range(random, ipv6),
        _ => address(random, ipv6).to_owned(),
    }
}

fn rule(random: &mut Random, place: Place<'_>) -> String {
    let tests = if random.percent(10) { 0 } else { random.between(1, 3) };
    let mut words: Vec<String> = (0..tests).map(|_| test(random, place)).collect();
    // What nothing restricts should not stop everything.
    let end = if words.is_empty() { harmless(random, place) } else { end(random, place) };
    words.push(end);
    words.join(" ")
}

fn harmless(random: &mut Random, place: Place<'_>) -> String {
    match place.chains {
        chains if !chains.is_empty() && random.percent(70) => {
            format!("jump {}", chains[random.below(chains.len())])
        }
        _ => random.pick(&["accept", "counter", "meta mark set 1", "return"]).to_owned(),
    }
}

fn end(random: &mut Random, place: Place<'_>) -> String {
    if place.kind == "nat" && random.percent(80) {
        return nat(random, place);
    }
    match random.below(100) {
        0..=29 => "accept".to_owned(),
        30..=52 => "drop".to_owned(),
        53..=59 => "return".to_owned(),
        60..=72 => match place.chains {
            [] => "counter".to_owned(),
            chains => {
                let word = random.pick(&["jump", "jump", "goto"]);
                format!("{word} {}", chains[random.below(chains.len())])
            }
        },
        73..=82 => reject(random, place.family),
        83..=88 => format!("meta mark set {}", random.pick(&["1", "2", "mark or 2", "mark and 1"])),
        89..=90 => format!("ct mark set {}", random.pick(&["1", "mark"])),
        91 => "notrack".to_owned(),
        92 => "limit rate 100/second drop".to_owned(),
        93 => "meta mark set ct mark".to_owned(),
        94..=96 => verdict_map(random, place),
        97 => random
            .pick(&["ip ttl set 1", "ip ttl set 20", "ip dscp set cs1", "numgen random mod 2 0 drop"])
            .to_owned(),
        _ => "log counter".to_owned(),
    }
}

fn verdict_map(random: &mut Random, place: Place<'_>) -> String {
    let mut verdict = || match place.chains {
        chains if !chains.is_empty() && random.percent(40) => {
            format!("jump {}", chains[random.below(chains.len())])
        }
        _ => random.pick(&["accept", "drop", "return"]).to_owned(),
    };
    let (first, second) = (verdict(), verdict());
    match random.below(4) {
        0 => format!("iifname vmap {{ \"{}\" : {first}, \"eth0\" : {second} }}", device_but_uplink(random)),
        1 => format!("tcp dport vmap {{ 22 : {first}, 80-443 : {second} }}"),
        2 => format!("ct state vmap {{ new : {first}, established : {second} }}"),
        _ => format!("meta l4proto vmap {{ tcp : {first}, icmp : {second} }}"),
    }
}

fn device_but_uplink(random: &mut Random) -> &'static str {
    random.pick(&["virbr0", "virbr1", "br0", "vnet2"])
}

fn reject(random: &mut Random, family: &str) -> String {
    let with: &[&str] = match family {
        "ip" => &["icmp port-unreachable", "icmp admin-prohibited", "icmp host-unreachable", "tcp reset"],
        "ip6" => &["icmpv6 port-unreachable", "icmpv6 admin-prohibited", "icmpv6 no-route", "tcp reset"],
        _ => &["icmpx port-unreachable", "icmpx admin-prohibited", "icmpx no-route", "tcp reset"],
    };
    let with = random.pick(with);
    let only = if with == "tcp reset" { "meta l4proto tcp " } else { "" };
    format!("{only}reject with {with}")
}

fn nat(random: &mut Random, place: Place<'_>) -> String {
    let ipv6 = is_ipv6(random, place.family);
    let family = match (place.family, ipv6) {
        ("inet", false) => "ip ",
        ("inet", true) => "ip6 ",
        _ => "",
    };
    if matches!(place.hook, "postrouting" | "input") {
        let to = [
            UPLINK[usize::from(ipv6)],
            NETS[0].gateway(ipv6),
            NETS[2].gateway(ipv6),
            if ipv6 { "2001:db8:9::9" } else { "192.0.2.9" },
        ];
        return match random.below(3) {
            0 if place.hook == "postrouting" => "masquerade".to_owned(),
            1 if place.hook == "postrouting" => random
                .pick(&["masquerade fully-random", "meta l4proto tcp masquerade to :1024-65535"])
                .to_owned(),
            _ => format!("snat {family}to {}", random.pick(&to)),
        };
    }
    match random.below(4) {
        0 => "redirect".to_owned(),
        1 => format!("tcp dport {} redirect to :{}", port(random), port(random)),
        2 => {
            let to = guest(random, ipv6);
            let to = if ipv6 { format!("[{to}]") } else { to.to_owned() };
            format!("tcp dport {} dnat {family}to {to}:{}", port(random), port(random))
        }
        _ => {
            let to = if random.percent(70) { guest(random, ipv6) } else { address(random, ipv6) };
            format!("dnat {family}to {to}")
        }
    }
}

fn is_ipv6(random: &mut Random, family: &str) -> bool {
    match family {
        "ip" => false,
        "ip6" => true,
        _ => random.percent(50),
    }
}

/// One test of a rule.
fn test(random: &mut Random, place: Place<'_>) -> String {
    if place.family == "arp" {
        return arp_test(random);
    }
    let ipv6 = is_ipv6(random, place.family);
    match random.below(100) {
        0..=19 => address_test(random, ipv6),
        20..=35 => device_test(random),
        36..=49 => transport_test(random, ipv6),
        50..=63 => conntrack_test(random, ipv6),
        64..=71 => set_test(random, place),
        72..=79 => mark_test(random),
        80..=84 => link_test(random),
        85..=89 => fib_test(random),
        90..=95 => raw_test(random, ipv6),
        _ => protocol_test(random),
    }
}

fn arp_test(random: &mut Random) -> String {
    match random.below(5) {
        0 => format!("arp operation {}", random.pick(&["request", "reply"])),
        1 => format!("arp saddr ip {}{}", unless(random, "!= "), prefix(random, false)),
        2 => format!("arp daddr ip {}{}", unless(random, "!= "), prefix(random, false)),
        3 => format!("arp saddr ether {}", mac(random)),
        _ => format!("iifname {}\"{}\"", unless(random, "!= "), device(random)),
    }
}

fn address_test(random: &mut Random, ipv6: bool) -> String {
    let family = if ipv6 { "ip6" } else { "ip" };
    let side = random.pick(&["saddr", "daddr"]);
    let not = unless(random, "!= ");
    let value = match random.below(4) {
        0 => range(random, ipv6),
        1 => format!("{{ {}, {} }}", address(random, ipv6), guest(random, ipv6)),
        _ => prefix(random, ipv6),
    };
    format!("{family} {side} {not}{value}")
}

fn device_test(random: &mut Random) -> String {
    let not = unless(random, "!= ");
    match random.below(8) {
        0 => format!("iif {not}{}", device(random)),
        1 => format!("oif {not}{}", device(random)),
        2..=3 => format!("iifname {not}\"{}\"", device_or_prefix(random, "*")),
        4..=5 => format!("oifname {not}\"{}\"", device_or_prefix(random, "*")),
        6 => format!("iifname {not}{{ \"{}\", \"eth1\" }}", device_but_uplink(random)),
        _ => random.pick(&["iiftype ether", "oiftype loopback", "iifkind bridge", "iifgroup 0"]).to_owned(),
    }
}

fn transport_test(random: &mut Random, ipv6: bool) -> String {
    let not = unless(random, "!= ");
    match random.below(10) {
        0..=2 => format!("tcp dport {not}{}", port(random)),
        3 => format!("tcp sport {not}{}", port(random)),
        4 => format!("tcp dport {not}{}", random.pick(&["1-100", "22-80", "{ 22, 443 }", "{ 1-79, 443 }"])),
        5 => format!("th dport {not}{}", port(random)),
        6..=7 => format!(
            "tcp flags {}",
            random.pick(&[
                "syn",
                "ack",
                "rst",
                "== syn",
                "!= syn",
                "& (syn|ack) == syn",
                "& (syn|rst|ack) == syn|ack",
                "{ syn, ack }",
                "syn,ack",
            ])
        ),
        _ if ipv6 => format!(
            "icmpv6 type {not}{}",
            random.pick(&[
                "echo-request",
                "echo-reply",
                "nd-neighbor-solicit",
                "{ echo-request, nd-neighbor-advert }"
            ])
        ),
        _ => format!(
            "icmp type {not}{}",
            random.pick(&["echo-request", "echo-reply", "{ echo-request, destination-unreachable }"])
        ),
    }
}

fn conntrack_test(random: &mut Random, ipv6: bool) -> String {
    let family = if ipv6 { "ip6" } else { "ip" };
    let not = unless(random, "!= ");
    match random.below(12) {
        0..=4 => format!(
            "ct state {}",
            random.pick(&[
                "new",
                "established",
                "invalid",
                "untracked",
                "new,established",
                "established,related",
                "{ new, established }",
                "{ new, untracked }",
                "!= new",
                "! established",
                "== new",
            ])
        ),
        5 => format!("ct direction {}", random.pick(&["original", "reply"])),
        6 if random.percent(20) => format!("ct zone {}", random.pick(&["0", "1"])),
        6 => format!(
            "ct status {}",
            random.pick(&[
                "snat",
                "dnat",
                "seen-reply",
                "snat,dnat",
                "! dnat",
                "assured",
                "== seen-reply",
                "expected"
            ])
        ),
        7 => format!("ct mark {not}{}", random.pick(&["0", "1", "2"])),
        8 => format!("ct original {family} saddr {not}{}", prefix(random, ipv6)),
        9 => format!("ct reply {family} saddr {not}{}", prefix(random, ipv6)),
        10 => format!("ct original {family} daddr {not}{}", prefix(random, ipv6)),
        _ => format!("meta l4proto tcp ct original proto-dst {not}{}", port(random)),
    }
}

fn set_test(random: &mut Random, place: Place<'_>) -> String {
    let Some((set, kind)) = place.sets.get(random.below(place.sets.len().max(1))) else {
        return mark_test(random);
    };
    let fields: Vec<&str> = kind.split(" . ").collect();
    let mut key = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        key.push(match (*field, at) {
            ("ipv4_addr", 0) => random.pick(&["ip saddr", "ip daddr"]),
            ("ipv4_addr", _) => "ip daddr",
            ("ipv6_addr", 0) => random.pick(&["ip6 saddr", "ip6 daddr"]),
            ("ipv6_addr", _) => "ip6 daddr",
            ("inet_service", _) => random.pick(&["tcp dport", "tcp sport"]),
            ("ifname", 0) => "iifname",
            ("ifname", _) => "oifname",
            ("ether_addr", _) => random.pick(&["ether saddr", "ether daddr"]),
            _ => "meta mark",
        });
    }
    let not = unless(random, "!= ");
    format!("{} {not}@{set}", key.join(" . "))
}

fn mark_test(random: &mut Random) -> String {
    random
        .pick(&[
            "meta mark 1",
            "meta mark 2",
            "meta mark != 0",
            "meta mark & 1 == 1",
            "meta mark < 2",
            "meta mark 0-1",
        ])
        .to_owned()
}

fn link_test(random: &mut Random) -> String {
    match random.below(4) {
        0..=1 => format!("ether saddr {}{}", unless(random, "!= "), mac(random)),
        2 => format!("ether daddr {}", mac(random)),
        _ => format!("meta pkttype {}", random.pick(&["host", "broadcast", "multicast", "other"])),
    }
}

fn fib_test(random: &mut Random) -> String {
    random
        .pick(&[
            "fib daddr type local",
            "fib saddr type local",
            "fib daddr type { local, unicast }",
            "fib daddr type != local",
            "fib saddr . iif oif missing",
            "fib saddr . iif oif exists",
            "fib saddr oif exists",
            "fib daddr oifname \"virbr0\"",
            "fib daddr . iif type local",
            "fib saddr . mark . iif oif missing",
        ])
        .to_owned()
}

fn raw_test(random: &mut Random, ipv6: bool) -> String {
    let not = unless(random, "!= ");
    match random.below(6) {
        0 => format!("ip ttl {}", random.pick(&["63", "64", "< 64", "!= 63"])),
        1 => format!("ip6 hoplimit {}", random.pick(&["63", "64", "255"])),
        2 => format!("@th,16,16 {not}{}", port(random)),
        3 if !ipv6 => format!("@nh,96,24 {not}0xc0a87a"),
        4 => random
            .pick(&["ip dscp cs0", "ip version 4", "ip6 version 6", "ip protocol tcp", "ip6 nexthdr tcp"])
            .to_owned(),
        _ => random
            .pick(&[
                "exthdr frag exists",
                "ip6 nexthdr ipv6-icmp",
                "tcp option maxseg exists",
                "ip frag-off & 0x1fff != 0",
            ])
            .to_owned(),
    }
}

fn protocol_test(random: &mut Random) -> String {
    random
        .pick(&[
            "meta l4proto tcp",
            "meta l4proto != tcp",
            "meta l4proto { tcp, icmp, ipv6-icmp }",
            "meta nfproto ipv4",
            "meta nfproto ipv6",
            "meta protocol ip",
            "meta protocol ip6",
            "meta protocol arp",
        ])
        .to_owned()
}
