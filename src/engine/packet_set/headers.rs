//! What the fields of packets hold by now.
//!
//! A set always speaks of packets as they came. What rules have written since is kept aside: bits
//! that are functions of the packet as it came, unknown where an undecided rule wrote. One packet is
//! the set of all with a constant in every field that is known of it.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use super::bdd::{Arena, Bdd, Decided};
use super::field::{Field, address_value};
use super::held::{self, Held, Value, as_it_came};
use super::set::PacketSet;
use super::truth::Truth;

/// The fields that no longer are as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    written: Rc<Written>,
    tuples: Option<Rc<Tuples>>,
    read: Reads,
}

/// What each field holds, in the order of [`Field::ALL`]; `None`: it is as it came.
type Written = [Option<Held>; Field::ALL.len()];

/// Which fields were asked for, a bit each; the last bit: anything else.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads(Cell<u64>);

const ANYTHING: u64 = 1 << 63;

/// What was asked for is no part of what is held.
impl PartialEq for Reads {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reads {}

/// Source and destination of a flow in conntrack's entry: addresses and ports, in the order of [`Tuple::FIELDS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple([Value; 4]);

/// The tuples of both directions: of the packets that began the flow, and of those that answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuples {
    /// As the flow began.
    pub original: Tuple,
    /// As answers come in.
    pub reply: Tuple,
}

impl Tuple {
    /// What tells one flow from another.
    pub const FIELDS: [Field; 4] =
        [Field::Source, Field::Destination, Field::SourcePort, Field::DestinationPort];

    /// The tuple of packets with these headers.
    pub fn of(headers: &Headers) -> Self {
        Self(Self::FIELDS.map(|field| headers.value(field)))
    }

    /// The tuple of the answers.
    #[must_use]
    pub fn turned(&self) -> Self {
        let [source, destination, source_port, destination_port] = self.0.clone();
        Self([destination, source, destination_port, source_port])
    }

    /// The bits of a field.
    pub fn bits(&self, sets: &mut Arena, field: Field) -> Decided<Vec<Truth>> {
        self.0[Self::at(field)].bits(sets, 0..field.width())
    }

    /// The source address, if it is the same in all flows.
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        self.0[Self::at(Field::Source)].constant_address(ipv6)
    }

    /// Gives the field another value.
    pub(in crate::engine) fn set(&mut self, field: Field, value: Value) {
        self.0[Self::at(field)] = value;
    }

    fn at(field: Field) -> usize {
        Self::FIELDS.iter().position(|own| *own == field).expect("a field of tuples")
    }
}

impl Headers {
    fn held(&self, field: Field) -> Option<&Held> {
        self.note(1 << field as u32);
        self.written[field as usize].as_ref()
    }

    /// The fields that are not as they came.
    fn changed(&self) -> impl Iterator<Item = (Field, &Held)> {
        let fields = Field::ALL.into_iter().zip(self.written.iter());
        fields.filter_map(|(field, held)| Some((field, held.as_ref()?)))
    }

    fn note(&self, read: u64) {
        self.read.0.set(self.read.0.get() | read);
    }

    /// Nothing was asked for yet.
    pub(super) fn forget_reads(&self) {
        self.read.0.set(0);
    }

    /// The fields that were asked for since; `None`: something else was, too.
    pub(super) fn fields_read(&self) -> Option<impl Iterator<Item = Field>> {
        let read = self.read.0.get();
        (read & ANYTHING == 0)
            .then(|| Field::ALL.into_iter().filter(move |field| read >> *field as u32 & 1 != 0))
    }

    /// As if nothing was asked for yet; gives what was, for [`Self::add_reads`].
    pub(super) fn put_aside_reads(&self) -> Reads {
        Reads(Cell::new(self.read.0.take()))
    }

    /// What was asked for before.
    pub(super) fn add_reads(&self, before: &Reads) {
        self.note(before.0.get());
    }

    /// Asks whether the field holds this; `None`: it is as it came.
    pub(super) fn asks_and_holds(&self, field: Field, held: Option<&Held>) -> bool {
        self.held(field) == held
    }

    /// Whether the field holds this; `None`: it is as it came.
    pub(super) fn holds(&self, field: Field, held: Option<&Held>) -> bool {
        self.written[field as usize].as_ref() == held
    }

