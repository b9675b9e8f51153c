//! The map in the language of Graphviz.
//!
//! Every text is a quoted string: a quotation mark would end it, a backslash begins an escape, and `&` an entity
//! (graphviz.org/doc/info/lang.html). A string in `<>` would be HTML: there is none.

use std::io;

use super::{Drawing, Kind, Map, Node, State};

pub(super) const DRAWING: Drawing =
    Drawing { name: "dot", about: "For Graphviz", draw: |map, _, out| write(map, out) };

fn write(map: &Map, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "graph kvmnet {{")?;
    writeln!(out, "  graph [rankdir=LR, label={}, labelloc=t, fontname=\"sans-serif\"];", quoted(&map.host))?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=\"monospace\", fontsize=11];")?;
    for (at, node) in map.nodes.iter().enumerate() {
        writeln!(out, "  n{at} [label={}{}];", label(node), look(node))?;
    }
    for (at, node) in map.nodes.iter().enumerate() {
        if let Some(parent) = node.parent {
            let style = if node.routed { " [style=dashed]" } else { "" };
            writeln!(out, "  n{parent} -- n{at}{style};")?;
        }
    }
    writeln!(out, "}}")
}

/// Each line on its own, flush left.
fn label(node: &Node) -> String {
    let lines = node.text().into_iter().map(|line| format!("{}\\l", escaped(&line)));
    format!("\"{}\"", lines.collect::<String>())
}

fn look(node: &Node) -> &'static str {
    match (node.kind, node.state.as_ref().map(|(state, _)| *state)) {
        (_, Some(State::Odd)) => ", color=\"#b3261e\", penwidth=2",
        (_, Some(State::Off)) => ", style=\"rounded,dashed\"",
        (Kind::Uplink, _) => ", shape=house",
        (Kind::Unread | Kind::Bridge | Kind::Network | Kind::Nic, Some(State::Up) | None) => "",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('&', "&amp;")
}
