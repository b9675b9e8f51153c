//! The matrix: a row for each network, and the NICs that differ from their network's others.

use std::collections::BTreeMap;
use std::io;

use super::fold::{Folds, Pair, Place, entries};
use crate::grid::{Entry, Grid, Heading};
use crate::text::{Form, Paint, printable, wrap};
use crate::{CellVerdict, Expected, Network, Report};

/// NICs that are listed apart.
const LISTED: usize = 12;

const fn heading(pair: Pair) -> Heading {
    match pair {
        Pair::Gateway => Heading::new("GATEWAY").or("GW"),
        Pair::Internet => Heading::new("INTERNET"),
        Pair::FromHost => Heading::new("HOST→VM"),
        Pair::Siblings => Heading::new("VM↔VM"),
        Pair::OtherNetworks => Heading::new("OTHER NETS").or("OTHER"),
        Pair::FromOutside => Heading::new("OUTSIDE→VM").or("OUTSIDE"),
        Pair::Else => Heading::new("ELSE"),
    }
}

/// The matrix, folded by network and by NIC.
#[derive(Default)]
struct Folded<'a> {
    networks: BTreeMap<Option<&'a str>, Folds<'a>>,
    nics: BTreeMap<Option<&'a str>, BTreeMap<&'a str, Folds<'a>>>,
    /// Something is claimed of a pair without a column of its own.
    has_else: bool,
}

impl<'a> Folded<'a> {
    fn new(report: &'a Report) -> Self {
        let mut folded = Self::default();
        for (_, cell) in report.modelled() {
            let Place { network, vm, pair } = Place::of(cell);
            folded.has_else |= pair == Pair::Else;
            folded.networks.entry(network).or_default().entry(pair).or_default().add(vm, cell);
            if let Some(vm) = vm {
                let nic = folded.nics.entry(network).or_default().entry(vm).or_default();
                nic.entry(pair).or_default().add(Some(vm), cell);
            }
        }
        // Between networks one NIC stands for all that are like it.
        for (network, nics) in &mut folded.nics {
            let between = folded.networks.get(network).and_then(|folds| folds.get(&Pair::OtherNetworks));
            let Some(between) = between else { continue };
            for folds in nics.values_mut() {
                folds.entry(Pair::OtherNetworks).or_insert_with(|| between.clone());
            }
        }
        folded
    }

    fn row(&self, folds: &Folds<'_>, counted: bool) -> Vec<Entry> {
        let shown = |(pair, entry)| (pair != Pair::Else || self.has_else).then_some(entry);
        entries(folds, counted).filter_map(shown).collect()
    }

    fn headings(&self) -> impl Iterator<Item = Heading> {
        Pair::ALL.into_iter().filter(|pair| *pair != Pair::Else || self.has_else).map(heading)
    }

    /// The NICs whose row of words is not their network's most common one.
    fn deviating(&self) -> Vec<(Option<&'a str>, &'a str, Vec<Entry>)> {
        let mut deviating = Vec::new();
        for (network, nics) in &self.nics {
            let words =
                |folds| -> Vec<_> { self.row(folds, false).into_iter().map(|entry| entry.text).collect() };
            // The most common, or the better of equally common ones.
            let mut common: BTreeMap<Vec<String>, (usize, bool)> = BTreeMap::new();
            for folds in nics.values() {
                let (number, fine) = common.entry(words(folds)).or_default();
                *number += 1;
                *fine = folds.values().all(super::fold::Fold::is_fine);
            }
            let usual = common.iter().max_by_key(|(_, rank)| **rank).map(|(words, _)| words.clone());
            for (vm, folds) in nics {
                if Some(words(folds)) != usual {
                    deviating.push((*network, *vm, self.row(folds, false)));
                }
            }
        }
        deviating
    }
}

pub(super) fn write(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let folded = Folded::new(report);
    // The policy alone is asked.
    if report.policy.is_some() && report.modelled().next().is_none() {
        return Ok(());
    }
    if report.networks.is_empty() && report.matrix.is_empty() {
        return writeln!(out, "\n no network and no NIC");
    }
    writeln!(out)?;
    matrix(report, &folded).write(form, out)?;
    nics(report, &folded, form, out)?;
    legend(report, form, out)
}

/// A row for each network, and what reaches what from there.
pub(crate) fn grid(report: &Report) -> Grid {
    matrix(report, &Folded::new(report))
}

