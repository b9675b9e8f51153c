//! `kvmnet trace`: the path of one packet and of its reply, rule by rule, from the facts and on the wire.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::privilege::Privileges;
use kvmnet_probes::wire::{self, Limits, Outcome, Sender};
use kvmnet_reports::survey::{self, Stop, Survey, Way};
use kvmnet_reports::trace::{self, Trace, TraceSighting, TraceWire};
use kvmnet_reports::{CellVerdict, Expected, Observed, Predicted};

use super::failure::Failure;
use super::output::{Color, Destination, Format};
use super::{endpoint, exit, facts, progress};
use crate::engine::{Engine, Facts, Fate};
use crate::model::{Claim, Selection, Topology, Traffic};
use crate::verify::{self, Reach};
use endpoint::Endpoint;

const EXAMPLES: &str = "\
Examples:
  kvmnet trace --from vm:web1 --to 198.51.100.10 --proto tcp --dport 443
  kvmnet trace --from vm:web1 --to gateway --proto dns
  kvmnet trace --from vm:web1/2 --to vm:db1     from its second NIC
  kvmnet trace --from host --to vm:web1
  kvmnet trace --from outside:203.0.113.9 --to vm:web1 --proto tcp --dport 22
  kvmnet trace --from vm:web1 --to internet --live      send it, too, and watch where it comes out
  kvmnet trace --from vm:web1 --to internet --all     what of all packets passes, what is dropped where
  kvmnet trace --from vm:web1 --to internet --snapshot host.json --format json";

const CODES: &str = "\
The exit code is 0 if the packet arrives and its reply comes back, 1 if either is stopped, 3 if that
cannot be said; with --live what is seen counts, and 3 if nobody answers beyond the host. With --all it is 0 if some packet surely arrives, 1 if none does, 3 if that cannot be said.";

/// Follow one packet and its reply through the host, rule by rule
///
/// Nothing is sent, unless --live asks for it: then the packet is sent as its sender would send it, up to
/// three times, and watched where it comes out.
///
/// Past a place that drops the packet the path goes on as if it had passed, so that every place that
/// stops it is shown at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(&format!("{EXAMPLES}\n\n{CODES}")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    /// Who sends: `vm:NAME`, `vm:NAME/NIC`, `host`, `outside` or `outside:ADDR`
    #[arg(long, value_name = "END")]
    from: Endpoint,
    /// To whom: an address, `vm:NAME`, `vm:NAME/NIC`, `gateway`, `host` or `internet`
    #[arg(long, value_name = "END")]
    to: Endpoint,
    /// What is sent
    #[arg(long, value_enum, default_value_t = Proto::Icmp)]
    proto: Proto,
    /// To which port, with `--proto tcp` or `udp`
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// All packets in place of one: what arrives, and which are stopped where
    #[arg(long, conflicts_with_all = ["proto", "dport"])]
    all: bool,
    /// Send the packet, too, and show where it and its answer are seen
    #[arg(long, conflicts_with_all = ["snapshot", "all"])]
    live: bool,
    /// In which form to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Proto {
    /// ARP for IPv4, neighbour discovery for IPv6
    Arp,
    /// An echo request
    Icmp,
    /// The SYN of a new connection
    Tcp,
    /// A datagram
    Udp,
    /// DHCP to the gateway
    Dhcp,
    /// A DNS query to the gateway
    Dns,
    /// The gateway's IPv6 router advertisement, asked for by a router solicitation
    #[value(alias = "ra")]
    RouterAdvertisement,
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let traffic = traffic(arguments.proto, arguments.dport)?;
    let destination = Destination::from(arguments.output);
    let origin = arguments.facts.origin(facts::DEADLINE)?;
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let runtime = super::runtime()?;
    let snapshot = runtime.block_on(origin.observe())?;
    let topology = Topology::from_snapshot(&snapshot);
    let ends = endpoint::resolve(&snapshot, &topology, &arguments.from, &arguments.to, traffic)?;
    let claim = Claim {
        from: ends.from,
        to: ends.to,
        source: ends.source,
        destination: ends.destination,
        ipv6: traffic == Traffic::RouterAdvertisement
            || ends.destination.or(ends.source).is_some_and(|address| address.is_ipv6()),
        traffic,
        expected: Expected::Allow,
        selection: Selection::default(),
        assertion: None,
    };
    let form = destination.form(color);
    let facts = Facts::new(&snapshot);
    let mut engine = Engine::new(&facts, &topology);
    let ends = [in_words(&arguments.from, claim.source), in_words(&arguments.to, claim.destination)];
    let (text, code) = if arguments.all {
        let survey = survey(&mut engine, &claim, ends)?;
        let text = arguments.format.write(&survey, |text| survey::write(&survey, form, text));
        (text, code_of(survey.predicted()))
    } else {
        let fate = engine.fate(&claim);
        let mut trace = trace(&fate, &snapshot, &claim, ends);
        let mut code = code_of(fate.predicted);
        if arguments.live {
            let (wire, verdict) =
                runtime.block_on(on_the_wire(&privileges, &snapshot, &topology, &claim, &fate))?;
            trace.wire = Some(wire);
            code = match verdict {
                CellVerdict::Ok => exit::VERIFIED,
                CellVerdict::Gap => exit::GAPS,
                CellVerdict::Unknown => exit::INCOMPLETE,
            };
        }
        (arguments.format.write(&trace, |text| trace::write(&trace, form, text)), code)
    };
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(code))
}

fn code_of(predicted: Predicted) -> u8 {
    match predicted {
        Predicted::Allow => exit::VERIFIED,
        Predicted::Deny => exit::GAPS,
        Predicted::Partial | Predicted::Unknown => exit::INCOMPLETE,
    }
}

