//! The same rule twice: as iptables loads it, mostly with matches of xtables, and as
//! iptables-translate says it in nft's words. Both must hold for the same packets.

use kvmnet::engine::packet_set::bdd::Bdd;
use kvmnet::engine::packet_set::{Headers, HostSets, PacketSet};
use kvmnet::engine::{Facts, rule_text};
use kvmnet_probes::facts::{Chain, Family, Policy, Snapshot, Table};

use crate::judge::{alone, possible, whole};
use crate::private_host::run;

/// Marsaglia's xorshift: the same rules everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// What iptables and ip6tables are told alike.
const MATCHES: &[&str] = &[
    "-i virbr0",
    "! -i virbr1",
    "-i virbr+",
    "-o virbr0",
    "! -o virbr+",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate RELATED,ESTABLISHED",
    "-m conntrack ! --ctstate INVALID",
    "-m conntrack ! --ctstate NEW,RELATED",
    "-m conntrack --ctstate UNTRACKED,NEW",
    "-m conntrack --ctstatus ASSURED",
    "-m conntrack --ctstatus SEEN_REPLY,CONFIRMED",
    "-m conntrack ! --ctstatus EXPECTED",
    "-m conntrack --ctdir ORIGINAL",
    "-m conntrack --ctdir REPLY --ctstate ESTABLISHED",
    "-m state --state NEW",
    "-m mark --mark 0x1",
    "-m mark ! --mark 0x10/0xff",
    "-m connmark --mark 0x2",
    "-m connmark ! --mark 0x10/0xf0",
    "-m mac --mac-source 52:54:00:00:00:01",
    "-m mac ! --mac-source 52:54:00:00:00:01",
    "-m pkttype --pkt-type multicast",
    "-m pkttype ! --pkt-type broadcast",
    "-m dscp --dscp 0x10",
    "-m dscp ! --dscp 0x08",
    "-m devgroup --src-group 7",
    "-m length --length 100:200",
    "-m cpu --cpu 1",
    "-m limit --limit 5/min",
    "-m comment --comment x",
    "-m addrtype --dst-type LOCAL",
];

const PROTOCOLS: &[&str] = &[
    "-p tcp",
    "! -p tcp",
    "-p 47",
    "-p tcp -m tcp --dport 443",
    "-p tcp -m tcp --sport 1:1023 ! --dport 80",
    "-p tcp -m tcp ! --sport 5:9",
    "-p tcp -m tcp --syn",
    "-p tcp -m tcp ! --syn",
    "-p tcp -m tcp --tcp-flags SYN,ACK ACK",
    "-p tcp -m tcp --tcp-flags FIN,RST NONE",
    "-p tcp -m tcp ! --tcp-flags ALL SYN,ACK",
    "-p udp -m udp --dport 67:68",
    "-p udp -m udp ! --sport 53",
    "-p tcp -m multiport --dports 80,443,1000:2000",
    "-p udp -m multiport --sports 53,67:68",
    "-p tcp -m multiport ! --dports 80,443",
    "-p udp -m multiport ! --sports 53",
    "-p tcp -m multiport --ports 80,443",
    "-p sctp -m sctp --dport 5",
    "-p sctp -m sctp ! --sport 5:7",
];

const IPV4: &[&str] = &[
    "-s 192.0.2.1",
    "! -s 192.0.2.0/24",
    "-d 192.0.2.0/25",
    "! -d 192.0.2.1",
    "-s 192.0.2.1/255.0.0.255",
    "-p icmp -m icmp --icmp-type 8",
    "-p icmp -m icmp --icmp-type 3/4",
    "-p icmp -m icmp ! --icmp-type 3",
    "-p icmp -m icmp --icmp-type any",
    "-m iprange --src-range 192.0.2.1-192.0.2.9",
    "-m iprange ! --dst-range 192.0.2.1-192.0.3.0",
    "-m ttl --ttl-eq 5",
    "-m ttl --ttl-gt 5",
    "-m ttl --ttl-lt 64",
    "-f",
    "! -f",
];

const IPV6: &[&str] = &[
    "-s 2001:db8::1",
    "! -s 2001:db8::/32",
    "-d fe80::/10",
    "! -d 2001:db8::1",
    "-p icmpv6 -m icmp6 --icmpv6-type 128",
    "-p icmpv6 -m icmp6 --icmpv6-type 1/3",
    "-p icmpv6 -m icmp6 ! --icmpv6-type 135",
    "-m iprange --src-range 2001:db8::1-2001:db8::9",
    "-m iprange ! --dst-range 2001:db8::1-2001:db8::1:0",
    "-m hl --hl-eq 5",
    "-m hl --hl-gt 5",
    "-m hl --hl-lt 64",
];

/// How many of the translated rules are known for every packet in both forms.
pub(crate) struct Tally {
    pub(crate) compared: usize,
    pub(crate) exact: usize,
    pub(crate) wrong: Vec<String>,
}

