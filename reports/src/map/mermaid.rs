//! The map for Mermaid, which GitHub, GitLab and others draw where it stands in Markdown.
//!
//! Mermaid reads quoted text as HTML and as Markdown. Whatever is neither a letter nor a digit nor harmless is its
//! number between `#` and `;`, as Mermaid writes entities.

use std::fmt::Write as _;
use std::io;

use super::{Drawing, Kind, Map, Node, State};

pub(super) const DRAWING: Drawing =
    Drawing { name: "mermaid", about: "For Mermaid, e.g. in Markdown", draw: |map, _, out| write(map, out) };

fn write(map: &Map, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "flowchart LR")?;
    writeln!(out, "  subgraph host[\"{}\"]", escaped(&map.host))?;
    for (at, node) in map.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            Kind::Uplink => ("([", "])"),
            Kind::Unread | Kind::Bridge | Kind::Network | Kind::Nic => ("[", "]"),
        };
        writeln!(out, "    n{at}{open}\"{}\"{close}", label(node))?;
    }
    for (at, node) in map.nodes.iter().enumerate() {
        if let Some(parent) = node.parent {
            let link = if node.routed { "-.-" } else { "---" };
            writeln!(out, "    n{parent} {link} n{at}")?;
        }
    }
    writeln!(out, "  end")?;
    for (state, look) in
        [(State::Odd, "stroke:#b3261e,stroke-width:3px"), (State::Off, "stroke-dasharray:4 3")]
    {
        let is = |node: &Node| node.state.as_ref().is_some_and(|(own, _)| *own == state);
        let nodes: Vec<_> = map
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| is(node))
            .map(|(at, _)| format!("n{at}"))
            .collect();
        if !nodes.is_empty() {
            writeln!(out, "  classDef {} {look}", state.class())?;
            writeln!(out, "  class {} {}", nodes.join(","), state.class())?;
        }
    }
    Ok(())
}

fn label(node: &Node) -> String {
    node.text().iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>")
}

fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        if char.is_alphanumeric() || " .,:/-…".contains(char) {
            shown.push(char);
        } else {
            let _ = write!(shown, "#{};", u32::from(char));
        }
    }
    shown
}
