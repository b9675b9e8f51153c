//! A snapshot that can be shown to others: the same verdicts follow from it, but not whose host it is.
//!
//! Replaced are the names of the host, domains, networks, port groups, filters, guests and DNS
//! domains, UUIDs, comments, and every MAC and IP address, each by the same everywhere. Kept are the
//! names of devices, tables, chains and sets, because rules, sysctls and programs refer to them in
//! many ways; what says nothing of the host: loopback, multicast, documentation addresses; and to
//! which special range an address belongs. See [`address`] for why verdicts survive.
//!
//! Not preserved: comparisons of addresses under a mask that is no prefix.

mod address;
mod rules;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Fact, Snapshot};
use address::AddressMap;

impl Snapshot {
    /// The snapshot without names and addresses that tell whose host it is. The same `key` gives the
    /// same replacements; whoever does not know the key cannot undo them.
    ///
    /// # Panics
    ///
    /// If a replacement did not keep the form of what it replaces: that would be a bug.
    #[must_use]
    pub fn anonymized(&self, key: u64) -> Self {
        let mut addresses = AddressMap::new(key);
        let mut snapshot = self.clone();
        let json = serde_json::to_value(&snapshot).expect("a snapshot has only string keys");
        address::keep_ranges(&json, &mut addresses);
        rules::rewrite(&mut snapshot, &mut rules::Ranges(&mut addresses));
        rules::rewrite(&mut snapshot, &mut rules::Replacements(&addresses));
        let mut json = serde_json::to_value(&snapshot).expect("a snapshot has only string keys");
        let mut names = Names::new(addresses);
        names.collect("", "", &json);
        names.replace("", "", &mut json);
        let mut snapshot: Self = serde_json::from_value(json).expect("every replacement keeps the form");
        sort_by_name(&mut snapshot);
        snapshot
    }
}

