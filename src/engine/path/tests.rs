//! Hosts with one change each: what is predicted, and which sites are named.

use kvmnet_probes::facts::{
    Chain, Expr, Fact, Family, FdbEntry, Generation, Hook, IfIndex, NextHop, PayloadBase, Policy, PortState,
    Route, RouteKind, RoutingRule, RuleAction, Table, TcHook, Verdict, Xdp,
};
use kvmnet_reports::Predicted::{self, Allow, Deny, Partial, Unknown};

use crate::engine::Decision;
use crate::engine::testing::*;
use crate::model::Traffic::{Dhcp, Dns, Icmp, Resolve, RouterAdvertisement, Tcp};
use crate::model::Zone::{Gateway, Internet, Outside};
use crate::model::{Traffic, Zone};

/// From, to, and what.
type Asked = (Zone, Zone, Traffic);

/// Whether the fate is as expected, and the steps that stop or are undecided say exactly `says`.
fn check(name: &str, host: &Host, (from, to, traffic): Asked, expected: Predicted, says: &[&str]) {
    let fate = host.fate(from, to, traffic);
    let trace: Vec<String> =
        fate.steps.iter().map(|step| format!("{:?} reply={} {step}", step.decision, step.reply)).collect();
    let trace = trace.join("\n");
    assert_eq!(fate.predicted, expected, "{name}: {from:?} -> {to:?} {traffic:?}\n{trace}");
    let texts: Vec<String> = fate
        .steps
        .iter()
        .filter(|step| !matches!(step.decision, Decision::Pass | Decision::Rewrite))
        .map(ToString::to_string)
        .collect();
    let missed: Vec<_> = says.iter().filter(|said| !texts.iter().any(|text| text.contains(*said))).collect();
    let false_alarms: Vec<_> =
        texts.iter().filter(|text| !says.iter().any(|said| text.contains(said))).collect();
    assert!(
        missed.is_empty() && false_alarms.is_empty(),
        "{name}: {from:?} -> {to:?} {traffic:?}\nmissed {missed:?}\nfalse alarms {false_alarms:?}\n{trace}"
    );
}

fn changed(change: impl FnOnce(&mut Host)) -> Host {
    let mut host = Host::healthy();
    change(&mut host);
    host
}

const GATEWAY: Zone = Gateway(0);

#[test]
fn a_healthy_host_is_as_the_three_models_want_it() {
    let host = Host::healthy();
    let says_nothing = [
        (NAT0, GATEWAY, Resolve),
        (NAT0, GATEWAY, Icmp),
        (NAT0, GATEWAY, Dhcp),
        (NAT0, GATEWAY, Dns),
        (NAT0, Internet, Icmp),
        (NAT0, Internet, Tcp(443)),
        (NAT0, NAT1, Icmp),
        (Zone::Host, NAT0, Icmp),
        (Zone::Host, NAT0, Resolve),
        (ISOLATED, Gateway(1), Icmp),
        (Zone::Host, ISOLATED, Icmp),
        (LAN, Internet, Icmp),
        (LAN, Gateway(2), Resolve),
        (Outside, LAN, Tcp(443)),
    ];
    for claim in says_nothing {
        check("healthy", &host, claim, Allow, &[]);
    }
    check("healthy", &host, (Outside, NAT0, Icmp), Deny, &["guest_input, handle 2"]);
    check(
        "healthy",
        &host,
        (Outside, ISOLATED, Icmp),
        Deny,
        &["guest_input, handle 3", "guest_output, handle 3"],
    );
    check(
        "healthy",
        &host,
        (ISOLATED, Internet, Icmp),
        Deny,
        &["guest_output, handle 3", "guest_input, handle 3"],
    );
    check("healthy", &host, (NAT0, ISOLATED, Icmp), Deny, &["guest_input, handle 3"]);
    assert_eq!(host.fate(NAT0, Internet, Icmp).leaves_as, Some(ip("203.0.113.2")));
    assert_eq!(host.fate(LAN, Internet, Icmp).leaves_as, None, "a LAN's VM keeps its own source");
}

