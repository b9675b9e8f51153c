//! `kvmnet doctor`: does every VM reach what it should, and nothing else? If not, why, and what to type?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use kvmnet_reports::Severity;
use kvmnet_reports::formats::Renderer;

use super::examination::{self, Asked, Examination, Intent};
use super::output::{Color, Format};
use super::select;

const EXAMPLES: &str = "\
Examples:
  kvmnet doctor                              everything, on the wire too
  kvmnet doctor --vm web1 --vm web2          these VMs only
  kvmnet doctor --static                     from the facts alone, no packet is sent
  kvmnet doctor --local-only                 send nothing that may leave this host
  kvmnet doctor --dry-run                    list what would be sent, and send nothing
  kvmnet doctor --internet-target 192.0.2.1  ask for this address instead of 1.1.1.1
  kvmnet doctor --fix-script fix.sh          the commands as a script; read it, then run it as root
  kvmnet doctor --format json --output report.json
  kvmnet doctor --format junit --output kvmnet.xml
  kvmnet doctor --since before.json          and what a change has changed for packets
  kvmnet doctor --quiet --state /var/lib/kvmnet/state.json
                                             from cron: only what is new or healed
  kvmnet doctor --snapshot host.json         a recorded host, without root";

/// Tell whether every VM reaches what it should and nothing else, why not, and what to type
///
/// Reads the host and libvirt, compares what every VM should reach with what the kernel would do to its
/// packets, tries it with packets sent as the VM, and prints each gap with its cause and the commands
/// that mend it. Nothing on the host is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = examination::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    how: examination::Arguments,
    #[command(flatten)]
    select: select::Arguments,
    /// Say what follows from the facts alone: send no packet
    #[arg(long = "static")]
    facts_only: bool,
    /// Print nothing if there is nothing to say: all is as intended, or with --state nothing is new or healed
    #[arg(short, long, conflicts_with_all = ["dry_run", "output"])]
    quiet: bool,
    /// Say what has changed for packets since this snapshot was taken, too
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    since: Option<PathBuf>,
    /// Remember findings in this file, and say what is new, still there and healed
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    state: Option<PathBuf>,
    /// With --state: in how many runs in a row something must be there to be told, and gone to be healed
    #[arg(long, value_name = "RUNS", requires = "state", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    confirm: u32,
    /// List what would be sent, and send nothing
    #[arg(long, conflicts_with = "facts_only")]
    dry_run: bool,
    /// Hold the host against this policy, too: what it asserts, what it says of networks, what it accepts
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The least severe finding for which the exit code is 1
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Write the commands that mend what was found into this file, as a shell script to read and run
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    fix_script: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Error,
    Warning,
}

/// How a list of what would be sent is written: it is no report, and few forms are made for it.
fn format_of_rehearsal(renderer: &Renderer) -> Result<Format, clap::Error> {
    Format::from_str(renderer.name, false).map_err(|_| {
        let known: Vec<_> =
            Format::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        let known: Vec<_> = known.iter().map(PossibleValue::get_name).collect();
        let text = format!(
            "the argument '--dry-run' cannot be used with '--format {}': what would be sent is written as {}",
            renderer.name,
            known.join(" or ")
        );
        Arguments::augment_args(clap::Command::new("kvmnet doctor")).error(ErrorKind::ArgumentConflict, text)
    })
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let asked = Asked {
        intent: Intent::Models,
        vms: arguments.select.vm,
        networks: arguments.select.network,
        facts_only: arguments.facts_only,
        policy: arguments.policy,
        fail_on: match arguments.fail_on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
        },
        fix_script: arguments.fix_script,
        since: arguments.since,
        state: arguments.state.map(|path| (path, arguments.confirm)),
        quiet: arguments.quiet,
    };
    if arguments.dry_run {
        let format = format_of_rehearsal(arguments.how.renderer())?;
        return Examination::new(arguments.how, asked, color)?.rehearse(format);
    }
    Examination::run(arguments.how, asked, color)
}
