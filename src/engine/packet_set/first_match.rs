//! What a list of rules accepts of which the first that matches decides.
//!
//! No one order of building suits every list. Measured on random rules: from the last rule to the
//! first is fastest where most rules name both addresses; from the first, with the set of packets that
//! no rule took yet, where many rules name none, as that set is soon small; by halves in between. The
//! first two are tried with as many nodes as they need where they fit, which soon shows.

use super::bdd::{Arena, Bdd, Decided};
use super::set::PacketSet;

/// A rule: what it matches, and whether it accepts that.
pub type Line = (PacketSet, bool);

/// Nodes for a first attempt: some for each rule, and some for all.
const NODES_PER_RULE: usize = 64;
const NODES: usize = 1 << 14;

/// What the rules accept; `policy` decides what none of them matches.
pub fn accepted(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    let enough = NODES + NODES_PER_RULE * rules.len();
    sets.attempt(enough, |sets| from_the_last(sets, rules, policy))
        .or_else(|_| sets.attempt(enough, |sets| from_the_first(sets, rules, policy)))
        .or_else(|_| by_halves(sets, rules, policy))
}

/// Each rule overlays what the rules after it accept.
pub fn from_the_last(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    let last = if policy { Bdd::ALL } else { Bdd::NONE };
    rules.iter().rev().try_fold(last, |accepted, (matched, accepts)| match accepts {
        true => sets.or(accepted, *matched),
        false => sets.minus(accepted, *matched),
    })
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

/// The first half overlays the second.
pub fn by_halves(sets: &mut Arena, rules: &[Line], policy: bool) -> Decided<PacketSet> {
    let (accepted, matched) = half(sets, rules)?;
    if policy { sets.or(accepted, !matched) } else { Ok(accepted) }
}

/// What the rules accept, and what they match.
fn half(sets: &mut Arena, rules: &[Line]) -> Decided<(PacketSet, PacketSet)> {
    match rules {
        [] => Ok((Bdd::NONE, Bdd::NONE)),
        [(matched, accepts)] => Ok((if *accepts { *matched } else { Bdd::NONE }, *matched)),
        _ => {
            let (first, second) = rules.split_at(rules.len() / 2);
            let (accepted, matched) = half(sets, first)?;
            let (then_accepted, then_matched) = half(sets, second)?;
            let then_accepted = sets.minus(then_accepted, matched)?;
            Ok((sets.or(accepted, then_accepted)?, sets.or(matched, then_matched)?))
        }
    }
}
