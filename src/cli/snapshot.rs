//! `kvmnet snapshot`: the host's facts, to be kept, compared, or sent with a bug report.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::text::{printable, printable_prose};

use super::failure::Failure;
use super::output::Destination;
use super::{exit, facts};

const EXAMPLES: &str = "\
Examples:
  kvmnet snapshot -o host.json
  kvmnet snapshot --anonymize -o report.json     to be sent with a bug report
  kvmnet snapshot --snapshot host.json --anonymize -o report.json
  kvmnet doctor --snapshot host.json";

/// Write everything that kvmnet reads of this host into a file
#[derive(Debug, Args)]
#[command(after_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    /// Write to this file, readable by its owner alone [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace names, UUIDs, comments, MACs and addresses; the same verdicts follow from it
    ///
    /// Names of devices, tables, chains and sets are kept: look at them before you send it to others.
    #[arg(long)]
    anonymize: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let destination = Destination::from(arguments.output);
    let runtime = super::runtime()?;
    let origin = arguments.facts.origin(facts::DEADLINE)?;
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let snapshot = runtime.block_on(origin.observe())?;
    let code = tell_missing(&snapshot);
    let snapshot = if arguments.anonymize { snapshot.anonymized(key()) } else { snapshot };
    let mut json = Vec::new();
    kvmnet_reports::json::write(&snapshot, &mut json).map_err(Failure::Stdout)?;
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&json, true)?;
    Ok(ExitCode::from(code))
}

/// A number that nobody can know later: the operating system's randomness, as the standard library
/// takes it for its hash tables.
fn key() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Names the sources that are not in the snapshot; without them nothing of what they decide is known.
fn tell_missing(snapshot: &Snapshot) -> u8 {
    let mut code = exit::VERIFIED;
    for source in snapshot.sources() {
        if let Some(reason) = source.missing {
            exit::tell(&format!("not read: {}: {}\n", printable(source.name), printable_prose(reason)));
            code = exit::INCOMPLETE;
        }
    }
    code
}
