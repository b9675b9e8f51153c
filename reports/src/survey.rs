//! What becomes of all packets between two ends, by site.

use std::io;

use serde::Serialize;

use crate::text::{Form, Paint, printable, printable_prose, wrap};
use crate::trace::{TraceDecision, TraceStep};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.trace-all/1";

/// What becomes of all packets, from the facts alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// [`SCHEMA`].
    pub schema: String,
    /// The host's node name.
    pub host: String,
    /// Who sends, in words.
    pub from: String,
    /// To whom, in words.
    pub to: String,
    /// By each way that packets can go.
    pub ways: Vec<Way>,
}

/// Packets that go one way. Sets are told as rules of nft would match them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// All of them.
    pub packets: String,
    /// Those that surely arrive; `null`: none.
    pub arrive: Option<String>,
    /// Those of them whose answers come back; `null`: all, or none arrive.
    pub answered: Option<String>,
    /// Those of which it cannot be said; `null`: none.
    pub undecided: Option<String>,
    /// The sites that stop packets or leave them undecided, in order. One packet can be stopped at several.
    pub stops: Vec<Stop>,
}

/// A site, and the packets for which it decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// What it does.
    #[serde(flatten)]
    pub step: TraceStep,
    /// With which packets.
    pub packets: String,
}

impl Survey {
    /// Whether something surely arrives, something may, or nothing does.
    pub fn predicted(&self) -> crate::Predicted {
        match () {
            () if self.ways.iter().any(|way| way.arrive.is_some()) => crate::Predicted::Allow,
            () if self.ways.iter().any(|way| way.undecided.is_some()) => crate::Predicted::Unknown,
            () => crate::Predicted::Deny,
        }
    }
}

/// Writes what arrives and, site by site, what does not.
pub fn write(survey: &Survey, form: Form, mut out: impl io::Write) -> io::Result<()> {
    let title = format!(
        "{} → {}, all packets, on {}",
        printable(&survey.from),
        printable(&survey.to),
        printable(&survey.host)
    );
    for line in wrap(&title, form.width) {
        writeln!(out, "{}", Paint::Bold.apply(&line, form.colour))?;
    }
    for way in &survey.ways {
        writeln!(out)?;
        labelled("packets", &way.packets, None, form, &mut out)?;
        match &way.arrive {
            Some(arrive) => labelled("arrive", arrive, Some(Paint::Green), form, &mut out)?,
            None => labelled("arrive", "none", None, form, &mut out)?,
        }
        match way.answered.as_deref() {
            Some("") => labelled("answered", "none", None, form, &mut out)?,
            Some(answered) => labelled("answered", answered, None, form, &mut out)?,
            None => {}
        }
        if let Some(undecided) = &way.undecided {
            labelled("undecided", undecided, Some(Paint::Yellow), form, &mut out)?;
        }
        for stop in &way.stops {
            writeln!(out)?;
            let (paint, what) = if stop.step.stops() {
                (Paint::Red, if stop.step.decision == TraceDecision::Reject { "rejected" } else { "dropped" })
            } else {
                (Paint::Yellow, "undecided")
            };
            let reply = if stop.step.reply { "answers, " } else { "" };
            let at = format!("at {reply}{}: {}", stop.step.place, stop.step.text);
            labelled(what, &at, Some(paint), form, &mut out)?;
            labelled("", &stop.packets, None, form, &mut out)?;
        }
    }
    if survey.ways.is_empty() {
        writeln!(out, "\nno packet goes that way")?;
    }
    Ok(())
}

/// The width of the first column.
const LABEL: usize = 9;

fn labelled(
    label: &str,
    text: &str,
    paint: Option<Paint>,
    form: Form,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let text = printable_prose(text);
    for (at, part) in wrap(&text, form.width.saturating_sub(LABEL + 4)).into_iter().enumerate() {
        let part = paint.map_or_else(|| part.clone(), |paint| paint.apply(&part, form.colour).into_owned());
        let label = if at == 0 { label } else { "" };
        writeln!(out, "  {label:LABEL$}  {part}")?;
    }
    Ok(())
}
