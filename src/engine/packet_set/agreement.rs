//! Sets against packets: what a chain does with a set must hold what it does with each packet.
//!
//! A packet is asked about twice: as a set with a constant in every field, for which each test folds to yes
//! or no, and by a plain interpreter that was written apart. Rules are random, with values from small pools,
//! so that tests meet and boundaries are hit.

use std::net::IpAddr;

use kvmnet_probes::facts::*;

use plain::packet::{Body, Tracked, Translation};

use super::field::{ARP, IPV4, IPV6, address_value};
use super::{Arena, Bdd, Decided, Detail, Field, Headers, HostSets, Packet, PacketSet};
use crate::engine::scope::Scope;
use crate::engine::testing::{self, ETH0, ETH1, Host, VIRBR0, VNET0, VNET1, ip};
use crate::engine::world::{Facts, World};

mod plain;
mod rules;

/// Marsaglia's xorshift: the same cases everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const ADDRESSES: [&str; 7] = [
    "192.168.122.0",
    "192.168.122.1",
    "192.168.122.102",
    "192.168.122.255",
    "192.168.123.0",
    "203.0.113.2",
    "198.51.100.10",
];
const ADDRESSES6: [&str; 4] = ["2001:db8::", "2001:db8::1", "2001:db8:0:1::", "fe80::5"];
const PORTS: [u16; 9] = [0, 22, 53, 80, 81, 443, 1023, 1024, 65535];
const MARKS: [u32; 5] = [0, 1, 2, 0x10, 0x8000_0001];
const DEVICES: [IfIndex; 5] = [ETH0, VIRBR0, VNET0, VNET1, ETH1];
const MACS: [Mac; 3] = [Mac([0x52, 0x54, 0, 0xaa, 0, 1]), Mac([0x52, 0x54, 0, 0xaa, 0, 2]), Mac::BROADCAST];

/// A packet of the family that one side takes as it is and the other as a set of one.
fn packet(random: &mut Random, host: &Host, family: Family) -> plain::packet::Packet {
    let facts = Facts::new(&host.snapshot);
    let world = World::new(&facts);
    let ipv6 = family == Family::Ip6 || family == Family::Bridge && random.one_in(3);
    let pool: &[&str] = if ipv6 { &ADDRESSES6 } else { &ADDRESSES };
    let (source, destination) = (ip(random.pick(pool)), ip(random.pick(pool)));
    let (from, to) = (random.pick(&PORTS), random.pick(&PORTS));
    let body = match random.below(if family == Family::Bridge && !ipv6 { 4 } else { 3 }) {
        0 => Body::Tcp { source: from, destination: to, flags: random.pick(&[2, 0x12, 0x10, 4]) },
        1 => Body::Udp { source: from, destination: to },
        2 => Body::Icmp { kind: random.pick(&[8, 0, 3, 128, 255]), code: random.pick(&[0, 1, 3]) },
        _ => Body::Arp { request: random.one_in(2) },
    };
    let mut packet = plain::packet::Packet::new(ipv6, (Some(source), Some(destination)), body);
    let device = |random: &mut Random| world.device(random.pick(&DEVICES));
    packet.input = (!random.one_in(6)).then(|| device(random));
    packet.local = packet.input.is_none();
    packet.output = (!random.one_in(6)).then(|| device(random));
    packet.framed = !random.one_in(6);
    packet.source_mac = Some(random.pick(&MACS));
    packet.destination_mac = Some(random.pick(&MACS));
    if random.one_in(3) {
        packet.port_in = Some(device(random));
        packet.port_out = random.one_in(2).then(|| device(random));
    }
    packet.ttl = random.pick(&[1, 63, 64]);
    packet.mark = Some(random.pick(&MARKS));
    packet.connection.mark = Some(random.pick(&MARKS));
    if !packet.is_arp() {
        packet.connection.tracked = random.pick(&[Tracked::No, Tracked::Never, Tracked::Yes, Tracked::Yes]);
    }
    packet.connection.reply = random.one_in(2);
    if random.one_in(4) {
        let address = Some(ip("203.0.113.2"));
        packet.connection.source_nat = Some(Translation { address, port: None, sure: true });
    }
    packet
}

