//! The traps of netfilter for whole sets, each told by the text of what is stopped.

use kvmnet_probes::facts::*;

use super::chain::HostSets;
use super::field::IPV4;
use super::{Arena, Bdd, Event, Field, Headers, Passage};
use crate::engine::testing::*;
use crate::engine::world::{Facts, World};

/// What the rules, in a chain that accepts, stop of IPv4, and what may be stopped and why.
fn stops(rules: &[Vec<Vec<Expr>>], sets: Vec<Set>) -> (String, String, Vec<String>) {
    let chain = base("c", "filter", Hook::Forward, 0, Policy::Accept);
    let chain = rules.iter().fold(chain, |chain, rule| chain.rule(rule.clone()));
    let table = Table { sets, ..table("t", vec![chain]) };
    let host = Host::healthy();
    through(&host, &table, |all, passage| {
        let whys = passage.doubts().map(|(_, why)| why.to_owned()).collect();
        (text(&host, all, passage.stopped), text(&host, all, passage.either), whys)
    })
}

fn through<T>(host: &Host, table: &Table, says: impl FnOnce(&mut Arena, &Passage<'_>) -> T) -> T {
    let facts = Facts::new(&host.snapshot);
    let mut all = HostSets::new(&facts, 1 << 20);
    let input = all.sets.equal(Field::EtherType, IPV4).unwrap();
    let passage = all.through(table, &table.chains[0], Family::Ip, input, &mut Headers::default());
    says(&mut all.sets, &passage)
}

fn text(host: &Host, sets: &mut Arena, set: Bdd) -> String {
    let facts = Facts::new(&host.snapshot);
    let world = World::new(&facts);
    let name = |number| u32::try_from(number).ok().map(|number| world.name(IfIndex(number)).to_string());
    sets.text(set, &name)
}

fn check(rules: &[Vec<Vec<Expr>>], stopped: &str) {
    let (is, either, whys) = stops(rules, Vec::new());
    assert_eq!((is.as_str(), either.as_str(), whys), (stopped, "no packet", Vec::new()));
}

fn dport(port: u16) -> Vec<Expr> {
    payload(PayloadBase::Transport, 2, &port.to_be_bytes())
}

fn tcp() -> Vec<Expr> {
    meta("l4proto", &[6])
}

fn not(mut exprs: Vec<Expr>) -> Vec<Expr> {
    if let Some(Expr::Cmp { op, .. }) = exprs.last_mut() {
        *op = Compare::Ne;
    }
    exprs
}

#[test]
fn a_header_that_is_not_there_breaks_a_negated_test_too() {
    let first = "meta protocol ip meta l4proto tcp ip frag-off & 0x1fff == 0x0";
    let unaligned = payload(PayloadBase::Transport, 5, &[0; 2]);
    let (stopped, either, _) = stops(&[vec![tcp(), not(unaligned), drop()]], Vec::new());
    assert_eq!((stopped.as_str(), either.as_str()), ("no packet", first));
}

#[test]
fn a_short_load_reads_what_a_later_fragment_has_in_place_of_a_header() {
    let (stopped, either, whys) = stops(&[vec![tcp(), not(dport(80)), drop()]], Vec::new());
    assert_eq!(stopped, "meta protocol ip ip frag-off & 0x1fff == 0x0 tcp dport != 80");
    assert_eq!(either, "meta protocol ip meta l4proto tcp ip frag-off & 0x1fff != 0x0");
    assert_eq!(whys, ["a header that may be missing"]);
}

#[test]
fn one_state_is_a_test_of_bits_and_a_set_of_states_is_exact() {
    check(&[vec![state(6), drop()]], "meta protocol ip ct state { established, related }");
    let both = [element(&2_u32.to_ne_bytes()), element(&6_u32.to_ne_bytes())];
    let states = Set { elements: both.to_vec(), ..set("states", 4) };
    let ct = Expr::Ct { destination: Register(1), key: "state".to_owned(), direction: None };
    let look_up =
        Expr::Lookup { set: states.name.clone(), source: Register(1), destination: None, invert: false };
    let (stopped, ..) = stops(&[vec![vec![ct, look_up], drop()]], vec![states]);
    assert_eq!(stopped, "meta protocol ip ct state established");
}

#[test]
fn a_short_name_is_a_prefix_and_a_number_is_one_device() {
    check(&[vec![device("iif", IfIndex(99)), drop()]], "meta protocol ip iif if99");
    for (name, devices) in [(&b"virbr0\0"[..], "virbr0"), (b"virbr", "{ virbr0, virbr1 }")] {
        let (stopped, either, _) = stops(&[vec![meta("iifname", name), drop()]], Vec::new());
        assert_eq!(stopped, format!("meta protocol ip iif {devices}"));
        // A device that is not there now may be called so.
        assert_eq!(either, "meta protocol ip iif 11-4294967295");
    }
}

#[test]
fn a_mark_that_a_packet_has_already_is_written_to_the_next_all_the_same() {
    let one = 1_u32.to_ne_bytes();
    let load = Expr::Immediate { destination: Register(1), data: Data::Value(Bytes(one.to_vec())) };
    let write = vec![load, Expr::MetaSet { source: Register(1), key: "mark".to_owned() }];
    let chain = base("c", "filter", Hook::Forward, 0, Policy::Accept);
    let table = table("t", vec![chain.rule(vec![write]).rule(vec![meta("mark", &one), drop()])]);
    let host = Host::healthy();
    let facts = Facts::new(&host.snapshot);
    let mut all = HostSets::new(&facts, 1 << 20);
    let input = all.sets.equal(Field::EtherType, IPV4).unwrap();
    for mark in [1, 0] {
        let mut headers = Headers::default();
        headers.set(Field::Mark, mark);
        let passage = all.through(&table, &table.chains[0], Family::Ip, input, &mut headers);
        assert_eq!(passage.stopped, input, "of packets with mark {mark}");
    }
}

#[test]
fn a_limit_goes_either_way_unless_both_come_to_the_same() {
    let limited = vec![saddr(&[10]), limit(), accept()];
    let (stopped, either, whys) = stops(&[limited.clone(), vec![drop()]], Vec::new());
    assert_eq!((stopped.as_str(), either.as_str()), ("ip saddr != 10.0.0.0/8", "ip saddr 10.0.0.0/8"));
    assert_eq!(whys, ["a rate limit"]);
    let (stopped, either, _) = stops(&[limited, vec![accept()]], Vec::new());
    assert_eq!((stopped.as_str(), either.as_str()), ("no packet", "no packet"));
}

#[test]
fn what_is_not_understood_may_do_anything_from_there_on() {
    let (stopped, either, whys) =
        stops(&[vec![daddr(&[10]), drop()], vec![saddr(&[10]), opaque("osf")], vec![drop()]], Vec::new());
    assert_eq!(stopped, "ip daddr 10.0.0.0/8 or ip saddr != 10.0.0.0/8");
    assert_eq!(either, "ip saddr 10.0.0.0/8 ip daddr != 10.0.0.0/8");
    assert_eq!(whys, ["expression osf is not understood"]);
}

#[test]
fn a_mark_is_read_where_it_was_written() {
    let mark = |mark: u32| {
        let data = Data::Value(Bytes(mark.to_ne_bytes().to_vec()));
        let set = Expr::MetaSet { source: Register(1), key: "mark".to_owned() };
        vec![Expr::Immediate { destination: Register(1), data }, set]
    };
    check(
        &[vec![saddr(&[10]), mark(7)], vec![meta("mark", &7_u32.to_ne_bytes()), drop()]],
        "ip saddr 10.0.0.0/8 or meta protocol ip meta mark 0x7",
    );
}

/// Writes the octets into the packet.
fn rewrite(base: PayloadBase, offset: u32, octets: &[u8]) -> Vec<Expr> {
    let data = Data::Value(Bytes(octets.to_vec()));
    let length = u32::try_from(octets.len()).unwrap();
    vec![
        Expr::Immediate { destination: Register(1), data },
        Expr::PayloadSet { source: Register(1), base, offset, length },
    ]
}

#[test]
fn what_is_written_into_a_header_needs_one_and_is_read_again() {
    let flags = |flags: u8| payload(PayloadBase::Transport, 13, &[flags]);
    let set = rewrite(PayloadBase::Transport, 13, &[2]);
    let rules = [vec![tcp(), saddr(&[10]), set], vec![tcp(), flags(2), drop()]];
    let (stopped, either, _) = stops(&rules, Vec::new());
    assert_eq!(
        stopped,
        "meta protocol ip ip frag-off & 0x1fff == 0x0 tcp flags 0x2 or \
         meta l4proto tcp ip saddr 10.0.0.0/8 ip frag-off & 0x1fff == 0x0"
    );
    assert_eq!(either, "meta protocol ip meta l4proto tcp ip frag-off & 0x1fff != 0x0");
    let checksum = rewrite(PayloadBase::Transport, 16, &[0, 0]);
    let option =
        Expr::ExthdrSet { source: None, kind: "tcp option".to_owned(), header: 5, offset: 0, length: 0 };
    for written in [checksum, vec![option]] {
        check(
            &[vec![tcp(), written, drop()]],
            "meta protocol ip meta l4proto tcp ip frag-off & 0x1fff == 0x0",
        );
    }
}

#[test]
fn a_header_that_the_hook_has_read_already_is_not_written_for_it() {
    for (at, octet) in [(0, 0x46), (6, 0), (9, 17)] {
        let (stopped, either, whys) =
            stops(&[vec![saddr(&[10]), rewrite(PayloadBase::Network, at, &[octet])]], Vec::new());
        assert_eq!((stopped.as_str(), either.as_str()), ("no packet", "ip saddr 10.0.0.0/8"), "{whys:?}");
    }
    check(
        &[vec![rewrite(PayloadBase::Network, 1, &[0x20])], vec![meta("mark", &[0; 4]), drop()]],
        "meta protocol ip meta mark 0x0",
    );
}

#[test]
fn a_key_that_is_written_and_not_followed_may_do_anything() {
    let broute = Expr::MetaSet { source: Register(1), key: "broute".to_owned() };
    let (_, either, whys) = stops(&[vec![saddr(&[10]), vec![broute]]], Vec::new());
    assert_eq!((either.as_str(), whys.len()), ("ip saddr 10.0.0.0/8", 1), "{whys:?}");
}

#[test]
fn a_vrf_or_a_tunnel_may_have_brought_a_packet() {
    let either = |host: &Host, exprs: Vec<Expr>| {
        let chain = base("c", "filter", Hook::Forward, 0, Policy::Accept).rule([exprs, drop()]);
        through(host, &table("t", vec![chain]), |sets, passage| text(host, sets, passage.either))
    };
    let mut host = Host::healthy();
    assert_eq!(either(&host, meta("ipsec", &[1])), "meta protocol ip");
    assert_eq!(either(&host, meta("sdif", &[3, 0, 0, 0])), "no packet");
    host.link(ETH0).kind = LinkKind::Vrf { table: 5 };
    assert_eq!(either(&host, meta("sdif", &[3, 0, 0, 0])), "meta protocol ip");
}

#[test]
fn a_set_that_packets_fill_may_be_full() {
    let fill =
        |op: u32| Expr::Dynset { set: "s".to_owned(), op, key: Register(1), invert: false, exprs: vec![] };
    for (op, stopped, why) in [(0, "no packet", vec!["room in set s"]), (2, "meta protocol ip", vec![])] {
        let (is, _, whys) = stops(&[vec![vec![fill(op)], drop()]], vec![set("s", 4)]);
        assert_eq!((is.as_str(), whys), (stopped, why.into_iter().map(str::to_owned).collect()));
    }
}

#[test]
fn the_size_that_a_route_allows_is_there() {
    let mtu = Expr::Rt { destination: Register(1), key: "mtu".to_owned() };
    let kind = "tcp option".to_owned();
    let set = Expr::ExthdrSet { source: Some(Register(1)), kind, header: 2, offset: 2, length: 2 };
    check(
        &[vec![tcp(), vec![mtu, set], drop()]],
        "meta protocol ip meta l4proto tcp ip frag-off & 0x1fff == 0x0",
    );
}

#[test]
fn a_chain_that_loops_is_given_up_and_said() {
    let chain = base("c", "filter", Hook::Forward, 0, Policy::Drop).rule([jump("c")]);
    let host = Host::healthy();
    through(&host, &table("t", vec![chain]), |sets, passage| {
        assert_eq!(text(&host, sets, passage.either), "meta protocol ip");
        assert_eq!(passage.doubts().next().unwrap().1, "chain c calls itself");
    });
}

#[test]
fn sets_that_are_too_complex_are_undecided() {
    let host = Host::healthy();
    let facts = Facts::new(&host.snapshot);
    let mut all = HostSets::new(&facts, 100);
    let table = &host.snapshot.nf_tables.items()[0];
    let mut headers = Headers::default();
    let passage = all.through(table, &table.chains[0], Family::Ip, Bdd::ALL, &mut headers);
    assert_eq!((passage.passes, passage.either), (Bdd::NONE, Bdd::ALL));
    assert_eq!(passage.doubts().next().unwrap().1, "the sets of packets are too complex");
}

#[test]
fn what_libvirt_wrote_rejects_what_it_should() {
    let host = Host::healthy();
    through(&host, &host.snapshot.nf_tables.items()[0], |sets, passage| {
        assert_eq!(passage.either, Bdd::NONE);
        assert!(passage.stops().all(|stop| matches!(stop.what, Event::Stop(Some(_)))));
        let rejected: Vec<String> = passage.stops().map(|stop| text(&host, sets, stop.packets)).collect();
        let into_nat = "iif != virbr0 oif virbr0 ip daddr != 192.168.122.0/24 or \
                        meta protocol ip iif != virbr0 oif virbr0 ct state != { established, related }";
        assert_eq!(
            rejected,
            [
                into_nat,
                "meta protocol ip iif != virbr1 oif virbr1",
                "iif virbr0 oif != virbr0 ip saddr != 192.168.122.0/24",
                "meta protocol ip iif virbr1 oif != { virbr0, virbr1 } or \
                 iif virbr1 oif virbr0 ip daddr != 192.168.122.0/24 or \
                 meta protocol ip iif virbr1 oif virbr0 ct state != { established, related }",
            ]
        );
    });
}
