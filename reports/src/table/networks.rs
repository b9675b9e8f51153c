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

/// NICs of one network of which the same is to be said.
pub(crate) struct Kind<'a> {
    pub(crate) vms: Vec<&'a str>,
    /// A word for each column.
    pub(crate) words: Vec<Entry>,
}

/// A network's row.
pub(crate) struct Row<'a> {
    /// The network, none for what is in no network.
    pub(crate) name: Option<&'a str>,
    /// What it is, under [`ABOUT`].
    pub(crate) about: [Entry; 5],
    /// A word for each column.
    pub(crate) words: Vec<Entry>,
}

/// The headings of what a network is.
pub(crate) const ABOUT: [Heading; 5] = [
    Heading::new("NETWORK"),
    Heading::new("MODE"),
    Heading::new("BRIDGE").dispensable(2),
    Heading::new("SUBNET").dispensable(3),
    Heading::new("NICS").number().dispensable(1),
];

/// The matrix, folded by network and by NIC.
#[derive(Default)]
pub(crate) struct Folded<'a> {
    networks: BTreeMap<Option<&'a str>, Folds<'a>>,
    nics: BTreeMap<Option<&'a str>, BTreeMap<&'a str, Folds<'a>>>,
    /// Something is claimed of a pair without a column of its own.
    has_else: bool,
}

impl<'a> Folded<'a> {
    pub(crate) fn new(report: &'a Report) -> Self {
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

    /// The kinds of pairs that there is a column for.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (Pair, Heading)> {
        let shown = Pair::ALL.into_iter().filter(|pair| *pair != Pair::Else || self.has_else);
        shown.map(|pair| (pair, heading(pair)))
    }

    fn headings(&self) -> impl Iterator<Item = Heading> {
        self.columns().map(|(_, heading)| heading)
    }

    /// A row for each network that is known or claimed of.
    pub(crate) fn networks(&self, report: &'a Report) -> Vec<Row<'a>> {
        let empty = Folds::new();
        let row = |name: Option<&'a str>, network: Option<&Network>| {
            let plugged = report.nics.iter().filter(|nic| nic.network.as_deref() == name).count();
            Row {
                name,
                about: describe(name, network, plugged),
                words: self.row(self.networks.get(&name).unwrap_or(&empty), true),
            }
        };
        let mut rows: Vec<_> =
            report.networks.iter().map(|network| row(Some(&network.name), Some(network))).collect();
        for name in self.networks.keys() {
            if !report.networks.iter().any(|network| Some(network.name.as_str()) == *name) {
                rows.push(row(*name, None));
            }
        }
        rows
    }

    /// The NICs of a network by what is to be said of them: the most common first, or the better of equally common
    /// ones.
    pub(crate) fn kinds(&self, network: Option<&str>) -> Vec<Kind<'a>> {
        let mut kinds: BTreeMap<Vec<String>, (Kind<'a>, bool)> = BTreeMap::new();
        for (vm, folds) in self.nics.get(&network).into_iter().flatten() {
            let words = self.row(folds, false);
            let key = words.iter().map(|entry| entry.text.clone()).collect();
            let fine = folds.values().all(super::fold::Fold::is_fine);
            let kind = kinds.entry(key).or_insert_with(|| (Kind { vms: Vec::new(), words }, fine));
            kind.0.vms.push(vm);
        }
        let mut kinds: Vec<_> = kinds.into_values().rev().collect();
        kinds.sort_by_key(|(kind, fine)| std::cmp::Reverse((kind.vms.len(), *fine)));
        kinds.into_iter().map(|(kind, _)| kind).collect()
    }

    /// The NICs whose row of words is not their network's most common one.
    fn deviating(&self) -> Vec<(Option<&'a str>, &'a str, Vec<Entry>)> {
        let mut deviating = Vec::new();
        for network in self.nics.keys() {
            let others = self.kinds(*network).into_iter().skip(1);
            let mut nics: Vec<_> = others
                .flat_map(|kind| {
                    let words = kind.words;
                    kind.vms.into_iter().map(move |vm| (*network, vm, words.clone()))
                })
                .collect();
            nics.sort_by_key(|(_, vm, _)| *vm);
            deviating.extend(nics);
        }
        deviating
    }
}

pub(super) fn write(report: &Report, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let folded = Folded::new(report);
    if is_about_policy_alone(report) {
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

/// Nothing was asked of the models.
fn is_about_policy_alone(report: &Report) -> bool {
    report.policy.is_some() && report.modelled().next().is_none()
}

/// A row for each network, and what reaches what from there, if that was asked.
pub(crate) fn grid(report: &Report) -> Option<Grid> {
    (!is_about_policy_alone(report)).then(|| matrix(report, &Folded::new(report)))
}

fn matrix(report: &Report, folded: &Folded<'_>) -> Grid {
    let mut grid = Grid::new(ABOUT.into_iter().chain(folded.headings()));
    for row in folded.networks(report) {
        grid.push(row.about.into_iter().chain(row.words));
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
    let mut words = alarming_words(report);
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

/// The alarming words that are in the matrix, with what they mean.
pub(crate) fn alarming_words(report: &Report) -> Vec<&'static str> {
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
    if report.summary.unknown > 0 {
        words.push("unknown n: it cannot be said of n VMs");
    }
    words
}
