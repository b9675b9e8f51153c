//! Rules of iptables, ip6tables, ebtables and arptables.

use super::tests::{address, device, device_or_prefix, guest, mac, port, prefix, range};
use crate::config::Item;
use crate::random::Random;

/// Tables with their chains; those that decide most come most often.
const CHAINS: [(&str, &str); 14] = [
    ("filter", "FORWARD"),
    ("filter", "FORWARD"),
    ("filter", "FORWARD"),
    ("filter", "INPUT"),
    ("filter", "INPUT"),
    ("filter", "OUTPUT"),
    ("filter", "USER"),
    ("nat", "PREROUTING"),
    ("nat", "POSTROUTING"),
    ("nat", "OUTPUT"),
    ("mangle", "PREROUTING"),
    ("mangle", "OUTPUT"),
    ("mangle", "POSTROUTING"),
    ("raw", "PREROUTING"),
];

pub(super) fn rules(random: &mut Random, items: &mut Vec<Item>) {
    let ipv6 = random.percent(40);
    let program = if ipv6 { "ip6tables" } else { "iptables" };
    let mut add = |table, line: String| items.push(Item::Xtables { program, table, line });
    add("filter", ":USER - [0:0]".to_owned());
    if random.percent(20) {
        add("filter", format!(":{} DROP [0:0]", random.pick(&["FORWARD", "INPUT", "OUTPUT"])));
    }
    for _ in 0..random.between(2, 8) {
        let (table, chain) = CHAINS[random.below(CHAINS.len())];
        let mut words = vec![format!("-A {chain}")];
        let protocol = protocol(random, ipv6, &mut words);
        for _ in 0..random.between(1, 2) {
            words.push(test(random, ipv6, chain, protocol));
        }
        words.push(target(random, ipv6, table, chain, protocol));
        add(table, words.join(" "));
    }
}

fn protocol(random: &mut Random, ipv6: bool, words: &mut Vec<String>) -> &'static str {
    let icmp = if ipv6 { "ipv6-icmp" } else { "icmp" };
    let protocol = match random.below(4) {
        0..=1 => "tcp",
        2 => icmp,
        _ => return "",
    };
    words.push(format!("-p {protocol}"));
    match (protocol, random.below(5)) {
        ("tcp", 0) => words.push(format!("-m tcp {}--dport {}", not(random), port(random))),
        ("tcp", 1) => words.push(format!("-m tcp {}--sport {}", not(random), port(random))),
        ("tcp", 2) => {
            words.push(format!(
                "-m tcp {}--tcp-flags SYN,RST,ACK {}",
                not(random),
                random.pick(&["SYN", "SYN,ACK"])
            ));
        }
        ("tcp", 3) => words.push(format!("-m multiport {}--dports 22,80:100", not(random))),
        ("icmp", 0..=1) => {
            words.push(format!("-m icmp {}--icmp-type {}", not(random), random.pick(&["8", "0", "any"])));
        }
        ("ipv6-icmp", 0..=1) => {
            words.push(format!(
                "-m icmp6 {}--icmpv6-type {}",
                not(random),
                random.pick(&["128", "129", "135"])
            ));
        }
        _ => {}
    }
    protocol
}

fn not(random: &mut Random) -> &'static str {
    super::tests::unless(random, "! ")
}

fn test(random: &mut Random, ipv6: bool, chain: &str, protocol: &str) -> String {
    let not = not(random);
    match random.below(16) {
        0..=1 => format!("{not}-s {}", prefix(random, ipv6)),
        2..=3 => format!("{not}-d {}", prefix(random, ipv6)),
        4..=5 if !matches!(chain, "OUTPUT" | "POSTROUTING") => {
            format!("{not}-i {}", device_or_prefix(random, "+"))
        }
        6 if !matches!(chain, "INPUT" | "PREROUTING") => format!("{not}-o {}", device_or_prefix(random, "+")),
        7..=8 => {
            let states = random.pick(&[
                "NEW",
                "ESTABLISHED",
                "RELATED,ESTABLISHED",
                "INVALID",
                "UNTRACKED",
                "NEW,SNAT",
                "DNAT",
            ]);
            format!("-m conntrack {not}--ctstate {states}")
        }
        9 => format!("-m conntrack --ctdir {}", random.pick(&["ORIGINAL", "REPLY"])),
        10 => format!("-m conntrack {not}--ctorigdst {}", address(random, ipv6)),
        11 => format!("-m mark {not}--mark {}", random.pick(&["0x1", "0x1/0x1", "0x2", "0x0"])),
        12 => format!("-m addrtype {not}--dst-type {}", random.pick(&["LOCAL", "UNICAST", "BROADCAST"])),
        13 => {
            let test = random.pick(&["--physdev-is-bridged", "--physdev-in", "--physdev-out"]);
            let device = if test.ends_with("bridged") { "" } else { device(random) };
            format!("-m physdev {not}{test} {device}")
        }
        14 if !matches!(chain, "OUTPUT" | "POSTROUTING") => {
            format!("-m mac {not}--mac-source {}", mac(random))
        }
        _ if protocol.is_empty() => format!("-m iprange {not}--src-range {}", range(random, ipv6)),
        _ => "-m comment --comment \"a comment\"".to_owned(),
    }
}

