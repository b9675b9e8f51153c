//! `kvmnet explain`: what a finding means, how it can be wrong, and where the knowledge comes from.

use std::process::ExitCode;

use clap::Args;
use kvmnet_reports::catalogue::{self, Catalogue, CheckEntry, SCHEMA};

use super::exit;
use super::failure::Failure;
use super::output::{Color, Destination, Format};
use crate::checks::{CHECKS, Check};

const EXAMPLES: &str = "\
Examples:
  kvmnet explain forward-policy-drop     what the doctor's finding means
  kvmnet explain --list                  everything that kvmnet can diagnose
  kvmnet explain --list --format json";

/// Tell what a finding of the doctor means
#[derive(Debug, Args)]
#[command(after_help = exit::with_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// The finding's id, as the doctor prints it
    #[arg(value_name = "ID", required_unless_present = "list")]
    id: Vec<String>,
    /// A line for each, of all if no id is given
    #[arg(long)]
    list: bool,
    /// In which form to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

pub(crate) fn run(arguments: &Arguments, color: Color) -> anyhow::Result<ExitCode> {
    let wanted = arguments.id.iter().map(|id| {
        let known = || CHECKS.iter().map(|check| check.id.to_owned()).collect();
        let found = CHECKS.iter().find(|check| check.id == id);
        found.ok_or_else(|| Failure::NoSuchName { kind: "check", wanted: id.clone(), known: known() })
    });
    let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
    let chosen = if wanted.is_empty() { CHECKS.iter().collect() } else { wanted };
    let catalogue = catalogue_of(chosen);
    let destination = Destination::Stdout;
    let form = destination.form(color);
    let text = arguments.format.write(&catalogue, |text| {
        if arguments.list {
            catalogue::list(&catalogue, form, text)
        } else {
            catalogue::write(&catalogue, form, text)
        }
    });
    destination.deliver(&text, false)?;
    Ok(ExitCode::from(exit::VERIFIED))
}

/// What is to be said of these checks.
pub(super) fn catalogue_of<'a>(checks: impl IntoIterator<Item = &'a &'a Check>) -> Catalogue {
    Catalogue { schema: SCHEMA, checks: checks.into_iter().map(|check| entry(check)).collect() }
}

fn entry(check: &Check) -> CheckEntry {
    CheckEntry {
        id: check.id,
        severity: check.severity,
        category: check.category.word(),
        summary: check.summary,
        explanation: check.explanation,
        needs: check.needs,
        basis: check.basis,
        since: check.since,
    }
}
