//! Sets and maps: named ones by name, anonymous ones by their elements.

use kvmnet_probes::facts::{Bytes, Data, Element, Expr, Set};

use super::datum::{Shape, Writer};
use super::nft::verdict_text;
use super::subject::Scene;

impl Scene<'_> {
    /// A set that is looked up.
    pub(super) fn set(&self, key: &Shape, name: &str) -> String {
        self.elements(key, name, None)
    }

    /// A map that is looked up; `data` is what it gives, unless that are verdicts.
    pub(super) fn map(&self, key: &Shape, name: &str, data: &Shape) -> String {
        self.elements(key, name, Some(data))
    }

    fn elements(&self, key: &Shape, name: &str, data: Option<&Shape>) -> String {
        let found = self.table.sets.iter().find(|set| set.name == name);
        let Some(set) = found.filter(|set| set.anonymous) else { return format!("@{name}") };
        // A comma stands between elements.
        let writer = Writer { between_flags: " | ", ..self.writer };
        let mut entries = entries(set);
        entries.sort_by_cached_key(|entry| {
            (entry.range.is_none(), entry.range.as_ref().map(|(first, _)| key.significant(first)))
        });
        let texts = entries.iter().map(|entry| {
            let mut text = match &entry.range {
                None => "*".to_owned(),
                Some((first, last)) => writer.range(key, first, last),
            };
            for expr in &entry.element.exprs {
                text += " ";
                text += &attached(expr);
            }
            let gives = match (&entry.element.data, &entry.element.object, data) {
                (Some(Data::Verdict(verdict)), ..) => Some(verdict_text(verdict)),
                (Some(Data::Value(bytes)), _, Some(data)) => Some(writer.value(data, &bytes.0)),
                (None, Some(object), _) => Some(format!("\"{object}\"")),
                _ => None,
            };
            gives.into_iter().fold(text, |text, gives| format!("{text} : {gives}"))
        });
        match texts.collect::<Vec<_>>().join(", ") {
            empty if empty.is_empty() => "{ }".to_owned(),
            elements => format!("{{ {elements} }}"),
        }
    }
}

/// An element as an administrator sees it: first and last key, or none for the catch-all element.
struct Entry<'a> {
    range: Option<(Vec<u8>, Vec<u8>)>,
    element: &'a Element,
}

fn entries(set: &Set) -> Vec<Entry<'_>> {
    let single = |element: &Element| {
        let first = &element.key.as_ref()?.0;
        let last = element.key_end.as_ref().map_or(first, |Bytes(last)| last);
        Some((first.clone(), last.clone()))
    };
    let boundaries = set.interval && set.elements.iter().all(|element| element.key_end.is_none());
    if !boundaries || set.key_fields.len() > 1 {
        return set.elements.iter().map(|element| Entry { range: single(element), element }).collect();
    }
    let mut sorted: Vec<_> = set.elements.iter().collect();
    // Where one interval ends and the next begins at the same key, the end comes first.
    sorted.sort_by_key(|element| (element.key.as_ref(), !element.interval_end));
    let mut entries = Vec::new();
    for (at, element) in sorted.iter().enumerate().filter(|(_, element)| !element.interval_end) {
        let Some(Bytes(first)) = &element.key else {
            entries.push(Entry { range: None, element });
            continue;
        };
        let next = sorted.get(at + 1).and_then(|next| next.key.as_ref());
        let last = next.map_or_else(|| vec![0xff; first.len()], |Bytes(next)| before(next));
        entries.push(Entry { range: Some((first.clone(), last)), element });
    }
    entries
}

/// The key before this one.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            break;
        }
    }
    key
}

/// An expression that an element has.
pub(super) fn attached(expr: &Expr) -> String {
    match expr {
        Expr::Counter => "counter".to_owned(),
        Expr::Last => "last".to_owned(),
        Expr::Limit { over: false } => "limit rate …".to_owned(),
        Expr::Limit { over: true } => "limit rate over …".to_owned(),
        Expr::Quota { over: false } => "quota …".to_owned(),
        Expr::Quota { over: true } => "quota over …".to_owned(),
        Expr::Connlimit { count, over: false } => format!("ct count {count}"),
        Expr::Connlimit { count, over: true } => format!("ct count over {count}"),
        Expr::Opaque { name, .. } => format!("<{name}: not understood>"),
        _ => "…".to_owned(),
    }
}
