//! Sets against packets: what a chain does with a set must hold what it does with each packet.
//!
//! One packet is a set with a constant in every field, for which each test folds to yes or no; the set of
//! all has none. Rules are random, with values from small pools, so that tests meet and boundaries are hit.

use std::net::IpAddr;

use kvmnet_probes::facts::*;

use super::field::{ARP, IPV4, IPV6, address_value};
use super::{Arena, Bdd, Decided, Field, Headers, HostSets, Packet, PacketSet};
use crate::engine::testing::{self, ETH0, ETH1, Host, VIRBR0, VNET0, VNET1, ip};

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

/// A packet of the family: a value for every field, as the kernel could have it.
fn packet(random: &mut Random, family: Family) -> Packet {
    let bridged = family == Family::Bridge;
    let ipv6 = family == Family::Ip6 || bridged && random.one_in(3);
    let pool: &[&str] = if ipv6 { &ADDRESSES6 } else { &ADDRESSES };
    let arp = bridged && !ipv6 && random.one_in(4);
    let mut one = Packet::default();
    let mut set = |field, value: u128| one[field] = value;
    set(
        Field::EtherType,
        if arp {
            ARP
        } else if ipv6 {
            IPV6
        } else {
            IPV4
        },
    );
    set(Field::Source, address_value(ip(random.pick(pool))));
    set(Field::Destination, address_value(ip(random.pick(pool))));
    let (source, destination) = (mac(random.pick(&MACS)), mac(random.pick(&MACS)));
    set(Field::SourceMac, source);
    set(Field::ArpSenderMac, source);
    set(Field::DestinationMac, destination);
    match random.below(3) {
        _ if arp => {
            let request = random.one_in(2);
            set(Field::ArpOperation, if request { 1 } else { 2 });
            set(Field::ArpTargetMac, if request { 0 } else { destination });
        }
        0 => {
            set(Field::Protocol, 6);
            set(Field::TcpFlags, random.pick(&[2, 0x12, 0x10, 4]));
        }
        1 => set(Field::Protocol, 17),
        _ => {
            set(Field::Protocol, if ipv6 { 58 } else { 1 });
            set(Field::IcmpType, random.pick(&[8, 0, 3, 128, 255]));
            set(Field::IcmpCode, random.pick(&[0, 1, 3]));
        }
    }
    set(Field::SourcePort, random.pick(&PORTS).into());
    set(Field::DestinationPort, random.pick(&PORTS).into());
    let device = |random: &mut Random| u128::from(random.pick(&DEVICES).0);
    let input = if random.one_in(6) { 0 } else { device(random) };
    set(Field::InputDevice, input);
    set(Field::Local, (input == 0).into());
    set(Field::OutputDevice, if random.one_in(6) { 0 } else { device(random) });
    set(Field::Framed, (!random.one_in(6)).into());
    set(Field::PacketType, if input == 0 { 0 } else { random.pick(&[0, 1, 2, 3]) });
    if random.one_in(3) {
        set(Field::InputPort, device(random));
        set(Field::OutputPort, if random.one_in(2) { device(random) } else { 0 });
    }
    set(Field::Ttl, random.pick(&[1, 63, 64]));
    set(Field::Mark, random.pick(&MARKS).into());
    set(Field::CtMark, random.pick(&MARKS).into());
    if !arp {
        set(Field::CtState, random.pick(&[0, 4, 1, 2, 3, 3]));
    }
    set(Field::CtReply, random.one_in(2).into());
    set(Field::CtStatus, random.pick(&[0, 0b1010, 0b1001_0000, 0b1_0010_0000]));
    set(Field::Fragment, if ipv6 { 0 } else { random.pick(&[0x4000, 0x4000, 0x2000, 0x2010]) });
    one
}

fn mac(mac: Mac) -> u128 {
    mac.0.iter().fold(0, |all, octet| all << 8 | u128::from(*octet))
}

/// Whether the packet passes, if that is decided, and what its fields hold then.
fn single(host: &Host, table: &Table, family: Family, packet: &Packet) -> (Option<bool>, Headers) {
    let mut headers = Headers::default();
    for field in Field::ALL {
        headers.set(field, packet[field]);
    }
    let mut sets = HostSets::new(&host.snapshot, 1 << 16);
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
    let mut all = HostSets::new(&host.snapshot, 1 << 22);
    let input = of_family(&mut all.sets, family).unwrap();
    let mut headers = Headers::default();
    let passage = all.through(table, &table.chains[0], family, input, &mut headers);
    let sets = &mut all.sets;
    let (mut decided, mut by_one) = (0, 0);
    for _ in 0..packets {
        let one = packet(random, family);
        let says = |sets: &Arena, set| sets.contains(set, &one);
        let verdict =
            match (says(sets, passage.passes), says(sets, passage.stopped), says(sets, passage.either)) {
                (true, false, false) => Some(true),
                (false, true, false) => Some(false),
                (false, false, true) => None,
                verdict => panic!("{verdict:?} for {one:?}"),
            };
        let (expected, after) = single(host, table, family, &one);
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
    let restore = Expr::Target(XtTarget { name: "CONNMARK".to_owned(), revision: 1, action });
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
        let mut all = HostSets::new(&host.snapshot, 1 << 16);
        let input = of_family(&mut all.sets, Family::Ip).unwrap();
        let passage = all.through(&table, &table.chains[0], Family::Ip, input, &mut Headers::default());
        assert_eq!(all.sets.contains(passage.passes, &one), passes, "{state}");
        assert_eq!(single(&host, &table, Family::Ip, &one).0, Some(passes), "{state}");
    }
}
