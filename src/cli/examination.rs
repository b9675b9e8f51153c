//! What `doctor` and `check` have in common: a host is read, held against what is intended, tried, and reported.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, value_parser};
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::privilege::Privileges;
use kvmnet_probes::wire::{self, Limits, Observation};
use kvmnet_reports::formats::{Input, Renderer};
use kvmnet_reports::{Report, Severity, Verdict, dry_run, fix_script};

use super::facts::{self, Origin};
use super::failure::Failure;
use super::output::{self, Color, Destination, Format};
use super::policy_file::PolicyFile;
use super::state::State;
use super::{exit, explain, progress, select};
use crate::checks::CHECKS;
use crate::engine;
use crate::model::policy::{self, Reading};
use crate::model::{Claim, Topology, claims};
use crate::verify::{self, Plan, Reach, Scope};

/// How it is done.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    /// Send nothing that may leave this host: what leads out of it is told by the facts alone
    #[arg(long)]
    local_only: bool,
    /// Take this address for the internet; may be repeated [default: 1.1.1.1 and its IPv6 twin]
    #[arg(long, value_name = "ADDR")]
    internet_target: Vec<IpAddr>,
    /// How long libvirt and DHCP servers are waited for; other answers for 2 seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Send no more than so many packets in any second
    #[arg(long, value_name = "PACKETS", default_value_t = Limits::RATE, value_parser = rate())]
    rate: NonZeroU32,
    /// Send no more than so many packets in any second as one VM, or to one
    #[arg(long, value_name = "PACKETS", default_value_t = Limits::RATE_PER_VM, value_parser = rate())]
    rate_per_vm: NonZeroU32,
    /// In which form to write
    #[arg(long, value_name = "FORMAT", value_parser = output::renderer(), default_value = "table")]
    format: &'static Renderer,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn renderer(&self) -> &'static Renderer {
        self.format
    }
}

/// A text for `--help` with the exit codes after it, those of a plugin too.
pub(super) fn with_codes(text: &str) -> String {
    const PLUGIN: &str =
        "With --format nagios the exit code is a plugin's: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.";
    exit::with_codes(&format!("{text}\n\n{PLUGIN}"))
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) intent: Intent,
    /// These VMs only.
    pub(super) vms: Vec<String>,
    /// These networks only.
    pub(super) networks: Vec<String>,
    /// Nothing is sent.
    pub(super) facts_only: bool,
    pub(super) policy: Option<PathBuf>,
    pub(super) fail_on: Severity,
    pub(super) fix_script: Option<PathBuf>,
    /// A snapshot of the host as it was.
    pub(super) since: Option<PathBuf>,
    /// Where findings are remembered, and how often one must be seen to count.
    pub(super) state: Option<(PathBuf, u32)>,
    /// Nothing is printed where there is nothing to say.
    pub(super) quiet: bool,
}

/// Whether what is read and tried may be read and tried once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    Last,
}

/// What is asked of the models, or of a policy alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// The models, and the policy's assertions if there is one.
    Models,
    /// The policy's assertions.
    Policy,
}

/// What is asked for.
pub(super) struct Examination {
    origin: Origin,
    scope: Scope,
    intent: Intent,
    policy: Option<PolicyFile>,
    /// Why nothing is sent, if so.
    untried: Option<&'static str>,
    reach: Reach,
    limits: Limits,
    privileges: Privileges,
    fail_on: Severity,
    fix_script: Option<Destination>,
    before: Option<Snapshot>,
    state: Option<State>,
    quiet: bool,
    renderer: &'static Renderer,
    destination: Destination,
    /// Entries of the journal are sent there, as no other place was named.
    to_journal: bool,
    color: Color,
}

/// Packets in a second: none at all is no rate.
fn rate() -> impl TypedValueParser<Value = NonZeroU32> {
    value_parser!(u32).range(1..).try_map(NonZeroU32::try_from)
}

