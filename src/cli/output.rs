//! Where the result goes, and in which form.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use kvmnet_reports::formats::{RENDERERS, Renderer};
use kvmnet_reports::json;
use kvmnet_reports::text::Form;
use serde::Serialize;

use super::failure::Failure;

/// Columns where there is no terminal: every column of the matrix fits.
const WIDTH: usize = 120;
/// Columns of a terminal that does not tell: the least that is usual.
const TERMINAL_WIDTH: usize = 80;

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Also into files and pipes
    Always,
    /// Not at all
    Never,
}

/// How a result that is no report is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Format {
    /// The value as JSON, or as the given writer writes it.
    pub(crate) fn write(
        self,
        value: &impl Serialize,
        table: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Vec<u8> {
        let mut text = Vec::new();
        let written = match self {
            Self::Table => table(&mut text),
            Self::Json => json::write(value, &mut text),
        };
        written.expect("memory takes every byte");
        text
    }
}

/// How the doctor's report is written down.
pub(crate) fn renderer() -> impl TypedValueParser<Value = &'static Renderer> {
    let named = |renderer: &&Renderer| PossibleValue::new(renderer.name).help(renderer.about);
    PossibleValuesParser::new(RENDERERS.iter().map(named))
        .map(|name| Renderer::named(&name).expect("the parser lets no other name through"))
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl From<Option<PathBuf>> for Destination {
    fn from(path: Option<PathBuf>) -> Self {
        path.filter(|path| path != Path::new("-")).map_or(Self::Stdout, Self::File)
    }
}

impl Destination {
    /// A file rather than standard output.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// How much room a table has there, and whether it may have colour.
    pub(crate) fn form(&self, color: Color) -> Form {
        let terminal = *self == Self::Stdout && io::stdout().is_terminal();
        let width = match terminal_size::terminal_size_of(io::stdout()).filter(|_| terminal) {
            Some((width, _)) => usize::from(width.0),
            None if terminal => TERMINAL_WIDTH,
            None => WIDTH,
        };
        let wanted = || {
            let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
            set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
        };
        let colour = match color {
            Color::Auto => terminal && wanted(),
            Color::Always => true,
            Color::Never => false,
        };
        Form { width, colour }
    }

    /// Brings the result there, as a whole or not at all. `private`: a new file is for its owner alone.
    pub(crate) fn deliver(&self, result: &[u8], private: bool) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                match out.write_all(result).and_then(|()| out.flush()) {
                    // Whoever read has seen enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                    written => written.map_err(Failure::Stdout),
                }
            }
            Self::File(path) => write_file(path, result, private)
                .map_err(|source| Failure::Write { path: path.clone(), source }),
        }
    }
}

/// Where journald takes entries (systemd.io/JOURNAL_NATIVE_PROTOCOL).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// How long journald may be busy before it takes the next entry.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(5);

/// Sends entries to systemd's journal.
pub(crate) fn send_to_journal(entries: &[String]) -> Result<(), Failure> {
    let send = || {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(JOURNAL_PATIENCE))?;
        entries.iter().try_for_each(|entry| socket.send_to(entry.as_bytes(), JOURNAL).map(drop))
    };
    send().map_err(|source| Failure::Journal { path: JOURNAL, source })
}

/// Replaces a file at once. Devices and pipes are written to, never replaced; of a symbolic link the
/// target is replaced.
fn write_file(path: &Path, content: &[u8], private: bool) -> io::Result<()> {
    let target = match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::canonicalize(path)?,
        Ok(_) => return OpenOptions::new().write(true).open(path)?.write_all(content),
        Err(_) => path.to_owned(),
    };
    let name = target.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = target.with_file_name(unfinished);
    let mode = if private { 0o600 } else { 0o666 };
    let write = |mut file: File| file.write_all(content).and_then(|()| file.sync_all());
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
    let written = write(file).and_then(|()| fs::rename(&unfinished, &target));
    // A file that could not be finished is of no use to anybody; neither is a second error.
    written.inspect_err(|_| _ = fs::remove_file(&unfinished))
}
