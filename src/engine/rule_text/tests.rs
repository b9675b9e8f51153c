//! What the kernel's tools do not show: devices that are gone, expressions that are not understood,
//! rules that one tool put into the tables of another. All else is compared with nft and iptables.

use kvmnet_probes::facts::{
    Bytes, Compare, Data, Element, Expr, Family, Generation, Hook, IfIndex, NatKind, PayloadBase, Policy,
    Register, RejectWith, Rule, Table, Test, Verdict, XtAction, XtMatch, XtTarget, XtTest,
};

use super::{expression_text, rule_text};
use crate::engine::testing::*;

const FIRST: Register = Register(1);
const SECOND: Register = Register(2);

/// A table in which nft writes as it does in any.
fn nft(family: Family) -> Table {
    Table { family, ..table("t", vec![base("c", "filter", Hook::Forward, 0, Policy::Accept)]) }
}

/// The table that iptables-nft or ebtables-nft makes.
fn filter(family: Family) -> Table {
    Table { family, ..table("filter", vec![base("FORWARD", "filter", Hook::Forward, 0, Policy::Accept)]) }
}

fn rule(exprs: &[Vec<Expr>]) -> Rule {
    Rule { handle: 1, comment: None, counter: None, exprs: exprs.concat() }
}

fn check(cases: &[(&str, &Table, Vec<Vec<Expr>>)]) {
    let host = Host::healthy();
    for (expected, table, exprs) in cases {
        assert_eq!(rule_text(&host.snapshot, table, &rule(exprs)), *expected, "{exprs:?}");
    }
}

fn ne(mut exprs: Vec<Expr>) -> Vec<Expr> {
    if let Some(Expr::Cmp { op, .. }) = exprs.last_mut() {
        *op = Compare::Ne;
    }
    exprs
}

fn tcp() -> Vec<Expr> {
    meta("l4proto", &[6])
}

fn dport(port: u16) -> Vec<Expr> {
    payload(PayloadBase::Transport, 2, &port.to_be_bytes())
}

fn value(destination: Register, bytes: &[u8]) -> Expr {
    Expr::Immediate { destination, data: Data::Value(Bytes(bytes.to_vec())) }
}

fn lookup(set: &str, destination: Option<Register>) -> Expr {
    Expr::Lookup { set: set.to_owned(), source: FIRST, destination, invert: false }
}

fn conntrack(state: u32) -> Vec<Expr> {
    let test = XtTest::Conntrack {
        state: Some(Test { invert: false, value: state }),
        status: None,
        protocol: None,
        original_source: None,
        original_destination: None,
        reply_source: None,
        reply_destination: None,
        original_direction: None,
        opaque: false,
    };
    vec![Expr::Match(Box::new(XtMatch { name: "conntrack".to_owned(), revision: 3, test }))]
}

fn target(name: &str, action: XtAction) -> Vec<Expr> {
    vec![Expr::Target(Box::new(XtTarget { name: name.to_owned(), revision: 0, action }))]
}

#[test]
fn devices_are_named_where_the_host_has_them() {
    let ip = nft(Family::Ip);
    check(&[
        ("iif \"virbr0\" accept", &ip, vec![device("iif", VIRBR0), accept()]),
        ("iif 4242 accept", &ip, vec![device("iif", IfIndex(4242)), accept()]),
        ("iif != \"eth0\" drop", &ip, vec![ne(device("iif", ETH0)), drop()]),
        ("iifname \"virbr*\" accept", &ip, vec![meta("iifname", b"virbr"), accept()]),
        ("iifname \"virbr0\" accept", &ip, vec![meta("iifname", b"virbr0\0\0\0\0\0\0\0\0\0\0"), accept()]),
    ]);
}

