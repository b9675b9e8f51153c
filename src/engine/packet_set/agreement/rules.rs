//! Random tables.

use super::*;
use crate::engine::testing::{accept, base, chain, drop, element, goto, jump, payload, set, state, verdict};

const R1: Register = Register(1);

/// A table with a base chain of the family and two others; `sure`: without what goes either way.
pub(super) fn table(random: &mut Random, family: Family, sure: bool) -> Table {
    let hook = random.pick(&[Hook::Forward, Hook::Input, Hook::Output, Hook::Prerouting]);
    let policy = random.pick(&[Policy::Accept, Policy::Drop]);
    let mut chains = vec![base("base", "filter", hook, 0, policy), chain("one"), chain("two")];
    let mut sets = Vec::new();
    for (at, chain) in chains.iter_mut().enumerate() {
        for handle in 1..=if at == 0 { 7 } else { 3 } {
            let mut exprs = Vec::new();
            for _ in 0..random.below(4) {
                exprs.extend(test(random, family, sure, &mut sets));
            }
            exprs.extend(end(random, family, at, &mut sets));
            chain.rules.push(Rule { handle, comment: None, counter: None, exprs });
        }
    }
    Table { family, sets, ..testing::table("t", chains) }
}

/// The rules in short.
pub(super) fn text(table: &Table) -> Vec<String> {
    let rules = table.chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)));
    let rules = rules.map(|(chain, rule)| format!("{} {}: {:?}", chain.name, rule.handle, rule.exprs));
    let base = table.chains[0].base.iter().map(|base| format!("{base:?}"));
    base.chain(rules).chain(table.sets.iter().map(|set| format!("{set:?}"))).collect()
}

fn end(random: &mut Random, family: Family, at: usize, sets: &mut Vec<Set>) -> Vec<Expr> {
    // Chains go forward only.
    let further = ["one", "two"].get(at..).unwrap_or_default().first().copied();
    match (random.below(if family == Family::Bridge { 12 } else { 14 }), further) {
        (0..3, _) => accept(),
        (3..5, _) => drop(),
        (5, _) => testing::reject(),
        (6 | 7, Some(name)) => jump(name),
        (8, Some(name)) => goto(name),
        (9, _) => verdict(Verdict::Return),
        (10, _) => write(random, family),
        (12, _) => vec![Expr::Masquerade { port_min: None, port_max: None, flags: 0 }],
        (13, _) => vec![Expr::Redirect { port_min: None, port_max: None, flags: 0 }],
        (11, Some(name)) if family != Family::Bridge => dispatch(random, name, sets),
        _ => Vec::new(),
    }
}

/// A map from ports to verdicts.
fn dispatch(random: &mut Random, name: &str, sets: &mut Vec<Set>) -> Vec<Expr> {
    let chain = || name.to_owned();
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Continue,
        Verdict::Return,
        Verdict::Jump { chain: chain() },
        Verdict::Goto { chain: chain() },
    ];
    let mut map = ports(random, sets);
    map.map = true;
    map.verdicts = true;
    for element in map.elements.iter_mut().filter(|element| !element.interval_end) {
        element.data = Some(Data::Verdict(random.pick(&verdicts)));
    }
    if random.one_in(3) {
        let data = Some(Data::Verdict(random.pick(&verdicts)));
        map.elements.push(Element { key: None, data, ..element(&[]) });
    }
    let lookup =
        Expr::Lookup { set: map.name.clone(), source: R1, destination: Some(Register(0)), invert: false };
    sets.push(map);
    vec![load(PayloadBase::Transport, 2, 2), lookup]
}

