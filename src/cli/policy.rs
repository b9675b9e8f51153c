//! `kvmnet policy`: a policy to begin with, and whether one can be used.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::text::printable_prose;

use super::failure::Failure;
use super::output::Destination;
use super::policy_file::PolicyFile;
use super::{exit, facts};
use crate::engine::{Facts, representatives};
use crate::model::Topology;
use crate::model::policy::{draft, expand};

const EXAMPLES: &str = "\
Examples:
  kvmnet policy init -o kvmnet.yaml          what is meant on this host now, to be trimmed
  kvmnet policy init --snapshot host.json
  kvmnet policy lint kvmnet.yaml             is it well-formed?
  kvmnet policy lint kvmnet.yaml --snapshot host.json
                                             and does every name in it mean somebody?";

/// Write a policy to begin with, or look one over
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a policy that asserts what the networks' modes mean on this host, to be trimmed
    Init {
        #[command(flatten)]
        facts: facts::Arguments,
        /// Write to this file, as a whole or not at all [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Overwrite the file if it is there already
        #[arg(long, requires = "output")]
        force: bool,
    },
    /// Say what is wrong with a policy; with a recorded host also which names in it mean nobody there
    Lint {
        /// The policy
        #[arg(value_name = "POLICY", default_value = "kvmnet.yaml")]
        policy: PathBuf,
        /// The host that it is about, as `kvmnet snapshot` recorded it (`-`: standard input)
        #[arg(long, value_name = "FILE")]
        snapshot: Option<PathBuf>,
    },
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Init { facts, output, force } => init(facts, output, force),
        Command::Lint { policy, snapshot } => lint(policy, snapshot),
    }
}

fn init(facts: facts::Arguments, output: Option<PathBuf>, force: bool) -> anyhow::Result<ExitCode> {
    // It may hold what took somebody hours.
    if let Some(path) = output.as_ref().filter(|path| path.is_file() && !force) {
        return Err(Failure::Exists { path: path.clone() }.into());
    }
    let destination = Destination::from(output);
    let origin = facts.origin(facts::DEADLINE)?;
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let snapshot = super::runtime()?.block_on(origin.observe())?;
    let text = draft(&Topology::from_snapshot(&snapshot), &snapshot.host.name);
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(text.as_bytes(), false)?;
    Ok(ExitCode::from(exit::VERIFIED))
}

fn lint(policy: PathBuf, snapshot: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let file = PolicyFile::read(policy)?;
    if let Some(path) = snapshot {
        let snapshot = facts::recorded(&path)?;
        let mut topology = Topology::from_snapshot(&snapshot);
        let facts = Facts::new(&snapshot);
        let looked_up = file.policy.refine(&mut topology).and_then(|()| {
            file.policy.open(&topology, &mut [])?;
            file.policy.look_up(&topology)?;
            let alike = representatives(&facts, &topology);
            expand(&file.policy.assertions, (&snapshot, &topology), &file.policy.internet, &alike)
        });
        looked_up.map_err(|error| file.unmatched(&error, &snapshot))?;
    }
    let (name, policy) = file.held();
    for note in policy.expired(file.today) {
        exit::tell(&format!("note: {}\n", printable_prose(&format!("{name}:{}: {}", note.line, note.text))));
    }
    let count = |number, noun| kvmnet_reports::text::count(number, noun);
    let text = format!(
        "{}: {}, {} accepted\n",
        printable_prose(name),
        count(policy.assertions.len(), "assertion"),
        count(policy.accept.len(), "finding"),
    );
    Destination::Stdout.deliver(text.as_bytes(), false)?;
    Ok(ExitCode::from(exit::VERIFIED))
}
