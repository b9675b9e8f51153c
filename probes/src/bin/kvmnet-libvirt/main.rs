//! Prints the facts of one libvirt connection as JSON.
//!
//! `kvmnet` starts it and gives it up after a deadline, because a call into libvirt can block for
//! ever. It is the only program of kvmnet that links libvirt.so, needs no network capability, and is started
//! without one; by hand it gives them up first.
//!
//! Exit status: 0 with the facts on standard output, 1 with one line on standard error.

mod agent;
mod collect;
mod daemon;
#[path = "../../sys/libvirt.rs"]
mod sys;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;

use kvmnet_probes::privilege;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::unistd::geteuid;
use virt::connect::Connect;
use virt::error::clear_error_callback;

const USAGE: &str = "usage: kvmnet-libvirt [--uri URI]

Prints libvirt's networks, domains and filters as JSON. URI is a libvirt connection URI;
without it libvirt chooses (for root: qemu:///system).
";

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("unknown argument `{0}` (kvmnet-libvirt --help)")]
    Argument(String),
    #[error("--uri needs a libvirt connection URI")]
    NoUri,
    #[error("give up capabilities: {0}")]
    Capabilities(io::Error),
    #[error("connect to {uri}: {message}{hint}")]
    Connect { uri: String, message: String, hint: &'static str },
    #[error("ask {uri}: {message}")]
    Ask { uri: String, message: String },
    #[error("write the facts: {0}")]
    Write(io::Error),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the only way to say it; if that is closed, the status remains.
            let _ = writeln!(io::stderr(), "{}", one_line(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let uri = match arguments(std::env::args().skip(1))? {
        Request::Usage => return io::stdout().write_all(USAGE.as_bytes()).map_err(Error::Write),
        Request::Facts { uri } => uri,
    };
    privilege::keep_for_libvirt().map_err(Error::Capabilities)?;
    thread::spawn(end_with_reader);
    // Otherwise libvirt prints every error itself.
    clear_error_callback();

    let connection = open(uri.as_deref())?;
    let facts = collect::libvirt(&connection).map_err(|error| Error::Ask {
        uri: uri.unwrap_or_else(|| "libvirt".to_owned()),
        message: error.message().to_owned(),
    })?;
    let json = serde_json::to_vec(&facts).map_err(|error| Error::Write(error.into()))?;
    io::stdout().write_all(&json).map_err(Error::Write)
}

/// Ends this program once nobody reads what it prints: `kvmnet` may be killed while libvirt hangs. A
/// signal on the parent's death would miss a parent that was killed before it was asked for.
fn end_with_reader() {
    let output = io::stdout();
    // A pipe without a reader is an error, which is told without being asked for.
    let mut watched = [PollFd::new(output.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return,
            Ok(_) => drop(raise(Signal::SIGKILL)),
        }
    }
}

/// What is asked of the program.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Usage,
    Facts { uri: Option<String> },
}

fn arguments(mut arguments: impl Iterator<Item = String>) -> Result<Request, Error> {
    let mut uri = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Request::Usage),
            // A NUL would end the URI early in libvirt; the kernel lets none through.
            "--uri" => uri = Some(arguments.next().filter(|uri| !uri.is_empty()).ok_or(Error::NoUri)?),
            _ => return Err(Error::Argument(argument)),
        }
    }
    Ok(Request::Facts { uri })
}

/// Read-only is enough for everything but the agent; where only the other socket exists, that one.
fn open(uri: Option<&str>) -> Result<Connect, Error> {
    Connect::open_read_only(uri).or_else(|read_only| {
        Connect::open(uri).map_err(|_| Error::Connect {
            uri: uri.unwrap_or("libvirt's default URI").to_owned(),
            message: read_only.message().to_owned(),
            hint: match read_only.message() {
                // Without a URI libvirt takes any other user to ask for a daemon of their own.
                _ if uri.is_none() && !geteuid().is_root() => {
                    " (the system's daemon is another: --uri qemu:///system, as root or a member of the group libvirt)"
                }
                message if message.contains("No such file or directory") || message.contains("refused") => {
                    " (does the daemon run? systemctl status libvirtd virtqemud virtnetworkd)"
                }
                message if message.contains("Permission denied") => {
                    " (run as root, or join the group libvirt)"
                }
                _ => "",
            },
        })
    })
}

/// A message of libvirt can have several lines, and a name in it anything.
fn one_line(message: &str) -> String {
    message.split(char::is_control).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_a_uri_or_a_clear_refusal() {
        let parse = |list: &[&str]| arguments(list.iter().map(|text| (*text).to_owned()));
        assert_eq!(parse(&[]).unwrap(), Request::Facts { uri: None });
        let uri = Some("test:///default".to_owned());
        assert_eq!(parse(&["--uri", "test:///default"]).unwrap(), Request::Facts { uri });
        assert_eq!(parse(&["--help"]).unwrap(), Request::Usage);
        for wrong in [&["--uri"][..], &["--uri", ""], &["--url", "x"], &["test:///default"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_without_control_characters() {
        assert_eq!(one_line("no\nsuch\u{1b}[31m file\n"), "no such [31m file");
    }
}