/// Loads the rules of a family both ways, and compares what they hold for.
pub(crate) fn compare(tool: &str, family: &str, rules: &[String], read: impl Fn() -> Snapshot) -> Tally {
    let lines: Vec<String> = rules.iter().map(|rule| format!("-A FORWARD {rule} -j DROP\n")).collect();
    let script = format!("*filter\n:FORWARD ACCEPT [0:0]\n{}COMMIT\n", lines.concat());
    let said = run(&format!("{tool}-restore-translate"), &["-f", "/dev/stdin"], &script);
    run(&format!("{tool}-nft-restore"), &[], &script);
    let (mut sayable, mut translated) = (Vec::new(), String::new());
    let mut number = 0;
    for line in said.lines() {
        let own = line.replace(&format!(" {family} filter"), &format!(" {family} translated"));
        if line.starts_with("add rule") {
            sayable.push(number);
        }
        number += usize::from(line.starts_with("add rule") || line.starts_with("# -t filter -A"));
        translated += &[own.as_str(), "\n"].concat();
    }
    assert_eq!(number, rules.len(), "every rule is said, or said not to be sayable:\n{said}");
    run("nft", &["-f", "-"], &translated);
    let snapshot = read();
    let chain = |table: &str| {
        let tables = snapshot.nf_tables.items();
        let table = tables.iter().find(|it| it.name == table && it.family.as_str() == family);
        let table = table.expect("it was loaded");
        (table, table.chains.iter().find(|chain| chain.name == "FORWARD").expect("it was loaded"))
    };
    let (theirs, ours) = (chain("filter"), chain("translated"));
    let mut tally = Tally { compared: sayable.len(), exact: 0, wrong: Vec::new() };
    for (at, number) in sayable.into_iter().enumerate() {
        let rule = &rules[number];
        let tables = [one(theirs, number), one(ours, at)];
        let facts = Facts::new(&snapshot);
        let mut all = HostSets::new(&facts, 1 << 18);
        let [xtables, nft] = tables.each_ref().map(|table| held(&mut all, &snapshot, table));
        let exact = [&xtables, &nft].iter().all(|held| held.1 == Bdd::NONE);
        tally.exact += usize::from(exact);
        let contrary = |all: &mut HostSets<'_>, yes: PacketSet, held: &(PacketSet, PacketSet)| {
            let perhaps = all.sets.or(held.0, held.1).expect("few sets");
            all.sets.minus(yes, perhaps).expect("few sets") != Bdd::NONE
        };
        let differs = contrary(&mut all, xtables.0, &nft) || contrary(&mut all, nft.0, &xtables);
        if differs {
            let text = rule_text(&snapshot, &tables[1], &ours.1.rules[at]);
            tally.wrong.push(format!("{rule}\n    {text}"));
        }
    }
    tally
}

fn one((table, chain): (&Table, &Chain), number: usize) -> Table {
    alone(table, chain, &chain.rules[number], Policy::Accept)
}

/// The packets for which the rule surely holds, and those for which it may.
fn held<'a>(all: &mut HostSets<'a>, snapshot: &'a Snapshot, table: &'a Table) -> (PacketSet, PacketSet) {
    let chain = table.chains.iter().find(|chain| chain.name == "FORWARD").expect("it was kept");
    let base = chain.base.as_ref().expect("a base chain");
    let input = possible(all, snapshot, base).expect("few sets");
    let family = if table.family == Family::Ip6 { Family::Ip6 } else { Family::Ip };
    let passage = all.through(table, chain, family, input, &mut Headers::default());
    let whole = whole(all).expect("few sets");
    let mut of_whole = |packets| all.sets.and(packets, whole).expect("few sets");
    (of_whole(passage.stopped), of_whole(passage.either))
}

/// Random rules of a family.
pub(crate) fn rules(count: usize, ipv6: bool) -> Vec<String> {
    let own = if ipv6 { IPV6 } else { IPV4 };
    let mut random = Random(0x6970_7461_626c_6573);
    let mut rules = Vec::new();
    while rules.len() < count {
        let mut parts = Vec::new();
        for _ in 0..=random.below(3) {
            let from = [MATCHES, own, PROTOCOLS][random.below(3)];
            parts.push(random.pick(from));
        }
        // Every option once, and one protocol.
        let words: Vec<&str> = parts.iter().flat_map(|part| part.split(' ')).collect();
        let mut options: Vec<&str> = words.iter().copied().filter(|word| word.starts_with('-')).collect();
        let all = options.iter().filter(|option| **option != "-m").count();
        options.retain(|option| *option != "-m");
        options.sort_unstable();
        options.dedup();
        if options.len() == all && !words.contains(&"comment") {
            rules.push(parts.join(" "));
        }
    }
    rules
}
