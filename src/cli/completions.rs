//! `kvmnet completions`: what a shell needs to complete its command lines.

use std::process::ExitCode;

use clap::Args;
use clap_complete::{Shell, generate};

use super::exit;
use super::output::Destination;

const EXAMPLES: &str = "\
Examples:
  kvmnet completions bash > /usr/share/bash-completion/completions/kvmnet
  kvmnet completions zsh > /usr/local/share/zsh/site-functions/_kvmnet
  kvmnet completions fish > ~/.config/fish/completions/kvmnet.fish";

/// Write the completions for a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    generate(arguments.shell, &mut super::documented(), "kvmnet", &mut text);
    Destination::Stdout.deliver(&text, false)?;
    Ok(ExitCode::from(exit::VERIFIED))
}
