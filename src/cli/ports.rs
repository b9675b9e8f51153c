//! `kvmnet ports`: which NIC of which VM is behind which tap, and whether those who should know agree.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kvmnet_probes::facts::{Mac, Snapshot};
use kvmnet_probes::privilege::Privileges;
use kvmnet_reports::ports::{self, Note, Port, PortAddress, PortMac, Ports};

use super::failure::Failure;
use super::output::{Color, Destination, Format};
use super::{exit, facts, select};
use crate::model::{AddressSource, Attachment, Nic, Topology};

const EXAMPLES: &str = "\
Examples:
  kvmnet ports
  kvmnet ports --network default
  kvmnet ports --format json";

const CODES: &str = "\
The exit code is 1 if two who should agree do not, e.g. the domain's XML and the MAC table.";

/// Show which VM's NIC is behind which tap, in which bridge, and whether XML, tap and MAC table agree
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = exit::with_codes(&format!("{EXAMPLES}\n\n{CODES}")))]
pub(crate) struct Arguments {
    #[command(flatten)]
    facts: facts::Arguments,
    #[command(flatten)]
    select: select::Arguments,
    /// In which form to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write to this file, as a whole or not at all [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let destination = Destination::from(arguments.output);
    let origin = arguments.facts.origin(facts::DEADLINE)?;
    let privileges = Privileges::confine(destination.is_file()).map_err(Failure::Privileges)?;
    let snapshot = super::runtime()?.block_on(origin.observe())?;
    let topology = Topology::from_snapshot(&snapshot);
    select::check(&snapshot, &topology, &arguments.select.vm, &arguments.select.network)?;
    let ports = list(&snapshot, &topology, &arguments.select);
    let text = arguments.format.write(&ports, |text| ports::write(&ports, destination.form(color), text));
    privileges.write().map_err(Failure::Privileges)?;
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(match (ports.disagreements(), ports.unread.len()) {
        (0, 0) => exit::VERIFIED,
        (0, _) => exit::INCOMPLETE,
        _ => exit::GAPS,
    }))
}

/// Sources without which a pairing cannot be said to be right.
const NEEDED: [&str; 3] = ["links", "fdb", "libvirt"];

fn list(snapshot: &Snapshot, topology: &Topology, select: &select::Arguments) -> Ports {
    let network = |nic: &Nic| topology.network_of(nic).map(|network| network.name.clone());
    let wanted = |nic: &&Nic| select.wants(&nic.vm, network(nic).as_deref());
    let sources = snapshot.sources().into_iter().filter(|source| NEEDED.contains(&source.name));
    Ports {
        schema: ports::SCHEMA.to_owned(),
        host: snapshot.host.name.clone(),
        ports: topology.nics.iter().filter(wanted).map(|nic| port(topology, nic, network(nic))).collect(),
        unread: sources.filter_map(|source| Some(format!("{}: {}", source.name, source.missing?))).collect(),
    }
}

fn port(topology: &Topology, nic: &Nic, network: Option<String>) -> Port {
    let addresses = nic.addresses.iter().map(|known| PortAddress {
        address: known.address.to_string(),
        sources: known.sources.iter().map(|source| source_word(*source).to_owned()).collect(),
    });
    Port {
        vm: nic.vm.clone(),
        nic: nic.position + 1,
        tap: nic.tap.as_ref().map(ToString::to_string),
        bridge: nic.bridge.as_ref().map(|(_, name)| name.to_string()),
        expected_bridge: nic.expected_bridge.as_ref().map(ToString::to_string),
        network,
        mac: PortMac {
            xml: nic.mac.to_string(),
            tap: nic.tap_mac.as_ref().map(ToString::to_string),
            learned: nic.learned_macs.iter().map(ToString::to_string).collect(),
        },
        addresses: addresses.collect(),
        notes: disagreements(topology, nic)
            .into_iter()
            .map(|text| Note { disagreement: true, text })
            .chain(remarks(nic).into_iter().map(|text| Note { disagreement: false, text }))
            .collect(),
    }
}

fn source_word(source: AddressSource) -> &'static str {
    match source {
        AddressSource::Xml => "xml",
        AddressSource::Reserved => "reserved",
        AddressSource::Lease => "lease",
        AddressSource::Neighbour => "neighbour",
        AddressSource::Agent => "agent",
        AddressSource::Wire => "wire",
    }
}

/// What libvirt, the tap and the MAC tables do not agree on.
fn disagreements(topology: &Topology, nic: &Nic) -> Vec<String> {
    let mut found = Vec::new();
    let other = |mac: &&Mac| **mac != nic.mac;
    let strange: Vec<_> = nic.learned_macs.iter().filter(other).map(ToString::to_string).collect();
    if !strange.is_empty() {
        let also = if nic.learned_macs.contains(&nic.mac) { "also sends" } else { "sends" };
        found.push(format!("{also} from {}", strange.join(", ")));
    }
    if nic.tap_mac == Some(nic.mac) {
        found.push("the tap has the guest's own MAC: the bridge keeps the guest's frames".to_owned());
    }
    if !nic.mac_seen_at.is_empty() {
        let ports: Vec<_> = nic.mac_seen_at.iter().map(ToString::to_string).collect();
        found.push(format!("its MAC is also behind {}", ports.join(", ")));
    }
    let twins = topology.nics.iter().filter(|twin| {
        !std::ptr::eq(*twin, nic)
            && twin.mac == nic.mac
            && twin.active
            && nic.active
            && twin.network == nic.network
    });
    found.extend(twins.map(|twin| format!("{} has the same MAC", twin.label())));
    if nic.active && nic.attachment == Attachment::Tap {
        match (&nic.tap, nic.tap_index, &nic.bridge, &nic.expected_bridge) {
            (None, ..) => found.push("libvirt names no tap".to_owned()),
            (Some(tap), None, ..) => found.push(format!("{tap} does not exist")),
            (Some(_), Some(_), None, Some(expected)) => {
                found.push(format!("in no bridge, should be in {expected}"));
            }
            (Some(_), Some(_), Some((_, now)), Some(expected)) if now != expected => {
                found.push(format!("in {now}, should be in {expected}"));
            }
            (Some(_), Some(_), _, _) => {}
        }
    }
    found
}

/// What else is worth knowing when one looks at the list.
fn remarks(nic: &Nic) -> Vec<String> {
    let mut found = Vec::new();
    let mut remark = |applies: bool, text: &str| {
        if applies {
            found.push(text.to_owned());
        }
    };
    remark(!nic.active, "off");
    remark(nic.paused, "paused");
    remark(!nic.link_up, "link set to down");
    remark(nic.isolated, "isolated port");
    remark(nic.attachment != Attachment::Tap, &nic.plugged_into);
    let silent = nic.active && nic.bridge.is_some() && nic.learned_macs.is_empty();
    remark(silent, "nothing heard from it yet");
    let tags: Vec<_> = nic.vlans.iter().map(|vlan| vlan.0.to_string()).collect();
    remark(!tags.is_empty(), &format!("VLAN {}", tags.join(", ")));
    if let Some(filter) = &nic.filter {
        remark(true, &format!("filter {filter}"));
    }
    if let Some(mac) = nic.tap_mac.filter(|mac| mac.0[1..] != nic.mac.0[1..]) {
        remark(true, &format!("the tap's MAC {mac} is not made of the NIC's"));
    }
    found
}
