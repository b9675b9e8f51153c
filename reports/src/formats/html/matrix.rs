//! What reaches what: a row for each network and for its NICs, and behind each word the claims that it sums up.
//!
//! NICs of which the same is to be said are one row where there are many, so that the page stays small.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::claims::Popover;
use super::class;
use crate::grid::Entry;
use crate::table::{ABOUT, Folded, Kind, Pair, Place, alarming_words};
use crate::text::{Paint, count, printable};
use crate::unexplained::{Cause, causes};
use crate::{Cell, Report};

/// NICs of a host that have a row each.
const NICS: usize = 50;
/// Names that are told of NICs that are alike.
const NAMES: usize = 1000;

/// The cells by network and column, each with its index.
type Cells<'a> = BTreeMap<(Option<&'a str>, Pair), Vec<(usize, &'a Cell)>>;

/// Nothing if nothing is claimed, or a policy alone is asked.
pub(super) fn section(report: &Report) -> Option<Markup> {
    report.modelled().next()?;
    let folded = Folded::new(report);
    let mut cells = Cells::new();
    for (at, cell) in report.modelled() {
        let Place { network, pair, .. } = Place::of(cell);
        cells.entry((network, pair)).or_default().push((at, cell));
    }
    let mut matrix = Matrix { report, causes: causes(report), cells, popovers: Vec::new() };
    let columns: Vec<_> = folded.columns().collect();
    let bodies: Vec<Markup> = folded
        .networks(report)
        .into_iter()
        .map(|row| {
            let kinds = folded.kinds(row.name);
            let title = row.name.map_or_else(|| "no network".into(), printable);
            let words = matrix.words(&columns, row.name, None, &title, &row.words);
            let rows: Vec<Markup> = if report.nics.len() <= NICS {
                let mut nics: Vec<_> =
                    kinds.iter().flat_map(|kind| kind.vms.iter().map(|vm| (*vm, &kind.words))).collect();
                nics.sort_by_key(|(vm, _)| *vm);
                let row = |(vm, words): (&str, &Vec<Entry>)| {
                    let name = printable(vm);
                    let words = matrix.words(&columns, row.name, Some(&[vm]), &name, words);
                    html! { tr { th.nic scope="row" colspan=(ABOUT.len()) { (name) } (words) } }
                };
                nics.into_iter().map(row).collect()
            } else {
                let alone = kinds.len() == 1;
                let row = |kind: &Kind<'_>| {
                    let names = names(&kind.vms);
                    let title = count(kind.vms.len(), "NIC");
                    let words = if alone {
                        html! { td colspan=(columns.len()) { "as the network" } }
                    } else {
                        matrix.words(&columns, row.name, Some(&kind.vms), &title, &kind.words)
                    };
                    html! { tr { th.nic scope="row" colspan=(ABOUT.len()) { (names) } (words) } }
                };
                kinds.iter().map(row).collect()
            };
            html! {
                tbody {
                    tr.network {
                        @for (at, entry) in row.about.iter().enumerate() {
                            @if at == 0 { th scope="rowgroup" { (entry.text) } } @else { (plain(entry)) }
                        }
                        (words)
                    }
                    @for row in rows { (row) }
                }
            }
        })
        .collect();
    let mut legend = alarming_words(report);
    legend.push("–: no claim");
    Some(html! {
        section #matrix aria-labelledby="matrix-title" {
            h2 #matrix-title { "What reaches what" }
            p.hint { "Each word opens the claims behind it, with proof and wire." }
            div.wide role="region" aria-label="Matrix, may be scrolled" tabindex="0" {
                table.matrix {
                    caption { (legend.join(" · ")) }
                    thead {
                        tr {
                            @for heading in ABOUT { th scope="col" { (heading.long) } }
                            @for (_, heading) in &columns { th scope="col" { (heading.long) } }
                        }
                    }
                    @for body in bodies { (body) }
                }
            }
            @for popover in matrix.popovers { (popover) }
        }
    })
}

struct Matrix<'a> {
    report: &'a Report,
    causes: Vec<Vec<Cause<'a>>>,
    cells: Cells<'a>,
    popovers: Vec<Markup>,
}

impl Matrix<'_> {
    /// The words of a row, of these VMs or of all, and what they open.
    fn words(
        &mut self,
        columns: &[(Pair, crate::grid::Heading)],
        network: Option<&str>,
        vms: Option<&[&str]>,
        title: &str,
        words: &[Entry],
    ) -> Markup {
        let cells: Vec<Markup> = columns
            .iter()
            .zip(words)
            .map(|((pair, heading), word)| {
                self.cell((network, *pair), vms, &format!("{title}, {}", heading.long), word)
            })
            .collect();
        html! { @for cell in cells { (cell) } }
    }

    fn cell(&mut self, key: (Option<&str>, Pair), vms: Option<&[&str]>, title: &str, word: &Entry) -> Markup {
        let here = |cell: &Cell| vms.is_none_or(|vms| Place::of(cell).vm.is_some_and(|vm| vms.contains(&vm)));
        let mut cells: Vec<(usize, &Cell)> =
            self.cells.get(&key).into_iter().flatten().copied().filter(|(_, cell)| here(cell)).collect();
        if cells.is_empty() {
            // Between networks one NIC stands for all that are like it.
            let between = self.cells.get(&key).filter(|_| key.1 == Pair::OtherNetworks);
            cells = between.into_iter().flatten().copied().collect();
        }
        if cells.is_empty() {
            return plain(word);
        }
        let id = format!("claims-{}", self.popovers.len() + 1);
        let class = class(word.paint);
        // On paper there is what is wrong, once: the NICs' words sum up no other claims than their network's.
        let printed = vms.is_none() && matches!(word.paint, Some(Paint::Red | Paint::Yellow));
        let popover = Popover { id: &id, title, word: &word.text, printed };
        self.popovers.push(popover.show(self.report, &self.causes, &cells));
        html! {
            td {
                button.(class) type="button" popovertarget=(id) aria-label=(format!("{title}: {}", word.text.replace('\n', ", "))) {
                    (lines(&word.text))
                }
            }
        }
    }
}

fn plain(entry: &Entry) -> Markup {
    html! { td.(class(entry.paint)) { (lines(&entry.text)) } }
}

fn lines(text: &str) -> Markup {
    html! {
        @for (at, line) in text.lines().enumerate() {
            @if at > 0 { br; }
            (line)
        }
    }
}

/// How many they are, and their names on demand.
fn names(vms: &[&str]) -> Markup {
    let [first, .., last] = vms else { return html! { @for vm in vms { (printable(vm)) } } };
    let more = vms.len().saturating_sub(NAMES);
    let names: Vec<_> = vms.iter().take(NAMES).map(|vm| printable(vm)).collect();
    html! {
        details {
            summary { (count(vms.len(), "NIC")) ": " (printable(first)) " … " (printable(last)) }
            p.names { (names.join(", ")) @if more > 0 { " … and " (more) " more" } }
        }
    }
}
