//! Columns of text without lines, as wide as they need to be.

use std::io;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use crate::text::{Form, Paint, width_of};

/// Two spaces between columns, one before the first.
const GAP: usize = 2;

/// What stands in one place of a grid; lines are broken at line feeds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) text: String,
    /// What stands there in a grid that is too wide.
    pub(crate) short: Option<&'static str>,
    pub(crate) paint: Option<Paint>,
}

impl Entry {
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: text.into(), short: None, paint: Some(paint) }
    }

    fn width(&self) -> usize {
        self.text.lines().map(width_of).max().unwrap_or(0)
    }
}

impl<T: Into<String>> From<T> for Entry {
    fn from(text: T) -> Self {
        Self { text: text.into(), short: None, paint: None }
    }
}

/// A column's heading, a shorter one for narrow terminals, and how soon it gives way to others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heading {
    pub(crate) long: &'static str,
    pub(crate) short: &'static str,
    /// The highest is left out first; 0: never.
    pub(crate) dispensable: u8,
    pub(crate) number: bool,
}

impl Heading {
    pub(crate) const fn new(long: &'static str) -> Self {
        Self { long, short: long, dispensable: 0, number: false }
    }

    pub(crate) const fn or(self, short: &'static str) -> Self {
        Self { short, ..self }
    }

    pub(crate) const fn dispensable(self, rank: u8) -> Self {
        Self { dispensable: rank, ..self }
    }

    pub(crate) const fn number(self) -> Self {
        Self { number: true, ..self }
    }
}

/// Rows under headings.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    columns: Vec<(Heading, Vec<Entry>)>,
}

impl Grid {
    /// A grid with these headings and no row.
    pub(crate) fn new(headings: impl IntoIterator<Item = Heading>) -> Self {
        Self { columns: headings.into_iter().map(|heading| (heading, Vec::new())).collect() }
    }

    /// Adds a row, an entry for each heading.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = Entry>) {
        for ((_, column), entry) in self.columns.iter_mut().zip(row) {
            column.push(entry);
        }
    }

    /// The headings, and the rows under them.
    pub(crate) fn rows(&self) -> (Vec<&'static str>, Vec<Vec<&str>>) {
        let headings = self.columns.iter().map(|(heading, _)| heading.long).collect();
        let height = self.columns.first().map_or(0, |(_, column)| column.len());
        let text =
            |row: usize| self.columns.iter().map(move |(_, column)| column[row].text.as_str()).collect();
        (headings, (0..height).map(text).collect())
    }

    /// Writes the grid. What does not fit is made to, in this order: short headings and words, columns that can
    /// be dispensed with, broken lines.
    pub(crate) fn write(mut self, form: Form, out: &mut impl io::Write) -> io::Result<()> {
        if self.width() > form.width {
            for (heading, entries) in &mut self.columns {
                heading.long = heading.short;
                for entry in entries {
                    if let Some(short) = entry.short {
                        short.clone_into(&mut entry.text);
                    }
                }
            }
        }
        while self.width() > form.width {
            let rank = self.columns.iter().map(|(heading, _)| heading.dispensable).max().unwrap_or(0);
            if rank == 0 {
                break;
            }
            self.columns.retain(|(heading, _)| heading.dispensable != rank);
        }
        let text = self.into_table(form).trim_fmt();
        text.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
    }

    /// Columns that the grid takes with its long headings.
    pub(crate) fn width(&self) -> usize {
        let content = |(heading, entries): &(Heading, Vec<Entry>)| {
            GAP + entries.iter().map(Entry::width).max().unwrap_or(0).max(width_of(heading.long))
        };
        (1 + self.columns.iter().map(content).sum::<usize>()).saturating_sub(GAP)
    }

    fn into_table(self, form: Form) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if form.colour {
            table.enforce_styling();
            table.style_text_only();
        } else {
            table.force_no_tty();
        }
        let bounded = self.width() > form.width;
        let heading = |(heading, _): &(Heading, _)| paint(Cell::new(heading.long), Some(Paint::Bold));
        table.set_header(self.columns.iter().map(heading).collect::<Vec<_>>());
        let rows = self.columns.first().map_or(0, |(_, entries)| entries.len());
        for row in 0..rows {
            let entry = |(_, entries): &(Heading, Vec<Entry>)| {
                paint(Cell::new(&entries[row].text), entries[row].paint)
            };
            table.add_row(self.columns.iter().map(entry).collect::<Vec<_>>());
        }
        let last = self.columns.len().saturating_sub(1);
        for ((heading, _), (position, column)) in self.columns.iter().zip(table.column_iter_mut().enumerate())
        {
            column.set_padding((1, u16::from(position != last)));
            if heading.number {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if !bounded {
                column.set_constraint(ColumnConstraint::ContentWidth);
            } else if position == 0 {
                // The name says what the row is about: the words of the others can be broken.
                column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(40)));
            }
        }
        if bounded {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(form.width).unwrap_or(u16::MAX));
        }
        table
    }
}

fn paint(cell: Cell, paint: Option<Paint>) -> Cell {
    match paint {
        None => cell,
        Some(Paint::Bold) => cell.add_attribute(Attribute::Bold),
        Some(Paint::Dim) => cell.add_attribute(Attribute::Dim),
        Some(Paint::Red) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Some(Paint::Yellow) => cell.fg(Color::DarkYellow),
        Some(Paint::Green) => cell.fg(Color::DarkGreen),
    }
}
