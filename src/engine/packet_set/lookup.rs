//! Look-ups in sets and maps, for all keys at once.

use std::collections::BTreeMap;

use kvmnet_probes::facts::{Element, Expr, Set, Table};

use super::bdd::{Arena, Decided};
use super::truth::{Truth, at_least, at_most, equal};
use super::verdict::is_limit;

/// For each element of the set where it is the one that is found; `None` if packets change the set.
pub(super) fn elements<'a>(
    sets: &mut Arena,
    table: &Table,
    set: &'a Set,
    key: &[Truth],
) -> Decided<Option<Vec<(Truth, &'a Element)>>> {
    if set.dynamic && changed_by_packets(table, &set.name) {
        return Ok(None);
    }
    let mut found = if set.interval && set.elements.iter().all(|element| element.key_end.is_none()) {
        intervals(sets, set, key)?
    } else {
        let own = set.elements.iter().filter(|element| element.key.is_some());
        own.map(|element| Ok((holds(sets, set, element, key)?, element))).collect::<Decided<_>>()?
    };
    if let Some(rest) = set.elements.iter().find(|element| element.key.is_none()) {
        let others: Vec<Truth> = found.iter().map(|(holds, _)| *holds).collect();
        found.push((sets.any_truth(&others)?.negate(true), rest));
    }
    for (holds, element) in &mut found {
        if element.exprs.iter().any(is_limit) {
            *holds = holds.doubted();
        }
    }
    Ok(Some(found))
}

/// A rule of the table adds to or deletes from the set while packets pass.
fn changed_by_packets(table: &Table, set: &str) -> bool {
    let names = |expr: &Expr| matches!(expr, Expr::Dynset { set: name, .. } if name == set);
    table.chains.iter().flat_map(|chain| &chain.rules).any(|rule| rule.exprs.iter().any(names))
}

/// Boundaries in order: from each one that begins an interval to the next.
fn intervals<'a>(sets: &mut Arena, set: &'a Set, key: &[Truth]) -> Decided<Vec<(Truth, &'a Element)>> {
    let mut bounds: BTreeMap<&[u8], &Element> = BTreeMap::new();
    for element in &set.elements {
        let Some(at) = &element.key else { continue };
        // Where one interval ends and the next begins at the same key, the beginning counts.
        if !element.interval_end || !bounds.contains_key(at.0.as_slice()) {
            bounds.insert(&at.0, element);
        }
    }
    let bounds: Vec<(&[u8], &Element)> = bounds.into_iter().collect();
    let reached: Vec<Truth> =
        bounds.iter().map(|(bound, _)| at_least(sets, key, bound)).collect::<Decided<_>>()?;
    let mut found = Vec::new();
    for (at, (_, element)) in bounds.iter().enumerate() {
        if !element.interval_end {
            let next = reached.get(at + 1).copied().unwrap_or(Truth::NO);
            found.push((sets.both(reached[at], next.negate(true))?, *element));
        }
    }
    Ok(found)
}

fn holds(sets: &mut Arena, set: &Set, element: &Element, key: &[Truth]) -> Decided<Truth> {
    let Some(from) = &element.key else { return Ok(Truth::NO) };
    let Some(to) = &element.key_end else { return equal(sets, key, &from.0) };
    let whole = [set.key_length];
    let fields = if set.key_fields.is_empty() { whole.as_slice() } else { &set.key_fields };
    let mut all = Truth::YES;
    let mut at = 0;
    for length in fields {
        let field = at..at + (*length as usize).min(64);
        at = field.end.next_multiple_of(4);
        let bits = key.get(field.start * 8..field.end * 8);
        let within = match (bits, from.0.get(field.clone()), to.0.get(field)) {
            (Some(bits), Some(from), Some(to)) => {
                let (from, to) = (at_least(sets, bits, from)?, at_most(sets, bits, to)?);
                sets.both(from, to)?
            }
            _ => Truth::MAYBE,
        };
        all = sets.both(all, within)?;
    }
    Ok(all)
}

/// The bits of the data that the found element gives; `None` are data that are not known.
pub(super) fn chosen(sets: &mut Arena, found: &[Truth], data: &[Option<&[u8]>]) -> Decided<Vec<Truth>> {
    let length = data.iter().flatten().map(|bytes| bytes.len()).max().unwrap_or(16);
    let mut bits = Vec::with_capacity(length * 8);
    for at in 0..length * 8 {
        let bit = |bytes: &[u8]| bytes.get(at / 8).map(|byte| byte >> (7 - at % 8) & 1 != 0);
        let with = |wanted: bool| {
            let all = found.iter().zip(data).filter(|(_, bytes)| bytes.and_then(bit) == Some(wanted));
            all.map(|(holds, _)| holds.yes).collect::<Vec<_>>()
        };
        let (ones, zeros) = (with(true), with(false));
        bits.push(Truth { yes: sets.any_of(&ones)?, no: sets.any_of(&zeros)? });
    }
    Ok(bits)
}
