//! `nf_tables` registers of which some octets are not known, and comparisons in three values.

use std::cmp::Ordering;

use kvmnet_probes::facts::Register;

use super::packet::Octets;

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// It depends on what is not known.
    Maybe,
}

impl Truth {
    pub(super) fn negate(self, negate: bool) -> Self {
        match (self, negate) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (truth, _) => truth,
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Maybe, _) | (_, Self::Maybe) => Self::Maybe,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Whether `value` equals `data`.
pub(super) fn equal(value: &[Option<u8>], data: &[u8]) -> Truth {
    if value.len() != data.len() {
        return Truth::Maybe;
    }
    value.iter().zip(data).fold(Truth::Yes, |truth, (octet, byte)| {
        truth.and(octet.map_or(Truth::Maybe, |octet| Truth::from(octet == *byte)))
    })
}

/// Whether `value` is at least `from` and at most `to`, as `memcmp` orders.
pub(super) fn within(value: &[Option<u8>], from: &[u8], to: &[u8]) -> Truth {
    let at_least = order(value, from).map(Ordering::is_ge);
    let at_most = order(value, to).map(Ordering::is_le);
    at_least.map_or(Truth::Maybe, Truth::from).and(at_most.map_or(Truth::Maybe, Truth::from))
}

/// How `value` is ordered against `data` by `memcmp`; `None` if that depends on what is not known.
pub(super) fn order(value: &[Option<u8>], data: &[u8]) -> Option<Ordering> {
    let all = |fill: u8| value.iter().map(|octet| octet.unwrap_or(fill)).collect::<Vec<_>>();
    let (least, most) = (all(0).as_slice().cmp(data), all(0xff).as_slice().cmp(data));
    (value.len() == data.len() && least == most).then_some(least)
}

/// The 64 octets of register storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registers([Option<u8>; 64]);

impl Registers {
    pub(super) fn new() -> Self {
        Self([None; 64])
    }

    /// The first `length` octets; unknown ones where a register does not exist.
    pub(super) fn read(&self, register: Register, length: usize) -> Octets {
        let from = register.offset().unwrap_or(64);
        (from..from.saturating_add(length.min(64))).map(|at| self.0.get(at).copied().flatten()).collect()
    }

    /// Writes, and fills up the last word with zeros as loads do.
    pub(super) fn write(&mut self, register: Register, octets: &[Option<u8>]) {
        let Some(from) = register.offset() else { return };
        let padding = (4 - octets.len() % 4) % 4;
        let padded = octets.iter().copied().chain(std::iter::repeat_n(Some(0), padding));
        for (place, octet) in self.0.iter_mut().skip(from).zip(padded) {
            *place = octet;
        }
    }

    /// The register now holds what nobody knows.
    pub(super) fn forget(&mut self, register: Register) {
        self.write(register, &[None; 16]);
    }
}