#[test]
fn what_a_field_implies_is_left_out_and_nothing_else() {
    let (ip, inet, bridge) = (nft(Family::Ip), nft(Family::Inet), nft(Family::Bridge));
    let nfproto = || meta("nfproto", &[2]);
    let protocol = || payload(PayloadBase::Network, 9, &[6]);
    check(&[
        ("tcp dport 443 accept", &ip, vec![tcp(), dport(443), accept()]),
        ("tcp dport 443 accept", &ip, vec![protocol(), dport(443), accept()]),
        ("ip protocol tcp tcp dport 443", &inet, vec![nfproto(), protocol(), dport(443)]),
        ("ip saddr 10.0.0.0/24", &inet, vec![nfproto(), saddr(&[10, 0, 0])]),
        ("ip saddr 10.0.0.1", &bridge, vec![meta("protocol", &[8, 0]), saddr(&[10, 0, 0, 1])]),
        ("meta nfproto ipv4 tcp dport 1", &inet, vec![nfproto(), tcp(), dport(1)]),
        ("meta l4proto != tcp th dport 1", &ip, vec![ne(tcp()), dport(1)]),
        // A protocol without ports has no name for what is at their place.
        ("meta l4proto gre @th,16,16 0x1", &ip, vec![meta("l4proto", &[47]), dport(1)]),
        // What is counted is not the same any more if the test moves behind the counter.
        ("meta l4proto tcp counter tcp dport 1", &ip, vec![tcp(), vec![Expr::Counter], dport(1)]),
        ("meta l4proto tcp masquerade", &ip, vec![tcp(), masquerade()]),
        ("@nh,96,32 0xa000001", &inet, vec![saddr(&[10, 0, 0, 1])]),
        ("tcp sport 1 tcp dport 2", &ip, vec![tcp(), payload(PayloadBase::Transport, 0, &[0, 1, 0, 2])]),
        // As nft says it where it finds iproute2's file of groups, which has moved between its versions.
        ("iifgroup \"default\"", &ip, vec![meta("iifgroup", &0_u32.to_ne_bytes())]),
    ]);
}

#[test]
fn what_is_not_understood_is_named() {
    let ip = nft(Family::Ip);
    let unknown = |code| verdict(Verdict::Unknown { code });
    check(&[
        ("<frob: not understood> drop", &ip, vec![opaque("frob"), drop()]),
        // It may have written any register.
        (
            "<hash: not understood> 0x01 accept",
            &ip,
            vec![saddr(&[1, 2, 3, 4])[..1].to_vec(), opaque("hash"), vec![cmp(&[1])], accept()],
        ),
        ("<register 1> 0x01", &ip, vec![vec![cmp(&[1])]]),
        ("<verdict 77: not understood>", &ip, vec![unknown(77)]),
        ("limit rate … accept", &ip, vec![limit(), accept()]),
        (
            "ip saddr @gone accept",
            &ip,
            vec![saddr(&[1, 2, 3, 4])[..1].to_vec(), vec![lookup("gone", None)], accept()],
        ),
    ]);
}

#[test]
fn anonymous_sets_are_written_out_in_order() {
    let mut ip = nft(Family::Ip);
    let end = |key: &[u8]| Element { interval_end: true, ..element(key) };
    let gives = |key: &[u8], verdict| Element { data: Some(Data::Verdict(verdict)), ..element(key) };
    let mut ports = set("__set0", 2);
    (ports.anonymous, ports.interval) = (true, true);
    // As the kernel gives them: from the last to the first, without an end at the highest key.
    ports.elements = [[4, 0], [0, 81], [0, 80], [0, 23], [0, 22]]
        .iter()
        .enumerate()
        .map(|(at, key)| if at % 2 == 1 { end(key) } else { element(key) })
        .collect();
    let mut states = set("__map0", 4);
    (states.anonymous, states.map, states.verdicts) = (true, true, true);
    states.elements = vec![
        gives(&2_u32.to_ne_bytes(), Verdict::Accept),
        gives(&1_u32.to_ne_bytes(), Verdict::Drop),
        Element { key: None, ..gives(&[], Verdict::Goto { chain: "rest".to_owned() }) },
    ];
    ip.sets = vec![ports, states];
    let load = |exprs: Vec<Expr>| exprs[..1].to_vec();
    check(&[
        ("tcp dport { 22, 80, 1024-65535 }", &ip, vec![tcp(), load(dport(0)), vec![lookup("__set0", None)]]),
        (
            "ct state vmap { invalid : drop, established : accept, * : goto rest }",
            &ip,
            vec![load(state(0)), vec![lookup("__map0", Some(Register(0)))]],
        ),
    ]);
}