#[test]
fn each_fault_is_named_by_its_site() {
    type Change = fn(&mut Host);
    type Case = (&'static str, Change, Asked, Predicted, &'static [&'static str]);
    let forward_drop = |host: &mut Host| {
        let chain = base("FORWARD", "filter", Hook::Forward, 0, Policy::Drop);
        host.tables().push(table("filter", vec![chain]));
    };
    let cases: &[Case] = &[
        ("Docker's policy", forward_drop, (NAT0, Internet, Icmp), Deny, &["ip filter FORWARD: policy drop"]),
        ("Docker's policy spares the host", forward_drop, (Zone::Host, NAT0, Icmp), Allow, &[]),
        (
            "policy of a legacy table",
            |host| {
                let chain = base("FORWARD", "filter", Hook::Forward, 0, Policy::Drop);
                let legacy = Table { generation: Generation::XtablesLegacy, ..table("filter", vec![chain]) };
                host.snapshot.xtables_legacy = Fact::read(0, vec![legacy]);
            },
            (NAT0, Internet, Icmp),
            Deny,
            &["ip filter (legacy) FORWARD: policy drop"],
        ),
        (
            "ip_forward",
            |host| {
                host.sysctl("net/ipv4/ip_forward", "0");
                for device in ["all", "eth0", "virbr0"] {
                    host.sysctl(&format!("net/ipv4/conf/{device}/forwarding"), "0");
                }
            },
            (NAT0, Internet, Icmp),
            Deny,
            &["net/ipv4/ip_forward = 0"],
        ),
        (
            "masquerade missing",
            |host| host.tables()[0].chains.retain(|chain| chain.name != "guest_nat"),
            (NAT0, Internet, Icmp),
            Deny,
            &["no rule translates 192.168.122.102"],
        ),
        (
            "notrack",
            |host| {
                let raw = base("pre", "filter", Hook::Prerouting, -300, Policy::Accept);
                let raw = raw.rule([vec![Expr::Notrack]]);
                host.tables().push(table("raw", vec![raw]));
            },
            (NAT0, Internet, Icmp),
            Deny,
            &["no rule translates", "guest_input, handle 2"],
        ),
        (
            "not in the bridge",
            |host| host.link(VNET0).master = None,
            (NAT0, GATEWAY, Icmp),
            Deny,
            &["in no bridge"],
        ),
        (
            "in the wrong bridge",
            |host| host.link(VNET0).master = Some(VIRBR1),
            (NAT0, GATEWAY, Dhcp),
            Deny,
            &["in virbr1, not in virbr0"],
        ),
        ("tap down", |host| host.link(VNET0).up = false, (NAT0, NAT1, Icmp), Deny, &["vnet0 down"]),
        ("bridge down", |host| host.link(VIRBR0).up = false, (NAT0, NAT1, Icmp), Deny, &["virbr0 down"]),
        (
            "port switched off",
            |host| host.port(VNET0).state = PortState::Disabled,
            (Zone::Host, NAT0, Icmp),
            Deny,
            &["state disabled"],
        ),
        (
            "isolated ports",
            |host| [VNET0, VNET1].into_iter().for_each(|port| host.port(port).isolated = true),
            (NAT0, NAT1, Icmp),
            Deny,
            &["isolated"],
        ),
        (
            "isolated ports reach the host",
            |host| [VNET0, VNET1].into_iter().for_each(|port| host.port(port).isolated = true),
            (NAT0, GATEWAY, Icmp),
            Allow,
            &[],
        ),
        (
            "sticky entry elsewhere",
            |host| {
                let entry = fdb_entry(1, VIRBR0, VNET1);
                host.fdb(FdbEntry { sticky: true, ..entry });
            },
            (Zone::Host, NAT0, Icmp),
            Deny,
            &["52:54:00:aa:00:01 at vnet1"],
        ),
        (
            "an entry elsewhere that heals itself",
            |host| host.fdb(fdb_entry(1, VIRBR0, VNET1)),
            (Zone::Host, NAT0, Icmp),
            Allow,
            &[],
        ),
        (
            "macTableManager lost the entry",
            |host| (host.port(VNET0).unicast_flood, host.port(VNET0).learning) = (false, false),
            (Zone::Host, NAT0, Icmp),
            Deny,
            &["unicast flood off, and the MAC table does not hold"],
        ),
        (
            "uplink out of br0",
            |host| {
                host.link(ETH1).master = None;
                host.topology.networks[2].uplink = None;
            },
            (LAN, Internet, Icmp),
            Deny,
            &["no port leads to the LAN"],
        ),
        (
            "uplink without carrier",
            |host| host.link(ETH1).carrier = false,
            (Outside, LAN, Icmp),
            Deny,
            &["no carrier"],
        ),
        (
            "no default route",
            |host| host.routes().retain(|route| route.destination.prefix_len() != 0),
            (NAT0, Internet, Icmp),
            Deny,
            &["no route leads there"],
        ),
        (
            "blackhole",
            |host| {
                let route = route(254, "198.51.100.0/24", ETH0, None);
                host.routes().push(Route { kind: RouteKind::Blackhole, next_hops: Vec::new(), ..route });
            },
            (NAT0, Internet, Icmp),
            Deny,
            &["blackhole 198.51.100.0/24"],
        ),
        (
            "a VPN's table takes the subnet",
            |host| {
                host.routes().push(route(51820, "0.0.0.0/0", ETH0, None));
                host.policy_rules().push(rule_to(100, 51820));
            },
            (Zone::Host, NAT0, Icmp),
            Deny,
            &["51820: default dev eth0: not to virbr0"],
        ),
        (
            "a rule refuses",
            |host| {
                host.policy_rules().push(RoutingRule {
                    action: RuleAction::Prohibit,
                    input_device: Some("virbr0".into()),
                    ..rule_to(50, 0)
                });
            },
            (NAT0, Internet, Icmp),
            Deny,
            &["50: from all iif virbr0 prohibit"],
        ),
        (
            "rp_filter where answers go elsewhere",
            |host| {
                host.sysctl("net/ipv4/conf/all/rp_filter", "1");
                host.routes().push(route(254, "192.168.122.0/25", ETH0, None));
            },
            (NAT0, GATEWAY, Resolve),
            Deny,
            &["net/ipv4/conf/all/rp_filter = 1"],
        ),
        (
            "the host has the VM's address",
            |host| {
                let local = route(255, "192.168.122.102", VIRBR0, None);
                host.routes().push(Route { kind: RouteKind::Local, ..local });
            },
            (Zone::Host, NAT0, Icmp),
            Deny,
            &["local: local 192.168.122.102"],
        ),
        (
            "bridge without its address",
            |host| {
                host.snapshot.addresses = Fact::read(0, vec![address(ETH0, "203.0.113.2/24")]);
                host.routes().retain(|route| route.next_hops[0].device != Some(VIRBR0));
            },
            (NAT0, GATEWAY, Resolve),
            Deny,
            &["192.168.122.1 is not an address of virbr0"],
        ),
        (
            "dnsmasq is dead",
            |host| host.snapshot.listeners = Fact::read(0, Vec::new()),
            (NAT0, GATEWAY, Dhcp),
            Deny,
            &["nobody listens on UDP port 67"],
        ),
        (
            "input drops what is not for ssh",
            |host| {
                let input = base("input", "filter", Hook::Input, 0, Policy::Drop).rule([
                    meta("l4proto", &[6]),
                    payload(PayloadBase::Transport, 2, &22_u16.to_be_bytes()),
                    accept(),
                ]);
                host.tables().push(table("user", vec![input]));
            },
            (NAT0, GATEWAY, Dns),
            Deny,
            &["ip user input: policy drop"],
        ),
        (
            "bridged packets in a forward chain that drops",
            |host| {
                host.sysctl("net/bridge/bridge-nf-call-iptables", "1");
                let chain = base("FORWARD", "filter", Hook::Forward, 0, Policy::Drop);
                host.tables().push(table("filter", vec![chain]));
            },
            (LAN, Internet, Icmp),
            Deny,
            &["ip filter FORWARD: policy drop"],
        ),
        (
            "bridge of another index",
            |host| {
                host.link(VIRBR0).index = IfIndex(33);
                for port in [VNET0, VNET1] {
                    host.link(port).master = Some(IfIndex(33));
                }
                for route in
                    host.routes().iter_mut().filter(|route| route.next_hops[0].device == Some(VIRBR0))
                {
                    route.next_hops[0].device = Some(IfIndex(33));
                }
                host.topology.networks[0].bridge_index = Some(IfIndex(33));
            },
            (Outside, NAT0, Icmp),
            Allow,
            &[],
        ),
        (
            "nf_tables could not be read",
            |host| host.snapshot.nf_tables = Fact::missing("no"),
            (NAT0, NAT1, Icmp),
            Unknown,
            &["nf-tables could not be read"],
        ),
        (
            "a program on the tap",
            |host| host.link(VNET0).xdp.push(Xdp { mode: "skb".to_owned(), program_id: 7 }),
            (NAT0, GATEWAY, Icmp),
            Unknown,
            &["XDP program 7"],
        ),
        (
            "what libvirt's shaping adds",
            |host| {
                let hook = |parent: &str, kind: &str, detail: Option<&str>| TcHook {
                    device: VIRBR0,
                    parent: parent.to_owned(),
                    kind: kind.to_owned(),
                    detail: detail.map(str::to_owned),
                };
                host.snapshot.traffic_control =
                    Fact::read(0, vec![hook("root", "htb", None), hook("1:", "u32", Some("csum"))]);
            },
            (NAT0, GATEWAY, Icmp),
            Allow,
            &[],
        ),
    ];
    for (name, change, claim, expected, says) in cases {
        check(name, &changed(change), *claim, *expected, says);
    }
}

#[test]
fn what_is_not_understood_is_unknown_unless_it_comes_to_the_same() {
    type Rules = fn(Chain) -> Chain;
    type Case = (&'static str, Policy, Rules, Predicted, &'static [&'static str]);
    let cases: &[Case] = &[
        (
            "opaque alone",
            Policy::Accept,
            |chain| chain.rule([opaque("tunnel")]),
            Unknown,
            &["tunnel is not understood"],
        ),
        (
            "opaque before a drop",
            Policy::Drop,
            |chain| chain.rule([opaque("tunnel")]),
            Unknown,
            &["tunnel is not understood", "policy drop"],
        ),
        (
            "opaque after a mismatch",
            Policy::Accept,
            |chain| chain.rule([meta("l4proto", &[132]), opaque("tunnel")]),
            Allow,
            &[],
        ),
        (
            "a limit that accepts before accept",
            Policy::Accept,
            |chain| chain.rule([limit(), accept()]),
            Allow,
            &[],
        ),
        (
            "a limit that accepts before drop",
            Policy::Drop,
            |chain| chain.rule([limit(), accept()]),
            Unknown,
            &["a rate limit", "policy drop"],
        ),
        (
            "a limit that drops before drop",
            Policy::Drop,
            |chain| chain.rule([limit(), drop()]),
            Deny,
            &["policy drop"],
        ),
        (
            "a limit that drops before accept",
            Policy::Accept,
            |chain| chain.rule([limit(), drop()]),
            Unknown,
            &["a rate limit"],
        ),
        (
            "a limited return before drop",
            Policy::Accept,
            |chain| chain.rule([limit(), verdict(Verdict::Return)]).rule([drop()]),
            Unknown,
            &["handle 1", "handle 2"],
        ),
        (
            "a drop, then opaque",
            Policy::Accept,
            |chain| chain.rule([drop()]).rule([opaque("tunnel")]),
            Deny,
            &["handle 1"],
        ),
    ];
    for (name, policy, rules, expected, says) in cases {
        let host = changed(|host| {
            let chain = rules(base("fw", "filter", Hook::Forward, 10, *policy));
            host.tables().push(table("user", vec![chain]));
        });
        check(name, &host, (NAT0, Internet, Icmp), *expected, says);
    }
}

#[test]
fn all_blockers_are_named_at_once() {
    let host = changed(|host| {
        host.sysctl("net/ipv4/conf/virbr0/forwarding", "0");
        host.tables()[0].chains.retain(|chain| chain.name != "guest_nat");
        let chain = base("FORWARD", "filter", Hook::Forward, 0, Policy::Drop);
        host.tables().push(table("filter", vec![chain]));
        host.link(ETH0).carrier = false;
    });
    let says = ["virbr0/forwarding = 0", "policy drop", "no rule translates", "no carrier"];
    check("four faults", &host, (NAT0, Internet, Icmp), Deny, &says);
}

#[test]
fn of_two_ways_one_may_be_closed() {
    let host = changed(|host| {
        let way = host.routes()[0].next_hops[0].clone();
        host.routes()[0].next_hops.push(NextHop { device: Some(BR0), ..way });
        let chain =
            base("fw", "filter", Hook::Forward, 10, Policy::Accept).rule([device("oif", BR0), drop()]);
        host.tables().push(table("user", vec![chain]));
    });
    check("multipath", &host, (NAT0, Internet, Icmp), Partial, &["ip user fw, handle 1"]);
}

#[test]
fn a_loop_of_chains_is_not_followed_for_ever() {
    let host = changed(|host| {
        let entry = base("fw", "filter", Hook::Forward, 10, Policy::Accept).rule([jump("a")]);
        let a = chain("a").rule([jump("b")]).rule([jump("b")]);
        let b = chain("b").rule([jump("a")]).rule([jump("a")]);
        host.tables().push(table("user", vec![entry, a, b]));
    });
    assert_eq!(host.fate(NAT0, Internet, Icmp).predicted, Unknown);
}

/// The NAT network has a subnet of IPv6 as well, and libvirt's dnsmasq advertises it.
fn with_ipv6(change: impl FnOnce(&mut Host)) -> Host {
    changed(|host| {
        let Fact::Read { value: addresses, .. } = &mut host.snapshot.addresses else { panic!("addresses") };
        addresses.extend(["fe80::1/64", "fd00:122::1/64"].map(|net| address(VIRBR0, net)));
        let network = &mut host.topology.networks[0];
        network.gateways.push("fd00:122::1/64".parse().unwrap());
        network.router_advertisements = true;
        host.sysctl("net/ipv6/conf/virbr0/disable_ipv6", "0");
        change(host);
    })
}

/// A chain that drops this kind of ICMPv6, and nothing else.
fn drops_icmpv6(host: &mut Host, hook: Hook, kind: u8) {
    let chain = base("fw", "filter", hook, 0, Policy::Accept).rule([
        meta("l4proto", &[58]),
        payload(PayloadBase::Transport, 0, &[kind]),
        drop(),
    ]);
    host.tables().push(Table { family: Family::Ip6, ..table("user", vec![chain]) });
}

#[test]
fn a_router_is_heard_unless_something_stops_the_question_or_the_answer() {
    type Case = (&'static str, fn(&mut Host), Predicted, &'static [&'static str]);
    let cases: &[Case] = &[
        ("healthy", |_| {}, Allow, &[]),
        ("other ICMPv6", |host| drops_icmpv6(host, Hook::Input, 128), Allow, &[]),
        ("the question", |host| drops_icmpv6(host, Hook::Input, 133), Deny, &["ip6 user fw, handle 1"]),
        ("the answer", |host| drops_icmpv6(host, Hook::Output, 134), Deny, &["ip6 user fw, handle 1"]),
        (
            "the answer on its way out",
            |host| drops_icmpv6(host, Hook::Postrouting, 134),
            Deny,
            &["ip6 user fw, handle 1"],
        ),
        ("not bridged", |host| drops_icmpv6(host, Hook::Forward, 133), Allow, &[]),
        (
            "in the bridge",
            |host| {
                host.sysctl("net/bridge/bridge-nf-call-ip6tables", "1");
                drops_icmpv6(host, Hook::Prerouting, 133);
            },
            Deny,
            &["ip6 user fw, handle 1"],
        ),
        (
            "IPv6 is off",
            |host| host.sysctl("net/ipv6/conf/virbr0/disable_ipv6", "1"),
            Deny,
            &["net/ipv6/conf/virbr0/disable_ipv6 = 1"],
        ),
        (
            "the gateway's address is gone",
            |host| host.snapshot.addresses = Fact::read(0, vec![address(VIRBR0, "192.168.122.1/24")]),
            Deny,
            &["fd00:122::1 is not an address of virbr0"],
        ),
        (
            "dnsmasq is dead",
            |host| host.snapshot.listeners = Fact::read(0, Vec::new()),
            Deny,
            &["nobody sends router advertisements"],
        ),
        (
            "who serves is not known",
            |host| host.snapshot.listeners = Fact::missing("no"),
            Unknown,
            &["listeners could not be read"],
        ),
    ];
    for (name, change, expected, says) in cases {
        check(name, &with_ipv6(change), (NAT0, GATEWAY, RouterAdvertisement), *expected, says);
    }
}

/// A guest whose link-local address is known is answered there, and not through what is sent to all.
#[test]
fn a_router_answers_to_the_address_that_asks() {
    let host = with_ipv6(|host| {
        let to_all: std::net::Ipv6Addr = "ff02::1".parse().unwrap();
        let chain = base("fw", "filter", Hook::Output, 0, Policy::Accept)
            .rule([payload(PayloadBase::Network, 24, &to_all.octets()), drop()]);
        host.tables().push(Table { family: Family::Ip6, ..table("user", vec![chain]) });
    });
    check("to all", &host, (NAT0, GATEWAY, RouterAdvertisement), Deny, &["ip6 user fw, handle 1"]);
    let claim = host.claim(NAT0, GATEWAY, RouterAdvertisement);
    let claim = crate::model::Claim { source: Some(ip("fe80::5054:ff:feaa:1")), ..claim };
    let facts = crate::engine::Facts::new(&host.snapshot);
    let fate = crate::engine::Engine::new(&facts, &host.topology).fate(&claim);
    assert_eq!(fate.predicted, Allow, "{:#?}", fate.steps);
}
