//! The report's types. Their JSON form is an interface: see `docs/report.schema.json`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diff::Diff;
use crate::trace::TraceStep;

/// The version of the interface.
pub const SCHEMA: &str = "kvmnet.report/1";

/// What `kvmnet doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// `kvmnet.report/1`.
    pub schema: String,
    /// The host that was examined.
    pub host: Host,
    /// Every source of facts and whether it could be read.
    pub sources: Vec<Source>,
    /// libvirt's networks, and bridges without one that carry a NIC.
    pub networks: Vec<Network>,
    /// The NICs of all domains.
    pub nics: Vec<Nic>,
    /// One entry per claim: a pair of zones and a kind of traffic.
    pub matrix: Vec<Cell>,
    /// What is wrong, or will be, most healing first.
    pub findings: Vec<Finding>,
    /// What the policy says of it, if there is one.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// What has become of findings since earlier runs, if they are remembered.
    #[serde(default)]
    pub course: Option<Course>,
    /// What has changed for packets since a snapshot, if one was given.
    #[serde(default)]
    pub since: Option<Diff>,
    /// The counts and the verdict.
    pub summary: Summary,
}

impl Report {
    /// The cells of the models, with their indices: those that no assertion speaks of.
    pub fn modelled(&self) -> impl Iterator<Item = (usize, &Cell)> {
        let asserted: BTreeSet<usize> = self
            .policy
            .iter()
            .flat_map(|policy| &policy.assertions)
            .flat_map(|one| one.cells.iter().copied())
            .collect();
        self.matrix.iter().enumerate().filter(move |(at, _)| !asserted.contains(at))
    }
}

/// The host that was examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its node name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// libvirt's version, if it answered.
    pub libvirt: Option<String>,
    /// libvirt's firewall backend, if it is known.
    pub firewall_backend: Option<String>,
    /// Milliseconds since the Unix epoch when reading began.
    pub taken_ms: u64,
}

/// A source of facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Whether it was read.
    pub status: SourceStatus,
    /// Why it was not, or only in part.
    pub reason: Option<String>,
}

/// Whether a source was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceStatus {
    /// In full.
    Read,
    /// In part; the reason says what is missing.
    Partial,
    /// Not at all.
    Missing,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Its name; for a bridge without a libvirt network the bridge's.
    pub name: String,
    /// `nat`, `isolated`, `route`, `open`, `bridge`, ….
    pub mode: String,
    /// The bridge device.
    pub bridge: Option<String>,
    /// The device behind which the internet lies for it.
    pub uplink: Option<String>,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// The host's addresses in them, or the LAN's router.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Whether it is started.
    pub active: bool,
    /// The state of its bridge; nothing if it has none, or if that is not known.
    #[serde(default)]
    pub bridge_state: Option<LinkState>,
}

/// The state of a device of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is set up.
    Up,
    /// It is set down.
    Down,
    /// It is not there.
    Missing,
}

/// A NIC of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nic {
    /// The domain's name.
    pub vm: String,
    /// The MAC in the domain's XML.
    pub mac: String,
    /// The host end.
    pub tap: Option<String>,
    /// The bridge that the tap is in now.
    pub bridge: Option<String>,
    /// The libvirt network that it belongs to.
    pub network: Option<String>,
    /// Its addresses, as far as they are known.
    pub addresses: Vec<String>,
    /// Its position among the NICs of its VM, from 1; 0 if it is not known.
    #[serde(default)]
    pub nic: usize,
    /// Whether packets can pass its end on the host, as far as that end itself is concerned.
    #[serde(default)]
    pub state: Option<NicState>,
}

/// Whether packets can pass a NIC's end on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NicState {
    /// The domain runs and the host end is up.
    Up,
    /// The domain is paused.
    Paused,
    /// The domain is off.
    Off,
    /// The domain's XML says `<link state='down'/>`.
    Unplugged,
    /// The host end is down.
    Down,
    /// The host end is not there.
    Missing,
    /// The host end is in no bridge, or not in the one where it belongs.
    WrongBridge,
    /// It goes past the host: the host cannot see its packets.
    Unseen,
}

/// One end of a claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Zone {
    /// What it is.
    pub zone: ZoneKind,
    /// The domain, if it is a NIC.
    pub vm: Option<String>,
    /// The network that it belongs to, if any.
    pub network: Option<String>,
    /// The address, if one stands for it.
    pub address: Option<String>,
}

/// The kinds of zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZoneKind {
    /// A NIC of a domain.
    Vm,
    /// The gateway of a network: the host's address on the bridge, or the LAN's router.
    Gateway,
    /// The host itself.
    Host,
    /// What lies behind the uplink, asked from inside.
    Internet,
    /// What lies behind the uplink, asking unasked.
    Outside,
}

/// What the model or the policy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// A new flow and its replies pass.
    Allow,
    /// No new flow passes.
    Deny,
}

/// What the facts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Predicted {
    /// It passes, and so do the replies.
    Allow,
    /// It does not pass.
    Deny,
    /// Some of it passes.
    Partial,
    /// Something that is not understood, or could not be read, decides.
    Unknown,
}

/// Of which packets the facts say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Of the one that stands for the claim.
    OnePacket,
    /// Of every packet that one end can send to the other.
    AllPackets,
}

/// What the wire showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// It was answered, or seen to arrive.
    Reply,
    /// It was sent and nothing came back.
    NoReply,
    /// It was not sent.
    NotTried,
}

/// As whom a packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sender {
    /// The VM: it entered at the VM's tap.
    AsVm,
    /// A port of kvmnet's own in the VM's bridge, with the settings of the VM's port and a MAC and an address that are
    /// nobody's: it meets what every port there meets, and nothing that means the VM alone.
    Shadow,
    /// The host itself.
    AsHost,
    /// Somebody outside: it entered at the uplink.
    AsOutside,
}

