//! `kvmnet manual`: the manual pages, made from the same words as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::Man;

use super::exit;
use super::output::Destination;

const EXAMPLES: &str = "\
Examples:
  kvmnet manual /usr/share/man/man1
  kvmnet manual . && man ./kvmnet-doctor.1";

/// Write the manual pages, one for each subcommand
#[derive(Debug, Args)]
#[command(after_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Into this directory
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = super::documented();
    command.build();
    for (name, command) in pages("kvmnet", &command) {
        let mut text = Vec::new();
        Man::new(command).title(name.to_uppercase()).render(&mut text).expect("memory takes every byte");
        let path = arguments.directory.join(format!("{name}.1"));
        Destination::from(Some(path)).deliver(&text, false)?;
    }
    Ok(ExitCode::from(exit::VERIFIED))
}

/// A command's page, and those of its subcommands: `kvmnet`, `kvmnet-doctor`, `kvmnet-policy-init`.
fn pages(name: &str, command: &Command) -> Vec<(String, Command)> {
    let mut all = vec![(name.to_owned(), command.clone())];
    let shown = |command: &&Command| command.get_name() != "help";
    for subcommand in command.get_subcommands().filter(shown) {
        all.extend(pages(&format!("{name}-{}", subcommand.get_name()), subcommand));
    }
    all
}
