//! What the administrator notices, in one line, from the cells that are broken.

use std::collections::BTreeSet;

use kvmnet_reports::{Cell, Expected, Zone, ZoneKind};

/// How many names are listed before the rest is counted.
const NAMED: usize = 3;

/// `default: VMs do not reach the internet`, `web1: does not reach the gateway, DHCP; …`. `None` if no
/// cell is broken. `about`: the VMs that the cause itself is about, if it is about some.
pub(super) fn symptom(cells: &[&Cell], about: &[&str], members: impl Fn(&str) -> usize) -> Option<String> {
    if cells.is_empty() {
        return None;
    }
    // Whoever is cut off from a broken VM is not broken himself.
    let is_meant = |zone: &&Zone| zone.vm.as_deref().is_some_and(|vm| about.contains(&vm));
    let sufferers: Vec<&Zone> = if about.is_empty() {
        cells.iter().filter_map(|cell| sufferer(cell)).collect()
    } else {
        cells.iter().flat_map(|cell| [&cell.from, &cell.to]).filter(is_meant).collect()
    };
    let vms: BTreeSet<&str> = sufferers.iter().filter_map(|zone| zone.vm.as_deref()).collect();
    let networks: BTreeSet<&str> = sufferers.iter().filter_map(|zone| zone.network.as_deref()).collect();
    let all: usize = networks.iter().map(|network| members(network)).sum();
    // A guest is named, also one of several; if it hits all of a network's, the network is.
    let single = vms.len() < all || vms.len() == 1;
    let (who, several) = if single { (list(&vms), vms.len() > 1) } else { (list(&networks), true) };
    let subject = if single { "" } else { "VMs " };
    let mut clauses: Vec<String> = Vec::new();
    let wanted = |expected| cells.iter().copied().filter(move |cell| cell.expected == expected);
    let out: Vec<&Cell> = wanted(Expected::Allow).filter(|cell| cell.from.zone == ZoneKind::Vm).collect();
    if !out.is_empty() {
        let verb = if several { "do not reach" } else { "does not reach" };
        clauses.push(format!("{subject}{verb} {}", destinations(&out)));
    }
    let object = match (single, several) {
        (true, false) => "it",
        _ => "them",
    };
    for (kind, word) in [(ZoneKind::Host, "the host"), (ZoneKind::Outside, "the outside")] {
        if wanted(Expected::Allow).any(|cell| cell.from.zone == kind) {
            let whom = if clauses.is_empty() && !single { "VMs" } else { object };
            clauses.push(format!("{word} does not reach {whom}"));
        }
    }
    let leaks: Vec<&Cell> = wanted(Expected::Deny).collect();
    if !leaks.is_empty() {
        let kinds: BTreeSet<&str> = leaks.iter().map(|cell| leak(cell)).collect();
        clauses.push(format!(
            "open to what must stay closed: {}",
            kinds.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Some(format!("{who}: {}", clauses.join("; ")))
}

/// The VMs on whose account a cell is broken: the one that asks, else the one that is asked.
fn sufferer(cell: &Cell) -> Option<&Zone> {
    [&cell.from, &cell.to].into_iter().find(|zone| zone.zone == ZoneKind::Vm)
}

fn destinations(cells: &[&Cell]) -> String {
    let has = |kind: ZoneKind| cells.iter().any(|cell| cell.to.zone == kind);
    let mut words: Vec<&str> = Vec::new();
    let gateway: BTreeSet<&str> = cells
        .iter()
        .filter(|cell| cell.to.zone == ZoneKind::Gateway)
        .map(|cell| cell.traffic.as_str())
        .collect();
    let service = |traffic: &&str| match *traffic {
        "dhcp" => Some("DHCP"),
        "dns" => Some("DNS"),
        "router-advertisement" => Some("IPv6 router discovery"),
        _ => None,
    };
    match gateway.iter().map(service).collect::<Option<Vec<_>>>() {
        Some(services) => words.extend(services),
        None => words.push("the gateway"),
    }
    if has(ZoneKind::Internet) {
        words.push("the internet");
    }
    if has(ZoneKind::Vm) {
        words.push("other VMs");
    }
    words.join(", ")
}

fn leak(cell: &Cell) -> &'static str {
    match (cell.from.zone, cell.to.zone) {
        (ZoneKind::Outside, _) => "the outside reaches them",
        (ZoneKind::Host, _) => "the host reaches them",
        (_, ZoneKind::Internet) => "they reach the internet",
        (_, ZoneKind::Vm) => "they reach VMs that they must not",
        (_, ZoneKind::Gateway | ZoneKind::Host | ZoneKind::Outside) => "they reach further",
    }
}

fn list(names: &BTreeSet<&str>) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).copied().collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
