//! `kvmnet map`: a picture of the host's uplinks, bridges, networks and VMs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::Network;
use kvmnet_reports::map::{DRAWINGS, Drawing, Map, unread};

use super::failure::Failure;
use super::output::{Color, Destination};
use super::{exit, facts, select};
use crate::model::Topology;
use crate::verify::{self, Inventory};

const EXAMPLES: &str = "\
Examples:
  kvmnet map
  kvmnet map --network default --vm web1
  kvmnet map --format svg -o host.svg
  kvmnet map --format dot | dot -Tpdf > host.pdf
  kvmnet map --snapshot host.json --format mermaid";

const CODES: [(u8, &str); 4] = [
    (exit::VERIFIED, "the map is drawn, whatever it shows"),
    (exit::USAGE, "the arguments, or a file that they name, cannot be used"),
    (exit::INCOMPLETE, "the map is drawn, but something could not be read, or not in full: it says what"),
    (exit::BUG, "a bug in kvmnet"),
];

/// Draw uplinks, bridges, networks and VMs, and what hangs on what
///
/// Nothing is sent, and nothing is checked: `kvmnet doctor` does that. Of many VMs in one place those in one state are
/// drawn as one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_own_codes(EXAMPLES, &CODES))]
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
    let select = arguments.select;
    select::check(&snapshot, &topology, &select.vm, &select.network)?;
    let Inventory { networks, nics, sources } = selected(verify::inventory(&snapshot, &topology), &select);
    let unread = unread(&sources).collect::<Vec<_>>();
    let map = Map::new(&snapshot.host.name, &networks, &nics, &unread);
    let mut text = Vec::new();
    arguments.format.draw(&map, destination.form(color), &mut text).expect("memory takes every byte");
    for (source, reason) in &unread {
        exit::tell(&format!("{source}: {reason}\n"));
    }
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(if unread.is_empty() { exit::VERIFIED } else { exit::INCOMPLETE }))
}

/// The wanted NICs, and the networks that are wanted or that those are in.
fn selected(inventory: Inventory, select: &select::Arguments) -> Inventory {
    let Inventory { mut networks, mut nics, sources } = inventory;
    nics.retain(|nic| select.wants(&nic.vm, nic.network.as_deref()));
    let is_used = |network: &Network| nics.iter().any(|nic| nic.network.as_ref() == Some(&network.name));
    networks.retain(|network| {
        (select.network.is_empty() || select.network.contains(&network.name))
            && (select.vm.is_empty() || is_used(network))
    });
    Inventory { networks, nics, sources }
}
