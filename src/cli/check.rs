//! `kvmnet check`: does a host do what a policy asserts?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use kvmnet_reports::Severity;

use super::examination::{self, Asked, Examination, Intent};
use super::output::Color;

const EXAMPLES: &str = "\
Examples:
  kvmnet check                               what ./kvmnet.yaml asserts, from the facts of this host
  kvmnet check isolation.yaml --live         and try it with real packets
  kvmnet check isolation.yaml --snapshot host.json
                                             a recorded host: in CI, without root
  kvmnet check isolation.yaml --plan new/    a host as libvirt's XML and rules in new/ describe it
  kvmnet check --format json -o check.json
  kvmnet policy init > kvmnet.yaml           a policy of what is so now, to begin with";

/// Tell whether a policy's assertions hold
///
/// What is denied is proved for all packets, or a packet is named that passes; what is allowed is shown by a packet and
/// its reply. An assertion about somebody who is not there is an error.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = examination::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// The policy
    #[arg(value_name = "POLICY", default_value = "kvmnet.yaml")]
    policy: PathBuf,
    /// Try it with packets, too, each sent as its sender would send it
    #[arg(long, conflicts_with_all = ["snapshot", "plan"])]
    live: bool,
    #[command(flatten)]
    how: examination::Arguments,
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let asked = Asked {
        intent: Intent::Policy,
        vms: Vec::new(),
        networks: Vec::new(),
        facts_only: !arguments.live,
        policy: Some(arguments.policy),
        fail_on: Severity::Error,
        fix_script: None,
        since: None,
        state: None,
        quiet: false,
    };
    Examination::run(arguments.how, asked, color)
}