/// The same packet as a value for every field.
fn fields(packet: &plain::packet::Packet) -> Packet {
    let device = |device: &Option<crate::engine::packets::Device>| {
        device.as_ref().map_or(0, |device| device.index.0.into())
    };
    let mac = |mac: Option<Mac>| mac.unwrap().0.iter().fold(0, |all, octet| all << 8 | u128::from(*octet));
    let bit = u128::from;
    let mut fields = Packet::default()
        .with(Field::EtherType, packet.ethertype().into())
        .with(Field::Protocol, packet.protocol().unwrap_or(0).into())
        .with(Field::InputDevice, device(&packet.input))
        .with(Field::OutputDevice, device(&packet.output))
        .with(Field::InputPort, device(&packet.port_in))
        .with(Field::OutputPort, device(&packet.port_out))
        .with(Field::Local, bit(packet.local))
        .with(Field::Framed, bit(packet.framed))
        .with(Field::PacketType, packet.packet_type().into())
        .with(Field::CtReply, bit(packet.connection.reply))
        .with(Field::CtStatus, plain::loads::status(packet).into())
        .with(Field::CtMark, packet.connection.mark.unwrap().into())
        .with(Field::Mark, packet.mark.unwrap().into())
        .with(Field::SourceMac, mac(packet.source_mac))
        .with(Field::DestinationMac, mac(packet.destination_mac))
        .with(Field::ArpSenderMac, mac(packet.source_mac))
        .with(Field::Source, address_value(packet.source.unwrap()))
        .with(Field::Destination, address_value(packet.destination.unwrap()))
        .with(Field::Fragment, if packet.ipv6 { 0 } else { 0x4000 })
        .with(Field::Ttl, packet.ttl.into());
    fields[Field::CtState] = match (packet.connection.tracked, packet.connection.reply) {
        (Tracked::No, _) => 0,
        (Tracked::Never, _) => 4,
        (Tracked::Yes, true) => 1,
        (Tracked::Yes, false) => 3,
        (Tracked::Perhaps, _) => unreachable!("not made"),
    };
    match packet.body {
        Body::Arp { request } => {
            fields[Field::ArpOperation] = if request { 1 } else { 2 };
            fields[Field::ArpTargetMac] = if request { 0 } else { mac(packet.destination_mac) };
        }
        Body::Tcp { source, destination, flags } => {
            fields[Field::SourcePort] = source.into();
            fields[Field::DestinationPort] = destination.into();
            fields[Field::TcpFlags] = flags.into();
        }
        Body::Udp { source, destination } => {
            fields[Field::SourcePort] = source.into();
            fields[Field::DestinationPort] = destination.into();
        }
        Body::Icmp { kind, code } => {
            fields[Field::IcmpType] = kind.into();
            fields[Field::IcmpCode] = code.into();
        }
    }
    fields
}

/// Whether the packet passes, if that is decided, and what its fields hold then.
fn single(host: &Host, table: &Table, family: Family, packet: &Packet) -> (Option<bool>, Headers) {
    let mut headers = Headers::default();
    for field in Field::ALL {
        headers.set(field, packet[field]);
    }
    let facts = Facts::new(&host.snapshot);
    let mut sets = HostSets::new(&facts, 1 << 16);
    let passage = sets.through(table, &table.chains[0], family, Bdd::ALL, &mut headers);
    let verdict = match (passage.passes, passage.stopped, passage.either) {
        (Bdd::ALL, Bdd::NONE, Bdd::NONE) => Some(true),
        (Bdd::NONE, Bdd::ALL, Bdd::NONE) => Some(false),
        (Bdd::NONE, Bdd::NONE, Bdd::ALL) => None,
        verdict => panic!("{verdict:?} for {packet:?}"),
    };
    (verdict, headers)
}

/// Packets that can be at a hook of the family.
fn of_family(sets: &mut Arena, family: Family) -> Decided<PacketSet> {
    match family {
        Family::Ip => sets.equal(Field::EtherType, IPV4),
        Family::Ip6 => sets.equal(Field::EtherType, IPV6),
        Family::Arp => sets.equal(Field::EtherType, ARP),
        Family::Inet | Family::Netdev | Family::Bridge => Ok(Bdd::ALL),
    }
}

fn mark(headers: &Headers, sets: &mut Arena, field: Field, packet: &Packet) -> Option<u32> {
    let bits = headers.bits(sets, field).unwrap();
    bits.into_iter().try_fold(0, |mark, bit| {
        match (sets.contains(bit.yes, packet), sets.contains(bit.no, packet)) {
            (true, _) => Some(mark << 1 | 1),
            (_, true) => Some(mark << 1),
            _ => None,
        }
    })
}