    /// Whether the field begins with the first `length` bits of `value`.
    pub fn prefix(&self, sets: &mut Arena, field: Field, value: u128, length: u32) -> Decided<Truth> {
        let mask = field.mask() & !(field.mask().checked_shr(length).unwrap_or(0));
        self.masked(sets, field, value & mask, mask)
    }

    /// The field's bits, the most significant first.
    pub fn bits(&self, sets: &mut Arena, field: Field) -> Decided<Vec<Truth>> {
        self.some_bits(sets, field, 0..field.width())
    }

    /// The bits of one octet of the field.
    pub(super) fn octet(&self, sets: &mut Arena, field: Field, at: usize) -> Decided<Vec<Truth>> {
        let first = u32::try_from(at * 8).expect("fields are short");
        self.some_bits(sets, field, first..first + 8)
    }

    fn some_bits(&self, sets: &mut Arena, field: Field, range: Range<u32>) -> Decided<Vec<Truth>> {
        match self.held(field) {
            Some(held) => held.bits(sets, field, range),
            None => as_it_came(sets, field, range),
        }
    }

    /// What the field holds, also if that is as it came.
    pub(in crate::engine) fn value(&self, field: Field) -> Value {
        Value { field, held: self.held(field).cloned() }
    }

    /// What the field holds, unless it is as it came.
    pub(in crate::engine) fn written(&self, field: Field) -> Option<Held> {
        self.held(field).cloned()
    }

    /// Whether every field is as it came.
    pub fn are_untouched(&self) -> bool {
        self.written.iter().all(Option::is_none)
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
        match self.held(field) {
            Some(held) => held.masked(sets, field, value, mask),
            None => sets.masked(field, value, mask).map(Truth::of),
        }
    }

    /// Whether the field is in the range.
    pub fn range(&self, sets: &mut Arena, field: Field, range: &RangeInclusive<u128>) -> Decided<Truth> {
        match self.held(field) {
            Some(held) => held.range(sets, field, range),
            None => sets.range(field, range).map(Truth::of),
        }
    }

    /// Whether the two fields hold the same, in the first `length` bits; it is not known where that
    /// depends on both, as that takes more nodes than there are.
    pub fn same(&self, sets: &mut Arena, one: Field, other: Field, length: u32) -> Decided<Truth> {
        match (self.constant_prefix(one, length), self.constant_prefix(other, length)) {
            (Some(value), _) => self.prefix(sets, other, value << (other.width() - length), length),
            (_, Some(value)) => self.prefix(sets, one, value << (one.width() - length), length),
            (None, None) => Ok(Truth::MAYBE),
        }
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
        if surely == Bdd::ALL {
            self.set_bits(field, bits);
            return Ok(());
        }
        if surely == perhaps
            && surely != Bdd::NONE
            && let Held::Constant(value) = Held::of(bits)
            && let Some(held) = held::overlaid(sets, self.held(field), surely, value)?
        {
            self.hold(field, held);
            return Ok(());
        }
        let old = self.bits(sets, field)?;
        let mut new = Vec::with_capacity(old.len());
        for (old, bit) in old.into_iter().zip(bits) {
            new.push(if old == *bit {
                old
            } else {
                let doubtful = if surely == perhaps { old } else { sets.within(perhaps, Truth::MAYBE, old)? };
                sets.within(surely, *bit, doubtful)?
            });
        }
        self.set_bits(field, &new);
        Ok(())
    }

    /// Gives the field other bits, in all packets.
    pub fn set_bits(&mut self, field: Field, bits: &[Truth]) {
        debug_assert_eq!(bits.len(), field.width() as usize, "{field:?}");
        self.hold(field, Held::of(bits));
    }

    /// Gives the field this value, in all packets.
    pub fn set(&mut self, field: Field, value: u128) {
        self.hold(field, Held::Constant(value & field.mask()));
    }

    /// Gives the field what another field of its width holds, in all packets.
    pub(in crate::engine) fn take(&mut self, sets: &mut Arena, field: Field, value: &Value) -> Decided<()> {
        match &value.held {
            Some(held) if !held.is_partly_as_it_came() => self.hold(field, held.clone()),
            // That means something else here.
            _ => {
                let bits = value.bits(sets, 0..field.width())?;
                self.set_bits(field, &bits);
            }
        }
        Ok(())
    }