/// Sends the packet and holds what is seen against its fate.
async fn on_the_wire(
    privileges: &Privileges,
    snapshot: &Snapshot,
    topology: &Topology,
    claim: &Claim,
    fate: &Fate,
) -> Result<(TraceWire, CellVerdict), Failure> {
    let plan = verify::plan(snapshot, topology, std::slice::from_ref(claim), Reach::Anywhere);
    let observations = {
        let limits = Limits::new(facts::DEADLINE);
        let ready = wire::open(&plan.attempts, &limits);
        // Nothing more is opened: what is answered is read without them.
        privileges.give_up().map_err(Failure::Privileges)?;
        progress::during("trying it on the wire", ready.run()).await
    };
    let single = verify::single(snapshot, topology, claim, fate, &plan, &observations)
        .expect("the plan is about one claim");
    let sent = plan.attempts.first().filter(|_| single.observed != Observed::NotTried);
    let sent = sent.map(|attempt| match &attempt.sender {
        Sender::AsVm { tap, .. } => match observations.first().and_then(|seen| seen.stand_in.as_ref()) {
            Some(port) => {
                format!("at {} in {}, by a port of kvmnet's own", port.device.name, port.bridge.name)
            }
            None => format!("at {}, as the VM", tap.name),
        },
        Sender::AsHost { device, .. } => format!("by the host, towards {}", device.name),
        Sender::AsOutside { uplink, .. } => format!("at {}, as if from outside", uplink.name),
    });
    let observation = observations.first();
    let sightings = observation.map_or(&[][..], |observation| &observation.sightings);
    let wire = TraceWire {
        observed: single.observed,
        contradicts: single.contradicts,
        sent,
        sightings: sightings
            .iter()
            .map(|sighting| TraceSighting {
                device: sighting.device.name.to_string(),
                outgoing: sighting.outgoing,
                answer: sighting.answer,
                source: sighting.source.map(|source| source.to_string()),
                after_us: sighting.after_us,
            })
            .collect(),
        end: match observation.map(|observation| &observation.outcome) {
            Some(Outcome::Answered { .. }) => "answered".to_owned(),
            Some(Outcome::Refused { by, error }) => format!("refused by {by}: {error}"),
            Some(Outcome::Silent) if single.observed == Observed::Reply => "delivered".to_owned(),
            Some(Outcome::Silent) => "no answer".to_owned(),
            Some(Outcome::NotTried { .. }) | None => "not tried".to_owned(),
        },
        note: single.note,
    };
    Ok((wire, single.verdict))
}

fn trace(fate: &Fate, snapshot: &Snapshot, claim: &Claim, [from, to]: [String; 2]) -> Trace {
    Trace {
        schema: trace::SCHEMA.to_owned(),
        host: snapshot.host.name.clone(),
        from,
        to,
        traffic: claim.traffic_in_words(),
        predicted: fate.predicted,
        steps: fate.steps.iter().map(|step| verify::step(snapshot, step)).collect(),
        wire: None,
    }
}

/// All packets of both families, by each way that they can go.
fn survey(engine: &mut Engine<'_>, claim: &Claim, [from, to]: [String; 2]) -> Result<Survey, Failure> {
    let mut ways = Vec::new();
    let families: &[bool] =
        if claim.destination.is_some_and(|to| to.is_ipv6()) { &[true] } else { &[false, true] };
    for ipv6 in families {
        let surveyed = engine.survey(&Claim { ipv6: *ipv6, ..claim.clone() });
        let surveyed =
            surveyed.map_err(|_| Failure::Usage("these packets are too many kinds to be told apart"))?;
        let Some(surveyed) = surveyed else {
            return Err(Failure::Usage(
                "--all follows packets of a VM or of the outside; without it one packet is followed, also of the host",
            ));
        };
        ways.extend(surveyed.into_iter().map(|way| {
            Way {
                packets: way.asked,
                arrive: way.arrive,
                answered: way.answered,
                undecided: way.undecided,
                stops: way
                    .stops
                    .into_iter()
                    .map(|(step, packets)| Stop { step: verify::step(engine.snapshot(), &step), packets })
                    .collect(),
            }
        }));
    }
    let host = engine.snapshot().host.name.clone();
    Ok(Survey { schema: survey::SCHEMA.to_owned(), host, from, to, ways })
}

fn traffic(proto: Proto, port: Option<u16>) -> Result<Traffic, Failure> {
    let usage = |text: &'static str| Err(Failure::Usage(text));
    match (proto, port) {
        (Proto::Tcp, Some(port)) => Ok(Traffic::Tcp(port)),
        (Proto::Udp, Some(port)) => Ok(Traffic::Udp(port)),
        (Proto::Tcp | Proto::Udp, None) => usage("--proto tcp and udp need a port: --dport PORT"),
        (Proto::Arp | Proto::Icmp | Proto::Dhcp | Proto::Dns | Proto::RouterAdvertisement, Some(_)) => {
            usage("--dport goes with --proto tcp or udp")
        }
        (Proto::Arp, None) => Ok(Traffic::Resolve),
        (Proto::Icmp, None) => Ok(Traffic::Icmp),
        (Proto::Dhcp, None) => Ok(Traffic::Dhcp),
        (Proto::Dns, None) => Ok(Traffic::Dns),
        (Proto::RouterAdvertisement, None) => Ok(Traffic::RouterAdvertisement),
    }
}

/// `vm:web1 (192.168.122.11)`.
fn in_words(end: &Endpoint, address: Option<IpAddr>) -> String {
    let name = end.to_string();
    match address.map(|address| address.to_string()) {
        Some(address) if address != name => format!("{name} ({address})"),
        _ => name,
    }
}