fn write(random: &mut Random, family: Family) -> Vec<Expr> {
    let address =
        octets(ip(if family == Family::Ip6 { random.pick(&ADDRESSES6) } else { random.pick(&ADDRESSES) }));
    let mark = random.pick(&MARKS);
    let value = Expr::Immediate { destination: R1, data: Data::Value(bytes(&mark.to_ne_bytes())) };
    let set_mark = Expr::MetaSet { source: R1, key: "mark".to_owned() };
    match random.below(if family == Family::Bridge { 8 } else { 10 }) {
        0 => vec![value, set_mark],
        1 => {
            let (mask, xor) = (bytes(&(!mark).to_ne_bytes()), bytes(&mark.to_ne_bytes()));
            let or = Expr::Bitwise { source: R1, destination: R1, length: 4, mask, xor };
            vec![meta("mark"), or, set_mark]
        }
        2 => vec![value, Expr::CtSet { source: R1, key: "mark".to_owned(), direction: None }],
        3 => vec![ct("mark"), set_mark],
        4 => vec![Expr::Notrack],
        5 => target(XtAction::SetMark { mark, mask: random.pick(&[0xff, u32::MAX]) }),
        6 => {
            let mode = u8::try_from(random.below(3)).unwrap();
            target(XtAction::Connmark { mode, mark, ct_mask: 0xff, packet_mask: 0xffff })
        }
        8 => {
            let (offset, length) = if family == Family::Ip6 { (24, 16) } else { (16, 4) };
            let value = Expr::Immediate { destination: R1, data: Data::Value(Bytes(address)) };
            vec![value, Expr::PayloadSet { source: R1, base: PayloadBase::Network, offset, length }]
        }
        9 => {
            let offset = if family == Family::Ip6 { 7 } else { 8 };
            let value =
                Expr::Immediate { destination: R1, data: Data::Value(bytes(&[random.pick(&[1, 63])])) };
            vec![value, Expr::PayloadSet { source: R1, base: PayloadBase::Network, offset, length: 1 }]
        }
        _ => {
            let shift =
                Expr::Shift { source: R1, destination: R1, length: 4, left: random.one_in(2), bits: 4 };
            vec![meta("mark"), shift, set_mark]
        }
    }
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes(bytes.to_vec())
}

fn load(base: PayloadBase, offset: u32, length: u32) -> Expr {
    Expr::Payload { destination: R1, base, offset, length }
}

fn meta(key: &str) -> Expr {
    Expr::Meta { destination: R1, key: key.to_owned() }
}

fn ct(key: &str) -> Expr {
    Expr::Ct { destination: R1, key: key.to_owned(), direction: None }
}

fn target(action: XtAction) -> Vec<Expr> {
    vec![Expr::Target(Box::new(XtTarget { name: "t".to_owned(), revision: 0, action }))]
}

fn compare(random: &mut Random, data: &[u8]) -> Expr {
    use Compare::{Eq, Ge, Gt, Le, Lt, Ne};
    Expr::Cmp { source: R1, op: random.pick(&[Eq, Eq, Eq, Ne, Lt, Le, Gt, Ge]), data: bytes(data) }
}

fn equal(random: &mut Random, data: &[u8]) -> Expr {
    let op = if random.one_in(4) { Compare::Ne } else { Compare::Eq };
    Expr::Cmp { source: R1, op, data: bytes(data) }
}

