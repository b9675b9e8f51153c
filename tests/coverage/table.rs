//! The table in `docs/coverage.md`.
//!
//! What this machine's tools or kernel do not load keeps the row that it has there, and what was not
//! loaded when the table was made may be here, so that the table is the same on every machine.

use std::collections::BTreeMap;

use crate::judge::{Class, Judgement};
use crate::samples::Sample;

const INTRODUCTION: &str = "\
# What of netfilter is understood

Generated from the code by `KVMNET_UPDATE=1 cargo test --test coverage` (as root): each rule is loaded into the kernel,
read back and run on all packets at once.

| | |
| --- | --- |
| exact | what the rule does is known for every packet |
| either way | by its nature it can go either way: the verdict is `may`, and the reason is named |
| opaque | not modelled, for all packets or for some: what becomes of them is unknown, and the reason is named |
| not loaded | the tools or the kernel that the table was made with do not take it, so that nothing is said of it |

What is not in the table is opaque, also another revision of what is: nothing is passed over in silence. Packets are taken to
be whole, ARP to be of IPv4 over Ethernet, and devices to be those that are there. Of one thing xtables does the table says
nothing: `tcp` drops an IPv4 fragment that begins 8 octets into TCP's header, and here it does not match.
";

/// What a row says if nothing could be loaded.
const NOT_LOADED: &str = "not loaded";

/// Rows by group and name.
type Rows = BTreeMap<(String, String), String>;

/// The rows of a table that was written before.
fn rows(text: &str) -> Rows {
    let mut rows = Rows::new();
    let mut group = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            group = heading;
        } else if let Some(name) = line.strip_prefix("| ").and_then(|rest| rest.split(" | ").next()) {
            rows.insert((group.to_owned(), name.to_owned()), format!("{line}\n"));
        }
    }
    rows
}

/// The table, and how many are of each class. Rows of the one before stay where nothing was judged, and
/// unless it is to be written again also where nothing was judged then.
pub(crate) fn table(judged: &[(&Sample, Option<Judgement>)], before: &str, update: bool) -> String {
    let before = rows(before);
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for (sample, judgement) in judged {
        let key = (sample.group.to_owned(), sample.name.to_owned());
        let new = row_of(sample, judgement.as_ref());
        let row = match before.get(&key) {
            Some(old) if judgement.is_none() || !update && *old == row_of(sample, None) => old.clone(),
            _ => new,
        };
        match groups.iter_mut().find(|(group, _)| *group == sample.group) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((sample.group, vec![row])),
        }
    }
    let mut text = INTRODUCTION.to_owned();
    text += &counts(&groups);
    for (group, rows) in groups {
        let head = "| what | for example | | remark |\n| --- | --- | --- | --- |\n";
        text += &["\n## ", group, "\n\n", head, &rows.concat()].concat();
    }
    text
}

fn row_of(sample: &Sample, judgement: Option<&Judgement>) -> String {
    let (class, remark) = judgement.map_or((NOT_LOADED.to_owned(), String::new()), |judgement| {
        (judgement.class.to_string(), judgement.remark.clone())
    });
    let cell = |text: &str| text.replace('|', "\\|");
    let rule = sample.rules[0].replace('~', " ");
    format!("| {} | `{}` | {class} | {} |\n", sample.name, cell(&rule), cell(&remark))
}

fn counts(groups: &[(&str, Vec<String>)]) -> String {
    let classes = [Class::Exact, Class::EitherWay, Class::Opaque].map(|class| class.to_string());
    let classes: Vec<_> = classes.into_iter().chain([NOT_LOADED.to_owned()]).collect();
    let mut text = format!("\n| | {} |\n| --- |{}\n", classes.join(" | "), " ---: |".repeat(classes.len()));
    for (group, rows) in groups {
        let count =
            |class: &String| rows.iter().filter(|row| row.contains(&format!(" | {class} | "))).count();
        let counts: Vec<_> = classes.iter().map(|class| count(class).to_string()).collect();
        text += &["| ", group, " | ", &counts.join(" | "), " |\n"].concat();
    }
    text
}

/// The lines that differ where something was judged, for the message of the test.
pub(crate) fn stale(fresh: &str, copy: &str) -> Vec<String> {
    let old = rows(copy);
    rows(fresh).into_iter().filter(|(key, row)| old.get(key) != Some(row)).map(|(_, row)| row).collect()
}
