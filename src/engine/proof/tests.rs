//! Denials for all packets, on hosts with one change each.

use kvmnet_probes::facts::{Fact, Hook, LinkKind, PayloadBase, Policy, Rule};
use kvmnet_reports::Expected;

use crate::engine::testing::*;
use crate::engine::{Denial, Engine, Facts};
use crate::model::Zone::{self, Internet, Outside};
use crate::model::{Claim, Traffic};

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
