//! The algebra against brute force: two small fields have 2,048 packets, and all are looked at.

use proptest::prelude::*;

use super::first_match::{Line, accepted, from_the_first, from_the_last};
use super::*;

/// A set as it is written, to be built and to be asked packet by packet.
#[derive(Debug, Clone)]
enum Written {
    Equal(Field, u128),
    Masked(Field, u128, u128),
    Range(Field, u128, u128),
    Prefix(Field, u128, u32),
    OneOf(Field, Vec<(u128, u128)>),
    Not(Box<Written>),
    And(Box<Written>, Box<Written>),
    Or(Box<Written>, Box<Written>),
    Minus(Box<Written>, Box<Written>),
    Ite(Box<[Written; 3]>),
    Rewrite(Box<Written>, Field, u128),
}

const TYPE: Field = Field::IcmpType;
const STATE: Field = Field::CtState;

fn packets() -> impl Iterator<Item = Packet> {
    (0..=TYPE.mask()).flat_map(|kind| {
        (0..=STATE.mask()).map(move |state| Packet::default().with(TYPE, kind).with(STATE, state))
    })
}

impl Written {
    fn build(&self, sets: &mut Arena) -> Decided {
        match self {
            Self::Equal(field, value) => sets.equal(*field, *value),
            Self::Masked(field, value, mask) => sets.masked(*field, *value, *mask),
            Self::Range(field, first, last) => sets.range(*field, &(*first..=*last)),
            Self::Prefix(field, value, length) => sets.prefix(*field, *value, *length),
            Self::OneOf(field, ranges) => {
                let ranges: Vec<_> = ranges.iter().map(|(first, last)| *first..=*last).collect();
                sets.one_of(*field, &ranges)
            }
            Self::Not(set) => Ok(!set.build(sets)?),
            Self::And(left, right) => {
                let (left, right) = (left.build(sets)?, right.build(sets)?);
                sets.and(left, right)
            }
            Self::Or(left, right) => {
                let (left, right) = (left.build(sets)?, right.build(sets)?);
                sets.or(left, right)
            }
            Self::Minus(left, right) => {
                let (left, right) = (left.build(sets)?, right.build(sets)?);
                sets.minus(left, right)
            }
            Self::Ite(parts) => {
                let (condition, then) = (parts[0].build(sets)?, parts[1].build(sets)?);
                let otherwise = parts[2].build(sets)?;
                sets.ite(condition, then, otherwise)
            }
            Self::Rewrite(set, field, value) => {
                let set = set.build(sets)?;
                sets.rewrite(set, *field, *value)
            }
        }
    }

    fn holds(&self, packet: &Packet) -> bool {
        match self {
            Self::Equal(field, value) => packet[*field] == *value,
            Self::Masked(field, value, mask) => packet[*field] & mask == value & mask,
            Self::Range(field, first, last) => (*first..=*last).contains(&packet[*field]),
            Self::Prefix(field, value, length) => {
                let rest = field.width() - length;
                packet[*field] >> rest == value >> rest
            }
            Self::OneOf(field, ranges) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&packet[*field]))
            }
            Self::Not(set) => !set.holds(packet),
            Self::And(left, right) => left.holds(packet) && right.holds(packet),
            Self::Or(left, right) => left.holds(packet) || right.holds(packet),
            Self::Minus(left, right) => left.holds(packet) && !right.holds(packet),
            Self::Ite(parts) => parts[if parts[0].holds(packet) { 1 } else { 2 }].holds(packet),
            Self::Rewrite(set, field, value) => {
                packet[*field] == *value
                    && (0..=field.mask()).any(|before| set.holds(&packet.with(*field, before)))
            }
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    let field = || prop_oneof![Just((TYPE, TYPE.mask())), Just((STATE, STATE.mask()))];
    let value = move || field().prop_flat_map(|(field, mask)| (Just(field), 0..=mask, 0..=mask));
    let leaf = prop_oneof![
        value().prop_map(|(field, value, _)| Written::Equal(field, value)),
        value().prop_map(|(field, value, mask)| Written::Masked(field, value, mask)),
        value().prop_map(|(field, first, last)| Written::Range(field, first, last)),
        value().prop_flat_map(|(field, value, _)| (0..=field.width())
            .prop_map(move |length| Written::Prefix(field, value, length))),
        proptest::collection::vec((0..=TYPE.mask(), 0..=TYPE.mask()), 0..5)
            .prop_map(|ranges| Written::OneOf(TYPE, ranges)),
    ];
    leaf.prop_recursive(5, 32, 3, move |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            boxed().prop_map(Written::Not),
            (boxed(), boxed()).prop_map(|(left, right)| Written::And(left, right)),
            (boxed(), boxed()).prop_map(|(left, right)| Written::Or(left, right)),
            (boxed(), boxed()).prop_map(|(left, right)| Written::Minus(left, right)),
            proptest::array::uniform3(inner.clone()).prop_map(|parts| Written::Ite(Box::new(parts))),
            (boxed(), value()).prop_map(|(set, (field, value, _))| Written::Rewrite(set, field, value)),
        ]
    })
}