    fn hold(&mut self, field: Field, held: Held) {
        self.put(field, Some(held));
    }

    /// The field is as it came, in all packets.
    pub fn restore(&mut self, field: Field) {
        self.put(field, None);
    }

    /// Most often the field holds that already, and what others share stays shared.
    fn put(&mut self, field: Field, held: Option<Held>) {
        if self.written[field as usize] == held {
            // That nothing is another now follows from what the field held.
            self.note(1 << field as u32);
        } else {
            Rc::make_mut(&mut self.written)[field as usize] = held;
        }
    }

    /// Nothing is known of the field any more, in any packet.
    pub fn forget(&mut self, field: Field) {
        self.set_bits(field, &vec![Truth::MAYBE; field.width() as usize]);
    }

    /// The first `length` bits of the field, if they are the same in all packets.
    pub fn constant_prefix(&self, field: Field, length: u32) -> Option<u128> {
        let length = length.min(field.width());
        let (value, known) = self.held(field)?.known(field);
        let first = |bits: u128| bits.checked_shr(field.width() - length).unwrap_or(0);
        (first(known) == first(field.mask())).then(|| first(value))
    }

    /// The bits of the field that are the same in all packets: their values, and which they are.
    pub(super) fn known_bits(&self, field: Field) -> (u128, u128) {
        self.held(field).map_or((0, 0), |held| held.known(field))
    }

    /// Whether the first `length` bits of the field may be others than they were `before`, in any packet.
    pub(in crate::engine) fn differ(
        &self,
        sets: &mut Arena,
        before: &Self,
        field: Field,
        length: u32,
    ) -> Decided<bool> {
        match (before.held(field), self.held(field)) {
            (Some(Held::Bits(_)), _) | (_, Some(Held::Bits(_))) => {
                let (before, after) = (before.bits(sets, field)?, self.bits(sets, field)?);
                Ok(before[..length as usize] != after[..length as usize])
            }
            both => held::differ(sets, field, both, length),
        }
    }

    /// Whether nothing was written in one of the two that was not in the other.
    pub(super) fn are_untouched_since(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.written, &other.written)
    }

    /// The field's value, if it is the same in all packets.
    pub fn constant(&self, field: Field) -> Option<u128> {
        self.constant_prefix(field, field.width())
    }

    /// The address, if it is the same in all packets.
    pub fn constant_address(&self, field: Field, ipv6: bool) -> Option<IpAddr> {
        if ipv6 {
            return self.constant(field).map(|value| IpAddr::V6(value.into()));
        }
        let value = u32::try_from(self.constant_prefix(field, 32)?).ok()?;
        Some(IpAddr::V4(value.into()))
    }

    /// The tuples of the flow, if conntrack's entry is known.
    pub fn tuples(&self) -> Option<&Tuples> {
        self.note(ANYTHING);
        self.tuples.as_deref()
    }

    /// Conntrack has an entry with these tuples for whatever it tracks.
    pub fn set_tuples(&mut self, tuples: Tuples) {
        self.tuples = Some(Rc::new(tuples));
    }

    /// Takes over what a rule wrote if packets came to it: surely those, perhaps these.
    pub fn adopt(&mut self, sets: &mut Arena, came: (PacketSet, PacketSet), then: &Self) -> Decided<()> {
        for (field, held) in then.changed() {
            if self.written[field as usize].as_ref() != Some(held) {
                let bits = held.bits(sets, field, 0..field.width())?;
                self.write(sets, field, came, &bits)?;
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

    /// The same headers over sets of another arena. What conntrack knows of the flow is left behind.
    pub(super) fn copy(&self, from: &Arena, to: &mut Arena) -> Decided<Self> {
        let mut known = HashMap::new();
        let mut copy = Self::default();
        for (field, held) in self.changed() {
            copy.hold(field, held.copy(from, to, &mut known)?);
        }
        Ok(copy)
    }

    /// Nothing is known any more.
    pub(super) fn forget_all(&mut self) {
        for field in Field::ALL {
            self.forget(field);
        }
        self.tuples = None;
    }
}
