//! `kvmnet demo`: the whole program on a private host of its own.

mod fault;
mod host;

use std::process::{Command, ExitCode};

use anyhow::Context as _;

pub(crate) use fault::{FAULTS, find};
use host::Host;

/// The address that stands for the internet of the demonstration host.
const INTERNET: &str = "198.51.100.10";

/// Builds the demonstration host, breaks it if asked to, runs `kvmnet ARGUMENTS` on it (by default
/// the doctor) and gives its exit code. To be called before any thread is started.
pub(crate) fn run(fault: Option<&str>, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let fault = fault
        .map(|name| find(name).with_context(|| format!("there is no fault `{name}`")))
        .transpose()?;
    let mut host = Host::start().context("cannot build the demonstration host")?;
    if let Some(fault) = fault {
        fault.apply(&mut host).with_context(|| format!("cannot make the fault {}", fault.name))?;
    }
    let doctor = ["doctor", "--internet-target", INTERNET].map(str::to_owned);
    let status = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(if arguments.is_empty() { &doctor[..] } else { arguments })
        .env("LIBVIRT_DEFAULT_URI", &host.uri)
        .status()
        .context("cannot run kvmnet on the demonstration host")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