impl Examination {
    pub(super) fn new(arguments: Arguments, asked: Asked, color: Color) -> Result<Self, Failure> {
        // It may lie where only who starts this may read.
        let policy = asked.policy.map(PolicyFile::read).transpose()?;
        let before = asked.since.as_deref().map(facts::recorded).transpose()?;
        let state = asked.state.map(|(path, confirm)| State::read(path, confirm)).transpose()?;
        let deadline = Duration::from_secs(arguments.timeout);
        let origin = arguments.facts.origin(deadline)?;
        let untried = match (&origin, asked.facts_only) {
            (Origin::Recorded(_), _) => Some("not tried: the host is a recorded one"),
            (Origin::Planned(_), _) => Some("not tried: the host is a planned one"),
            (Origin::Live(_), true) if asked.intent == Intent::Policy => Some("not tried: without --live"),
            (Origin::Live(_), true) => Some("not tried: --static"),
            (Origin::Live(_), false) => None,
        };
        let reach = if arguments.local_only { Reach::ThisHost } else { Reach::Anywhere };
        let scope =
            Scope { internet_targets: arguments.internet_target, vms: asked.vms, networks: asked.networks };
        let to_journal = arguments.output.is_none();
        let destination = Destination::from(arguments.output);
        let fix_script = asked.fix_script.map(|path| Destination::from(Some(path)));
        let writes = state.is_some()
            || [Some(&destination), fix_script.as_ref()].into_iter().flatten().any(Destination::is_file);
        Ok(Self {
            origin,
            scope,
            intent: asked.intent,
            policy,
            untried,
            reach,
            limits: Limits { deadline, rate: arguments.rate, rate_per_vm: arguments.rate_per_vm },
            privileges: Privileges::confine(writes).map_err(Failure::Privileges)?,
            fail_on: asked.fail_on,
            fix_script,
            before,
            state,
            quiet: asked.quiet,
            renderer: arguments.format,
            destination,
            to_journal,
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
        let mut topology = self.topology(snapshot)?;
        if self.untried.is_none() {
            let questions = verify::discover(snapshot, &topology, self.reach);
            let answers = self.send("asking the VMs for their addresses", &questions, Look::First).await?;
            verify::learn(&mut topology, &questions, &answers);
        }
        let facts = engine::Facts::new(snapshot);
        let (mut claims, readings) = self.claims(snapshot, &facts, &topology)?;
        let fates = verify::prove(&facts, &topology, &mut claims);
        let plan = match self.untried {
            Some(reason) => Plan::untried(&claims, reason),
            None => verify::plan(snapshot, &topology, &claims, self.reach),
        };
        let observations = self.send("trying it on the wire", &plan.attempts, look).await?;
        let mut report =
            verify::report(snapshot, &topology, &claims, &fates, &plan, &observations, self.fail_on);
        if self.renderer.shows_steps() {
            verify::add_steps(&mut report, snapshot, &fates);
        }
        if let Some(file) = &self.policy {
            verify::hold_against(&mut report, file.held(), &claims, &readings, file.today, self.fail_on);
        }
        report.since = self.before.as_ref().map(|before| verify::diff(before, snapshot));
        if self.intent == Intent::Policy {
            verify::reduce(&mut report, self.fail_on);
        }
        Ok(report)
    }

    /// The host as the policy says that it is meant to be.
    fn topology(&self, snapshot: &Snapshot) -> Result<Topology, Failure> {
        let mut topology = Topology::from_snapshot(snapshot);
        select::check(snapshot, &topology, &self.scope.vms, &self.scope.networks)?;
        if let Some(file) = &self.policy {
            file.policy.refine(&mut topology).map_err(|error| file.unmatched(&error, snapshot))?;
        }
        Ok(topology)
    }

    /// What is claimed, and how the policy's assertions were read. Of full-size packets to the internet only the wire
    /// can tell.
    fn claims(
        &self,
        snapshot: &Snapshot,
        facts: &engine::Facts<'_>,
        topology: &Topology,
    ) -> Result<(Vec<Claim>, Vec<Reading>), Failure> {
        let alike = engine::representatives(facts, topology);
        let mut claims = match self.intent {
            Intent::Models => claims(topology, &self.scope(), &alike),
            Intent::Policy => Vec::new(),
        };
        if self.untried.is_none() && self.reach == Reach::Anywhere {
            claims.extend(verify::full_size(snapshot, topology, &claims));
        }
        let Some(file) = &self.policy else { return Ok((claims, Vec::new())) };
        let expanded = file.policy.open(topology, &mut claims).and_then(|()| {
            let targets = self.scope().internet_targets;
            policy::expand(&file.policy.assertions, (snapshot, topology), &targets, &alike)
        });
        let expansion = expanded.map_err(|error| file.unmatched(&error, snapshot))?;
        claims.extend(expansion.claims);
        Ok((claims, expansion.readings))
    }

    /// What the claims are limited to. Addresses on the command line stand for the internet before the policy's.
    fn scope(&self) -> Scope {
        let mut scope = self.scope.clone();
        if let Some(file) = self.policy.as_ref().filter(|_| scope.internet_targets.is_empty()) {
            scope.internet_targets.clone_from(&file.policy.internet);
        }
        scope
    }

    /// What would be sent, as far as it is known before the VMs were asked for their addresses.
    async fn rehearsed(&self, format: Format) -> Result<Vec<u8>, Failure> {
        let snapshot = self.origin.observe().await?;
        let topology = self.topology(&snapshot)?;
        let facts = engine::Facts::new(&snapshot);
        let (mut claims, _) = self.claims(&snapshot, &facts, &topology)?;
        verify::prove(&facts, &topology, &mut claims);
        let mut attempts = verify::discover(&snapshot, &topology, self.reach);
        attempts.extend(verify::plan(&snapshot, &topology, &claims, self.reach).attempts);
        let run = verify::dry_run(&snapshot, &attempts);
        Ok(format.write(&run, |text| dry_run::write(&run, self.destination.form(self.color), text)))
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
        let catalogue = explain::catalogue_of(CHECKS.iter().copied());
        let input = Input { report, catalogue: &catalogue, form: self.destination.form(self.color) };
        let mut text = Vec::new();
        self.renderer.write(&input, &mut text).expect("memory takes every byte");
        self.privileges.write().map_err(Failure::Privileges)?;
        let entries = self.renderer.entries(&input).filter(|_| self.to_journal);
        // Who looks into the journal for why a service failed finds that there.
        let is_silent = self.quiet
            && has_nothing_to_say(report)
            && (entries.is_none() || report.summary.verdict == Verdict::Verified);
        if !is_silent {
            match entries.map(|entries| output::send_to_journal(&entries)) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    // The verdict is not lost by that.
                    exit::tell_failure(&error.into());
                    self.destination.deliver(&text, false)?;
                }
                None => self.destination.deliver(&text, false)?,
            }
        }
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

    /// Examines the host and delivers the report.
    pub(super) fn run(arguments: Arguments, asked: Asked, color: Color) -> anyhow::Result<ExitCode> {
        let renderer = arguments.format;
        let done = Self::new(arguments, asked, color).map_err(Into::into).and_then(Self::report);
        done.or_else(|error| exit::failed(error, renderer))
    }

    fn report(mut self) -> anyhow::Result<ExitCode> {
        let mut report = super::runtime()?.block_on(self.examine())?;
        let limits = [&self.scope.vms[..], &self.scope.networks].concat();
        if let Some(state) = &mut self.state {
            state.follow(&mut report, &limits, self.fail_on)?;
        }
        self.deliver(&report)?;
        // Only what was told is remembered as told.
        if let Some(state) = &self.state {
            state.write()?;
        }
        self.advise(&report);
        Ok(ExitCode::from(self.renderer.exit_code(&report)))
    }

    /// Lists what would be sent.
    pub(super) fn rehearse(self, format: Format) -> anyhow::Result<ExitCode> {
        let text = super::runtime()?.block_on(self.rehearsed(format))?;
        self.privileges.write().map_err(Failure::Privileges)?;
        self.destination.deliver(&text, false)?;
        Ok(ExitCode::from(exit::VERIFIED))
    }
}

/// All is as intended and as it was; where findings are remembered, nothing is new or healed.
fn has_nothing_to_say(report: &Report) -> bool {
    let changed = report.since.as_ref().is_some_and(|since| since.verdict() != Verdict::Verified);
    !changed
        && match &report.course {
            Some(course) => course.new.is_empty() && course.healed.is_empty(),
            None => report.summary.verdict == Verdict::Verified,
        }
}