#[test]
fn translations_say_to_what() {
    let (ip, ip6, inet) = (nft(Family::Ip), nft(Family::Ip6), nft(Family::Inet));
    let nat = |family, ports: Option<Register>| Expr::Nat {
        kind: NatKind::Destination,
        family,
        address_min: Some(FIRST),
        address_max: Some(FIRST),
        port_min: ports,
        port_max: ports,
        flags: 0,
    };
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let ports = || vec![value(FIRST, &[4, 0]), value(SECOND, &[0xff, 0xff])];
    let masquerade = Expr::Masquerade { port_min: Some(FIRST), port_max: Some(SECOND), flags: 4 };
    let to = |address: &[u8]| vec![value(FIRST, address), value(SECOND, &[0, 80])];
    check(&[
        ("dnat to 10.0.0.2", &ip, vec![to(&[10, 0, 0, 2]), vec![nat(Family::Ip, None)]]),
        ("dnat ip to 10.0.0.2:80", &inet, vec![to(&[10, 0, 0, 2]), vec![nat(Family::Ip, Some(SECOND))]]),
        ("dnat to [2001:db8::1]:80", &ip6, vec![to(&v6), vec![nat(Family::Ip6, Some(SECOND))]]),
        ("masquerade to :1024-65535 random", &ip, vec![ports(), vec![masquerade]]),
    ]);
}

#[test]
fn a_rule_is_in_the_words_of_the_tool_that_wrote_it() {
    let (ip, bridge, other) = (filter(Family::Ip), filter(Family::Bridge), nft(Family::Ip));
    let legacy = Table { generation: Generation::XtablesLegacy, ..nft(Family::Ip) };
    let refuse = || target("REJECT", XtAction::Reject { with: RejectWith::Icmp { code: 3 } });
    let named = |name: &[u8]| meta("iifname", name);
    check(&[
        (
            "-s 192.168.122.0/24 -i virbr0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            &ip,
            vec![named(b"virbr0\0"), saddr(&[192, 168, 122]), conntrack(6), vec![Expr::Counter], accept()],
        ),
        ("-i virbr+ -j REJECT --reject-with icmp-port-unreachable", &legacy, vec![named(b"virbr"), refuse()]),
        (
            "! -d 10.0.0.1/32 -p tcp -m tcp --dport 443 -j DOCKER-USER",
            &ip,
            vec![ne(daddr(&[10, 0, 0, 1])), tcp(), dport(443), jump("DOCKER-USER")],
        ),
        (
            "-p IPv4 -i vnet0 -j DROP",
            &bridge,
            vec![named(b"vnet0\0"), payload(PayloadBase::Link, 12, &[8, 0]), vec![Expr::Counter], drop()],
        ),
        // What somebody put there with nft, and iptables has no words for.
        ("ct state established accept", &ip, vec![state(2), accept()]),
        ("-m conntrack --ctstate NEW tcp dport 1 reject", &ip, vec![conntrack(8), tcp(), dport(1), reject()]),
        ("-m conntrack --ctstate NEW -j ACCEPT", &other, vec![conntrack(8), accept()]),
        ("iifname \"virbr*\" accept", &other, vec![named(b"virbr"), accept()]),
    ]);
}

#[test]
fn the_comment_follows_as_it_came() {
    let (host, ip) = (Host::healthy(), nft(Family::Ip));
    let with = |exprs: &[Vec<Expr>]| Rule { comment: Some("a \"b\"\u{1b}[31m".to_owned()), ..rule(exprs) };
    assert_eq!(rule_text(&host.snapshot, &ip, &with(&[drop()])), "drop # a \"b\"\u{1b}[31m");
    assert_eq!(rule_text(&host.snapshot, &ip, &with(&[])), "# a \"b\"\u{1b}[31m");
}

#[test]
fn one_expression_is_said_with_what_it_reads() {
    let host = Host::healthy();
    let said = |table: &Table, exprs: &[Vec<Expr>], place| {
        expression_text(&host.snapshot, table, &rule(exprs), place)
    };
    let ip = nft(Family::Ip);
    assert_eq!(said(&ip, &[tcp(), dport(22), accept()], 3), "tcp dport 22");
    assert_eq!(said(&ip, &[tcp(), dport(22), accept()], 1), "meta l4proto tcp");
    let ports = payload(PayloadBase::Transport, 0, &[0, 1, 0, 2]);
    assert_eq!(said(&ip, &[tcp(), ports], 3), "tcp sport 1 tcp dport 2");
    let map = [saddr(&[1, 2, 3, 4])[..1].to_vec(), vec![lookup("marks", Some(SECOND))]];
    assert_eq!(said(&ip, &map, 1), "map @marks");
    let rule = [tcp(), conntrack(2), accept()];
    assert_eq!(said(&filter(Family::Ip), &rule, 2), "-m conntrack --ctstate ESTABLISHED");
}