/// Restores the order by name that the names had before.
fn sort_by_name(snapshot: &mut Snapshot) {
    if let Fact::Read { value, .. } = &mut snapshot.libvirt {
        value.networks.sort_by(|a, b| a.name.cmp(&b.name));
        value.domains.sort_by(|a, b| a.name.cmp(&b.name));
        value.filters.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// Where names stand in a snapshot's JSON: the key around, the key itself, what it names.
const NAMES: &[(&str, &str, &str)] = &[
    ("host", "name", "host"),
    ("networks", "name", "network"),
    ("source", "network", "network"),
    ("domains", "name", "vm"),
    ("domains", "tags", "tag"),
    ("ports", "domain", "vm"),
    ("filter_bindings", "domain", "vm"),
    ("config", "domain", "domain"),
    ("saved", "domain", "domain"),
    ("portgroups", "name", "portgroup"),
    ("source", "portgroup", "portgroup"),
    ("hosts", "name", "guest"),
    ("leases", "hostname", "guest"),
    ("leases", "client_id", "client"),
    ("filters", "name", "filter"),
    ("filters", "includes", "filter"),
    ("filter", "filter", "filter"),
    ("filter_bindings", "filter", "filter"),
    ("interfaces", "alias", "alias"),
    ("saved_interfaces", "alias", "alias"),
];

/// Keys of texts that a person wrote: replaced as a whole.
const COMMENTS: &[&str] = &["comment"];

/// Keys of text in which names and addresses may stand anywhere.
const PROSE: &[&str] = &[
    "reason",
    "caveats",
    "unread",
    "evidence",
    "command",
    "detail",
    "path",
    "parameters",
    "alt_names",
    "zone",
];

/// Keys of text that looks like an address and is none.
const NOT_ADDRESSES: &[&str] = &["schema", "kernel", "version", "mask"];

/// Names that everybody has.
fn is_common(kind: &str, name: &str) -> bool {
    match kind {
        "network" => name == "default",
        // libvirt's own filters (src/nwfilter/xml).
        "filter" => {
            ["allow-", "no-", "clean-traffic", "qemu-announce-self"].iter().any(|own| name.starts_with(own))
        }
        "alias" => !name.starts_with("ua-"),
        _ => false,
    }
}

struct Names {
    addresses: AddressMap,
    /// Each name by its kind, and what stands for it.
    replacements: BTreeMap<(&'static str, String), String>,
    /// All names, the longest first, for prose.
    in_prose: Vec<(String, String)>,
}

impl Names {
    fn new(addresses: AddressMap) -> Self {
        Self { addresses, replacements: BTreeMap::new(), in_prose: Vec::new() }
    }

    /// What the text under `key`, in an object under `around`, names.
    fn kind(around: &str, key: &str, text: &str) -> Option<&'static str> {
        let named =
            NAMES.iter().find(|(outer, inner, _)| (*outer, *inner) == (around, key)).map(|(.., kind)| *kind);
        let kind = match key {
            "uuid" => Some("uuid"),
            "path" => Some("file"),
            _ if COMMENTS.contains(&key) || (around, key) == ("test", "text") => Some("comment"),
            _ => named,
        }?;
        (!text.is_empty() && !is_common(kind, text)).then_some(kind)
    }

    /// Gives every name its replacement, in the order of the names.
    fn collect(&mut self, around: &str, key: &str, value: &Value) {
        visit(around, key, value, &mut |around, key, text| {
            if let Some(kind) = Self::kind(around, key, text) {
                self.replacements.insert((kind, text.to_owned()), String::new());
            }
        });
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for ((kind, name), replacement) in &mut self.replacements {
            let count = counts.entry(kind).or_default();
            *count += 1;
            *replacement = match *kind {
                "uuid" => format!("00000000-0000-4000-8000-{count:012x}"),
                "alias" => format!("ua-{count:04}"),
                "file" => file(name, *count),
                kind => format!("{kind}-{count:04}"),
            };
        }
        let named = self.replacements.iter().filter(|((kind, name), _)| *kind != "comment" && name.len() > 1);
        self.in_prose = named.map(|((_, name), replacement)| (name.clone(), replacement.clone())).collect();
        self.in_prose.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    fn replace(&mut self, around: &str, key: &str, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (inner, value) in fields {
                    // A fact's content stands under `value`: what is around it names it.
                    let (around, key) = if inner == "value" { (around, key) } else { (key, inner.as_str()) };
                    self.replace(around, key, value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.replace(around, key, item);
                }
            }
            Value::String(text) => *text = self.replacement(around, key, text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replacement(&mut self, around: &str, key: &str, text: &str) -> String {
        if let Some(kind) = Self::kind(around, key, text) {
            return self.replacements[&(kind, text.to_owned())].clone();
        }
        if NOT_ADDRESSES.contains(&key) {
            return text.to_owned();
        }
        if key == "uri" {
            return uri(text);
        }
        match self.addresses.text(text) {
            Some(address) => address,
            None if PROSE.contains(&key) => self.prose(text),
            None => text.to_owned(),
        }
    }

    /// Replaces the names and addresses that stand as words of their own.
    fn prose(&mut self, text: &str) -> String {
        let mut result = String::new();
        let mut rest = text;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            let begins = !before.is_alphanumeric();
            let ends = |length: usize| !rest[length..].chars().next().is_some_and(char::is_alphanumeric);
            let is_here = |(name, _): &&(String, String)| rest.starts_with(name.as_str()) && ends(name.len());
            let word: &str = &rest[..rest.find(|c: char| !is_address_char(c)).unwrap_or(rest.len())];
            let (taken, replacement) =
                if let Some((name, replacement)) = self.in_prose.iter().filter(|_| begins).find(is_here) {
                    (name.len(), replacement.clone())
                } else if let Some((length, address)) = begins.then(|| self.address_in(word)).flatten() {
                    (length, address)
                } else {
                    (first.len_utf8(), first.to_string())
                };
            before = rest[..taken].chars().next_back().unwrap_or(first);
            result += &replacement;
            rest = &rest[taken..];
        }
        result
    }

    /// The address with which the word begins, without what else belongs to the sentence.
    fn address_in(&mut self, word: &str) -> Option<(usize, String)> {
        let shorter = word.trim_end_matches(['.', ':', '/', '-']);
        let without_port = shorter.rsplit_once(':').map_or("", |(address, _)| address);
        [word, shorter, without_port].iter().find_map(|word| Some((word.len(), self.addresses.text(word)?)))
    }
}

fn is_address_char(char: char) -> bool {
    char.is_ascii_hexdigit() || matches!(char, '.' | ':' | '/' | '-')
}

/// The path of a file with another name in the same directory.
fn file(path: &str, number: usize) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let extension = name.rsplit_once('.').map_or(String::new(), |(_, extension)| format!(".{extension}"));
    format!("{directory}/file-{number:04}{extension}")
}

/// The connection without the host, user and file that it names.
fn uri(text: &str) -> String {
    let scheme = text.split(':').next().unwrap_or_default();
    format!("{scheme}:///{}", if text.ends_with("/session") { "session" } else { "system" })
}

/// Shows every string of a JSON value with its key and the key around it.
fn visit(around: &str, key: &str, value: &Value, see: &mut impl FnMut(&str, &str, &str)) {
    match value {
        Value::Object(fields) => {
            for (inner, value) in fields {
                let (around, key) = if inner == "value" { (around, key) } else { (key, inner.as_str()) };
                visit(around, key, value, see);
            }
        }
        Value::Array(items) => {
            for item in items {
                visit(around, key, item, see);
            }
        }
        Value::String(text) => see(around, key, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
