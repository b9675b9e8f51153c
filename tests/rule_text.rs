//! The text of rules against the tools that the administrator knows: what nft and iptables loaded into
//! a private network namespace is read from the kernel, rendered, and compared with what
//! `nft list ruleset`, `iptables-save` and `ebtables-save` print, line by line.
//!
//! Where the texts differ, [`Difference`] says why; one that does not occur any more fails too.
//!
//! Needs root, nft, iptables and ebtables. Skipped without root, unless `KVMNET_LAB=require`.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod private_host;

use std::collections::BTreeMap;

use kvmnet::engine::rule_text;
use kvmnet_probes::facts::{Family, Generation, Snapshot, Table};
use private_host::{on_private_host, run, snapshot};

/// Rules by chain, as `ip filter FORWARD`.
type Rules = BTreeMap<String, Vec<String>>;

/// A rule that we write otherwise than the tool.
struct Difference {
    theirs: &'static str,
    ours: &'static str,
    reason: &'static str,
}

const fn differ(theirs: &'static str, ours: &'static str, reason: &'static str) -> Difference {
    Difference { theirs, ours, reason }
}

/// The rules of tables as we write them.
fn ours(snapshot: &Snapshot, tables: &[Table]) -> Rules {
    let mut rules = Rules::new();
    for table in tables {
        for chain in &table.chains {
            let texts = chain.rules.iter().map(|rule| rule_text(snapshot, table, rule));
            let name = format!("{} {} {}", table.family, table.name, chain.name);
            rules.entry(name).or_default().extend(texts);
        }
    }
    rules.retain(|_, rules| !rules.is_empty());
    rules
}

/// Fails unless both sides have the same rules, but for the differences, all of which occur.
fn compare(ours: &Rules, theirs: &Rules, known: &[&Difference]) {
    assert!(!theirs.is_empty(), "the tool shows no rules at all: nothing is compared");
    let mut wrong = Vec::new();
    let mut met = vec![false; known.len()];
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (chain, theirs) in theirs {
        let ours = &ours[chain];
        assert_eq!(ours.len(), theirs.len(), "{chain}\nours: {ours:#?}\ntheirs: {theirs:#?}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            if ours == theirs {
                continue;
            }
            match known.iter().position(|known| known.ours == ours && known.theirs == theirs) {
                Some(at) => met[at] = true,
                None => wrong.push(format!("{chain}\n  theirs: {theirs}\n  ours:   {ours}")),
            }
        }
    }
    let gone = known.iter().zip(met).filter(|(_, met)| !met);
    wrong.extend(gone.map(|(known, _)| format!("does not occur: {} ({})", known.theirs, known.reason)));
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What `nft list ruleset` printed.
fn listed(text: &str) -> Rules {
    let mut rules = Rules::new();
    let (mut table, mut chain) = (String::new(), None);
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["table", family, name, "{"] => table = format!("{family} {name}"),
            ["chain", name, "{"] => chain = Some(format!("{table} {name}")),
            ["}"] => chain = None,
            [] | [""] | ["type", _, "hook", ..] => {}
            _ => {
                if let Some(chain) = &chain {
                    rules.entry(chain.clone()).or_default().push(without_state(line));
                }
            }
        }
    }
    rules
}

