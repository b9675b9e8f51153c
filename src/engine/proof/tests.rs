//! Denials for all packets, on hosts with one change each.

use kvmnet_probes::facts::{
    Bytes, Compare, Data, Expr, Fact, Hook, LinkKind, PayloadBase, Policy, Register, RoutingRule, Rule,
};
use kvmnet_reports::Expected;

use crate::engine::testing::*;
use crate::engine::{Denial, Engine, Facts};
use crate::model::Zone::{self, Internet, Outside};
use crate::model::{Claim, Protocol, Selection, Traffic};

fn deny(host: &Host, from: Zone, to: Zone, ipv6: bool) -> Option<Denial> {
    let claim = Claim { expected: Expected::Deny, ipv6, ..host.claim(from, to, Traffic::Icmp) };
    let facts = Facts::new(&host.snapshot);
    Engine::new(&facts, &host.topology).deny(&claim)
}

const DENIED: [(Zone, Zone); 4] =
    [(ISOLATED, Internet), (NAT0, ISOLATED), (Outside, NAT0), (Outside, ISOLATED)];

#[test]
fn a_healthy_host_lets_nothing_through_that_the_models_forbid() {
    let host = Host::healthy();
    for (from, to) in DENIED {
        assert_eq!(deny(&host, from, to, false), Some(Denial::Proven), "{from:?} -> {to:?}");
    }
}

#[test]
fn a_hole_for_one_port_is_found_and_described() {
    let mut host = Host::healthy();
    // In front of libvirt's own rules, as an administrator may have it in the same chain.
    let hole = || {
        let port = payload(PayloadBase::Transport, 2, &8080_u16.to_be_bytes());
        let exprs = [meta("l4proto", &[6]), port, accept()].concat();
        Rule { handle: 99, comment: None, counter: None, exprs }
    };
    for chain in &mut host.tables()[0].chains {
        if matches!(chain.name.as_str(), "guest_input" | "guest_output") {
            chain.rules.insert(0, hole());
        }
    }
    let Some(Denial::Leaks(leak)) = deny(&host, NAT0, ISOLATED, false) else { panic!("no leak") };
    assert_eq!(leak.traffic, Some(Traffic::Tcp(8080)));
    assert!(leak.packets.contains("tcp dport 8080"), "{}", leak.packets);
}

#[test]
fn what_is_not_understood_leaves_a_denial_open() {
    let mut host = Host::healthy();
    let chain = base("fw", "filter", Hook::Prerouting, -300, Policy::Accept).rule([opaque("tunnel")]);
    host.tables().push(table("user", vec![chain]));
    match deny(&host, ISOLATED, Internet, false) {
        Some(Denial::Open(why)) => assert!(why.iter().any(|why| why.contains("tunnel")), "{why:?}"),
        other => panic!("{other:?}"),
    }
}

/// What could not be read, or is not a bridge of Linux, proves nothing.
#[test]
fn what_is_not_known_leaves_a_denial_open() {
    fn missing<T>() -> Fact<T> {
        Fact::Missing { reason: "no permission".to_owned() }
    }
    type Change = fn(&mut Host);
    let changes: &[(&str, Change)] = &[
        ("routes", |host| host.snapshot.routes = missing()),
        ("rules", |host| host.snapshot.rules = missing()),
        ("links", |host| host.snapshot.links = missing()),
        ("rules of nf_tables", |host| host.snapshot.nf_tables = missing()),
        ("what the NATed guests are plugged into", |host| host.link(VIRBR0).kind = LinkKind::Bond),
    ];
    for (name, change) in changes {
        let mut host = Host::healthy();
        change(&mut host);
        for (from, to) in [(Outside, NAT0), (NAT0, ISOLATED), (ISOLATED, NAT0)] {
            let denial = deny(&host, from, to, false);
            assert!(matches!(denial, Some(Denial::Open(_))), "{name}: {from:?} -> {to:?} {denial:?}");
        }
    }
}

/// A chain in front of all others that drops what one rule matches.
fn dropping(host: &mut Host, exprs: Vec<Expr>) {
    let chain = base("guard", "filter", Hook::Input, -10, Policy::Accept).rule([exprs, drop()]);
    host.tables().push(table("guard", vec![chain]));
}

#[test]
fn what_the_host_takes_in_is_proved_too() {
    let mut host = Host::healthy();
    let Some(Denial::Leaks(leak)) = deny(&host, ISOLATED, Zone::Host, false) else { panic!("no leak") };
    assert!(leak.answered && leak.honest, "{leak:?}");
    dropping(&mut host, device("iif", VIRBR1));
    assert_eq!(deny(&host, ISOLATED, Zone::Host, false), Some(Denial::Proven));
    assert!(matches!(deny(&host, NAT0, Zone::Host, false), Some(Denial::Leaks(_))));
}

