//! `kvmnet doctor`: does every VM reach what it should, and nothing else? If not, why, and what to type?

use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, ValueEnum, value_parser};
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::privilege::Privileges;
use kvmnet_probes::wire::{self, Limits, Observation};
use kvmnet_reports::formats::{Input, Renderer};
use kvmnet_reports::{Report, Severity, dry_run, fix_script, json};

use super::facts::{self, Origin};
use super::failure::Failure;
use super::output::{self, Color, Destination, Format};
use super::{exit, explain, progress, select};
use crate::checks::CHECKS;
use crate::engine;
use crate::model::{Claim, Topology, claims};
use crate::verify::{self, Plan, Reach, Scope};

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
  kvmnet doctor --snapshot host.json         a recorded host, without root";

const CODES: &str = "\
With --format nagios the exit code is a plugin's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.";

/// Tell whether every VM reaches what it should and nothing else, why not, and what to type
///
/// Reads the host and libvirt, compares what every VM should reach with what the kernel would do to its
/// packets, tries it with packets sent as the VM, and prints each gap with its cause and the commands
/// that mend it. Nothing on the host is changed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(&format!("{EXAMPLES}\n\n{CODES}")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    #[command(flatten)]
    select: select::Arguments,
    /// Say what follows from the facts alone: send no packet
    #[arg(long = "static")]
    facts_only: bool,
    /// Send nothing that may leave this host: what leads out of it is told by the facts alone
    #[arg(long)]
    local_only: bool,
    /// List what would be sent, and send nothing
    #[arg(long, conflicts_with = "facts_only")]
    dry_run: bool,
    /// Take this address for the internet; may be repeated [default: 1.1.1.1 and its IPv6 twin]
    #[arg(long, value_name = "ADDR")]
    internet_target: Vec<IpAddr>,
    /// How long libvirt and DHCP servers are waited for; other answers for 2 seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Send no more than so many packets in any second
    #[arg(long, value_name = "PACKETS", default_value_t = Limits::RATE, value_parser = rate())]
    rate: NonZeroU32,
    /// Send no more than so many packets in any second as one VM, or to one
    #[arg(long, value_name = "PACKETS", default_value_t = Limits::RATE_PER_VM, value_parser = rate())]
    rate_per_vm: NonZeroU32,
    /// The least severe finding for which the exit code is 1
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
    /// Write the commands that mend what was found into this file, as a shell script to read and run
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    fix_script: Option<PathBuf>,
    /// In which form to write
    #[arg(long, value_name = "FORMAT", value_parser = output::renderer(), default_value = "table")]
    format: &'static Renderer,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Error,
    Warning,
}

/// Whether what is read and tried may be read and tried once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Last,
}

/// What is asked for.
struct Request {
    origin: Origin,
    scope: Scope,
    /// Why nothing is sent, if so.
    untried: Option<&'static str>,
    reach: Reach,
    limits: Limits,
    privileges: Privileges,
    fail_on: Severity,
    fix_script: Option<Destination>,
    renderer: &'static Renderer,
    destination: Destination,
    color: Color,
}

/// Packets in a second: none at all is no rate.
fn rate() -> impl TypedValueParser<Value = NonZeroU32> {
    value_parser!(u32).range(1..).try_map(NonZeroU32::try_from)
}