/// A rule of nft without what the facts do not hold: numbers of counters, rates, log prefixes.
fn without_state(line: &str) -> String {
    let (rule, comment) = match line.split_once(" comment \"") {
        Some((rule, comment)) => (rule, Some(comment.trim_end_matches('"'))),
        None => (line, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut words = rule.split(' ').peekable();
    while let Some(word) = words.next() {
        kept.push(word);
        let last = |count: usize| kept.len().checked_sub(count).map(|at| kept[at..].join(" "));
        let is = |words: &str| last(words.split(' ').count()).as_deref() == Some(words);
        let (skipped, left) = if is("counter") && words.peek() == Some(&"packets") {
            (4, None)
        } else if is("limit rate") || is("quota") {
            if words.peek() == Some(&"over") {
                kept.extend(words.next());
            }
            // `5/second`, `5 mbytes/second`, `5 mbytes`.
            let one = words.peek().is_some_and(|word| word.contains('/'));
            (if one { 1 } else { 2 }, Some("…"))
        } else if is("…") && words.peek() == Some(&"burst") {
            (3, None)
        } else if is("log") && matches!(words.peek(), Some(&"prefix" | &"group")) {
            (2, None)
        } else {
            (0, None)
        };
        for _ in 0..skipped {
            words.next();
        }
        kept.extend(left);
        // What follows a rate belongs to it.
        if left.is_some() && words.peek() == Some(&"burst") {
            words.by_ref().take(3).for_each(|_| ());
        }
    }
    let rule = kept.join(" ");
    comment.map_or_else(|| rule.clone(), |comment| format!("{rule} # {comment}"))
}

/// What `iptables-save` or `ebtables-save` printed.
fn saved(family: &str, text: &str) -> Rules {
    let mut rules = Rules::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
            let rule = rule.trim();
            let rule = match rule.split_once("-m comment --comment ") {
                Some((before, rest)) => {
                    let (comment, after) = rest.split_once(" -j ").unwrap();
                    format!("{before}-j {after} # {comment}")
                }
                None => rule.to_owned(),
            };
            rules.entry(format!("{family} {table} {chain}")).or_default().push(rule);
        }
    }
    rules
}

#[test]
fn rules_are_shown_as_nft_lists_them() {
    on_private_host(|| {
        run("nft", &["-f", "-"], include_str!("rule_text/all.nft"));
        let snapshot = snapshot();
        let ours = ours(&snapshot, snapshot.nf_tables.known().unwrap());
        compare(&ours, &listed(&run("nft", &["list", "ruleset"], "")), &NFT.iter().collect::<Vec<_>>());
    });
}

#[test]
fn rules_of_iptables_and_ebtables_are_shown_as_they_save_them() {
    on_private_host(|| {
        run("iptables-restore", &[], include_str!("rule_text/iptables.rules"));
        run("ip6tables-restore", &[], include_str!("rule_text/ip6tables.rules"));
        run("ebtables-restore", &[], include_str!("rule_text/ebtables.rules"));
        let snapshot = snapshot();
        let mut tables = snapshot.nf_tables.known().unwrap().clone();
        for table in tables.iter_mut().filter(|table| table.family == Family::Bridge) {
            // The policy of a chain that ebtables' user made is a rule, which ebtables-save hides.
            for chain in table.chains.iter_mut().filter(|chain| chain.base.is_none()) {
                chain.rules.pop();
            }
        }
        let mut theirs = saved("ip", &run("iptables-save", &[], ""));
        theirs.extend(saved("ip6", &run("ip6tables-save", &[], "")));
        theirs.extend(saved("bridge", &run("ebtables-save", &[], "")));
        let known: Vec<_> = IPTABLES.iter().chain(&EBTABLES).collect();
        compare(&ours(&snapshot, &tables), &theirs, &known);
    });
}

#[test]
fn rules_of_legacy_iptables_are_shown_as_it_saves_them() {
    on_private_host(|| {
        run("iptables-legacy-restore", &[], include_str!("rule_text/iptables.rules"));
        run("ip6tables-legacy-restore", &[], include_str!("rule_text/ip6tables.rules"));
        let snapshot = snapshot();
        let tables = snapshot.xtables_legacy.known().unwrap();
        assert!(tables.iter().all(|table| table.generation == Generation::XtablesLegacy));
        let mut theirs = saved("ip", &run("iptables-legacy-save", &[], ""));
        theirs.extend(saved("ip6", &run("ip6tables-legacy-save", &[], "")));
        compare(&ours(&snapshot, tables), &theirs, &IPTABLES.iter().collect::<Vec<_>>());
    });
}

const FACTS: &str = "the facts do not hold it";
const LOSSY: &str = "nft leaves out what it would not put back: ours says what the kernel tests";
const CLOCK: &str = "nft shows local time, and the core knows of no time zone";

