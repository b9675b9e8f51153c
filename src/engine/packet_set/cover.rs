//! A set as few terms, each a conjunction of tests of fields.
//!
//! This is the irredundant sum of products of Minato and Morreale, taken field by field where they
//! go bit by bit: what holds whatever the value of a field is covered first, without the field, and
//! may then be covered again. So `ip saddr 10.0.0.0/8 or tcp dport 80` comes out as it went in.

use super::bdd::{Arena, Bdd, Decided};
use super::field::Field;
use super::set::PacketSet;

/// Values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// From the first to the last.
    Range(u128, u128),
    /// `field & mask == value`.
    Masked { value: u128, mask: u128 },
}

/// A test of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) field: Field,
    pub(super) values: Vec<Values>,
    /// It holds for all values but these.
    pub(super) but: bool,
}

/// Tests that all hold, in the order of fields.
pub(super) type Term = Vec<Test>;

/// A set as terms.
#[derive(Debug)]
pub(super) struct Cover {
    pub(super) terms: Vec<Term>,
    /// There are more that were left out.
    pub(super) more: bool,
}

/// Values of one field that are looked at before the rest is left out.
const VALUES: usize = 256;
/// Nodes that may be spent on few terms.
const NODES: usize = 1 << 17;

/// All terms of the set.
#[cfg(test)]
pub(super) fn every_term(sets: &mut Arena, set: PacketSet, share: bool) -> Vec<Term> {
    let mut run = Run { sets, share, left: usize::MAX, more: false };
    let terms = run.between(set, set).expect("the budget is large").0;
    assert!(!run.more);
    terms
}

/// What any of the terms holds.
#[cfg(test)]
pub(super) fn union(sets: &mut Arena, terms: &[Term]) -> Decided {
    terms.iter().try_fold(Bdd::NONE, |all, term| {
        let set = term.iter().try_fold(Bdd::ALL, |set, test| {
            let mut run = Run { sets, share: false, left: 0, more: false };
            let values = run.values(test.field, &test.values)?;
            sets.and(set, if test.but { !values } else { values })
        })?;
        sets.or(all, set)
    })
}

/// Covers the set by at most `most` terms, or a part of it.
pub(super) fn cover(sets: &mut Arena, set: PacketSet, most: usize) -> Cover {
    let run = |sets: &mut Arena, share| {
        let mut run = Run { sets, share, left: most, more: false };
        let terms = run.between(set, set)?.0;
        Ok(Cover { terms, more: run.more })
    };
    // Without the search for what several values share no node is made.
    sets.attempt(NODES, |sets| run(sets, true))
        .or_else(|_| run(sets, false))
        .unwrap_or(Cover { terms: Vec::new(), more: true })
}

struct Run<'a> {
    sets: &'a mut Arena,
    /// Cover first what holds for all values of a field.
    share: bool,
    /// Terms that may still be made.
    left: usize,
    more: bool,
}

/// Values of a field, and the bounds of what is to be covered for them.
struct Class {
    values: Vec<Values>,
    lower: PacketSet,
    upper: PacketSet,
}

