//! What one field of packets holds once rules have written to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use super::bdd::{Arena, Bdd, Decided};
use super::field::Field;
use super::set::PacketSet;
use super::truth::{self, Truth};

/// What a field holds that is not as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::engine) enum Held {
    /// The same in all packets.
    Constant(u128),
    /// One of a few values, as port forwards write them; by value, each once.
    Pieces(Rc<[Piece]>),
    /// Its bits, the most significant first, of which at least one is not the same in all.
    Bits(Rc<[Truth]>),
}

/// Packets in which a field holds the same, and what; `None`: it is as it came. Each packet is in one of the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::engine) struct Piece {
    value: Option<u128>,
    packets: PacketSet,
}

/// What a field holds, also if that is as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Value {
    pub(super) field: Field,
    pub(super) held: Option<Held>,
}

impl Value {
    /// The bits in this range, the most significant being the first.
    pub(super) fn bits(&self, sets: &mut Arena, range: Range<u32>) -> Decided<Vec<Truth>> {
        match &self.held {
            Some(held) => held.bits(sets, self.field, range),
            None => as_it_came(sets, self.field, range),
        }
    }

    /// The address, if it is the same in all packets.
    pub(super) fn constant_address(&self, ipv6: bool) -> Option<IpAddr> {
        let (value, known) = self.held.as_ref()?.known(self.field);
        if ipv6 {
            return (known == u128::MAX).then(|| IpAddr::V6(value.into()));
        }
        let first = |bits: u128| u32::try_from(bits >> 96).expect("32 bits are left");
        (first(known) == u32::MAX).then(|| IpAddr::V4(first(value).into()))
    }
}

/// The bits in this range of a field that nothing has written to.
pub(super) fn as_it_came(sets: &mut Arena, field: Field, range: Range<u32>) -> Decided<Vec<Truth>> {
    range.map(|at| sets.variable(field.variables().start + at).map(Truth::of)).collect()
}

/// Of more pieces the bits are kept.
const PIECES: usize = 64;

impl Held {
    /// What these bits are, the most significant first.
    pub(super) fn of(bits: &[Truth]) -> Self {
        match truth::known(bits) {
            (value, known) if known.count_ones() as usize == bits.len() => Self::Constant(value),
            _ => Self::Bits(bits.into()),
        }
    }

    /// The bits in this range, the most significant being the first.
    pub(super) fn bits(&self, sets: &mut Arena, field: Field, range: Range<u32>) -> Decided<Vec<Truth>> {
        let bit = |value: u128, at: u32| Truth::from(value >> (field.width() - 1 - at) & 1 != 0);
        match self {
            Self::Constant(value) => Ok(range.map(|at| bit(*value, at)).collect()),
            Self::Bits(bits) => Ok(bits[range.start as usize..range.end as usize].to_vec()),
            Self::Pieces(pieces) => range
                .map(|at| {
                    let is_one = |value| bit(value, at) == Truth::YES;
                    let came = |sets: &mut Arena| sets.variable(field.variables().start + at);
                    in_pieces(sets, pieces, is_one, came)
                })
                .collect(),
        }
    }

    /// Whether it is as it came in any packet.
    pub(super) fn is_partly_as_it_came(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.iter().any(|piece| piece.value.is_none()),
            Self::Constant(_) | Self::Bits(_) => false,
        }
    }

    /// Whether `field & mask == value`.
    pub(super) fn masked(&self, sets: &mut Arena, field: Field, value: u128, mask: u128) -> Decided<Truth> {
        match self {
            Self::Constant(constant) => Ok(Truth::from(constant & mask == value)),
            Self::Bits(bits) => truth::masked(sets, bits, value, mask),
            Self::Pieces(pieces) => in_pieces(
                sets,
                pieces,
                |constant| constant & mask == value,
                |sets| sets.masked(field, value, mask),
            ),
        }
    }

    /// Whether the field is in the range.
    pub(super) fn range(
        &self,
        sets: &mut Arena,
        field: Field,
        range: &RangeInclusive<u128>,
    ) -> Decided<Truth> {
        let bits = match self {
            Self::Constant(constant) => return Ok(Truth::from(range.contains(constant))),
            Self::Bits(bits) => bits,
            Self::Pieces(pieces) => {
                return in_pieces(
                    sets,
                    pieces,
                    |constant| range.contains(&constant),
                    |sets| sets.range(field, range),
                );
            }
        };
        // Fields are compared as they stand in whole octets.
        let padding = (8 - bits.len() % 8) % 8;
        let bits = [vec![Truth::NO; padding].as_slice(), bits].concat();
        let octets = |value: u128| value.to_be_bytes()[16 - bits.len() / 8..].to_vec();
        let from = truth::at_least(sets, &bits, &octets(*range.start()))?;
        let to = truth::at_most(sets, &bits, &octets((*range.end()).min(field.mask())))?;
        sets.both(from, to)
    }

    /// The bits that are the same in all packets: their values, and which they are.
    pub(super) fn known(&self, field: Field) -> (u128, u128) {
        match self {
            Self::Constant(value) => (*value, field.mask()),
            Self::Bits(bits) => truth::known(bits),
            Self::Pieces(pieces) => {
                let first = pieces.first().and_then(|piece| piece.value).unwrap_or(0);
                let same = |known, piece: &Piece| piece.value.map_or(0, |value| known & !(value ^ first));
                (first, pieces.iter().fold(field.mask(), same))
            }
        }
    }

    /// The same over sets of another arena.
    pub(super) fn copy(
        &self,
        from: &Arena,
        to: &mut Arena,
        known: &mut HashMap<usize, Bdd>,
    ) -> Decided<Self> {
        Ok(match self {
            Self::Constant(value) => Self::Constant(*value),
            Self::Pieces(pieces) => {
                let copied = pieces
                    .iter()
                    .map(|piece| Ok(Piece { packets: to.copy(from, piece.packets, known)?, ..*piece }));
                Self::Pieces(copied.collect::<Decided<_>>()?)
            }
            Self::Bits(bits) => {
                let copied = bits.iter().map(|bit| {
                    let yes = to.copy(from, bit.yes, known)?;
                    Ok(Truth { yes, no: to.copy(from, bit.no, known)? })
                });
                Self::Bits(copied.collect::<Decided<_>>()?)
            }
        })
    }
}