/// A guest without an address asks all for one: that is no martian.
#[test]
fn who_asks_for_an_address_is_taken_in() {
    let mut host = Host::healthy();
    let mut somebody = saddr(&[0, 0, 0, 0]);
    let Some(Expr::Cmp { op, .. }) = somebody.last_mut() else { panic!("no comparison") };
    *op = Compare::Ne;
    dropping(&mut host, [device("iif", VIRBR1), somebody].concat());
    let Some(Denial::Leaks(leak)) = deny(&host, ISOLATED, Zone::Host, false) else { panic!("no leak") };
    assert_eq!(leak.ends, (ip("0.0.0.0"), ip("255.255.255.255")), "{}", leak.packets);
}

#[test]
fn a_denial_may_be_stated_of_some_packets_only() {
    let mut host = Host::healthy();
    let ssh = payload(PayloadBase::Transport, 2, &22_u16.to_be_bytes());
    dropping(&mut host, [meta("l4proto", &[6]), ssh].concat());
    let denial = |selection: Selection| {
        let claim =
            Claim { expected: Expected::Deny, selection, ..host.claim(ISOLATED, Zone::Host, Traffic::Icmp) };
        let facts = Facts::new(&host.snapshot);
        Engine::new(&facts, &host.topology).deny(&claim).unwrap()
    };
    let of = |protocol| Selection { protocol: Some(protocol), ..Selection::default() };
    assert_eq!(denial(of(Protocol::Tcp(22..=22))), Denial::Proven);
    let Denial::Leaks(leak) = denial(of(Protocol::Tcp(20..=30))) else { panic!("no leak") };
    assert!(matches!(leak.traffic, Some(Traffic::Tcp(20..=30))), "{leak:?}");
    assert!(matches!(denial(of(Protocol::Udp(22..=22))), Denial::Leaks(_)));
    assert!(matches!(denial(of(Protocol::Icmp)), Denial::Leaks(_)));
    let but_ssh = Selection {
        except: vec![Protocol::Tcp(0..=21), Protocol::Tcp(23..=u16::MAX)],
        ..of(Protocol::Tcp(0..=u16::MAX))
    };
    assert_eq!(denial(but_ssh), Denial::Proven);
}

#[test]
fn a_denial_may_be_stated_of_addresses() {
    let mut host = Host::healthy();
    let chain =
        base("guard", "filter", Hook::Forward, -10, Policy::Accept).rule([daddr(&[198, 51, 100]), drop()]);
    host.tables().push(table("guard", vec![chain]));
    let denial = |destination: &str| {
        let destination = Some(destination.parse().unwrap());
        let selection = Selection { destination, ..Selection::default() };
        let claim =
            Claim { expected: Expected::Deny, selection, ..host.claim(NAT0, Internet, Traffic::Icmp) };
        let facts = Facts::new(&host.snapshot);
        Engine::new(&facts, &host.topology).deny(&claim).unwrap()
    };
    assert_eq!(denial("198.51.100.0/25"), Denial::Proven);
    let Denial::Leaks(leak) = denial("198.51.0.0/16") else { panic!("no leak") };
    assert!(leak.ends.1.to_string().starts_with("198.51."), "{leak:?}");
}

#[test]
fn what_the_host_sends_is_proved_too() {
    let mut host = Host::healthy();
    let Some(Denial::Leaks(leak)) = deny(&host, Zone::Host, ISOLATED, false) else { panic!("no leak") };
    assert_eq!(leak.ends.1, ip("192.168.150.102"), "{leak:?}");
    let out = base("out", "filter", Hook::Output, 0, Policy::Accept).rule([device("oif", VIRBR1), drop()]);
    host.tables().push(table("guard", vec![out]));
    assert_eq!(deny(&host, Zone::Host, ISOLATED, false), Some(Denial::Proven));
    assert!(matches!(deny(&host, Zone::Host, NAT0, false), Some(Denial::Leaks(_))));
}

/// A chain marks what goes out, and the kernel looks for its route once more.
#[test]
fn what_the_host_routes_again_is_proved_too() {
    let mut host = Host::healthy();
    for route in host.routes().iter_mut().filter(|route| route.next_hops[0].device == Some(VIRBR1)) {
        route.table = 100;
    }
    host.policy_rules().push(RoutingRule { mark: Some((1, u32::MAX)), ..rule_to(100, 100) });
    assert_eq!(deny(&host, Zone::Host, ISOLATED, false), Some(Denial::Proven));
    let load = Expr::Immediate { destination: Register(1), data: Data::Value(Bytes(vec![1, 0, 0, 0])) };
    let mark = vec![load, Expr::MetaSet { source: Register(1), key: "mark".to_owned() }];
    let out = base("out", "route", Hook::Output, -150, Policy::Accept).rule([mark]);
    host.tables().push(table("marks", vec![out]));
    assert!(matches!(deny(&host, Zone::Host, ISOLATED, false), Some(Denial::Leaks(_))));
}
