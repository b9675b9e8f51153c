//! Statements about packets in three values, for all packets at once.

use super::bdd::{Arena, Bdd, Decided};
use super::set::PacketSet;

/// For which packets something holds: of those in neither set it is not known. Also one bit of a
/// header or register: where it is 1, and where it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Truth {
    /// It surely holds.
    pub yes: PacketSet,
    /// It surely does not hold.
    pub no: PacketSet,
}

impl Truth {
    /// It holds for every packet.
    pub const YES: Self = Self { yes: Bdd::ALL, no: Bdd::NONE };
    /// It holds for no packet.
    pub const NO: Self = Self { yes: Bdd::NONE, no: Bdd::ALL };
    /// It is not known for any packet.
    pub const MAYBE: Self = Self { yes: Bdd::NONE, no: Bdd::NONE };

    /// It holds for exactly these packets.
    pub fn of(set: PacketSet) -> Self {
        Self { yes: set, no: !set }
    }

    /// Whether it is known for every packet.
    pub fn is_known(self) -> bool {
        self.yes == !self.no
    }

    /// The contrary, if `negate` is set.
    #[must_use]
    pub fn negate(self, negate: bool) -> Self {
        if negate { Self { yes: self.no, no: self.yes } } else { self }
    }

    /// It may still hold where it does not surely fail, and surely nowhere.
    #[must_use]
    pub fn doubted(self) -> Self {
        Self { yes: Bdd::NONE, ..self }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::YES } else { Self::NO }
    }
}

impl Arena {
    /// Whether both hold.
    pub fn both(&mut self, left: Truth, right: Truth) -> Decided<Truth> {
        match (left, right) {
            (Truth::YES, other) | (other, Truth::YES) => return Ok(other),
            (Truth::NO, _) | (_, Truth::NO) => return Ok(Truth::NO),
            _ => {}
        }
        let yes = self.and(left.yes, right.yes)?;
        let no = if left.is_known() && right.is_known() { !yes } else { self.or(left.no, right.no)? };
        Ok(Truth { yes, no })
    }

    /// Whether a bit has this value, and what holds for the bits behind it does.
    fn bit_and(&mut self, bit: Truth, wanted: bool, rest: Truth) -> Decided<Truth> {
        let bit = bit.negate(!wanted);
        if bit.is_known() && rest.is_known() {
            return self.and_first(bit.yes, rest.yes).map(Truth::of);
        }
        self.both(bit, rest)
    }

    /// Whether either holds.
    pub fn either(&mut self, left: Truth, right: Truth) -> Decided<Truth> {
        Ok(self.both(left.negate(true), right.negate(true))?.negate(true))
    }

    /// Whether any of them holds.
    pub fn any_truth(&mut self, truths: &[Truth]) -> Decided<Truth> {
        let yes = self.any_of(&truths.iter().map(|truth| truth.yes).collect::<Vec<_>>())?;
        if truths.iter().all(|truth| truth.is_known()) {
            return Ok(Truth::of(yes));
        }
        let perhaps = self.any_of(&truths.iter().map(|truth| !truth.no).collect::<Vec<_>>())?;
        Ok(Truth { yes, no: !perhaps })
    }

    /// What `then` says of the packets of `set`, and `otherwise` of all others.
    pub fn within(&mut self, set: PacketSet, then: Truth, otherwise: Truth) -> Decided<Truth> {
        match set {
            _ if then == otherwise => return Ok(then),
            Bdd::ALL => return Ok(then),
            Bdd::NONE => return Ok(otherwise),
            _ => {}
        }
        let known = then.is_known() && otherwise.is_known();
        let yes = match then {
            Truth::YES => self.or(set, otherwise.yes)?,
            Truth::NO => self.minus(otherwise.yes, set)?,
            _ => self.ite(set, then.yes, otherwise.yes)?,
        };
        let no = if known { !yes } else { self.ite(set, then.no, otherwise.no)? };
        Ok(Truth { yes, no })
    }
}

/// The bits that are the same in all packets: their values, and which they are.
pub(super) fn known(bits: &[Truth]) -> (u128, u128) {
    bits.iter().fold((0, 0), |(value, known), bit| match *bit {
        Truth::YES => (value << 1 | 1, known << 1 | 1),
        Truth::NO => (value << 1, known << 1 | 1),
        _ => (value << 1, known << 1),
    })
}

/// Whether the bits, the most significant first, are those of `value` wherever `mask` has a 1.
pub(super) fn masked(sets: &mut Arena, bits: &[Truth], value: u128, mask: u128) -> Decided<Truth> {
    let mut holds = Truth::YES;
    for (at, bit) in bits.iter().rev().enumerate() {
        if mask >> at & 1 != 0 {
            holds = sets.bit_and(*bit, value >> at & 1 != 0, holds)?;
        }
    }
    Ok(holds)
}

/// Whether the bits, the most significant first, equal the bytes.
pub(super) fn equal(sets: &mut Arena, bits: &[Truth], bytes: &[u8]) -> Decided<Truth> {
    if bits.len() != bytes.len() * 8 {
        return Ok(Truth::MAYBE);
    }
    let mut holds = Truth::YES;
    // The last variables first, so that each step adds one node.
    for (bit, wanted) in bits.iter().zip(ones(bytes)).rev() {
        holds = sets.bit_and(*bit, wanted, holds)?;
    }
    Ok(holds)
}

/// Whether the bits are at least the bytes, as `memcmp` orders.
pub(super) fn at_least(sets: &mut Arena, bits: &[Truth], bytes: &[u8]) -> Decided<Truth> {
    if bits.len() != bytes.len() * 8 {
        return Ok(Truth::MAYBE);
    }
    let mut holds = Truth::YES;
    for (bit, wanted) in bits.iter().zip(ones(bytes)).rev() {
        holds = if wanted { sets.both(*bit, holds) } else { sets.either(*bit, holds) }?;
    }
    Ok(holds)
}

/// Whether the bits are at most the bytes, as `memcmp` orders.
pub(super) fn at_most(sets: &mut Arena, bits: &[Truth], bytes: &[u8]) -> Decided<Truth> {
    let contrary: Vec<Truth> = bits.iter().map(|bit| bit.negate(true)).collect();
    let bytes: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    at_least(sets, &contrary, &bytes)
}

/// The bits of the bytes, the most significant first.
fn ones(bytes: &[u8]) -> impl DoubleEndedIterator<Item = bool> + ExactSizeIterator {
    let bytes = bytes.to_vec();
    (0..bytes.len() * 8).map(move |at| bytes[at / 8] >> (7 - at % 8) & 1 != 0)
}

/// Octets of which some are not known, as bits.
pub(in crate::engine) fn bits(octets: &[Option<u8>]) -> Vec<Truth> {
    let bit =
        |octet: &Option<u8>, at: u32| octet.map_or(Truth::MAYBE, |octet| (octet >> (7 - at) & 1 != 0).into());
    octets.iter().flat_map(|octet| (0..8).map(move |at| bit(octet, at))).collect()
}

/// Bits of numbers of the given size turned from network order into the host's, or back.
pub(super) fn host_order(bits: &[Truth], octets: usize) -> Vec<Truth> {
    if cfg!(target_endian = "big") {
        return bits.to_vec();
    }
    let numbers = bits.chunks(octets.max(1) * 8);
    numbers.flat_map(|number| number.chunks(8).rev().flatten().copied().collect::<Vec<_>>()).collect()
}
