//! One page for a browser, which brings all that it needs and asks nobody for anything.
//!
//! A content security policy allows the page its own style and its own script, by their hashes, and nothing else: no
//! request, no frame, no form, no other script. Everything that the script does is a convenience; what opens and closes
//! does so by HTML alone. Text is escaped by the template.

mod claims;
mod findings;
mod matrix;
mod policy;

use std::io;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::details;
use super::{Input, Renderer};
use crate::map::{self, Map, svg};
use crate::text::{Form, Paint, printable, printable_prose};
use crate::words::shortfall;
use crate::{Report, Source, Verdict, table};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// The hashes of [`STYLE`], of [`svg::STYLE`] and of [`SCRIPT`]; a browser does not run or apply what has another one.
/// `reports/tests/formats/html.rs` says what they have to be.
const STYLE_HASH: &str = "sha256-JKCKgxBMZ+Uh+Bjad7CIKfONPR8hqBxJ/iBabNjDdSE=";
const MAP_HASH: &str = "sha256-nTf50gtyIO3FiQddzvEmzzU7g6pNswWVoGmz0B6Nn+0=";
const SCRIPT_HASH: &str = "sha256-n17lcq0O1TJ6xA1wIAJHWCh6P6X4bBe1ewxfdu/OEjU=";

pub(super) const RENDERER: Renderer = Renderer {
    name: "html",
    about: "One page for a browser, without any request to anybody",
    write: |input: &Input<'_>, out| write(input, out),
    steps: true,
    ..Renderer::USUAL
};

fn write(input: &Input<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{}", page(input).into_string())
}

fn page(input: &Input<'_>) -> Markup {
    let report = input.report;
    let policy = format!(
        "default-src 'none'; style-src '{STYLE_HASH}' '{MAP_HASH}'; script-src '{SCRIPT_HASH}'; base-uri 'none'; \
         form-action 'none'"
    );
    let host = printable(&report.host.name);
    let unread: Vec<_> = map::unread(&report.sources).collect();
    let map = Map::new(&report.host.name, &report.networks, &report.nics, &unread);
    let findings = findings::section(input);
    let matrix = matrix::section(report);
    let asserted = report.policy.as_ref().map(|policy| self::policy::section(report, policy));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content=(concat!("kvmnet ", env!("CARGO_PKG_VERSION")));
                title { "kvmnet: " (details::verdict(report)) " on " (host) }
                style { (PreEscaped(STYLE)) }
                style { (PreEscaped(svg::STYLE)) }
            }
            body {
                (header(report))
                nav aria-label="Parts of the report" {
                    a href="#findings" { "Findings" }
                    @if matrix.is_some() { a href="#matrix" { "What reaches what" } }
                    @if asserted.is_some() { a href="#policy" { "Policy" } }
                    @if !map.is_empty() { a href="#map" { "Map" } }
                    a href="#host" { "Host" }
                }
                main {
                    (findings)
                    @if let Some(matrix) = matrix { (matrix) }
                    @if let Some(asserted) = asserted { (asserted) }
                    @if !map.is_empty() { (picture(&map)) }
                    (host_section(report))
                }
                footer { p { "kvmnet " (env!("CARGO_PKG_VERSION")) ". This page makes no request to anybody." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The verdict and the figures, in the words of the table.
fn header(report: &Report) -> Markup {
    let class = match report.summary.verdict {
        Verdict::Verified => "good",
        Verdict::Gaps => "bad",
        Verdict::Incomplete => "warn",
    };
    html! {
        header {
            h1 { span.(class) { (details::verdict(report)) } " on " (printable(&report.host.name)) }
            p.verdict { (table::result(report).1) }
            p { (table::headline(report, false)) }
            @if let Some(taken) = details::taken(report) {
                p {
                    "Read on "
                    time datetime=(taken.format("%Y-%m-%dT%H:%M:%SZ")) { (taken.format("%Y-%m-%d %H:%M:%S UTC")) }
                }
            }
        }
    }
}

fn picture(map: &Map) -> Markup {
    let mut tree = Vec::new();
    let form = Form { width: 100, colour: false };
    map.tree(form, &mut tree).expect("memory takes every byte");
    html! {
        section #map aria-labelledby="map-title" {
            h2 #map-title { "Map" }
            div.wide role="region" aria-label="Map, may be scrolled" tabindex="0" { (svg::drawing(map, false)) }
            details.words {
                summary { "The same in words" }
                div.wide role="region" aria-label="Map in words, may be scrolled" tabindex="0" {
                    pre { (String::from_utf8_lossy(&tree)) }
                }
            }
        }
    }
}

/// What was read, and what was not.
fn host_section(report: &Report) -> Markup {
    let host = &report.host;
    let known = |text: &Option<String>, none: &str| {
        text.as_deref().map_or_else(|| none.to_owned(), |text| printable(text).into_owned())
    };
    let unread = details::unread(report).count();
    html! {
        section #host aria-labelledby="host-title" {
            h2 #host-title { "Host" }
            dl {
                div { dt { "name" } dd { (printable(&host.name)) } }
                div { dt { "kernel" } dd { "Linux " (printable(&host.kernel)) } }
                div { dt { "libvirt" } dd { (known(&host.libvirt, "without libvirt")) } }
                div { dt { "firewall backend" } dd { (known(&host.firewall_backend, "not known")) } }
            }
            details open[unread > 0] {
                summary { "Sources of facts: " (report.sources.len() - unread) " read, " (unread) " not read in full" }
                div.wide role="region" aria-label="Sources, may be scrolled" tabindex="0" {
                    table {
                        thead { tr { th scope="col" { "source" } th scope="col" { "read" } th scope="col" { "why not" } } }
                        tbody { @for source in &report.sources { (source_row(source)) } }
                    }
                }
            }
            p.note {
                "What could not be read is unknown and never passes. What happens inside of guests, beyond the uplinks, and \
                 on devices that go past the host is not seen from here."
            }
        }
    }
}

fn source_row(source: &Source) -> Markup {
    let (class, word) = shortfall(source.status).map_or(("good", "read"), |word| ("warn", word));
    let reason = source.reason.as_deref().map(printable_prose).unwrap_or_default();
    html! {
        tr { th scope="row" { (printable(&source.name)) } td.(class) { (word) } td { (prose(&reason)) } }
    }
}

/// Text in which what stands between backticks is code, as the checks write it.
fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // One that is never closed quotes nothing.
    let whole = parts.len() % 2 == 1;
    html! {
        @if whole {
            @for (at, part) in parts.iter().enumerate() {
                @if at % 2 == 1 { code { (part) } } @else { (part) }
            }
        } @else { (text) }
    }
}

/// How a word stands out.
const fn class(paint: Option<Paint>) -> &'static str {
    match paint {
        Some(Paint::Red) => "bad",
        Some(Paint::Yellow) => "warn",
        Some(Paint::Green) => "good",
        Some(Paint::Dim) => "dim",
        Some(Paint::Bold) | None => "plain",
    }
}
