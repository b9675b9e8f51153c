//! The path of one packet and of its reply, step by step.

use std::io;

use serde::Serialize;

use crate::text::{Form, Paint, printable, printable_prose, width_of, wrap};
use crate::{Observed, Predicted};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.trace/1";

/// The least width of the first column, as wide as a device's name is as a rule.
const PLACE: usize = 11;

/// What becomes of a packet, from the facts alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// [`SCHEMA`].
    pub schema: String,
    /// The host's node name.
    pub host: String,
    /// Who sends, in words.
    pub from: String,
    /// To whom, in words.
    pub to: String,
    /// What is sent: `icmp`, `tcp/443`, `arp`, ….
    pub traffic: String,
    /// What becomes of it and of its reply.
    pub predicted: Predicted,
    /// The steps, in order. Those after a drop are what would happen if the packet had passed.
    pub steps: Vec<TraceStep>,
    /// What the wire showed, if the packet was to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<TraceWire>,
}

/// What became of the packet on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceWire {
    /// Whether it came through.
    pub observed: Observed,
    /// The wire shows the opposite of what the facts say.
    pub contradicts: bool,
    /// Where it entered: `at vnet3, as the VM`; none if it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// Where it and its answer were seen, in order of time.
    pub sightings: Vec<TraceSighting>,
    /// How it ended, in words.
    pub end: String,
    /// What is to be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The packet or its answer was seen at a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceSighting {
    /// The device.
    pub device: String,
    /// It left by the device rather than came in.
    pub outgoing: bool,
    /// It is the answer.
    pub answer: bool,
    /// The source address that it had there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Microseconds after the packet was sent.
    pub after_us: u64,
}

/// One place that the packet passes, and what was decided there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceStep {
    /// It is on the way of the reply.
    pub reply: bool,
    /// The device, the hook, or `route`.
    pub place: String,
    /// What was decided.
    pub decision: TraceDecision,
    /// In words.
    pub text: String,
    /// What decided.
    pub site: TraceSite,
}

/// What a site did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceDecision {
    /// Let the packet pass.
    Pass,
    /// Changed it and let it pass.
    Rewrite,
    /// Dropped it in silence.
    Drop,
    /// Refused it with an error to the sender.
    Reject,
    /// Cannot be said.
    Unknown,
}

/// What decided, for programs; what does not apply is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TraceSite {
    /// `link`, `bridge-port`, `fdb`, `neighbour`, `address`, `sysctl`, `route`, `rule`, `netfilter`,
    /// `service`, `opaque`, ….
    pub kind: &'static str,
    /// The device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The family and name of a netfilter table (`ip filter`), or a routing table's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The rule's handle, or its number in a legacy chain; none for a chain's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The sysctl with slashes, the source of facts, or the priority of a policy rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The program that wrote a netfilter rule or policy, if its names tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl TraceStep {
    pub(crate) fn stops(&self) -> bool {
        matches!(self.decision, TraceDecision::Drop | TraceDecision::Reject)
    }
}

/// Writes the path, one step a line, the reply below.
pub fn write(trace: &Trace, form: Form, mut out: impl io::Write) -> io::Result<()> {
    let title = format!(
        "{} → {} {} on {}",
        printable(&trace.from),
        printable(&trace.to),
        printable(&trace.traffic),
        printable(&trace.host)
    );
    for line in wrap(&title, form.width) {
        writeln!(out, "{}", Paint::Bold.apply(&line, form.colour))?;
    }
    let place = trace.steps.iter().map(|step| width_of(&printable(&step.place))).fold(PLACE, usize::max);
    let mut stopped = false;
    for reply in [false, true] {
        let steps: Vec<&TraceStep> = trace.steps.iter().filter(|step| step.reply == reply).collect();
        if steps.is_empty() {
            continue;
        }
        if reply {
            let note = if stopped { " (if the packet had arrived)" } else { "" };
            writeln!(out, "\nreply{note}")?;
        } else {
            writeln!(out)?;
        }
        let mut last = "";
        for (at, step) in steps.iter().enumerate() {
            let again = step.place == last;
            last = &step.place;
            let shown = if again { "" } else { &step.place };
            line(step, shown, place, form, &mut out)?;
            if step.stops() && !std::mem::replace(&mut stopped, true) && at + 1 < steps.len() {
                writeln!(out, "{}", Paint::Dim.apply("  (if it had passed)", form.colour))?;
                last = "";
            }
        }
    }
    let (paint, verdict) = match trace.predicted {
        Predicted::Allow => (Paint::Green, "passes, and the reply comes back".to_owned()),
        Predicted::Deny => (Paint::Red, stopped_by(trace)),
        Predicted::Partial => (Paint::Yellow, "passes on some of several equal ways".to_owned()),
        Predicted::Unknown => (Paint::Yellow, "undecided: see the steps marked with ?".to_owned()),
    };
    writeln!(out, "\n{}", paint.apply(&verdict, form.colour))?;
    trace.wire.as_ref().map_or(Ok(()), |wire| on_the_wire(wire, trace.predicted, place, form, &mut out))
}

