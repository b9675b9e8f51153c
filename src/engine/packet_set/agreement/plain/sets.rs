//! Look-ups in sets and maps.

use kvmnet_probes::facts::{Bytes, Element, Expr, Set, Table};

use super::packet::Octets;
use super::registers::{Truth, equal, within};

/// What a look-up finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Element(&'a Element),
    Nothing,
    /// It depends on what is not known.
    Maybe,
}

/// Looks `key` up in `set` of `table`, as its elements are now.
pub(super) fn look_up<'a>(table: &Table, set: &'a Set, key: &Octets) -> Found<'a> {
    if set.dynamic && changed_by_packets(table, &set.name) {
        return Found::Maybe;
    }
    let found = if set.interval && set.elements.iter().all(|element| element.key_end.is_none()) {
        interval(set, key)
    } else {
        scan(set, key)
    };
    match found {
        Found::Nothing => {
            set.elements.iter().find(|element| element.key.is_none()).map_or(Found::Nothing, Found::Element)
        }
        found @ (Found::Element(_) | Found::Maybe) => found,
    }
}

/// A rule of the table adds to or deletes from the set while packets pass.
pub(super) fn changed_by_packets(table: &Table, set: &str) -> bool {
    let names = |expr: &Expr| matches!(expr, Expr::Dynset { set: name, .. } if name == set);
    table.chains.iter().flat_map(|chain| &chain.rules).any(|rule| rule.exprs.iter().any(names))
}

/// Boundaries in order: the greatest one that is not above the key decides.
fn interval<'a>(set: &'a Set, key: &Octets) -> Found<'a> {
    let bound = |fill: u8| {
        let key: Vec<u8> = key.iter().map(|octet| octet.unwrap_or(fill)).collect();
        set.elements
            .iter()
            .filter(|element| bytes(element).is_some_and(|at| at <= key.as_slice()))
            // Where one interval ends and the next begins at the same key, the beginning counts.
            .max_by_key(|element| (bytes(element), !element.interval_end))
    };
    match (bound(0), bound(0xff)) {
        (least, most) if least != most => Found::Maybe,
        (Some(element), _) if !element.interval_end => Found::Element(element),
        (_, _) => Found::Nothing,
    }
}

fn scan<'a>(set: &'a Set, key: &Octets) -> Found<'a> {
    let mut maybe = false;
    for element in &set.elements {
        match holds(set, element, key) {
            // Elements do not overlap: what surely is this one is no other.
            Truth::Yes => return Found::Element(element),
            Truth::Maybe => maybe = true,
            Truth::No => {}
        }
    }
    if maybe { Found::Maybe } else { Found::Nothing }
}

fn holds(set: &Set, element: &Element, key: &Octets) -> Truth {
    let Some(from) = bytes(element) else { return Truth::No };
    let Some(Bytes(to)) = &element.key_end else { return equal(key, from) };
    let whole = [set.key_length];
    let fields = if set.key_fields.is_empty() { whole.as_slice() } else { &set.key_fields };
    let mut truth = Truth::Yes;
    let mut at = 0;
    for length in fields {
        let field = at..at + (*length as usize).min(64);
        at = field.end.next_multiple_of(4);
        truth = truth.and(match (key.get(field.clone()), from.get(field.clone()), to.get(field)) {
            (Some(key), Some(from), Some(to)) => within(key, from, to),
            _ => Truth::Maybe,
        });
    }
    truth
}

fn bytes(element: &Element) -> Option<&[u8]> {
    element.key.as_ref().map(|Bytes(key)| key.as_slice())
}