fn matrix(report: &Report, folded: &Folded<'_>) -> Grid {
    let about = [
        Heading::new("NETWORK"),
        Heading::new("MODE"),
        Heading::new("BRIDGE").dispensable(2),
        Heading::new("SUBNET").dispensable(3),
        Heading::new("NICS").number().dispensable(1),
    ];
    let mut grid = Grid::new(about.into_iter().chain(folded.headings()));
    let empty = Folds::new();
    let mut push = |name: Option<&str>, network: Option<&Network>| {
        let plugged = report.nics.iter().filter(|nic| nic.network.as_deref() == name).count();
        let words = folded.row(folded.networks.get(&name).unwrap_or(&empty), true);
        grid.push(describe(name, network, plugged).into_iter().chain(words));
    };
    for network in &report.networks {
        push(Some(&network.name), Some(network));
    }
    for name in folded.networks.keys() {
        if !report.networks.iter().any(|network| Some(network.name.as_str()) == *name) {
            push(*name, None);
        }
    }
    grid
}

/// The entries of a network's row that say what it is.
fn describe(name: Option<&str>, network: Option<&Network>, plugged: usize) -> [Entry; 5] {
    let dash = || Entry::painted("–", Paint::Dim);
    let title = name.map_or_else(|| "(none)".into(), |name| printable(name).into_owned().into());
    let Some(network) = network else {
        return [title, dash(), dash(), dash(), plugged.to_string().into()];
    };
    let mode = if network.active {
        printable(&network.mode).into_owned().into()
    } else {
        Entry::painted(format!("{} (off)", printable(&network.mode)), Paint::Yellow)
    };
    let bridge = network.bridge.as_deref().map_or_else(dash, |bridge| printable(bridge).into_owned().into());
    let subnets: Vec<_> = network.subnets.iter().map(|subnet| printable(subnet)).collect();
    let subnet = match subnets.is_empty() {
        true if network.mode == "bridge" => "(LAN)".into(),
        true => dash(),
        false => subnets.join("\n").into(),
    };
    [title, mode, bridge, subnet, plugged.to_string().into()]
}

fn nics(report: &Report, folded: &Folded<'_>, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let deviating = folded.deviating();
    let named = |(_, vm, _): &(Option<&str>, &str, Vec<Entry>)| names(report, vm);
    // Where there is little room, what the one finding says of its VM is said once.
    if deviating.is_empty() || form.is_narrow() && deviating.iter().all(named) {
        return Ok(());
    }
    let about = [
        Heading::new("NIC THAT DIFFERS").or("NIC"),
        Heading::new("NETWORK").dispensable(1),
        Heading::new("TAP").dispensable(2),
    ];
    let mut grid = Grid::new(about.into_iter().chain(folded.headings()));
    let more = deviating.len().saturating_sub(LISTED);
    for (network, vm, words) in deviating.into_iter().take(LISTED) {
        let taps: Vec<_> = report
            .nics
            .iter()
            .filter(|nic| nic.vm == vm && nic.network.as_deref() == network)
            .map(|nic| nic.tap.as_deref().map_or("–".into(), printable))
            .collect();
        let about = [
            printable(vm).into_owned(),
            printable(network.unwrap_or("(none)")).into_owned(),
            taps.join("\n"),
        ];
        grid.push(about.into_iter().map(Entry::from).chain(words));
    }
    writeln!(out)?;
    grid.write(form, out)?;
    if more > 0 {
        writeln!(out, " … and {more} more")?;
    }
    Ok(())
}

/// The only finding is about this VM, and says so.
fn names(report: &Report, vm: &str) -> bool {
    let [finding] = report.findings.as_slice() else { return false };
    finding.title.strip_prefix(vm).is_some_and(|rest| rest.starts_with(':'))
}

/// Says what the words of the matrix mean, where one of them is alarming.
fn legend(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let summary = &report.summary;
    let mut words = Vec::new();
    let gap = |expected| {
        report.modelled().any(|(_, cell)| cell.verdict == CellVerdict::Gap && cell.expected == expected)
    };
    if gap(Expected::Allow) {
        words.push("BROKEN n: n VMs should pass and do not");
    }
    if gap(Expected::Deny) {
        words.push("LEAK n: n VMs pass and must not");
    }
    if summary.unknown > 0 {
        words.push("unknown n: it cannot be said of n VMs");
    }
    if words.is_empty() {
        return Ok(());
    }
    if form.is_narrow() {
        words.push("closed: as meant");
    }
    words.push("–: no claim");
    writeln!(out)?;
    for line in wrap(&words.join(" · "), form.width.saturating_sub(1)) {
        writeln!(out, " {}", Paint::Dim.apply(&line, form.colour))?;
    }
    Ok(())
}
