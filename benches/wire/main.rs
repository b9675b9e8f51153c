//! 3,000 claims about 1,000 endpoints on 20 bridges, tried on the wire, beside fping's 1,000 in the same run.
//!
//! Needs root and fping: the host is built in network namespaces of its own, which end with the benchmark.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it runs ip, nft and fping, has a clock, and says what it measured"
)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kvmnet_probes::wire::{self, Limits, Observation, Outcome};

mod host;

use host::{BRIDGES, ENDPOINTS, Host};

const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces of its own need root");
        return Ok(());
    }
    let start = Instant::now();
    let host = Host::build()?;
    let endpoints = usize::from(BRIDGES) * usize::from(ENDPOINTS);
    println!("{endpoints} endpoints on {BRIDGES} bridges, built in {:.1} s", start.elapsed().as_secs_f64());
    println!(
        "{:>10} {:>10} {:>7} {:>10} {:>10} {:>9}",
        "fping", "wire", "ratio", "packets/s", "sightings", "memory"
    );
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let fping = fping(&host)?;
        let run = wire_run(&host)?;
        let ratio = run.took.as_secs_f64() / fping.as_secs_f64();
        ratios.push(ratio);
        println!(
            "{:>7.0} ms {:>7.0} ms {ratio:>7.2} {:>10.0} {:>10} {:>6} MB",
            fping.as_secs_f64() * 1e3,
            run.took.as_secs_f64() * 1e3,
            f64::from(run.attempts) / run.took.as_secs_f64(),
            run.sightings,
            most_memory_kib()?.div_ceil(1024),
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ROUNDS / 2]);
    Ok(())
}

/// How long fping takes to ask every endpoint once.
fn fping(host: &Host) -> anyhow::Result<Duration> {
    let addresses = host.addresses();
    let start = Instant::now();
    let output = Command::new("fping")
        .args(["-i", "1", "-r", "0", "-a"])
        .args(addresses.iter().map(ToString::to_string))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start fping")?;
    let took = start.elapsed();
    let answered = String::from_utf8_lossy(&output.stdout).lines().count();
    ensure!(answered == addresses.len(), "{answered} of {} answered fping", addresses.len());
    Ok(took)
}

struct Run {
    took: Duration,
    attempts: u32,
    sightings: usize,
}

/// How long all claims take on the wire, what has to be opened included.
fn wire_run(host: &Host) -> anyhow::Result<Run> {
    let attempts = host.attempts();
    let limits = Limits::new(Duration::from_secs(5));
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let observations = runtime.block_on(wire::run(&attempts, &limits));
    let took = start.elapsed();
    let silent =
        |(_, observation): &(_, &Observation)| !matches!(observation.outcome, Outcome::Answered { .. });
    let silent: Vec<_> = attempts.iter().zip(&observations).filter(silent).collect();
    ensure!(
        silent.is_empty(),
        "{} of {} not answered after {took:?}, first {:?}",
        silent.len(),
        attempts.len(),
        silent[0]
    );
    let sightings = observations.iter().map(|observation| observation.sightings.len()).sum();
    Ok(Run { took, attempts: u32::try_from(attempts.len())?, sightings })
}

/// The most memory that this process has had at once.
fn most_memory_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
