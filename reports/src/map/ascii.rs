//! The map as a tree of lines, for a terminal.

use std::io;

use super::{Drawing, Map};
use crate::text::{Form, Paint, width_of, wrap};

pub(super) const DRAWING: Drawing =
    Drawing { name: "ascii", about: "A tree of lines, for people", draw: write };

pub(super) fn write(map: &Map, form: Form, out: &mut dyn io::Write) -> io::Result<()> {
    for line in wrap(&map.host, form.width) {
        writeln!(out, "{}", Paint::Bold.apply(&line, form.colour))?;
    }
    if map.is_empty() {
        return writeln!(out, "no network and no NIC");
    }
    for root in map.children(None) {
        writeln!(out)?;
        branch(map, root, ("", ""), form, out)?;
    }
    Ok(())
}

/// A node and what hangs on it; `before` stands before its first line, and before every other one.
fn branch(map: &Map, at: usize, before: (&str, &str), form: Form, out: &mut dyn io::Write) -> io::Result<()> {
    let node = &map.nodes[at];
    let (first, others) = before;
    let heading = node.heading();
    let state = node.state.as_ref().map(|(_, word)| word.as_str());
    let said: Vec<&str> = state.into_iter().chain(node.lines.iter().map(String::as_str)).collect();
    // A guest's name may read like a state: the last parentheses are ours.
    let text = if said.is_empty() { heading.clone() } else { format!("{heading} ({})", said.join(", ")) };
    let children: Vec<usize> = map.children(Some(at)).collect();
    let hanging = if children.is_empty() { "    " } else { "|   " };
    let room = form.width.saturating_sub(width_of(others) + hanging.len());
    for (number, line) in wrap(&text, room).iter().enumerate() {
        let paint = node.state.as_ref().map_or(Paint::Bold, |(state, _)| state.paint());
        let line = match number {
            // The name alone stands out.
            0 => match line.strip_prefix(heading.as_str()) {
                Some(rest) => format!("{}{rest}", paint.apply(&heading, form.colour)),
                None => line.clone(),
            },
            _ => line.clone(),
        };
        match number {
            0 => writeln!(out, "{first}{line}")?,
            _ => writeln!(out, "{others}{hanging}{line}")?,
        }
    }
    for (number, &child) in children.iter().enumerate() {
        let last = number + 1 == children.len();
        let (corner, line) = if last { ("`-- ", "    ") } else { ("|-- ", "|   ") };
        branch(map, child, (&format!("{others}{corner}"), &format!("{others}{line}")), form, out)?;
    }
    Ok(())
}
