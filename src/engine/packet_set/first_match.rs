//! What a list of rules accepts of which the first that matches decides.
//!
//! No one order of building suits every list. Where many rules name no address it is best to begin with the first
//! rule and to keep the set of packets that no rule took yet, as that is soon small; else a few rules at a time,
//! joined, are laid over what the rules after them accept. The first is tried with as many nodes as it needs where it
//! suits, which soon shows.

use super::bdd::{Arena, Bdd, Decided};
use super::set::PacketSet;

/// A rule: what it matches, and whether it accepts that.
pub type Line = (PacketSet, bool);

/// Nodes for a first attempt: some for each rule, and some for all.
const NODES_PER_RULE: usize = 16;
const NODES: usize = 1 << 14;

/// Of the rules that are left, the part that is joined before it is laid over the others. From a tenth to a quarter it
/// comes to the same (measured); with a half more is made in vain.
const PART: usize = 8;

/// What the rules accept; `policy` decides what none of them matches.
pub fn accepted(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    let enough = NODES + NODES_PER_RULE * rules.len();
    sets.attempt(enough, |sets| from_the_first(sets, rules, policy))
        .or_else(|_| from_the_last(sets, rules, policy))
}

/// Each rule takes its part of what is left.
pub fn from_the_first(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    let (mut left, mut accepted) = (Bdd::ALL, Bdd::NONE);
    for (matched, accepts) in rules {
        if left == Bdd::NONE {
            break;
        }
        if *accepts {
            let taken = sets.and(left, *matched)?;
            accepted = sets.or(accepted, taken)?;
        }
        left = sets.minus(left, *matched)?;
    }
    if policy { sets.or(accepted, left) } else { Ok(accepted) }
}

/// The first rules, joined, overlay what the rules after them accept.
pub fn from_the_last(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    if rules.is_empty() {
        return Ok(if policy { Bdd::ALL } else { Bdd::NONE });
    }
    let (first, rest) = rules.split_at(rules.len().div_ceil(PART));
    let otherwise = from_the_last(sets, rest, policy)?;
    let (accepted, matched) = joined(sets, first)?;
    sets.ite(matched, accepted, otherwise)
}

/// What the rules accept, and what they match.
fn joined(sets: &mut Arena, rules: &[Line]) -> Decided<(PacketSet, PacketSet)> {
    match rules {
        [] => Ok((Bdd::NONE, Bdd::NONE)),
        [(matched, accepts)] => Ok((if *accepts { *matched } else { Bdd::NONE }, *matched)),
        _ => {
            let (first, second) = rules.split_at(rules.len() / 2);
            let (accepted, matched) = joined(sets, first)?;
            let (otherwise, also_matched) = joined(sets, second)?;
            Ok((sets.ite(matched, accepted, otherwise)?, sets.or(matched, also_matched)?))
        }
    }
}
