//! Sets of packets, made of tests of fields.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::bdd::{Arena, Bdd, Decided};
use super::field::{Field, IPV4, Packet, address_value, ether_type};

/// A set of packets: a set of vectors of the variables of all [`Field`]s.
pub type PacketSet = Bdd;

impl Arena {
    /// Packets whose field has this value.
    pub fn equal(&mut self, field: Field, value: u128) -> Decided<PacketSet> {
        self.masked(field, value, field.mask())
    }

    /// Packets with `field & mask == value & mask`.
    pub fn masked(&mut self, field: Field, value: u128, mask: u128) -> Decided<PacketSet> {
        let mut set = Bdd::ALL;
        for (at, variable) in field.variables().rev().enumerate() {
            if mask >> at & 1 != 0 {
                set = self.select(variable, value >> at & 1 != 0, set, Bdd::NONE)?;
            }
        }
        Ok(set)
    }

    /// Packets whose field begins with the first `length` bits of `value`.
    pub fn prefix(&mut self, field: Field, value: u128, length: u32) -> Decided<PacketSet> {
        let rest = field.width().saturating_sub(length);
        let below = if rest == 0 { 0 } else { u128::MAX >> (128 - rest) };
        self.masked(field, value, field.mask() & !below)
    }

    /// Packets whose field is in the range.
    pub fn range(&mut self, field: Field, range: &RangeInclusive<u128>) -> Decided<PacketSet> {
        if range.is_empty() || *range.start() > field.mask() {
            return Ok(Bdd::NONE);
        }
        let (first, last) = (*range.start(), (*range.end()).min(field.mask()));
        // Above the bit at which the ends part both say the same; below it each bounds one side.
        let parting = 128 - (first ^ last).leading_zeros();
        let (mut set, mut at_most) = (Bdd::ALL, Bdd::ALL);
        for (at, variable) in (1..).zip(field.variables().rev()) {
            let bits = (first >> (at - 1) & 1 != 0, last >> (at - 1) & 1 != 0);
            // Beyond the first a greater bit decides, beyond the last a smaller one.
            let beyond = |greater: bool| if greater { Bdd::ALL } else { Bdd::NONE };
            match at.cmp(&parting) {
                Ordering::Less => {
                    set = self.select(variable, bits.0, set, beyond(!bits.0))?;
                    at_most = self.select(variable, bits.1, at_most, beyond(bits.1))?;
                }
                Ordering::Equal => set = self.node(variable, set, at_most)?,
                Ordering::Greater => set = self.select(variable, bits.0, set, Bdd::NONE)?,
            }
        }
        Ok(set)
    }

    /// `then` where the variable is `bit`, `otherwise` where it is not.
    fn select(&mut self, variable: u32, bit: bool, then: Bdd, otherwise: Bdd) -> Decided {
        if bit { self.node(variable, otherwise, then) } else { self.node(variable, then, otherwise) }
    }

    /// Packets whose field is in any of the ranges.
    pub fn one_of(&mut self, field: Field, ranges: &[RangeInclusive<u128>]) -> Decided<PacketSet> {
        let sets: Vec<_> = ranges.iter().map(|range| self.range(field, range)).collect::<Decided<_>>()?;
        self.any_of(&sets)
    }

    /// Packets of the address's family with an address of this prefix.
    pub fn network(&mut self, field: Field, address: IpAddr, length: u8) -> Decided<PacketSet> {
        let length = u32::from(length).min(if address.is_ipv4() { 32 } else { 128 });
        let family = self.equal(Field::EtherType, ether_type(address))?;
        let prefix = self.prefix(field, address_value(address), length)?;
        self.and(family, prefix)
    }

    /// What becomes of the packets of `set` when the field is given this value. An IPv4 address is
    /// given to packets of that family; what lies behind its 32 bits means nothing and is lost.
    pub fn rewrite(&mut self, set: PacketSet, field: Field, value: u128) -> Decided<PacketSet> {
        let rest = self.exists(set, &field.variables())?;
        let value = if matches!(field, Field::Source | Field::Destination) {
            let whole = self.equal(field, value)?;
            let short = self.prefix(field, value, 32)?;
            let ipv4 = self.equal(Field::EtherType, IPV4)?;
            self.ite(ipv4, short, whole)?
        } else {
            self.equal(field, value)?
        };
        self.and(rest, value)
    }

    /// Whether the packet is in the set.
    pub fn contains(&self, set: PacketSet, packet: &Packet) -> bool {
        let mut rest = set;
        while let Some((variable, low, high)) = self.branch(rest) {
            rest = if packet.bit(variable) { high } else { low };
        }
        rest == Bdd::ALL
    }
}