/// Where the packet was seen, one device a line.
fn on_the_wire(
    wire: &TraceWire,
    predicted: Predicted,
    place: usize,
    form: Form,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let sent = wire.sent.as_deref().map_or_else(String::new, |sent| format!(", sent {}", printable(sent)));
    writeln!(out, "\non the wire{sent}")?;
    for sighting in &wire.sightings {
        let device = printable(&sighting.device);
        let pad = " ".repeat(place.saturating_sub(width_of(&device)));
        let what = match (sighting.answer, sighting.outgoing) {
            (false, true) => "left",
            (false, false) => "came in",
            (true, true) => "answer left",
            (true, false) => "answer came in",
        };
        let source =
            sighting.source.as_deref().map_or_else(String::new, |ip| format!(" from {}", printable(ip)));
        let time = milliseconds(sighting.after_us);
        writeln!(out, "  {device}{pad}  {what}{source} after {time}")?;
    }
    let paint = match (wire.contradicts, wire.observed) {
        (true, _) | (_, Observed::NotTried) => Paint::Yellow,
        (false, Observed::Reply) => Paint::Green,
        (false, Observed::NoReply) => Paint::Red,
    };
    let held = match (wire.contradicts, wire.observed, predicted) {
        (true, ..) => "; the facts say otherwise: something that they do not show decides",
        (false, Observed::Reply, Predicted::Allow) | (false, Observed::NoReply, Predicted::Deny) => {
            ", as the facts say"
        }
        _ => "",
    };
    for line in wrap(&format!("{}{held}", printable_prose(&wire.end)), form.width) {
        writeln!(out, "{}", paint.apply(&line, form.colour))?;
    }
    if let Some(note) = &wire.note {
        for line in wrap(&printable_prose(note), form.width) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// `1.5 ms`.
fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
}

fn line(step: &TraceStep, shown: &str, place: usize, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let owner =
        step.site.owner.as_deref().map_or_else(String::new, |owner| format!(" ({})", printable(owner)));
    let (paint, mark) = match step.decision {
        TraceDecision::Pass | TraceDecision::Rewrite => (None, String::new()),
        TraceDecision::Drop => (Some(Paint::Red), format!("  DROPPED HERE{owner}")),
        TraceDecision::Reject => (Some(Paint::Red), format!("  REJECTED HERE{owner}")),
        TraceDecision::Unknown => (Some(Paint::Yellow), "  ?".to_owned()),
    };
    let shown = printable(shown);
    let pad = " ".repeat(place.saturating_sub(width_of(&shown)));
    let text = format!("{}{mark}", printable_prose(&step.text));
    for (at, part) in wrap(&text, form.width.saturating_sub(place + 4)).into_iter().enumerate() {
        let part = paint.map_or_else(|| part.clone(), |paint| paint.apply(&part, form.colour).into_owned());
        if at == 0 {
            writeln!(out, "  {shown}{pad}  {part}")?;
        } else {
            writeln!(out, "  {}  {part}", " ".repeat(place))?;
        }
    }
    Ok(())
}

/// `does not pass: dropped at forward, and at 1 more place`.
fn stopped_by(trace: &Trace) -> String {
    let mut stops = trace.steps.iter().filter(|step| step.stops());
    let first = stops.next().map_or_else(String::new, |step| {
        let word = if step.decision == TraceDecision::Reject { "rejected" } else { "dropped" };
        let whose = if step.reply { "its reply is " } else { "" };
        format!(": {whose}{word} at {}", printable(&step.place))
    });
    match stops.count() {
        0 => format!("does not pass{first}"),
        1 => format!("does not pass{first}, and at 1 place more"),
        more => format!("does not pass{first}, and at {more} places more"),
    }
}
