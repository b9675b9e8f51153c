//! Loads rules one by one, and finds them again in what kvmnet reads.

use std::collections::BTreeMap;

use kvmnet_probes::facts::{Chain, Rule, Snapshot, Table};

use crate::private_host::{attempt, run};
use crate::samples::{Place, Sample};

/// Where a sample's rules have come to be.
#[derive(Debug)]
pub(crate) struct Loaded {
    place: Place,
    /// Their numbers in the chain.
    numbers: Vec<usize>,
    /// Why some of them were refused.
    pub(crate) refused: Vec<String>,
}

impl Loaded {
    /// The table, its chain, and the rules in it.
    pub(crate) fn find<'a>(&self, snapshot: &'a Snapshot) -> (&'a Table, &'a Chain, Vec<&'a Rule>) {
        let place = self.place;
        let tables = snapshot.nf_tables.items();
        let table = tables
            .iter()
            .find(|table| table.family.as_str() == place.family() && table.name == place.table)
            .expect("the table was read");
        let chain = table.chains.iter().find(|chain| chain.name == place.chain).expect("the chain was read");
        let rules = self.numbers.iter().map(|number| &chain.rules[*number]).collect();
        (table, chain, rules)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

/// Loads the samples on the calling thread's host.
pub(crate) fn load(samples: &[Sample]) -> Vec<Loaded> {
    prepare();
    let mut chains: BTreeMap<Place, usize> = BTreeMap::new();
    let mut one = |sample: &Sample| {
        let mut loaded = Loaded { place: sample.place, numbers: Vec::new(), refused: Vec::new() };
        let length = chains.entry(sample.place).or_default();
        for rule in &sample.rules {
            match add(sample, rule) {
                Ok(_) => {
                    loaded.numbers.push(*length);
                    *length += 1;
                }
                Err(why) => loaded.refused.push(format!("{rule}: {}", first_line(&why))),
            }
        }
        loaded
    };
    samples.iter().map(&mut one).collect()
}

fn add(sample: &Sample, rule: &str) -> Result<String, String> {
    let Place { tool, table, chain } = sample.place;
    if sample.place.is_nft() {
        let verdict = if sample.is_match() && !rule.contains("vmap") { " drop" } else { "" };
        return attempt("nft", &["-f", "-"], &format!("add rule {tool} {table} {chain} {rule}{verdict}\n"));
    }
    let mut arguments = vec!["-t", table, "-A", chain];
    if tool == "arptables" {
        // It knows of one table, and says no other.
        arguments.drain(..2);
    }
    // A tilde stands for a space within an argument.
    let words: Vec<_> = rule.split(' ').map(|word| word.replace('~', " ")).collect();
    arguments.extend(words.iter().map(String::as_str));
    if sample.is_match() {
        arguments.extend(["-j", "DROP"]);
    }
    attempt(&format!("{tool}-nft"), &arguments, "")
}

/// Two bridges with a port and addresses.
pub(crate) fn devices() {
    run("ip", &["link", "add", "virbr1", "type", "bridge"], "");
    run("ip", &["link", "set", "virbr1", "group", "7"], "");
    run("ip", &["link", "add", "vnet0", "type", "veth", "peer", "name", "vnet1"], "");
    run("ip", &["link", "set", "vnet0", "master", "virbr0"], "");
    run("ip", &["link", "set", "vnet1", "master", "virbr1"], "");
    run("ip", &["address", "add", "192.0.2.254/24", "dev", "virbr0"], "");
    run("ip", &["address", "add", "2001:db8::fe/64", "dev", "virbr0", "nodad"], "");
    run("ip", &["link", "set", "virbr0", "up"], "");
}

/// Tables, chains and objects. What an older kernel does not have is missed where it is used.
fn prepare() {
    devices();
    let mut commands = Vec::new();
    for (family, chains) in NFT {
        commands.push(format!("add table {family} t"));
        if *family != "netdev" {
            commands.push(format!("add chain {family} t empty"));
            commands.push(format!("add chain {family} t drops"));
            commands.push(format!("add rule {family} t drops drop"));
        }
        for (chain, base) in *chains {
            commands.push(format!("add chain {family} t {chain} {{ type {base}; }}"));
        }
    }
    commands.extend(include_str!("nft_objects.nft").lines().map(str::to_owned));
    for command in &commands {
        let _ = attempt("nft", &["-f", "-"], command);
    }
    for tool in ["iptables-nft", "ebtables-nft"] {
        run(tool, &["-N", "drops"], "");
        run(tool, &["-A", "drops", "-j", "DROP"], "");
    }
    let _ = attempt("ipset", &["create", "kvmnet", "hash:ip"], "");
}

/// Base chains by family.
const NFT: &[(&str, &[(&str, &str)])] = &[
    (
        "inet",
        &[
            ("prerouting", "filter hook prerouting priority -300"),
            ("input", "filter hook input priority 0"),
            ("forward", "filter hook forward priority 0"),
            ("output", "filter hook output priority 0"),
        ],
    ),
    (
        "ip",
        &[
            ("input", "filter hook input priority 0"),
            ("forward", "filter hook forward priority 0"),
            ("nat_prerouting", "nat hook prerouting priority -100"),
            ("nat_output", "nat hook output priority -100"),
            ("nat_postrouting", "nat hook postrouting priority 100"),
        ],
    ),
    (
        "bridge",
        &[
            ("prerouting", "filter hook prerouting priority -300"),
            ("forward", "filter hook forward priority 0"),
        ],
    ),
    (
        "netdev",
        &[
            ("ingress", "filter hook ingress device virbr0 priority 0"),
            ("egress", "filter hook egress device virbr0 priority 0"),
        ],
    ),
];

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given")
}
