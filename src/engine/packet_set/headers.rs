//! What the fields of packets hold by now.
//!
//! A set always speaks of packets as they came. What rules have written since is kept aside: bits
//! that are functions of the packet as it came, unknown where an undecided rule wrote.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::bdd::{Arena, Decided};
use super::field::{Field, address_value};
use super::set::PacketSet;
use super::truth::{self, Truth};

/// The fields that no longer are as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    written: BTreeMap<Field, Vec<Truth>>,
}

impl Headers {
    /// Whether the field begins with the first `length` bits of `value`.
    pub fn prefix(&self, sets: &mut Arena, field: Field, value: u128, length: u32) -> Decided<Truth> {
        let mask = field.mask() & !(field.mask().checked_shr(length).unwrap_or(0));
        self.masked(sets, field, value & mask, mask)
    }

    /// The field's bits, the most significant first.
    pub fn bits(&self, sets: &mut Arena, field: Field) -> Decided<Vec<Truth>> {
        match self.written.get(&field) {
            Some(bits) => Ok(bits.clone()),
            None => field.variables().map(|variable| sets.variable(variable).map(Truth::of)).collect(),
        }
    }

    /// The bits of one octet of the field.
    pub(super) fn octet(&self, sets: &mut Arena, field: Field, at: usize) -> Decided<Vec<Truth>> {
        if let Some(bits) = self.written.get(&field) {
            return Ok(bits[at * 8..at * 8 + 8].to_vec());
        }
        let variables = field.variables().skip(at * 8).take(8);
        variables.map(|variable| sets.variable(variable).map(Truth::of)).collect()
    }

    /// Whether every field is as it came.
    pub fn are_untouched(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether the field has this value.
    pub fn equal(&self, sets: &mut Arena, field: Field, value: u128) -> Decided<Truth> {
        self.masked(sets, field, value, field.mask())
    }

    /// Whether `field & mask == value`.
    pub fn masked(&self, sets: &mut Arena, field: Field, value: u128, mask: u128) -> Decided<Truth> {
        if value & !mask != 0 {
            return Ok(Truth::NO);
        }
        let Some(bits) = self.written.get(&field) else {
            return sets.masked(field, value, mask).map(Truth::of);
        };
        let mut holds = Truth::YES;
        for (at, bit) in bits.iter().rev().enumerate() {
            if mask >> at & 1 != 0 {
                holds = sets.both(bit.negate(value >> at & 1 == 0), holds)?;
            }
        }
        Ok(holds)
    }

    /// Whether the field is in the range.
    pub fn range(&self, sets: &mut Arena, field: Field, range: &RangeInclusive<u128>) -> Decided<Truth> {
        let Some(bits) = self.written.get(&field) else {
            return sets.range(field, range).map(Truth::of);
        };
        // Fields are compared as they stand in whole octets.
        let padding = (8 - bits.len() % 8) % 8;
        let bits = [vec![Truth::NO; padding], bits.clone()].concat();
        let octets = |value: u128| value.to_be_bytes()[16 - bits.len() / 8..].to_vec();
        let from = truth::at_least(sets, &bits, &octets(*range.start()))?;
        let to = truth::at_most(sets, &bits, &octets((*range.end()).min(field.mask())))?;
        sets.both(from, to)
    }

    /// Whether `field & mask` is that address; an IPv4 address has the first 32 bits.
    pub fn address(&self, sets: &mut Arena, field: Field, wanted: IpAddr, mask: IpAddr) -> Decided<Truth> {
        let mask = address_value(mask);
        self.masked(sets, field, address_value(wanted) & mask, mask)
    }

    /// Writes the bits where a rule surely does, and leaves unknown what it may change.
    ///
    /// Where old and new bits that differ happen to agree could be known too, but to say that for all
    /// bits of two marks takes more nodes than there are.
    pub fn write(
        &mut self,
        sets: &mut Arena,
        field: Field,
        (surely, perhaps): (PacketSet, PacketSet),
        bits: &[Truth],
    ) -> Decided<()> {
        let old = self.bits(sets, field)?;
        let mut new = Vec::with_capacity(old.len());
        for (old, bit) in old.into_iter().zip(bits) {
            new.push(if old == *bit {
                old
            } else {
                let doubtful = sets.within(perhaps, Truth::MAYBE, old)?;
                sets.within(surely, *bit, doubtful)?
            });
        }
        self.written.insert(field, new);
        Ok(())
    }

    /// Takes over what a rule wrote if packets came to it: surely those, perhaps these.
    pub fn adopt(&mut self, sets: &mut Arena, came: (PacketSet, PacketSet), then: &Self) -> Decided<()> {
        for (field, bits) in &then.written {
            if self.written.get(field) != Some(bits) {
                self.write(sets, *field, came, bits)?;
            }
        }
        Ok(())
    }

    /// What is understood by nobody may have written the marks of these packets.
    pub(super) fn forget_marks(&mut self, sets: &mut Arena, packets: PacketSet) -> Decided<()> {
        for field in [Field::Mark, Field::CtMark] {
            self.write(sets, field, (packets, packets), &[Truth::MAYBE; 32])?;
        }
        Ok(())
    }

    /// Nothing is known any more.
    pub(super) fn forget_all(&mut self) {
        let unknown = |field: Field| (field, vec![Truth::MAYBE; field.width() as usize]);
        self.written = Field::ALL.into_iter().map(unknown).collect();
    }
}
