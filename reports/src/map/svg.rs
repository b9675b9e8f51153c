//! The map as a drawing: a column for each kind of box, what hangs on a box to its right.
//!
//! Text is placed by counting columns of a fixed-width font, so that nothing need be measured.

use std::io;

use maud::{Markup, PreEscaped, html};

use super::{Drawing, Kind, Map};
use crate::text::width_of;

pub(super) const DRAWING: Drawing = Drawing {
    name: "svg",
    about: "A drawing, for browsers and documents",
    draw: |map, _, out| write(map, out),
};

/// How the drawing looks, in light and in dark.
pub(crate) const STYLE: &str = include_str!("map.css");

/// Pixels, at 12 pixels to the em.
const CHARACTER: f32 = 7.25;
const LINE: usize = 16;
const PADDING: usize = 8;
const BETWEEN_COLUMNS: usize = 40;
const BETWEEN_ROWS: usize = 8;
const MARGIN: usize = 8;

fn write(map: &Map, out: &mut dyn io::Write) -> io::Result<()> {
    let svg = drawing(map, true);
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", svg.into_string())
}

/// The drawing as an element. `alone`: it brings its own style and says which host it is of.
pub(crate) fn drawing(map: &Map, alone: bool) -> Markup {
    let layout = Layout::new(map, if alone { MARGIN + LINE + BETWEEN_ROWS } else { MARGIN });
    let (width, height) = (layout.width, layout.height);
    html! {
        svg class="map" xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) role="img" {
            title { "Uplinks, bridges, networks and NICs of " (map.host) }
            @if alone {
                style { (PreEscaped(STYLE)) }
                text class="name" x=(MARGIN) y=(MARGIN + 12) { (map.host) }
            }
            @for (at, node) in map.nodes.iter().enumerate() {
                @if let Some(parent) = node.parent {
                    path class=(if node.routed { "link routed" } else { "link" }) d=(layout.link(parent, at)) {}
                }
            }
            @for (node, place) in map.nodes.iter().zip(&layout.boxes) {
                @let state = node.state.as_ref().map_or("plain", |(state, _)| state.class());
                g class=(format!("{} {state}", node.kind.word())) {
                    rect x=(place.x) y=(place.y) width=(place.width) height=(place.height) rx="4" {}
                    @for (number, line) in node.text().iter().enumerate() {
                        @let class = match (number, &node.state) {
                            (0, _) => "name",
                            (1, Some(_)) => "state",
                            _ => "more",
                        };
                        text class=(class) x=(place.x + PADDING) y=(place.y + PADDING + 10 + number * LINE) { (line) }
                    }
                }
            }
        }
    }
}

struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

struct Layout {
    boxes: Vec<Place>,
    width: usize,
    height: usize,
}

impl Layout {
    /// A box is beside the middle of what hangs on it; below each other boxes take what they or their own boxes need.
    fn new(map: &Map, top: usize) -> Self {
        let mut x = MARGIN;
        let mut boxes: Vec<Place> = map
            .nodes
            .iter()
            .map(|node| Place { x: 0, y: 0, width: 0, height: height(node.text().len()) })
            .collect();
        for kinds in Kind::COLUMNS {
            let of_kind = || map.nodes.iter().enumerate().filter(|(_, node)| kinds.contains(&node.kind));
            let Some(width) = of_kind().map(|(_, node)| width(&node.text())).max() else { continue };
            for (at, _) in of_kind() {
                (boxes[at].x, boxes[at].width) = (x, width);
            }
            x += width + BETWEEN_COLUMNS;
        }
        let mut children = vec![Vec::new(); map.nodes.len()];
        for (at, node) in map.nodes.iter().enumerate() {
            if let Some(parent) = node.parent {
                children[parent].push(at);
            }
        }
        // What hangs on a node comes after it, so that from the last to the first all that is needed is known.
        let mut taken: Vec<usize> = boxes.iter().map(|place| place.height).collect();
        for at in (0..boxes.len()).rev() {
            taken[at] = taken[at].max(stacked(&children[at], &taken));
        }
        let mut tops = vec![0; boxes.len()];
        let mut next = top;
        for at in 0..boxes.len() {
            if map.nodes[at].parent.is_none() {
                tops[at] = next;
                next += taken[at] + 2 * BETWEEN_ROWS;
            }
            boxes[at].y = tops[at] + (taken[at] - boxes[at].height) / 2;
            let mut below = tops[at] + (taken[at] - stacked(&children[at], &taken)) / 2;
            for &child in &children[at] {
                tops[child] = below;
                below += taken[child] + BETWEEN_ROWS;
            }
        }
        Self {
            boxes,
            // The host's name stands above.
            width: (x + MARGIN).saturating_sub(BETWEEN_COLUMNS).max(width(std::slice::from_ref(&map.host))),
            height: (next + MARGIN).saturating_sub(2 * BETWEEN_ROWS),
        }
    }

    /// From the middle of a box's right side to that of another's left side.
    fn link(&self, from: usize, to: usize) -> String {
        let (from, to) = (&self.boxes[from], &self.boxes[to]);
        let (x, y) = (from.x + from.width, from.y + from.height / 2);
        format!("M{x} {y}H{}V{}H{}", x + BETWEEN_COLUMNS / 2, to.y + to.height / 2, to.x)
    }
}

/// The height of these below each other.
fn stacked(nodes: &[usize], taken: &[usize]) -> usize {
    let heights: usize = nodes.iter().map(|&at| taken[at] + BETWEEN_ROWS).sum();
    heights.saturating_sub(BETWEEN_ROWS)
}

fn height(lines: usize) -> usize {
    lines * LINE + 2 * PADDING - 2
}

fn width(lines: &[String]) -> usize {
    let columns = lines.iter().map(|line| width_of(line)).max().unwrap_or(0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "texts are bounded"
    )]
    let pixels = (columns as f32 * CHARACTER).ceil() as usize;
    pixels + 2 * PADDING
}
