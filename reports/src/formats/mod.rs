//! Every form in which a report can be written: one renderer per file, and the registry that lists them.
//!
//! What a guest may have written is inert in each of them: it is shown as [`crate::text`] shows it, and what the
//! format itself gives a meaning to is escaped on top of that.

mod cases;
mod details;

mod github;
mod html;
mod journal;
mod junit;
mod markdown;
mod nagios;
mod openmetrics;
mod sarif;
mod tap;

use std::io;

use crate::catalogue::Catalogue;
use crate::text::Form;
use crate::{Report, json, table};

/// Every renderer, in the order in which they are offered.
pub const RENDERERS: &[&Renderer] = &[
    &table::RENDERER,
    &json::RENDERER,
    &junit::RENDERER,
    &tap::RENDERER,
    &sarif::RENDERER,
    &github::RENDERER,
    &markdown::RENDERER,
    &html::RENDERER,
    &nagios::RENDERER,
    &journal::RENDERER,
    &openmetrics::RENDERER,
];

/// What a renderer is given.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What is written.
    pub report: &'a Report,
    /// Every check, for formats that say what a finding means in general.
    pub catalogue: &'a Catalogue,
    /// How much room there is, for formats that people read on a terminal.
    pub form: Form,
}

/// One form in which a report can be written.
#[derive(Debug, Clone, Copy)]
pub struct Renderer {
    /// What it is called on the command line.
    pub name: &'static str,
    /// For whom it is.
    pub about: &'static str,
    /// Writes the report.
    pub(crate) write: fn(&Input<'_>, &mut dyn io::Write) -> io::Result<()>,
    /// What its reader wants of the program besides, if anything.
    pub(crate) plugin: Option<Plugin>,
    /// It shows the steps of the claims' packets.
    pub(crate) steps: bool,
    /// The entries of a log into which they are to be sent, each as it is taken there.
    pub(crate) entries: Option<fn(&Input<'_>) -> Vec<String>>,
}

/// The program as a plugin of another one, which has its own exit codes and reads standard output alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plugin {
    /// The exit code that says the report's verdict.
    pub(crate) exit_code: fn(&Report) -> u8,
    /// What is written, and the exit code, where there is no report for a reason.
    pub(crate) failed: fn(&str) -> (String, u8),
}

impl Renderer {
    /// What all renderers have that say nothing else.
    pub(crate) const USUAL: Self =
        Self { name: "", about: "", write: |_, _| Ok(()), plugin: None, steps: false, entries: None };

    /// The renderer of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        RENDERERS.iter().copied().find(|renderer| renderer.name == name)
    }

    /// Writes the report.
    pub fn write(&self, input: &Input<'_>, out: &mut dyn io::Write) -> io::Result<()> {
        (self.write)(input, out)
    }

    /// Whether it shows the path of each claim's packet ([`crate::Cell::steps`]).
    pub fn shows_steps(&self) -> bool {
        self.steps
    }

    /// The entries to be sent to systemd's journal, if this is its form.
    pub fn entries(&self, input: &Input<'_>) -> Option<Vec<String>> {
        self.entries.map(|entries| entries(input))
    }

    /// The exit code of a program that wrote the report in this form.
    pub fn exit_code(&self, report: &Report) -> u8 {
        match self.plugin {
            Some(plugin) => (plugin.exit_code)(report),
            None => report.summary.verdict.exit_code(),
        }
    }

    /// What goes to standard output, and the exit code, where there is no report for this reason; nothing if
    /// this form leaves that to the program.
    pub fn failed(&self, reason: &str) -> Option<(String, u8)> {
        self.plugin.map(|plugin| (plugin.failed)(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_renderer_is_found_by_its_name() {
        for renderer in RENDERERS {
            let named: Vec<_> = RENDERERS.iter().filter(|other| other.name == renderer.name).collect();
            assert_eq!(named.len(), 1, "{}", renderer.name);
            assert!(Renderer::named(renderer.name).is_some() && !renderer.about.is_empty());
        }
        assert!(Renderer::named("xml").is_none());
    }
}
