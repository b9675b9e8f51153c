//! `kvmnet diff`: what has a change changed for packets?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::diff;

use super::failure::Failure;
use super::output::{Color, Destination, Format};
use super::{exit, facts};
use crate::verify;

const EXAMPLES: &str = "\
Examples:
  kvmnet snapshot -o before.json            before a change
  kvmnet diff before.json                   after it: what do packets do now that they did not?
  kvmnet diff before.json after.json        two recorded states
  kvmnet diff before.json --format json";

const CODES: &str = "\
The exit code is 0 if nothing has changed for any packet, 1 if something has, 3 if that cannot be said.";

/// Tell which packets a change of the host lets pass or stops
///
/// Between every two ends (VMs, host, internet, outside) all packets are followed in both states. Rules that were written
/// anew, moved or numbered otherwise are no change if every packet fares as before.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(&format!("{EXAMPLES}\n\n{CODES}")))]
pub(crate) struct Arguments {
    /// The host before, as `kvmnet snapshot` recorded it (`-`: standard input)
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The host after [default: this host now]
    #[arg(value_name = "AFTER")]
    after: Option<PathBuf>,
    /// Ask libvirt at this connection [default: libvirt's own choice]
    #[arg(long, value_name = "URI", conflicts_with = "after")]
    uri: Option<String>,
    /// In which form to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let destination = Destination::from(arguments.output);
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let before = facts::recorded(&arguments.before)?;
    let after = facts::Origin::new(arguments.uri, arguments.after, facts::DEADLINE);
    let after = super::runtime()?.block_on(after.observe())?;
    let diff = verify::diff(&before, &after);
    let text = arguments.format.write(&diff, |text| diff::write(&diff, destination.form(color), text));
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(diff.verdict().exit_code()))
}
