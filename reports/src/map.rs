//! The picture of a host: uplinks, bridges, networks and NICs, what hangs on what, and in which state.
//!
//! A host's picture is a forest: a NIC is in a network, that is on a bridge, that is behind an uplink. Every drawing is
//! made from the same list of nodes, whose texts may be shown: what a guest may have written is escaped as
//! [`crate::text`] does it. What the form of a drawing gives a meaning to is escaped there, on top of that.

mod ascii;
mod build;
mod dot;
mod mermaid;
pub(crate) mod svg;

use std::io;

use crate::Source;
use crate::text::{Form, Paint, printable, printable_prose};
use crate::words::shortfall;

/// A host's picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    host: String,
    nodes: Vec<Node>,
}

/// Something that is drawn as a box.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: Kind,
    title: String,
    /// What else is to be said of it.
    lines: Vec<String>,
    /// Its state in words, if it has one.
    state: Option<(State, String)>,
    /// What it hangs on: a node before it.
    parent: Option<usize>,
    /// Packets are routed to it, rather than bridged.
    routed: bool,
}

/// The kinds of boxes, from the outside to the guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A source of facts that was not read in full, so that something may be missing.
    Unread,
    Uplink,
    Bridge,
    Network,
    Nic,
}

impl Kind {
    /// What is drawn in one column.
    const COLUMNS: [&[Self]; 4] =
        [&[Self::Unread, Self::Uplink], &[Self::Bridge], &[Self::Network], &[Self::Nic]];

    /// What the kind is called.
    const fn word(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Uplink => "uplink",
            Self::Bridge => "bridge",
            Self::Network => "network",
            Self::Nic => "nic",
        }
    }
}

/// What a state means for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// They pass.
    Up,
    /// They do not pass, as somebody wanted it.
    Off,
    /// They do not pass, and should.
    Odd,
}

impl State {
    const fn paint(self) -> Paint {
        match self {
            Self::Up => Paint::Green,
            Self::Off => Paint::Dim,
            Self::Odd => Paint::Red,
        }
    }

    /// What the state is called in drawings.
    const fn class(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Off => "off",
            Self::Odd => "odd",
        }
    }
}

impl Node {
    /// What it is, and its name.
    fn heading(&self) -> String {
        match self.kind {
            Kind::Unread | Kind::Nic => self.title.clone(),
            kind => format!("{} {}", kind.word(), self.title),
        }
    }

    /// What stands in its box.
    fn text(&self) -> Vec<String> {
        let state = self.state.iter().map(|(_, word)| word.clone());
        std::iter::once(self.heading()).chain(state).chain(self.lines.iter().cloned()).collect()
    }
}

/// Sources without which something may be missing in the picture: links and what libvirt says, the routes and addresses by
/// which uplinks and subnets are known.
const NEEDED: [&str; 4] = ["links", "libvirt", "routes", "addresses"];

/// What was not read of that, or not in full: `not read: links`, and why.
pub fn unread(sources: &[Source]) -> impl Iterator<Item = (String, String)> {
    let needed = sources.iter().filter(|source| NEEDED.contains(&source.name.as_str()));
    needed.filter_map(|source| {
        let status = shortfall(source.status)?;
        let reason = source.reason.as_deref().unwrap_or("no reason given");
        Some((format!("{status}: {}", printable(&source.name)), printable_prose(reason).into_owned()))
    })
}

impl Map {
    /// The positions of what hangs on a node, or on nothing.
    fn children(&self, of: Option<usize>) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.nodes.len()).filter(move |&at| self.nodes[at].parent == of)
    }

    /// There is nothing to be drawn.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The picture in words, a line for each box.
    pub(crate) fn tree(&self, form: Form, out: &mut dyn io::Write) -> io::Result<()> {
        ascii::write(self, form, out)
    }
}

/// One form in which a map can be drawn.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    /// What it is called on the command line.
    pub name: &'static str,
    /// For whom it is.
    pub about: &'static str,
    draw: fn(&Map, Form, &mut dyn io::Write) -> io::Result<()>,
}

/// Every drawing, in the order in which they are offered.
pub const DRAWINGS: &[&Drawing] = &[&ascii::DRAWING, &svg::DRAWING, &dot::DRAWING, &mermaid::DRAWING];

impl Drawing {
    /// The drawing of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        DRAWINGS.iter().copied().find(|drawing| drawing.name == name)
    }

    /// Draws the map.
    pub fn draw(&self, map: &Map, form: Form, out: &mut dyn io::Write) -> io::Result<()> {
        (self.draw)(map, form, out)
    }
}
