//! The report as JSON, the interface for programs.

use std::io;

use serde::Serialize;

use crate::formats::Renderer;

pub(crate) const RENDERER: Renderer = Renderer {
    name: "json",
    about: "For programs",
    write: |input, out| write(input.report, out),
    ..Renderer::USUAL
};

/// Writes a view as indented JSON with a line feed at the end.
pub fn write(view: &impl Serialize, mut out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, view)?;
    out.write_all(b"\n")
}
