//! `kvmnet demo`: the whole program on a private host of its own.

mod fault;
mod host;

use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::exit;
use fault::FAULTS;
use host::Host;

/// The address that stands for the internet of the demonstration host.
const INTERNET: &str = "198.51.100.10";

const EXAMPLES: &str = "\
Examples:
  kvmnet demo                              the doctor on a healthy host
  kvmnet demo --fault vnet-not-in-bridge   the doctor on a broken one
  kvmnet demo -- ports                     another command on the same host
  kvmnet demo -- doctor --static --format json

The host lives in network namespaces that end with the program. Nothing outside is read or changed.";

/// Run kvmnet on a private host with three networks and four guests
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct Arguments {
    /// Break the host first
    #[arg(long, value_name = "NAME", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(FAULTS.iter().map(|fault| fault.name)))]
    fault: Option<String>,
    /// What kvmnet is asked there [default: doctor]
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

fn after_help() -> String {
    let faults: Vec<_> =
        FAULTS.iter().map(|fault| format!("  {:<21} {}", fault.name, fault.summary)).collect();
    exit::with_codes(&format!("{EXAMPLES}\n\nFaults:\n{}", faults.join("\n")))
}

/// Builds the demonstration host, breaks it if asked to, runs kvmnet on it and gives its exit code. To
/// be called before any thread is started.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut host = Host::start().context("cannot build the demonstration host")?;
    if let Some(fault) = FAULTS.iter().find(|fault| Some(fault.name) == arguments.fault.as_deref()) {
        fault.apply(&mut host).with_context(|| format!("cannot make the fault {}", fault.name))?;
    }
    let doctor = ["doctor", "--internet-target", INTERNET].map(str::to_owned);
    let asked = if arguments.arguments.is_empty() { &doctor[..] } else { &arguments.arguments };
    let status = Command::new(std::env::current_exe().context("cannot find this program's own file")?)
        .args(asked)
        .env("LIBVIRT_DEFAULT_URI", &host.uri)
        .status()
        .context("cannot run kvmnet on the demonstration host")?;
    // Without a code it was ended by a signal, as a shell would tell.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
