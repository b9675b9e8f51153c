//! `--plan`: a host that is to be, built in private namespaces and read from there.
//!
//! libvirt's networks are started by libvirt itself, rules are loaded by the programs that load them on a host, and
//! what the kernel made of both is read back as facts. A process of its own does that (`kvmnet planned-host`), so that
//! all of it ends with that process, whatever happens.

mod files;
mod host;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use clap::Args;
use kvmnet_probes::facts::{IfName, Snapshot};
use tokio::process::Command;

use super::failure::Failure;
use super::{exit, progress};
use files::Plan;
use host::Host;

/// A host that is to be.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The directory with its files
    directory: PathBuf,
    /// The device that leads to the internet
    #[arg(value_parser = files::device)]
    uplink: IfName,
}

/// Why there is no planned host.
enum Unbuilt {
    /// Something is wrong with the plan.
    Plan(anyhow::Error),
    /// This machine cannot build it.
    Machine(anyhow::Error),
}

/// A device's name on the command line.
pub(super) fn device(name: &str) -> Result<IfName, String> {
    files::device(name)
}

/// Builds the host and prints its facts. To be run as the first process of namespaces of its own.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let built = Plan::read(&arguments.directory)
        .map_err(|error| Unbuilt::Plan(error.into()))
        .and_then(|plan| Host::build(&plan, &arguments.directory, &arguments.uplink))
        .and_then(|host| write(host).map_err(Unbuilt::Machine));
    let (error, code) = match built {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Unbuilt::Plan(error)) => (error, exit::USAGE),
        Err(Unbuilt::Machine(error)) => (error, exit::INCOMPLETE),
    };
    exit::tell(&format!("{error:#}"));
    ExitCode::from(code)
}

fn write(host: Host) -> anyhow::Result<()> {
    let snapshot = super::runtime()?.block_on(host.observe());
    kvmnet_reports::json::write(&snapshot, &mut std::io::stdout().lock())?;
    Ok(())
}

/// The facts of the host that the directory describes.
pub(super) fn observe(directory: PathBuf, uplink: &IfName) -> Result<Snapshot, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::Unplannable {
            directory,
            why: "only root may make the private namespaces".to_owned(),
        });
    }
    let failed = |source| Failure::StartPlan { source };
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--fork",
            "--kill-child",
            "--pid",
            "--mount-proc",
            "--net",
            "--uts",
            "--",
        ])
        .arg(program)
        .arg("planned-host")
        .arg(&directory)
        .arg(uplink.as_str())
        .env("PATH", path())
        .env_remove("LIBVIRT_DEFAULT_URI")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let building = progress::during("building the planned host", async { command.output().await });
    let output = super::runtime()?.block_on(building).map_err(failed)?;
    let why = in_one_line(&String::from_utf8_lossy(&output.stderr));
    match output.status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(exit::VERIFIED) => {
            serde_json::from_slice(&output.stdout).map_err(|source| Failure::PlanFacts { source })
        }
        Some(exit::USAGE) => Err(Failure::BadPlan { directory, why }),
        _ if why.is_empty() => Err(Failure::Unplannable { directory, why: output.status.to_string() }),
        _ => Err(Failure::Unplannable { directory, why }),
    }
}

/// What programs said in lines, without those that only point at a place in the line before.
fn in_one_line(text: &str) -> String {
    let says = |line: &&str| line.chars().any(char::is_alphanumeric);
    text.lines().map(str::trim).filter(says).collect::<Vec<_>>().join("; ")
}

/// Where the programs of an administrator are: a user's path, and cron's, may lack them.
fn path() -> String {
    let given = std::env::var("PATH").unwrap_or_default();
    format!("{given}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
}
