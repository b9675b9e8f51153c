//! Many cells of the matrix folded into one word.

use std::collections::{BTreeMap, BTreeSet};

use crate::grid::Entry;
use crate::text::Paint;
use crate::{Cell, CellVerdict, Expected, ZoneKind};

/// The kinds of pairs that the matrix has a column for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pair {
    Gateway,
    Internet,
    FromHost,
    Siblings,
    OtherNetworks,
    FromOutside,
    /// Any pair that has no column of its own.
    Else,
}

impl Pair {
    pub(crate) const ALL: [Self; 7] = [
        Self::Gateway,
        Self::Internet,
        Self::FromHost,
        Self::Siblings,
        Self::OtherNetworks,
        Self::FromOutside,
        Self::Else,
    ];
}

/// Where a cell belongs: the network's row, the VM that it is about, the column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) network: Option<&'a str>,
    pub(crate) vm: Option<&'a str>,
    pub(crate) pair: Pair,
}

impl<'a> Place<'a> {
    pub(crate) fn of(cell: &'a Cell) -> Self {
        let (from, to) = (&cell.from, &cell.to);
        let same = from.network == to.network && from.network.is_some();
        let pair = match (from.zone, to.zone) {
            (ZoneKind::Vm, ZoneKind::Host) => Pair::Gateway,
            (ZoneKind::Vm, ZoneKind::Gateway) if same || to.network.is_none() => Pair::Gateway,
            (ZoneKind::Vm, ZoneKind::Vm) if same => Pair::Siblings,
            (ZoneKind::Vm, ZoneKind::Vm | ZoneKind::Gateway) => Pair::OtherNetworks,
            (ZoneKind::Vm, ZoneKind::Internet | ZoneKind::Outside) => Pair::Internet,
            (ZoneKind::Host | ZoneKind::Gateway, ZoneKind::Vm) => Pair::FromHost,
            (ZoneKind::Internet | ZoneKind::Outside, ZoneKind::Vm) => Pair::FromOutside,
            (
                ZoneKind::Host | ZoneKind::Gateway | ZoneKind::Internet | ZoneKind::Outside,
                ZoneKind::Host | ZoneKind::Gateway | ZoneKind::Internet | ZoneKind::Outside,
            ) => Pair::Else,
        };
        let about = if from.zone == ZoneKind::Vm { from } else { to };
        Self { network: about.network.as_deref().or(from.network.as_deref()), vm: about.vm.as_deref(), pair }
    }
}

/// What became of the cells in one place. VMs are counted, not cells: each has several kinds of
/// traffic.
#[derive(Debug, Clone, Default)]
pub(super) struct Fold<'a> {
    broken: BTreeSet<Option<&'a str>>,
    leaking: BTreeSet<Option<&'a str>>,
    unknown: BTreeSet<Option<&'a str>>,
    open: bool,
    closed: bool,
}

impl<'a> Fold<'a> {
    pub(super) fn add(&mut self, vm: Option<&'a str>, cell: &Cell) {
        match (cell.verdict, cell.expected) {
            (CellVerdict::Gap, Expected::Allow) => _ = self.broken.insert(vm),
            (CellVerdict::Gap, Expected::Deny) => _ = self.leaking.insert(vm),
            (CellVerdict::Unknown, _) => _ = self.unknown.insert(vm),
            (CellVerdict::Ok, Expected::Allow) => self.open = true,
            (CellVerdict::Ok, Expected::Deny) => self.closed = true,
        }
    }

    pub(super) fn is_fine(&self) -> bool {
        self.broken.is_empty() && self.leaking.is_empty() && self.unknown.is_empty()
    }

    /// `BROKEN`, `LEAK`, `unknown`, with how many VMs that concerns if `counted`; `ok`, `closed ok`,
    /// `open ok`, where it is narrow `closed` and `open`; `–` where nothing is claimed.
    pub(super) fn entry(&self, pair: Pair, counted: bool) -> Entry {
        let problems = [
            ("BROKEN", &self.broken, Paint::Red),
            ("LEAK", &self.leaking, Paint::Red),
            ("unknown", &self.unknown, Paint::Yellow),
        ];
        let mut found = problems.into_iter().filter(|(_, vms, _)| !vms.is_empty()).peekable();
        if let Some((_, _, paint)) = found.peek() {
            let paint = Some(*paint);
            let word = |(word, vms, _): (&str, &BTreeSet<_>, _)| {
                if counted { format!("{word} {}", vms.len()) } else { word.to_owned() }
            };
            return Entry { paint, ..found.map(word).collect::<Vec<_>>().join("\n").into() };
        }
        let asymmetric = matches!(pair, Pair::OtherNetworks | Pair::FromOutside);
        let (text, short) = match (self.open, self.closed) {
            (false, false) => return Entry::painted("–", Paint::Dim),
            (true, false) if asymmetric => ("open ok", "open"),
            (false, true) => ("closed ok", "closed"),
            (true, _) => ("ok", "ok"),
        };
        Entry { short: Some(short), ..Entry::painted(text, Paint::Green) }
    }
}

/// The word for one claim.
pub(crate) fn word(cell: &Cell) -> Entry {
    let mut fold = Fold::default();
    fold.add(None, cell);
    fold.entry(Place::of(cell).pair, false)
}

/// One fold for each column.
pub(super) type Folds<'a> = BTreeMap<Pair, Fold<'a>>;

/// The words of a row, also for the columns where nothing is claimed.
pub(super) fn entries(folds: &Folds<'_>, counted: bool) -> impl Iterator<Item = (Pair, Entry)> {
    Pair::ALL.into_iter().map(move |pair| {
        (
            pair,
            folds
                .get(&pair)
                .map_or_else(|| Fold::default().entry(pair, counted), |fold| fold.entry(pair, counted)),
        )
    })
}
