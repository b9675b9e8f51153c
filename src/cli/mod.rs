//! The command line: one file per subcommand. Files, clocks, terminals and exit codes are here and
//! nowhere else.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is the one place with files, clocks and the environment"
)]

mod check;
mod completions;
mod demo;
mod diff;
mod doctor;
mod endpoint;
mod examination;
mod exit;
mod explain;
mod facts;
mod failure;
mod manual;
mod map;
mod output;
mod plan;
mod policy;
mod policy_file;
mod ports;
mod private;
mod progress;
mod read;
mod select;
mod snapshot;
mod state;
mod suggestion;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::Color;

const EXAMPLES: &str = "\
Examples:
  kvmnet demo                           try it on a private host made for it
  kvmnet doctor                         is every VM's network as it should be?
  kvmnet doctor --vm web1 --static      one VM, without sending a packet
  kvmnet explain forward-policy-drop    what a finding means
  kvmnet map                            a picture of uplinks, bridges, networks and VMs
  kvmnet ports                          which VM is behind which tap, in which bridge
  kvmnet trace --from vm:web1 --to internet
                                        one packet's path, rule by rule
  kvmnet check isolation.yaml           does it hold what a policy asserts?
  kvmnet check --plan new/              would it hold on the host that these files describe?
  kvmnet diff before.json               what has a change changed for packets?
  kvmnet snapshot --anonymize -o host.json
  kvmnet doctor --snapshot host.json    the same questions to a recorded host

kvmnet never changes the host: it prints the commands that mend it and runs none of them.";

/// What `--version` says; `-V` says its first line.
const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncompiler  ",
    env!("KVMNET_COMPILER"),
    "\ntarget    ",
    env!("KVMNET_TARGET"),
    "\nfeatures  ",
    env!("KVMNET_FEATURES"),
);

/// Network diagnostics and verification for Linux KVM/libvirt hosts.
#[derive(Debug, Parser)]
#[command(name = "kvmnet", version, long_version = BUILD, after_help = EXAMPLES, after_long_help = exit::with_codes(EXAMPLES))]
struct Arguments {
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto, display_order = 90)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

/// Every subcommand.
#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Completions(completions::Arguments),
    Demo(demo::Arguments),
    Diff(diff::Arguments),
    Doctor(doctor::Arguments),
    Explain(explain::Arguments),
    Manual(manual::Arguments),
    #[command(hide = true)]
    PlannedHost(plan::Arguments),
    Map(map::Arguments),
    Policy(policy::Arguments),
    Ports(ports::Arguments),
    Snapshot(snapshot::Arguments),
    Trace(trace::Arguments),
}

impl Command {
    fn run(self, color: Color) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(arguments) => check::run(arguments, color),
            Self::Demo(arguments) => demo::run(&arguments),
            Self::Completions(arguments) => completions::run(&arguments),
            Self::Diff(arguments) => diff::run(arguments, color),
            Self::Doctor(arguments) => doctor::run(arguments, color),
            Self::Explain(arguments) => explain::run(&arguments, color),
            Self::Manual(arguments) => manual::run(&arguments),
            Self::PlannedHost(arguments) => Ok(plan::run(&arguments)),
            Self::Map(arguments) => map::run(arguments, color),
            Self::Policy(arguments) => policy::run(arguments),
            Self::Ports(arguments) => ports::run(arguments, color),
            Self::Snapshot(arguments) => snapshot::run(arguments),
            Self::Trace(arguments) => trace::run(arguments, color),
        }
    }
}

/// The command line as it is documented: without the subcommands that kvmnet starts itself with.
fn documented() -> clap::Command {
    let whole = Arguments::command();
    let shown = whole.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).cloned();
    // A command loses no subcommand once it has it.
    clap::Command::new("kvmnet")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .after_help(whole.get_after_help().cloned().unwrap_or_default())
        .after_long_help(whole.get_after_long_help().cloned().unwrap_or_default())
        .subcommand_required(true)
        .args(whole.get_arguments().cloned())
        .subcommands(shown.collect::<Vec<_>>())
}

/// Runs the program on this process's arguments.
pub fn run() -> ExitCode {
    exit::guard(|| main(std::env::args_os()))
}

/// What waits for the kernel, libvirt and the wire. One thread: whatever blocks has its own.
fn runtime() -> Result<tokio::runtime::Runtime, failure::Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure::Failure::Runtime)
}

fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    arguments.command.run(arguments.color).unwrap_or_else(|error| exit::failure(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
        documented().debug_assert();
    }

    #[test]
    fn nothing_that_is_hidden_is_documented() {
        let names = |command: &clap::Command| -> Vec<String> {
            command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect()
        };
        let (all, shown) = (names(&Arguments::command()), names(&documented()));
        let hidden: Vec<_> = all.iter().filter(|name| !shown.contains(name)).collect();
        assert_eq!(hidden, ["planned-host"]);
    }

    #[test]
    fn subcommands_and_exit_codes_are_promises() {
        let page = include_str!("../../docs/stability.md");
        let mut documented = documented();
        documented.build();
        for command in documented.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(page.contains(&format!("`{}`", command.get_name())), "{}", command.get_name());
            for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
                let name = format!("`{} {}`", command.get_name(), below.get_name());
                assert!(page.contains(&name), "{name}");
            }
        }
        for (code, _) in exit::CODES {
            assert!(page.contains(&format!("\n  | {code} | ")), "{code}");
        }
    }
}