const NFT: &[Difference] = &[
    differ("meta l4proto icmp accept", "meta nfproto ipv4 meta l4proto icmp accept", LOSSY),
    differ("tcp dport 22 accept", "ip6 nexthdr tcp tcp dport 22 accept", LOSSY),
    differ(
        "icmp mtu 5 accept",
        "icmp type destination-unreachable icmp mtu 5 accept",
        "the type that gives the field its name is said",
    ),
    differ(
        "icmpv6 mtu 5 accept",
        "icmpv6 type packet-too-big icmpv6 mtu 5 accept",
        "the type that gives the field its name is said",
    ),
    differ(
        "ip saddr . tcp dport { 10.0.0.1-10.0.0.5 . 80-90, 10.0.0.0/24 . 443 } accept",
        "ip saddr . tcp dport { 10.0.0.0/24 . 443, 10.0.0.1-10.0.0.5 . 80-90 } accept",
        "ours are in the order of their first keys",
    ),
    differ(
        "tcp flags { syn | ack, syn } accept",
        "tcp flags { syn, syn | ack } accept",
        "ours are in the order of their keys",
    ),
    differ("meta hour \"17:00\"-\"18:00\" accept", "meta hour 61200-64800 accept", CLOCK),
    differ("meta time \"2024-01-01 00:00:00\" accept", "meta time 1704067200000000000 accept", CLOCK),
    differ("update @seen { ip saddr timeout 5s } accept", "update @seen { ip saddr } accept", FACTS),
    differ("ipsec in reqid 5 accept", "<xfrm: not understood> 0x05000000 accept", FACTS),
    differ("socket transparent 1 accept", "<socket: not understood> 0x01 accept", FACTS),
    differ("numgen random mod 2 0 accept", "<numgen: not understood> 0x00000000 accept", FACTS),
    differ("fwd to \"lo\"", "<fwd: not understood>", FACTS),
    differ("dup to \"lo\"", "<dup: not understood>", FACTS),
];

/// Of iptables, be it legacy or not.
const IPTABLES: [Difference; 14] = [
    differ(
        "-m conntrack --ctorigdstport 80 --ctdir REPLY -j ACCEPT",
        "-m conntrack … --ctdir REPLY -j ACCEPT",
        FACTS,
    ),
    differ(
        "-m state --state NEW,UNTRACKED -j ACCEPT",
        "-m conntrack --ctstate NEW,UNTRACKED -j ACCEPT",
        "the kernel has one match for both",
    ),
    differ("-m limit --limit 5/min -j ACCEPT", "-m limit … -j ACCEPT", FACTS),
    differ(
        "-m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name x -j ACCEPT",
        "-m hashlimit … -j ACCEPT",
        FACTS,
    ),
    differ("-m string --string \"x\" --algo bm -j ACCEPT", "-m <string: not understood> -j ACCEPT", FACTS),
    differ("-j LOG --log-prefix x", "-j LOG", FACTS),
    differ("-j NFLOG --nflog-group 5", "-j NFLOG", FACTS),
    differ("-j NFQUEUE --queue-num 5", "-j <NFQUEUE: not understood>", FACTS),
    differ(
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS …",
        FACTS,
    ),
    differ("-j DSCP --set-dscp 0x10", "-j <DSCP: not understood>", FACTS),
    differ(
        "-p udp -m udp --dport 68 -j CHECKSUM --checksum-fill",
        "-p udp -m udp --dport 68 -j CHECKSUM …",
        FACTS,
    ),
    differ("-j MASQUERADE --random", "-j MASQUERADE", FACTS),
    differ("-j SNAT --to-source 10.0.0.1 --persistent", "-j SNAT --to-source 10.0.0.1", FACTS),
    differ("-j NOTRACK", "-j CT --notrack", "the kernel has one target for both"),
];

const EBTABLES: [Difference; 3] = [
    differ("--limit 5/sec --limit-burst 5 -j DROP", "--limit … -j DROP", FACTS),
    differ("-p 802_1Q --vlan-id 5 -j DROP", "-p 802_1Q <vlan: not understood> -j DROP", FACTS),
    differ("--log-level notice --log-prefix \"x\" -j ACCEPT", "--log … -j ACCEPT", FACTS),
];