fn built(written: &Written) -> (Arena, PacketSet) {
    let mut sets = Arena::new(1 << 20);
    let set = written.build(&mut sets).unwrap();
    (sets, set)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_set_holds_what_it_says(written in written()) {
        let (mut sets, set) = built(&written);
        for packet in packets() {
            prop_assert_eq!(sets.contains(set, &packet), written.holds(&packet), "{:?}", packet);
        }
        let witness = sets.witness(set);
        prop_assert_eq!(witness.is_some(), packets().any(|packet| written.holds(&packet)));
        prop_assert!(witness.is_none_or(|packet| written.holds(&packet) && sets.contains(set, &packet)));
    }

    #[test]
    fn equal_sets_are_equal_edges(left in written(), right in written()) {
        let (mut sets, left_set) = built(&left);
        let right_set = right.build(&mut sets).unwrap();
        let same = packets().all(|packet| left.holds(&packet) == right.holds(&packet));
        prop_assert_eq!(left_set == right_set, same);
        let part = packets().all(|packet| !left.holds(&packet) || right.holds(&packet));
        prop_assert_eq!(sets.is_subset(left_set, right_set).unwrap(), part);
    }

    #[test]
    fn a_cover_is_the_set(written in written()) {
        let (mut sets, set) = built(&written);
        for share in [true, false] {
            let cover = cover::every_term(&mut sets, set, share);
            let again = cover::union(&mut sets, &cover).unwrap();
            prop_assert_eq!(again, set, "{:?}", cover);
        }
    }

    #[test]
    fn all_orders_of_building_accept_the_same(
        rules in proptest::collection::vec((written(), any::<bool>()), 0..12),
        policy: bool,
    ) {
        let mut sets = Arena::new(1 << 20);
        let lines: Vec<Line> =
            rules.iter().map(|(set, accepts)| (set.build(&mut sets).unwrap(), *accepts)).collect();
        let by_packet = |packet: &Packet| {
            rules.iter().find(|(set, _)| set.holds(packet)).map_or(policy, |(_, accepts)| *accepts)
        };
        let set = accepted(&mut sets, &lines, policy).unwrap();
        for packet in packets() {
            prop_assert_eq!(sets.contains(set, &packet), by_packet(&packet));
        }
        for order in [from_the_last, from_the_first] {
            prop_assert_eq!(order(&mut sets, &lines, policy), Ok(set));
        }
    }

    #[test]
    fn wide_fields_follow_arithmetic(
        (first, last, value) in any::<(u128, u128, u128)>(), length in 0..=128_u32, near in -2..=2_i128,
    ) {
        let mut sets = Arena::new(1 << 20);
        let range = sets.range(Field::Source, &(first..=last)).unwrap();
        let prefix = sets.prefix(Field::Source, first, length).unwrap();
        let masked = sets.masked(Field::Source, first, last).unwrap();
        for value in [value, first.wrapping_add_signed(near), last.wrapping_add_signed(near), value & !last | first] {
            let packet = Packet::default().with(Field::Source, value);
            prop_assert_eq!(sets.contains(range, &packet), first <= value && value <= last);
            let rest = 128 - length;
            let same = rest == 128 || value >> rest == first >> rest;
            prop_assert_eq!(sets.contains(prefix, &packet), same);
            prop_assert_eq!(sets.contains(masked, &packet), value & last == first & last);
        }
    }
}

#[test]
fn a_budget_that_is_used_up_is_said_and_leaves_nothing() {
    let mut sets = Arena::new(200);
    let small = sets.equal(TYPE, 3).unwrap();
    let before = sets.len();
    let far = sets.attempt(40, |sets| sets.equal(Field::Source, 1));
    assert_eq!((far, sets.len()), (Err(Undecided), before));
    assert_eq!(sets.equal(TYPE, 3), Ok(small));
    let both = [sets.equal(Field::Source, 1), sets.equal(Field::Destination, 1)];
    assert_eq!(both.map(|set| set.is_ok()), [true, false]);
}

#[test]
fn a_rewritten_ipv4_address_is_32_bits() {
    let mut sets = Arena::new(1 << 20);
    let guests = sets.network(Field::Source, "192.168.122.0".parse().unwrap(), 24).unwrap();
    let uplink = "203.0.113.2".parse().unwrap();
    let image = sets.rewrite(guests, Field::Source, field::address_value(uplink)).unwrap();
    assert_eq!(Ok(image), sets.network(Field::Source, uplink, 32));
}