fn target(random: &mut Random, ipv6: bool, table: &str, chain: &str, protocol: &str) -> String {
    let target = match (table, chain) {
        ("nat", "POSTROUTING") if random.percent(50) => "MASQUERADE".to_owned(),
        ("nat", "POSTROUTING") => {
            format!("SNAT --to-source {}", if ipv6 { "2001:db8:1::2" } else { "203.0.113.2" })
        }
        ("nat", _) if random.percent(30) => "REDIRECT".to_owned(),
        ("nat", _) if protocol == "tcp" && !ipv6 => {
            format!("DNAT --to-destination {}:{}", guest(random, ipv6), port(random))
        }
        ("nat", _) => format!("DNAT --to-destination {}", guest(random, ipv6)),
        ("mangle", _) => random
            .pick(&[
                "MARK --set-xmark 0x1/0xffffffff",
                "MARK --set-xmark 0x2/0x2",
                "CONNMARK --save-mark",
                "CONNMARK --restore-mark",
                "DROP",
                "ACCEPT",
            ])
            .to_owned(),
        ("raw", _) => random.pick(&["CT --notrack", "DROP", "ACCEPT"]).to_owned(),
        (_, "USER") => random.pick(&["ACCEPT", "DROP", "RETURN", "LOG"]).to_owned(),
        _ => match random.below(10) {
            0..=3 => "ACCEPT".to_owned(),
            4..=6 => "DROP".to_owned(),
            7 => "USER".to_owned(),
            8 if protocol == "tcp" => "REJECT --reject-with tcp-reset".to_owned(),
            8 => "REJECT".to_owned(),
            _ => "RETURN".to_owned(),
        },
    };
    format!("-j {target}")
}

/// Rules of ebtables and arptables.
pub(super) fn link_rules(random: &mut Random, items: &mut Vec<Item>) {
    let mut add = |program, line: String| items.push(Item::Xtables { program, table: "filter", line });
    for _ in 0..random.between(1, 3) {
        let chain = random.pick(&["FORWARD", "FORWARD", "INPUT", "OUTPUT"]);
        let mut words = vec![format!("-A {chain}")];
        for _ in 0..random.between(1, 2) {
            words.push(link_test(random, chain));
        }
        // One protocol for each rule.
        words.sort_unstable();
        words.dedup_by_key(|word| word.split(' ').next().map(str::to_owned));
        words.push(format!("-j {}", random.pick(&["ACCEPT", "DROP", "DROP", "CONTINUE"])));
        add("ebtables", words.join(" "));
    }
    if random.percent(40) {
        let test = match random.below(3) {
            0 => format!("-s {}", prefix(random, false)),
            1 => format!("-d {}", prefix(random, false)),
            _ => format!("--opcode {}", random.pick(&["Request", "Reply"])),
        };
        let chain = random.pick(&["INPUT", "OUTPUT"]);
        add("arptables", format!("-A {chain} {}{test} -j {}", not(random), random.pick(&["ACCEPT", "DROP"])));
    }
}

fn link_test(random: &mut Random, chain: &str) -> String {
    let not = not(random);
    match random.below(9) {
        0 => format!("-s {not}{}", mac(random)),
        1 => format!("-d {not}{}", mac(random)),
        2 if chain != "OUTPUT" => format!("-i {not}{}", device_or_prefix(random, "+")),
        3 if chain != "INPUT" => format!("-o {not}{}", device_or_prefix(random, "+")),
        4 => format!("-p IPv4 --ip-src {not}{}", prefix(random, false)),
        5 => format!("-p IPv4 --ip-proto tcp --ip-dport {not}{}", random.pick(&["22", "80:443"])),
        6 => format!("-p ARP --arp-op {not}{}", random.pick(&["Request", "Reply"])),
        7 => format!("-p ARP --arp-ip-dst {not}{}", prefix(random, false)),
        _ => format!(
            "-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type {not}{}",
            random.pick(&["128", "129", "135"])
        ),
    }
}
