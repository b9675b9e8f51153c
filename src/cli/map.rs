//! `kvmnet map`: a picture of the host's uplinks, bridges, networks and VMs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::map::{DRAWINGS, Drawing, Map};
use kvmnet_reports::text::{printable, printable_prose};
use kvmnet_reports::{Network, Nic};

use super::failure::Failure;
use super::output::{Color, Destination};
use super::{exit, facts, select};
use crate::model::Topology;
use crate::verify;

const EXAMPLES: &str = "\
Examples:
  kvmnet map
  kvmnet map --network default --vm web1
  kvmnet map --format svg -o host.svg
  kvmnet map --format dot | dot -Tpdf > host.pdf
  kvmnet map --snapshot host.json --format mermaid";

/// Draw uplinks, bridges, networks and VMs, and what hangs on what
///
/// Nothing is sent. Of many VMs in one place those in one state are drawn as one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    #[command(flatten)]
    select: select::Arguments,
    /// In which form to draw
    #[arg(long, value_name = "FORMAT", value_parser = drawing(), default_value = "ascii")]
    format: &'static Drawing,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn drawing() -> impl TypedValueParser<Value = &'static Drawing> {
    let named = |drawing: &&Drawing| PossibleValue::new(drawing.name).help(drawing.about);
    PossibleValuesParser::new(DRAWINGS.iter().map(named))
        .map(|name| Drawing::named(&name).expect("the parser lets no other name through"))
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let destination = Destination::from(arguments.output);
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let origin = arguments.facts.origin(facts::DEADLINE)?;
    let snapshot = super::runtime()?.block_on(origin.observe())?;
    let topology = Topology::from_snapshot(&snapshot);
    let select::Arguments { vm, network } = arguments.select;
    select::check(&snapshot, &topology, &vm, &network)?;
    let (networks, nics) = selected(verify::inventory(&snapshot, &topology), &vm, &network);
    let map = Map::new(&snapshot.host.name, &networks, &nics);
    let mut text = Vec::new();
    arguments.format.draw(&map, destination.form(color), &mut text).expect("memory takes every byte");
    let code = tell_missing(&snapshot);
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(code))
}

/// The wanted NICs, and the networks that are wanted or that those are in.
fn selected(
    (mut networks, mut nics): (Vec<Network>, Vec<Nic>),
    vms: &[String],
    names: &[String],
) -> (Vec<Network>, Vec<Nic>) {
    let of = |nic: &Nic| nic.network.as_ref().is_some_and(|network| names.contains(network));
    nics.retain(|nic| (vms.is_empty() || vms.contains(&nic.vm)) && (names.is_empty() || of(nic)));
    let is_used = |network: &Network| nics.iter().any(|nic| nic.network.as_ref() == Some(&network.name));
    networks.retain(|network| {
        (names.is_empty() || names.contains(&network.name)) && (vms.is_empty() || is_used(network))
    });
    (networks, nics)
}

/// Sources without which the picture is incomplete.
const NEEDED: [&str; 2] = ["links", "libvirt"];

/// Names what was not read, and says so in the exit code.
fn tell_missing(snapshot: &Snapshot) -> u8 {
    let mut code = exit::VERIFIED;
    for source in snapshot.sources().into_iter().filter(|source| NEEDED.contains(&source.name)) {
        if let Some(reason) = source.missing {
            exit::tell(&format!("not read: {}: {}\n", printable(source.name), printable_prose(reason)));
            code = exit::INCOMPLETE;
        }
    }
    code
}