/// Whether something holds, which is told of a value, and as a set of what is as it came.
fn in_pieces(
    sets: &mut Arena,
    pieces: &[Piece],
    holds: impl Fn(u128) -> bool,
    came: impl Fn(&mut Arena) -> Decided,
) -> Decided<Truth> {
    let mut parts = Vec::new();
    for piece in pieces {
        match piece.value {
            Some(value) if holds(value) => parts.push(piece.packets),
            Some(_) => {}
            None => {
                let some = came(sets)?;
                parts.push(sets.and(piece.packets, some)?);
            }
        }
    }
    sets.any_of(&parts).map(Truth::of)
}

/// What `held` is once the value was written in these packets; `None` if bits are to be kept for it.
pub(super) fn overlaid(
    sets: &mut Arena,
    held: Option<&Held>,
    packets: PacketSet,
    value: u128,
) -> Decided<Option<Held>> {
    let whole = |value| [Piece { value, packets: Bdd::ALL }];
    let (one, pieces);
    let before: &[Piece] = match held {
        None => {
            one = whole(None);
            &one
        }
        Some(Held::Constant(constant)) => {
            one = whole(Some(*constant));
            &one
        }
        Some(Held::Pieces(some)) => {
            pieces = Rc::clone(some);
            &pieces
        }
        Some(Held::Bits(_)) => return Ok(None),
    };
    let (mut after, mut all) = (Vec::new(), packets);
    for piece in before {
        if piece.value == Some(value) {
            all = sets.or(all, piece.packets)?;
        } else {
            let packets = sets.minus(piece.packets, packets)?;
            if packets != Bdd::NONE {
                after.push(Piece { packets, ..*piece });
            }
        }
    }
    if after.is_empty() {
        return Ok(Some(Held::Constant(value)));
    }
    if all != Bdd::NONE {
        after.push(Piece { value: Some(value), packets: all });
    }
    after.sort();
    Ok((after.len() <= PIECES).then(|| Held::Pieces(after.into())))
}

/// Whether what a field holds may differ in its first `length` bits from what it held before, in any packet.
pub(super) fn differ(
    sets: &mut Arena,
    field: Field,
    (before, after): (Option<&Held>, Option<&Held>),
    length: u32,
) -> Decided<bool> {
    let pieces = |held: Option<&Held>| match held {
        None => Some(vec![Piece { value: None, packets: Bdd::ALL }]),
        Some(Held::Constant(value)) => Some(vec![Piece { value: Some(*value), packets: Bdd::ALL }]),
        Some(Held::Pieces(pieces)) => Some(pieces.to_vec()),
        Some(Held::Bits(_)) => None,
    };
    let (Some(before), Some(after)) = (pieces(before), pieces(after)) else { return Ok(true) };
    for one in &before {
        for other in &after {
            let same = match (one.value, other.value) {
                (None, None) => continue,
                (Some(value), Some(other)) if (value ^ other) >> (field.width() - length) == 0 => continue,
                (Some(_), Some(_)) => Bdd::NONE,
                (Some(value), None) | (None, Some(value)) => sets.prefix(field, value, length)?,
            };
            let both = sets.and(one.packets, other.packets)?;
            if sets.minus(both, same)? != Bdd::NONE {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
