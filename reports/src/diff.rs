//! What a change of the host changes for packets.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Form, Paint, count, printable, printable_list, printable_prose, wrap};
use crate::words::end_in_words;
use crate::{Verdict, Zone};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.diff/1";

/// Pairs that are listed of one change.
const LISTED: usize = 8;

/// What a change of the host changes for packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// `kvmnet.diff/1`.
    pub schema: String,
    /// The node name that the host had.
    pub host_before: String,
    /// The host's node name.
    pub host: String,
    /// When the first facts were read, in milliseconds since the Unix epoch.
    pub before_ms: u64,
    /// When the second facts were read.
    pub after_ms: u64,
    /// How many pairs of ends were compared, for all packets.
    pub compared: usize,
    /// VMs' NICs that run now and did not.
    pub came: Vec<String>,
    /// VMs' NICs that ran and do not now.
    pub went: Vec<String>,
    /// What packets gained or lost, by what did it.
    pub changes: Vec<Change>,
    /// Pairs of which it cannot be said whether anything has changed.
    pub undecided: Vec<Pair>,
    /// Sources that could be read in one of the two alone.
    pub missing: Vec<String>,
}

/// What one site gave or took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Whether packets pass now, or no more.
    pub direction: Direction,
    /// Where the cause is: it is there now, or was.
    pub state: State,
    /// What stops them now; or what lets them pass now, or stopped them before.
    pub cause: String,
    /// Between whom, and which packets.
    pub pairs: Vec<ChangedPair>,
}

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// They pass now.
    Gained,
    /// They pass no more.
    Lost,
}

/// One of the two states of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The host as it was.
    Before,
    /// The host as it is.
    After,
}

/// Two ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// Where flows begin.
    pub from: Zone,
    /// Where they go.
    pub to: Zone,
}

/// Two ends, and the packets between them that have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedPair {
    /// Where flows begin.
    pub from: Zone,
    /// Where they go.
    pub to: Zone,
    /// The packets, as a rule of nft would match them.
    pub packets: String,
    /// One of them: `tcp/443 from 192.168.122.11 to 198.51.100.10`.
    pub witness: String,
    /// Its answer comes back, or did.
    pub answered: bool,
    /// Other VMs of which the same holds, as no rule tells them from these.
    #[serde(default)]
    pub likewise: Vec<String>,
}

impl Diff {
    /// [`Verdict::Verified`]: nothing has changed for any packet. [`Verdict::Gaps`]: something has.
    pub fn verdict(&self) -> Verdict {
        if !(self.changes.is_empty() && self.came.is_empty() && self.went.is_empty()) {
            Verdict::Gaps
        } else if !(self.undecided.is_empty() && self.missing.is_empty()) {
            Verdict::Incomplete
        } else {
            Verdict::Verified
        }
    }
}

/// Writes what has changed, by what did it.
pub fn write(diff: &Diff, form: Form, mut out: impl io::Write) -> io::Result<()> {
    changes(diff, form, &mut out)?;
    let (paint, text) = match diff.verdict() {
        Verdict::Verified => (Paint::Green, "nothing has changed for any packet".to_owned()),
        Verdict::Gaps => {
            let of = |direction| diff.changes.iter().filter(|change| change.direction == direction).count();
            let (lost, gained) = (of(Direction::Lost), of(Direction::Gained));
            (Paint::Yellow, format!("{lost} lost, {gained} gained"))
        }
        Verdict::Incomplete => (Paint::Yellow, "nothing is known to have changed".to_owned()),
    };
    let line = format!("{text} · exit {}", diff.verdict().exit_code());
    writeln!(out, "\n{}", paint.apply(&line, form.colour))
}

/// The same without the verdict.
pub(crate) fn changes(diff: &Diff, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let seconds = diff.after_ms.saturating_sub(diff.before_ms) / 1000;
    let host = if diff.host_before == diff.host {
        printable(&diff.host).into_owned()
    } else {
        format!("from {} to {}", printable(&diff.host_before), printable(&diff.host))
    };
    let title = format!(
        "{host} · what has changed in {} · {} compared for all packets",
        crate::text::duration(seconds),
        count(diff.compared, "pair")
    );
    lines(&title, Paint::Bold, form, out)?;
    for (label, nics) in [("now there", &diff.came), ("gone", &diff.went)] {
        if !nics.is_empty() {
            let list = printable_list(nics.iter().map(String::as_str));
            writeln!(out)?;
            lines(&format!("{label}: {list}"), Paint::Yellow, form, out)?;
        }
    }
    for change in &diff.changes {
        let (word, paint) = match change.direction {
            Direction::Lost => ("LOST", Paint::Red),
            Direction::Gained => ("GAINED", Paint::Yellow),
        };
        let cause = match change.state {
            State::After => "now",
            State::Before => "no more",
        };
        writeln!(out, "\n{}  {cause}: {}", paint.apply(word, form.colour), printable_prose(&change.cause))?;
        for pair in change.pairs.iter().take(LISTED) {
            let oneway = if pair.answered { "" } else { ", one way" };
            let packets = if pair.packets == pair.witness {
                String::new()
            } else {
                format!("; all of {}", shortened(&printable_prose(&pair.packets)))
            };
            let likewise = if pair.likewise.is_empty() {
                String::new()
            } else {
                format!(" (and so {})", printable_list(pair.likewise.iter().map(String::as_str)))
            };
            let text = format!(
                "{} → {}{likewise}: {}{oneway}{packets}",
                end_in_words(&pair.from),
                end_in_words(&pair.to),
                printable_prose(&pair.witness),
            );
            for line in wrap(&text, form.width.saturating_sub(2)) {
                writeln!(out, "  {line}")?;
            }
        }
        let more = change.pairs.len().saturating_sub(LISTED);
        if more > 0 {
            writeln!(out, "  … and {more} more")?;
        }
    }
    if !diff.undecided.is_empty() {
        let pairs: Vec<String> = diff
            .undecided
            .iter()
            .map(|pair| format!("{} → {}", end_in_words(&pair.from), end_in_words(&pair.to)))
            .collect();
        writeln!(out)?;
        let list = printable_list(pairs.iter().map(String::as_str));
        lines(&format!("cannot be compared: {list}"), Paint::Yellow, form, out)?;
    }
    for source in &diff.missing {
        writeln!(out)?;
        lines(
            &format!("read in one of the two alone: {}", printable_prose(source)),
            Paint::Yellow,
            form,
            out,
        )?;
    }
    Ok(())
}

fn lines(text: &str, paint: Paint, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    wrap(text, form.width).iter().try_for_each(|line| writeln!(out, "{}", paint.apply(line, form.colour)))
}

/// The beginning of a set that is told in many words; JSON has it all.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 100;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let begun: String = text.chars().take(SHOWN).collect();
    format!("{begun} …")
}