/// A set of ports, plain or of intervals.
fn ports(random: &mut Random, sets: &[Set]) -> Set {
    let mut set = set(&format!("s{}", sets.len()), 2);
    set.interval = random.one_in(2);
    let mut chosen: Vec<u16> = (0..4).map(|_| random.pick(&PORTS)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    for (at, port) in chosen.iter().enumerate() {
        let interval_end = set.interval && at % 2 == 1;
        set.elements.push(Element { interval_end, ..element(&port.to_be_bytes()) });
    }
    set.elements.reverse();
    set
}

fn lookup(random: &mut Random, set: Set, sets: &mut Vec<Set>) -> Expr {
    let name = set.name.clone();
    sets.push(set);
    Expr::Lookup { set: name, source: R1, destination: None, invert: random.one_in(4) }
}

/// One test.
fn test(random: &mut Random, family: Family, sure: bool, sets: &mut Vec<Set>) -> Vec<Expr> {
    let ipv6 = family == Family::Ip6;
    let address =
        if ipv6 { octets(ip(random.pick(&ADDRESSES6))) } else { octets(ip(random.pick(&ADDRESSES))) };
    let (at, length) = if ipv6 { (random.pick(&[8, 24]), 16) } else { (random.pick(&[12, 16]), 4) };
    let mark = random.pick(&MARKS).to_ne_bytes();
    let device = random.pick(&DEVICES);
    match random.below(if sure { 22 } else { 25 }) {
        0 => {
            let prefix = &address[..random.pick(&[2, 3, length])];
            let size = u32::try_from(prefix.len()).unwrap();
            vec![load(PayloadBase::Network, at, size), compare(random, prefix)]
        }
        1 => {
            let mut mask = vec![0xff; length];
            mask[length - 1] = random.pick(&[0xfe, 0xf0, 0x66]);
            mask[length - 2] = random.pick(&[0xff, 0xf0]);
            let wanted: Vec<u8> = address.iter().zip(&mask).map(|(octet, mask)| octet & mask).collect();
            let size = u32::try_from(length).unwrap();
            let xor = bytes(&vec![0; length]);
            let and = Expr::Bitwise { source: R1, destination: R1, length: size, mask: bytes(&mask), xor };
            vec![load(PayloadBase::Network, at, size), and, equal(random, &wanted)]
        }
        2 => {
            let mut ends =
                [address.clone(), octets(ip(random.pick(if ipv6 { &ADDRESSES6[..] } else { &ADDRESSES })))];
            ends.sort();
            let [from, to] = ends.map(Bytes);
            let range = Expr::Range { source: R1, invert: random.one_in(3), from, to };
            vec![load(PayloadBase::Network, at, u32::try_from(length).unwrap()), range]
        }
        3 => vec![meta("l4proto"), equal(random, &[if ipv6 { 58 } else { 6 }])],
        4 => vec![load(PayloadBase::Network, if ipv6 { 6 } else { 9 }, 1), compare(random, &[17])],
        5 => {
            let port = random.pick(&PORTS).to_be_bytes();
            vec![load(PayloadBase::Transport, random.pick(&[0, 2]), 2), compare(random, &port)]
        }
        6 => {
            let ports = ports(random, sets);
            vec![load(PayloadBase::Transport, 2, 2), lookup(random, ports, sets)]
        }
        7 => concatenation(random, (at, &address), sets),
        8 => vec![load(PayloadBase::Transport, 0, 1), equal(random, &[8])],
        9 => {
            let and = Expr::Bitwise {
                source: R1,
                destination: R1,
                length: 1,
                mask: bytes(&[0x12]),
                xor: bytes(&[0]),
            };
            vec![load(PayloadBase::Transport, 13, 1), and, equal(random, &[2])]
        }
        10 => {
            let key = random.pick(&["iif", "oif"]);
            vec![meta(key), equal(random, &device.0.to_ne_bytes())]
        }
        11 => {
            let name = random.pick(&["eth0", "vnet0", "virbr0", "vnet"]);
            let mut name = name.as_bytes().to_vec();
            if name != b"vnet" {
                name.resize(16, 0);
            }
            vec![meta(random.pick(&["iifname", "oifname"])), equal(random, &name)]
        }
        12 => {
            let (key, data): (&str, Vec<u8>) = random.pick(&[
                ("iiftype", 1_u16.to_ne_bytes().to_vec()),
                ("oifgroup", 0_u32.to_ne_bytes().to_vec()),
                ("pkttype", vec![1]),
                ("protocol", vec![8, 0]),
                ("nfproto", vec![2]),
                ("ibrname", b"virbr0\0".to_vec()),
                ("iifkind", b"tun\0".to_vec()),
                ("ipsec", vec![0]),
            ]);
            vec![meta(key), equal(random, &data)]
        }
        13 => {
            let xor = bytes(&[0; 4]);
            let and = Expr::Bitwise { source: R1, destination: R1, length: 4, mask: bytes(&mark), xor };
            let key = if random.one_in(3) { ct("mark") } else { meta("mark") };
            vec![key, and, equal(random, &mark)]
        }
        14 => {
            let order = Expr::Byteorder { source: R1, destination: R1, length: 4, size: 4, to_host: false };
            vec![meta("mark"), order, compare(random, &0x10_u32.to_be_bytes())]
        }
        15 => state(random.pick(&[2, 6, 8, 1, 64])),
        16 => {
            let mut set = set(&format!("s{}", sets.len()), 4);
            set.elements = vec![element(&2_u32.to_ne_bytes()), element(&8_u32.to_ne_bytes())];
            vec![ct("state"), lookup(random, set, sets)]
        }
        17 => {
            let (key, data): (&str, Vec<u8>) = random.pick(&[
                ("direction", vec![1]),
                ("status", 0xa_u32.to_ne_bytes().to_vec()),
                ("l3proto", vec![2]),
                ("protocol", vec![6]),
            ]);
            vec![ct(key), equal(random, &data)]
        }
        18 => payload(PayloadBase::Link, random.pick(&[0, 6]), &random.pick(&MACS).0),
        19..22 => {
            vec![Expr::Match(Box::new(XtMatch {
                name: "m".to_owned(),
                revision: 0,
                test: xt(random, family, device),
            }))]
        }
        22 => vec![random.pick(&[Expr::Limit { over: false }, Expr::Quota { over: true }])],
        23 => vec![meta(random.pick(&["skuid", "random", "length"])), equal(random, &[0, 0, 0, 1])],
        _ => vec![match random.below(4) {
            0 => Expr::Opaque { name: "x".to_owned(), data: bytes(&[]) },
            1 => Expr::Exthdr {
                destination: R1,
                kind: "tcp option".to_owned(),
                header: 2,
                offset: 0,
                length: 2,
                present_only: true,
            },
            _ => Expr::Match(Box::new(XtMatch {
                name: "limit".to_owned(),
                revision: 0,
                test: XtTest::Stateful,
            })),
        }],
    }
}

/// An address and a port, in a set of concatenated intervals.
fn concatenation(random: &mut Random, (at, address): (u32, &[u8]), sets: &mut Vec<Set>) -> Vec<Expr> {
    let size = u32::try_from(address.len()).unwrap();
    let mut set = set(&format!("s{}", sets.len()), size + 4);
    set.interval = random.one_in(2);
    set.key_fields = vec![size, 2];
    for port in [random.pick(&PORTS), random.pick(&PORTS)] {
        let key = [address, &port.to_be_bytes(), &[0, 0]].concat();
        let mut last = address.to_vec();
        last[address.len() - 1] = 0xff;
        let end = [last.as_slice(), &port.saturating_add(400).to_be_bytes(), &[0, 0]].concat();
        let key_end = set.interval.then_some(Bytes(end));
        if set.elements.iter().all(|element| element.key != Some(Bytes(key.clone()))) {
            set.elements.push(Element { key_end, ..element(&key) });
        }
        if set.interval {
            break;
        }
    }
    let second = Register(8 + size / 4);
    let port = Expr::Payload { destination: second, base: PayloadBase::Transport, offset: 2, length: 2 };
    vec![load(PayloadBase::Network, at, size), port, lookup(random, set, sets)]
}

/// An xtables match.
fn xt(random: &mut Random, family: Family, device: IfIndex) -> XtTest {
    fn test<T>(random: &mut Random, value: T) -> Test<T> {
        Test { invert: random.one_in(4), value }
    }
    let port = random.pick(&PORTS);
    let ports = (port, port.saturating_add(random.pick(&[0, 1, 400])));
    let mark = (random.pick(&MARKS), random.pick(&[u32::MAX, 0x11, 1]));
    let any = Test { invert: false, value: (0, 65535) };
    let address = |random: &mut Random| {
        let (pool, mask) = match family {
            Family::Ip6 => (&ADDRESSES6[..], "ffff:ffff:ffff:ffff::"),
            _ => (&ADDRESSES[..], "255.255.255.0"),
        };
        Masked { address: ip(random.pick(pool)), mask: ip(mask) }
    };
    // In bridges only matches of every family and those of ebtables can be loaded.
    let kinds: &[usize] =
        if family == Family::Bridge { &[3, 4, 5, 6, 10, 11, 12] } else { &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] };
    match random.pick(kinds) {
        0 => XtTest::Ports {
            source: any,
            destination: test(random, ports),
            flags: random.one_in(2).then(|| test(random, (0x12, 2))),
            option: None,
        },
        1 => {
            let which = random.pick(&["source", "destination", "either"]).to_owned();
            XtTest::Multiport { which, ranges: test(random, vec![ports, (443, 443)]) }
        }
        2 => XtTest::Icmp { types: test(random, (8, 0, 1)) },
        3 => {
            let state = random.pick(&[2, 6, 8, 1, 256, 0x40, 0x82]);
            XtTest::Conntrack {
                state: (!random.one_in(4)).then(|| test(random, state)),
                status: random.one_in(4).then(|| test(random, 0xa)),
                protocol: random.one_in(4).then(|| test(random, 6)),
                original_source: None,
                original_destination: None,
                reply_source: None,
                reply_destination: None,
                original_direction: random.one_in(4).then_some(true),
                opaque: false,
            }
        }
        4 => XtTest::Mark { mark: test(random, mark) },
        5 => XtTest::Connmark { mark: test(random, mark) },
        6 => XtTest::Physdev {
            input: random
                .one_in(2)
                .then(|| test(random, IfName::from(if device == ETH0 { "eth0" } else { "vnet+" }))),
            output: random.one_in(3).then(|| test(random, IfName::from("vnet+"))),
            is_in: random.one_in(3).then_some(true),
            is_out: random.one_in(4).then_some(false),
            is_bridged: random.one_in(3).then_some(true),
        },
        7 => {
            let (one, two) = (address(random).address, address(random).address);
            XtTest::Iprange { source: Some(test(random, (one.min(two), one.max(two)))), destination: None }
        }
        8 => {
            let mac = random.pick(&MACS);
            XtTest::Mac { source: test(random, mac) }
        }
        9 => random.pick(&[
            XtTest::Pkttype { packet_type: Test { invert: false, value: 1 } },
            XtTest::Ttl { mode: 2, value: 64 },
            XtTest::Ttl { mode: 0, value: 64 },
            XtTest::Dscp { dscp: Test { invert: true, value: 0 } },
        ]),
        10 => XtTest::EbIp {
            source: Some(Test { invert: random.one_in(4), value: address(random) }),
            destination: None,
            tos: None,
            protocol: random.one_in(2).then(|| test(random, 17)),
            source_ports: None,
            destination_ports: random.one_in(2).then(|| test(random, ports)),
            icmp_types: None,
        },
        11 => XtTest::EbIp6 {
            source: None,
            destination: None,
            protocol: Some(test(random, 58)),
            source_ports: None,
            destination_ports: None,
            icmp_types: random.one_in(2).then(|| test(random, (128, 128, 0, 255))),
        },
        _ => XtTest::EbArp {
            hardware: Some(test(random, 1)),
            protocol: None,
            opcode: random.one_in(2).then(|| test(random, 1)),
            source: random.one_in(2).then(|| address(random)).map(|masked| test(random, masked)),
            target: None,
            source_mac: Some(test(random, (MACS[0], Mac([0xff; 6])))),
            target_mac: None,
            gratuitous: None,
        },
    }
}