/// Runs random packets through the table both ways; gives how many were decided by both.
fn compare(random: &mut Random, host: &Host, table: &Table, family: Family, packets: usize) -> [usize; 2] {
    let facts = Facts::new(&host.snapshot);
    let mut all = HostSets::new(&facts, 1 << 22);
    let input = of_family(&mut all.sets, family).unwrap();
    let mut headers = Headers::default();
    let passage = all.through(table, &table.chains[0], family, input, &mut headers);
    let sets = &mut all.sets;
    let base = table.chains[0].base.as_ref().unwrap();
    let hook = base.hook;
    let (mut decided, mut by_one) = (0, 0);
    for _ in 0..packets {
        let mut alone = packet(random, host, family);
        let one = fields(&alone);
        let says = |sets: &Arena, set| sets.contains(set, &one);
        let verdict =
            match (says(sets, passage.passes), says(sets, passage.stopped), says(sets, passage.either)) {
                (true, false, false) => Some(true),
                (false, true, false) => Some(false),
                (false, false, true) => None,
                verdict => panic!("{verdict:?} for {one:?}"),
            };
        let (expected, after) = single(host, table, family, &one);
        let chain = &table.chains[0];
        let scope = plain::Scope { world: World::new(&facts), table, family, hook };
        let interpreted = plain::chains::passes(scope, chain, base, &mut alone);
        let context = || format!("{family:?} {one:?}\n{:#?}", rules::text(table));
        if let (Some(verdict), Some(expected)) = (verdict, expected) {
            assert_eq!(verdict, expected, "{}", context());
            decided += 1;
            if verdict {
                for field in [Field::Mark, Field::CtMark] {
                    let mark = mark(&headers, sets, field, &one);
                    let expected = after.constant(field).and_then(|mark| u32::try_from(mark).ok());
                    if let (Some(mark), Some(expected)) = (mark, expected) {
                        assert_eq!(mark, expected, "{field:?} {}", context());
                    }
                }
            }
        }
        if let (Some(verdict), Some(interpreted)) = (verdict, interpreted) {
            assert_eq!(verdict, interpreted, "interpreted otherwise: {}", context());
        }
        let stopped_by_any = passage.stops().any(|stop| says(sets, stop.packets));
        let doubtful = passage.doubts().any(|(packets, _)| says(sets, packets));
        assert!(verdict == Some(true) || stopped_by_any || doubtful, "{}", context());
        assert!(verdict.is_some() || doubtful, "{}", context());
        by_one += usize::from(expected.is_some());
    }
    [decided, by_one]
}

#[test]
fn sets_and_packets_agree() {
    let host = Host::healthy();
    let mut random = Random(0x6b76_6d6e_6574);
    let mut total = [0, 0];
    for round in 0..75 {
        let family = [Family::Ip, Family::Ip6, Family::Bridge][round % 3];
        let table = rules::table(&mut random, family, round % 2 == 0);
        let counts = compare(&mut random, &host, &table, family, 50);
        total = [total[0] + counts[0], total[1] + counts[1]];
    }
    // Sets say less only of what they do not know at all.
    assert!(total[0] * 10 >= total[1] * 9, "{total:?}");
}

/// The headers of packets that came by the device with the mark.
fn of_place((device, mark): (IfIndex, u128)) -> Headers {
    let mut headers = Headers::default();
    headers.set(Field::InputDevice, device.0.into());
    headers.set(Field::Mark, mark);
    // Of later fragments it is in doubt what they match.
    headers.set(Field::Fragment, 0);
    headers
}

/// What passes, is stopped and may do either of packets that came by the device with the mark.
fn of_device<'a>(
    all: &mut HostSets<'a>,
    (facts, table, family): (&'a Facts<'a>, &'a Table, Family),
    place: (IfIndex, u128),
    detail: Detail,
) -> [PacketSet; 3] {
    let mut headers = of_place(place);
    let input = of_family(&mut all.sets, family).unwrap();
    let chain = &table.chains[0];
    let base = chain.base.as_ref().unwrap();
    let scope = Scope { world: World::new(facts), table, family, hook: base.hook, next_hop: None };
    let passage = all.run(scope, (chain, base), (input, Bdd::NONE), detail, &mut headers).unwrap();
    [passage.passes, passage.stopped, passage.either]
}

