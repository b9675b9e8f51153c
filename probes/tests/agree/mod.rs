//! Whether a snapshot says what `ip` and `bridge` say, item by item.
//!
//! Both sides are brought into the same rows; a row that only one side has is a difference. What
//! changes by itself (timers, the state of neighbours, counters) is not compared. The lab uses it on
//! a real libvirt host, with `tool` running there.

#![expect(clippy::unwrap_used, reason = "a tool that prints what it never printed fails the test")]

mod link;
mod routing;
mod table;

use std::collections::BTreeMap;

use kvmnet_probes::facts::{IfIndex, Snapshot};
use serde_json::Value;

/// Runs a tool where the snapshot was taken and gives the JSON that it printed.
pub(crate) type Tool<'a> = &'a dyn Fn(&[&str]) -> Value;

/// Every row in which the snapshot and the tools differ.
pub(crate) fn differences(snapshot: &Snapshot, tool: Tool<'_>) -> Vec<String> {
    let names: Names =
        snapshot.links.items().iter().map(|link| (link.index, link.name.as_str().to_owned())).collect();
    let mut differences = Vec::new();
    for source in snapshot.sources().iter().take(7) {
        differences.extend(source.missing.map(|reason| format!("{} is missing: {reason}", source.name)));
        differences.extend(source.caveats.iter().map(|caveat| format!("{}: {caveat}", source.name)));
    }
    let mut compare = |what: &str, (ours, theirs): (Vec<Value>, Vec<Value>)| {
        assert!(!theirs.is_empty(), "the tool shows no {what} at all: nothing is compared");
        differences.extend(compare(what, &ours, &theirs));
    };
    compare("links", link::links(snapshot, &names, tool));
    compare("addresses", routing::addresses(snapshot, &names, tool));
    compare("routes", routing::routes(snapshot, &names, tool));
    compare("rules", routing::rules(snapshot, tool));
    compare("neighbours", routing::neighbours(snapshot, &names, tool));
    compare("fdb", table::fdb(snapshot, &names, tool));
    // Both may well be empty.
    for (what, (ours, theirs)) in
        [("mdb", table::mdb(snapshot, &names, tool)), ("VLANs", table::vlans(snapshot, tool))]
    {
        differences.extend(self::compare(what, &ours, &theirs));
    }
    differences
}

type Names = BTreeMap<IfIndex, String>;

/// The device's name, as the tools say it.
fn name(names: &Names, index: IfIndex) -> Value {
    names.get(&index).map_or(Value::Null, |name| name.as_str().into())
}

/// The rows that only one side has; a row that both have counts as often as it is there.
pub(crate) fn compare(what: &str, ours: &[Value], theirs: &[Value]) -> Vec<String> {
    let mut count: BTreeMap<String, i64> = BTreeMap::new();
    for row in ours {
        *count.entry(row.to_string()).or_default() += 1;
    }
    for row in theirs {
        *count.entry(row.to_string()).or_default() -= 1;
    }
    count
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(row, count)| {
            format!("{what}: only {} has {row}", if count > 0 { "kvmnet" } else { "the tool" })
        })
        .collect()
}

/// The objects in a tool's answer.
fn rows(answer: Value) -> Vec<Value> {
    match answer {
        // Tools print an empty object in place of a device that a filter left out.
        Value::Array(rows) => {
            rows.into_iter().filter(|row| row.as_object().is_some_and(|row| !row.is_empty())).collect()
        }
        _ => Vec::new(),
    }
}

/// A field that a tool prints as a number, or as text that is one, maybe in hexadecimal.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// A switch that a tool prints as a boolean, as 0 or 1, or by the key alone.
fn on(row: &Value, key: &str) -> bool {
    match row.get(key) {
        Some(Value::Bool(on)) => *on,
        Some(Value::Null) => true,
        Some(other) => number(other).is_some_and(|number| number != 0),
        None => false,
    }
}

/// Whether the list under `key` holds `word`.
fn has(row: &Value, key: &str, word: &str) -> bool {
    row[key].as_array().is_some_and(|list| list.iter().any(|item| item == word))
}