impl Request {
    fn new(arguments: Arguments, color: Color) -> Result<Self, Failure> {
        let deadline = Duration::from_secs(arguments.timeout);
        let origin = arguments.facts.origin(deadline);
        let untried = match (&origin, arguments.facts_only) {
            (Origin::Recorded(_), _) => Some("not tried: the host is a recorded one"),
            (Origin::Live(_), true) => Some("not tried: --static"),
            (Origin::Live(_), false) => None,
        };
        let reach = if arguments.local_only { Reach::ThisHost } else { Reach::Anywhere };
        let scope = Scope {
            internet_targets: arguments.internet_target,
            vms: arguments.select.vm,
            networks: arguments.select.network,
        };
        let fail_on = match arguments.fail_on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
        };
        let destination = Destination::from(arguments.output);
        let fix_script = arguments.fix_script.map(|path| Destination::from(Some(path)));
        let writes =
            [Some(&destination), fix_script.as_ref()].into_iter().flatten().any(Destination::is_file);
        Ok(Self {
            origin,
            scope,
            untried,
            reach,
            limits: Limits { deadline, rate: arguments.rate, rate_per_vm: arguments.rate_per_vm },
            privileges: Privileges::confine(writes).map_err(Failure::Privileges)?,
            fail_on,
            fix_script,
            renderer: arguments.format,
            destination,
            color,
        })
    }

    /// Where proof and wire disagree both are made once more: the host may have changed between the two.
    async fn examine(&self) -> Result<Report, Failure> {
        let report = self.verify(&self.origin.observe().await?, Look::First).await?;
        if !verify::is_doubtful(&report) {
            return Ok(report);
        }
        self.verify(&self.origin.observe().await?, Look::Last).await
    }

    /// From the facts to the report: pair, discover, claim, predict, plan, try, conclude.
    async fn verify(&self, snapshot: &Snapshot, look: Look) -> Result<Report, Failure> {
        let mut topology = Topology::from_snapshot(snapshot);
        select::check(snapshot, &topology, &self.scope.vms, &self.scope.networks)?;
        if self.untried.is_none() {
            let questions = verify::discover(snapshot, &topology, self.reach);
            let answers = self.send("asking the VMs for their addresses", &questions, Look::First).await?;
            verify::learn(&mut topology, &questions, &answers);
        }
        let facts = engine::Facts::new(snapshot);
        let mut claims = self.claims(snapshot, &facts, &topology);
        let fates = verify::prove(&facts, &topology, &mut claims);
        let plan = match self.untried {
            Some(reason) => Plan::untried(&claims, reason),
            None => verify::plan(snapshot, &topology, &claims, self.reach),
        };
        let observations = self.send("trying it on the wire", &plan.attempts, look).await?;
        Ok(verify::report(snapshot, &topology, &claims, &fates, &plan, &observations, self.fail_on))
    }

    /// What is claimed. Of full-size packets to the internet only the wire can tell.
    fn claims(&self, snapshot: &Snapshot, facts: &engine::Facts<'_>, topology: &Topology) -> Vec<Claim> {
        let mut claims = claims(topology, &self.scope, &engine::representatives(facts, topology));
        if self.untried.is_none() && self.reach == Reach::Anywhere {
            claims.extend(verify::full_size(snapshot, topology, &claims));
        }
        claims
    }

    /// What would be sent, as far as it is known before the VMs were asked for their addresses.
    async fn rehearse(&self, format: Format) -> Result<Vec<u8>, Failure> {
        let snapshot = self.origin.observe().await?;
        let topology = Topology::from_snapshot(&snapshot);
        select::check(&snapshot, &topology, &self.scope.vms, &self.scope.networks)?;
        let facts = engine::Facts::new(&snapshot);
        let mut claims = self.claims(&snapshot, &facts, &topology);
        verify::prove(&facts, &topology, &mut claims);
        let mut attempts = verify::discover(&snapshot, &topology, self.reach);
        attempts.extend(verify::plan(&snapshot, &topology, &claims, self.reach).attempts);
        let run = verify::dry_run(&snapshot, &attempts);
        let mut text = Vec::new();
        let written = match format {
            Format::Table => dry_run::write(&run, self.destination.form(self.color), &mut text),
            Format::Json => json::write(&run, &mut text),
        };
        written.expect("memory takes every byte");
        Ok(text)
    }

    /// What guests answer is read without a capability in effect; after the last look nothing more is opened, and
    /// they are given up before.
    async fn send(
        &self,
        what: &str,
        attempts: &[wire::Attempt],
        look: Look,
    ) -> Result<Vec<Observation>, Failure> {
        let ready = wire::open(attempts, &self.limits);
        let _resting = self.privileges.rest().map_err(Failure::Privileges)?;
        if look == Look::Last {
            self.privileges.give_up().map_err(Failure::Privileges)?;
        }
        Ok(progress::during(what, ready.run()).await)
    }

    fn deliver(&self, report: &Report) -> Result<(), Failure> {
        self.privileges.give_up().map_err(Failure::Privileges)?;
        let catalogue = explain::catalogue_of(CHECKS);
        let input = Input { report, catalogue: &catalogue, form: self.destination.form(self.color) };
        let mut text = Vec::new();
        self.renderer.write(&input, &mut text).expect("memory takes every byte");
        self.privileges.write().map_err(Failure::Privileges)?;
        self.destination.deliver(&text, false)?;
        let Some(destination) = &self.fix_script else { return Ok(()) };
        let mut script = Vec::new();
        fix_script::write(report, &mut script).expect("memory takes every byte");
        destination.deliver(&script, true)
    }

    /// Says how the result becomes a full one.
    fn advise(&self, report: &Report) {
        let sources = report.sources.iter().filter_map(|source| source.reason.as_deref());
        let notes = report.matrix.iter().filter_map(|cell| cell.note.as_deref());
        let lacking = self.privileges.lacking(sources.chain(notes));
        if !self.origin.is_live() || lacking.is_empty() {
            return;
        }
        let mut text = "\nhint: not all could be read or tried: run this as root, or give it what it lacks \
                        (docs/privileges.md):\n"
            .to_owned();
        for needed in lacking {
            let _ = writeln!(text, "  {:<19}  {}", needed.name, needed.purpose);
        }
        exit::tell(&text);
    }
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
    if arguments.dry_run {
        let format = format_of_rehearsal(arguments.format)?;
        let request = Request::new(arguments, color)?;
        let text = super::runtime()?.block_on(request.rehearse(format))?;
        request.privileges.write().map_err(Failure::Privileges)?;
        request.destination.deliver(&text, false)?;
        return Ok(ExitCode::from(exit::VERIFIED));
    }
    let renderer = arguments.format;
    examine(arguments, color).or_else(|error| exit::failed(error, renderer))
}

fn examine(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let request = Request::new(arguments, color)?;
    let report = super::runtime()?.block_on(request.examine())?;
    request.deliver(&report)?;
    request.advise(&report);
    Ok(ExitCode::from(request.renderer.exit_code(&report)))
}