/// What follows for one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellVerdict {
    /// As intended.
    Ok,
    /// Not as intended.
    Gap,
    /// Cannot be said.
    Unknown,
}

/// One claim and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Where the flow begins.
    pub from: Zone,
    /// Where it goes.
    pub to: Zone,
    /// `arp`, `icmp`, `icmp-full-size` (as long as the VM's device carries), `dhcp`, `dns`, `router-advertisement`,
    /// `tcp/443`, `ndp`, `any`.
    pub traffic: String,
    /// What is wanted.
    pub expected: Expected,
    /// What the facts say.
    pub predicted: Predicted,
    /// Of which packets the facts say so.
    pub proof: Proof,
    /// As whom the packet was sent; none if it was not tried.
    #[serde(default)]
    pub sender: Option<Sender>,
    /// What the wire showed.
    pub observed: Observed,
    /// What follows.
    pub verdict: CellVerdict,
    /// Why it is unknown or was not tried; how far the packet came.
    pub note: Option<String>,
    /// The packet's path by the facts, for the formats that show it ([`crate::formats::Renderer::shows_steps`]). It is no
    /// part of the JSON interface: `kvmnet trace` has it there.
    #[serde(skip)]
    pub steps: Vec<TraceStep>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Nothing is broken now, but will be; or something odd.
    Warning,
    /// Something that should work does not, or something passes that must not.
    Error,
}

impl Severity {
    /// The severity in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that is wrong, with its cause and its fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The cause's permanent id, kebab-case.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line: what the administrator notices, and where.
    pub title: String,
    /// Who is affected: `vm:web1`, `network:default`, `link:virbr0`, `host`.
    pub subjects: Vec<String>,
    /// Why, in a sentence or two.
    pub cause: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// Indices into the matrix of the cells that it breaks.
    pub breaks: Vec<usize>,
    /// What puts it right.
    pub fix: Fix,
}

/// What shows that a finding is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The source: `proof`, `wire`, or the name of a source of facts.
    pub source: String,
    /// What it says.
    pub text: String,
}

/// What puts a finding right. kvmnet never runs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// Commands for a root shell on this host, in order.
    pub commands: Vec<String>,
    /// What the commands do not cover: how to make it last, what to look at.
    pub note: Option<String>,
    /// Whether guests are interrupted.
    pub disruptive: bool,
}

/// What a policy says of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// The file.
    pub file: String,
    /// Its assertions, in the file's order, and what became of them.
    pub assertions: Vec<Assertion>,
    /// The findings that it accepts, with its reasons. They are not among the report's findings.
    pub accepted: Vec<Accepted>,
    /// What is to be known of the file: what it accepts no more.
    #[serde(default)]
    pub notes: Vec<PolicyNote>,
}

/// What is to be known of a line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyNote {
    /// The line of the file, from 1.
    pub line: usize,
    /// What is to be known.
    pub text: String,
    /// What is not accepted any more, if it is that.
    #[serde(default)]
    pub expired: Option<Expired>,
}

/// An acceptance that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expired {
    /// The finding's id, or the pattern of ids.
    pub finding: String,
    /// The last day on which it was accepted, as `2027-01-31`.
    pub until: String,
}

/// One sentence of a policy: who must reach whom, or must not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assertion {
    /// What the policy calls it, or what it says: `vm:web* to vm:db1: deny any`.
    pub name: String,
    /// The line of the file where it begins, from 1.
    pub line: usize,
    /// The pairs of ends that it speaks of.
    pub pairs: usize,
    /// Indices into the matrix of the cells that stand for them: of pairs that no rule tells apart there is one.
    pub cells: Vec<usize>,
    /// Whether it holds for all of them. Where there is none it is unknown.
    pub verdict: CellVerdict,
    /// Who was left out.
    pub note: Option<String>,
}

/// A finding that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The finding.
    pub finding: Finding,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is, as `2027-01-31`; none: for good.
    pub until: Option<String>,
    /// The line of the file, from 1.
    pub line: usize,
}

/// What has become of findings since earlier runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Course {
    /// Findings that are told for the first time, by their indices.
    pub new: Vec<usize>,
    /// Findings that were told before.
    pub still: Vec<Still>,
    /// Findings that are not told yet, as they were not there in enough runs in a row.
    pub pending: Vec<usize>,
    /// Findings that were told and are gone.
    pub healed: Vec<Healed>,
    /// Findings that were told and are not there now, but not for long enough to be called healed.
    pub absent: Vec<Healed>,
}

/// A finding that was told before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Still {
    /// Its index among the findings.
    pub finding: usize,
    /// When it was there first, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// A finding that was there in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Healed {
    /// Its id.
    pub id: String,
    /// What was noticed.
    pub title: String,
    /// When it was there first, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

/// The counts and the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Cells that are as intended.
    pub ok: usize,
    /// Cells that are not.
    pub gaps: usize,
    /// Cells of which nothing can be said.
    pub unknown: usize,
    /// Denials that hold for every packet.
    pub proved: usize,
    /// The whole: the exit code in a word.
    pub verdict: Verdict,
}

/// The whole report in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything is as intended: exit code 0.
    Verified,
    /// There is a finding at or above the asked severity: exit code 1.
    Gaps,
    /// Nothing is known to be wrong, but something could not be read or tried: exit code 3.
    Incomplete,
}

impl Verdict {
    /// The exit code of `kvmnet doctor` that says the same.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Gaps => 1,
            Self::Incomplete => 3,
        }
    }
}
