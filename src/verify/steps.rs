//! The steps of a packet's path as reports and traces show them.

use kvmnet_probes::facts::Snapshot;
use kvmnet_reports::Report;
use kvmnet_reports::trace::{TraceDecision, TraceSite, TraceStep};

use crate::engine::owner::{Owner, owner};
use crate::engine::{Decision, Fate, Site, Step};

/// Adds to every cell of a report the path of its packet. `fates` are those that the report was made of.
pub fn add_steps(report: &mut Report, snapshot: &Snapshot, fates: &[Fate]) {
    for (cell, fate) in report.matrix.iter_mut().zip(fates) {
        cell.steps = fate.steps.iter().map(|taken| step(snapshot, taken)).collect();
    }
}

/// A step as it is shown.
pub fn step(snapshot: &Snapshot, step: &Step) -> TraceStep {
    TraceStep {
        reply: step.reply,
        place: step.place.clone(),
        decision: match step.decision {
            Decision::Pass => TraceDecision::Pass,
            Decision::Rewrite => TraceDecision::Rewrite,
            Decision::Drop => TraceDecision::Drop,
            Decision::Reject => TraceDecision::Reject,
            Decision::Unknown => TraceDecision::Unknown,
        },
        text: step.text.clone(),
        site: site(snapshot, &step.site),
    }
}

fn site(snapshot: &Snapshot, site: &Site) -> TraceSite {
    let text = |text: &dyn ToString| Some(text.to_string());
    let none = TraceSite::default();
    match site {
        Site::NoTap { .. } => TraceSite { kind: "tap", ..none },
        Site::Link { device, .. } => TraceSite { kind: "link", device: text(device), ..none },
        Site::NoMaster { device } => TraceSite { kind: "bridge-membership", device: text(device), ..none },
        Site::OtherBridge { device, bridge, .. } => {
            TraceSite { kind: "bridge-membership", device: text(device), bridge: text(bridge), ..none }
        }
        Site::BridgePort { device, bridge, .. } => {
            TraceSite { kind: "bridge-port", device: text(device), bridge: text(bridge), ..none }
        }
        Site::NoLanPort { bridge } => TraceSite { kind: "lan-port", bridge: text(bridge), ..none },
        Site::Fdb { bridge, port } => {
            TraceSite { kind: "fdb", device: text(port), bridge: text(bridge), ..none }
        }
        Site::Neighbour { device, .. } => TraceSite { kind: "neighbour", device: text(device), ..none },
        Site::NoAddress { device, .. } => TraceSite { kind: "address", device: text(device), ..none },
        Site::Sysctl { name, .. } => TraceSite { kind: "sysctl", name: text(name), ..none },
        Site::Route { table, .. } => {
            TraceSite { kind: "route", table: table.map(|table| table.to_string()), ..none }
        }
        Site::Rule { priority, .. } => TraceSite { kind: "rule", name: text(priority), ..none },
        Site::Netfilter { family, table, chain, handle, .. } => TraceSite {
            kind: "netfilter",
            table: Some(format!("{family} {table}")),
            chain: text(chain),
            handle: *handle,
            owner: Some(owner(snapshot, site))
                .filter(|owner| *owner != Owner::Unknown)
                .map(|owner| owner.to_string()),
            ..none
        },
        Site::NoNat { device, .. } => TraceSite { kind: "nat", device: text(device), ..none },
        Site::NoService { service, device } => {
            TraceSite { kind: "service", device: text(device), name: text(service), ..none }
        }
        Site::Opaque { what } => TraceSite { kind: "opaque", name: text(what), ..none },
        Site::MissingFact { source } => TraceSite { kind: "missing-fact", name: text(source), ..none },
    }
}