impl Run<'_> {
    /// Terms of a set that holds all of `lower` and nothing outside `upper`, and that set.
    fn between(&mut self, lower: PacketSet, upper: PacketSet) -> Decided<(Vec<Term>, PacketSet)> {
        if lower == Bdd::NONE {
            return Ok((Vec::new(), Bdd::NONE));
        }
        if self.left == 0 {
            self.more = true;
            return Ok((Vec::new(), Bdd::NONE));
        }
        let tops = [lower, upper].map(|set| self.sets.branch(set));
        let Some(top) =
            tops.iter().flatten().map(|(variable, ..)| *variable).min().filter(|_| upper != Bdd::ALL)
        else {
            self.left -= 1;
            return Ok((vec![Vec::new()], Bdd::ALL));
        };
        let field = Field::of(top);
        let mut classes = Vec::new();
        self.classes(field, (lower, upper), (0, 0), &mut classes);
        let complete = values(&classes) < VALUES;
        let (mut terms, mut covered) = (Vec::new(), Bdd::NONE);
        if self.share {
            let (mut common_lower, mut common_upper) = (Bdd::NONE, Bdd::ALL);
            for class in &classes {
                common_upper = self.sets.and(common_upper, class.upper)?;
                common_lower = self.sets.or(common_lower, class.lower)?;
            }
            common_lower = self.sets.and(common_lower, common_upper)?;
            (terms, covered) = self.between(common_lower, common_upper)?;
            for class in &mut classes {
                class.lower = self.sets.minus(class.lower, covered)?;
            }
            self.merge(&mut classes)?;
        }
        for at in 0..classes.len() {
            let (inner, inside) = self.between(classes[at].lower, classes[at].upper)?;
            if inner.is_empty() {
                continue;
            }
            let test = shortest(field, &classes, at, complete);
            terms.extend(inner.into_iter().map(|term| [vec![test.clone()], term].concat()));
            if self.share {
                let within = self.values(field, &classes[at].values)?;
                let within = self.sets.and(within, inside)?;
                covered = self.sets.or(covered, within)?;
            }
        }
        Ok((terms, covered))
    }

    /// Splits by the values of the field that make a difference, least values first.
    fn classes(
        &mut self,
        field: Field,
        (lower, upper): (PacketSet, PacketSet),
        (value, mask): (u128, u128),
        classes: &mut Vec<Class>,
    ) {
        let inside = |sets: &Arena, set| sets.branch(set).filter(|(at, ..)| field.variables().contains(at));
        let branches = (inside(self.sets, lower), inside(self.sets, upper));
        let tops = [branches.0, branches.1];
        let Some(variable) = tops.iter().flatten().map(|(variable, ..)| *variable).min() else {
            if values(classes) >= VALUES {
                self.more = true;
                return;
            }
            let found = as_values(field, value, mask);
            match classes.iter_mut().find(|class| (class.lower, class.upper) == (lower, upper)) {
                Some(class) => append(&mut class.values, found),
                None => classes.push(Class { values: vec![found], lower, upper }),
            }
            return;
        };
        let bit = 1 << (field.variables().end - 1 - variable);
        let split = |set, branch| match branch {
            Some((at, low, high)) if at == variable => (low, high),
            _ => (set, set),
        };
        let (lower, upper) = (split(lower, branches.0), split(upper, branches.1));
        self.classes(field, (lower.0, upper.0), (value, mask | bit), classes);
        self.classes(field, (lower.1, upper.1), (value | bit, mask | bit), classes);
    }

    /// Joins classes of which the same is to be covered.
    fn merge(&mut self, classes: &mut Vec<Class>) -> Decided<()> {
        let mut merged: Vec<Class> = Vec::new();
        for class in classes.drain(..) {
            match merged.iter_mut().find(|other| other.lower == class.lower) {
                Some(other) => {
                    other.upper = self.sets.and(other.upper, class.upper)?;
                    other.values.extend(class.values);
                    other.values = joined(std::mem::take(&mut other.values));
                }
                None => merged.push(class),
            }
        }
        *classes = merged;
        Ok(())
    }

    fn values(&mut self, field: Field, values: &[Values]) -> Decided<PacketSet> {
        let sets = values.iter().map(|values| match *values {
            Values::Range(first, last) => self.sets.range(field, &(first..=last)),
            Values::Masked { value, mask } => self.sets.masked(field, value, mask),
        });
        let sets: Vec<_> = sets.collect::<Decided<_>>()?;
        self.sets.any_of(&sets)
    }
}

fn values(classes: &[Class]) -> usize {
    classes.iter().map(|class| class.values.len()).sum()
}

/// A mask that is a prefix is a range.
fn as_values(field: Field, value: u128, mask: u128) -> Values {
    let open = field.mask() & !mask;
    if open & open.wrapping_add(1) == 0 {
        Values::Range(value, value | open)
    } else {
        Values::Masked { value, mask }
    }
}

/// Appends values that are greater than all before.
fn append(all: &mut Vec<Values>, values: Values) {
    match (all.last_mut(), values) {
        (Some(Values::Range(_, last)), Values::Range(first, end)) if last.checked_add(1) == Some(first) => {
            *last = end;
        }
        _ => all.push(values),
    }
}

/// The same values in order, neighbours joined.
fn joined(mut values: Vec<Values>) -> Vec<Values> {
    values.sort_by_key(|values| match values {
        Values::Range(first, _) => *first,
        Values::Masked { value, .. } => *value,
    });
    values.into_iter().fold(Vec::new(), |mut all, values| {
        append(&mut all, values);
        all
    })
}

/// The class's own values or, where all are there, all but the others', whichever are fewer.
fn shortest(field: Field, classes: &[Class], at: usize, complete: bool) -> Test {
    let others = classes.iter().enumerate().filter(|(other, _)| *other != at);
    let others = joined(others.flat_map(|(_, class)| class.values.clone()).collect());
    let own = classes[at].values.clone();
    let but = complete && others.len() < own.len();
    Test { field, values: if but { others } else { own }, but }
}