/// What a rule did with other headers is not taken for what it does with these.
#[test]
fn what_is_kept_of_rules_follows_their_fields() {
    let host = Host::healthy();
    let facts = Facts::new(&host.snapshot);
    let mut random = Random(0x6b65_7074);
    for round in 0..60 {
        let family = [Family::Ip, Family::Ip6, Family::Bridge][round % 3];
        let table = rules::table(&mut random, family, round % 2 == 0);
        let mut all = HostSets::new(&facts, 1 << 22);
        for place in [(VIRBR0, 0), (ETH0, 1), (VIRBR0, 1), (ETH1, 2), (VNET0, 0x10), (VIRBR0, 0)] {
            let at = (&facts, &table, family);
            let known = of_device(&mut all, at, place, Detail::Rules);
            all.forget_rules();
            let anew = of_device(&mut all, at, place, Detail::Rules);
            assert_eq!(known, anew, "{place:?}\n{:#?}", rules::text(&table));
        }
    }
}

/// The table without the rules that keep a chain from having a summary.
fn with_summaries(facts: &Facts<'_>, table: &Table) -> Table {
    let hook = table.chains[0].base.as_ref().unwrap().hook;
    let scope = Scope { world: World::new(facts), table, family: table.family, hook, next_hop: None };
    let mut all = HostSets::new(facts, 1 << 22);
    let headers = of_place((VIRBR0, 0));
    let mut kept = table.clone();
    for (chain, kept) in table.chains.iter().zip(&mut kept.chains) {
        let mut plain = chain.rules.iter().map(|rule| all.can_summarise(scope, &headers, rule));
        kept.rules.retain(|_| plain.next().unwrap());
    }
    kept
}

/// A chain's summary says what its rules do, and what it follows from.
#[test]
fn summaries_say_what_rules_do() {
    let host = Host::healthy();
    let facts = Facts::new(&host.snapshot);
    let mut random = Random(0x7375_6d6d);
    let mut made = 0;
    for round in 0..200 {
        let family = [Family::Ip, Family::Ip6, Family::Bridge][round % 3];
        let table = with_summaries(&facts, &rules::table(&mut random, family, true));
        let mut all = HostSets::new(&facts, 1 << 22);
        for place in [(VIRBR0, 0), (ETH0, 1), (VIRBR0, 1), (ETH1, 2), (VNET0, 0x10), (VIRBR0, 0)] {
            let at = (&facts, &table, family);
            let summarised = of_device(&mut all, at, place, Detail::Chains);
            let by_rules = of_device(&mut all, at, place, Detail::Rules);
            assert_eq!(summarised, by_rules, "{place:?}\n{:#?}", rules::text(&table));
        }
        made += all.summaries();
    }
    assert!(made > 150, "{made}");
}

/// The address as its octets.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `xt_connmark` and `nft_ct_set_eval` do nothing where there is no entry.
#[test]
fn a_connection_has_no_mark_without_a_connection() {
    use testing::{accept, base, meta, table};
    let host = Host::healthy();
    let action = XtAction::Connmark { mode: 2, mark: 0, ct_mask: u32::MAX, packet_mask: u32::MAX };
    let restore = Expr::Target(Box::new(XtTarget { name: "CONNMARK".to_owned(), revision: 1, action }));
    let chain = base("c", "filter", Hook::Forward, 0, Policy::Drop);
    let chain = testing::ChainExt::rule(chain, [vec![restore]]);
    let table =
        table("t", vec![testing::ChainExt::rule(chain, [meta("mark", &0_u32.to_ne_bytes()), accept()])]);
    for (state, passes) in [(0, true), (4, true), (3, false)] {
        let one = Packet::default()
            .with(Field::EtherType, IPV4)
            .with(Field::Protocol, 17)
            .with(Field::CtMark, 5)
            .with(Field::CtState, state);
        let facts = Facts::new(&host.snapshot);
        let mut all = HostSets::new(&facts, 1 << 16);
        let input = of_family(&mut all.sets, Family::Ip).unwrap();
        let passage = all.through(&table, &table.chains[0], Family::Ip, input, &mut Headers::default());
        assert_eq!(all.sets.contains(passage.passes, &one), passes, "{state}");
        assert_eq!(single(&host, &table, Family::Ip, &one).0, Some(passes), "{state}");
    }
}
