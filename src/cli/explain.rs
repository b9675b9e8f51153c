//! `kvmnet explain`: what a finding means, how it can be wrong, and where the knowledge comes from.

use std::process::ExitCode;

use clap::Args;
use kvmnet_reports::catalogue::{self, Catalogue, CheckEntry, SCHEMA};

use super::exit;
use super::failure::Failure;
use super::output::{Color, Destination, Format};
use crate::checks::{CHECKS, Check, Meant, RETIRED, Retired, meant};

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
    let (chosen, warnings) = chosen(&arguments.id, RETIRED)?;
    for warning in warnings {
        exit::tell(&format!("warning: {warning}\n"));
    }
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

/// The checks of these ids, all if there is none; and of those that are no more a word.
fn chosen(ids: &[String], retired: &[Retired]) -> Result<(Vec<&'static Check>, Vec<String>), Failure> {
    if ids.is_empty() {
        return Ok((CHECKS.to_vec(), Vec::new()));
    }
    let (mut checks, mut warnings) = (Vec::new(), Vec::new());
    for id in ids {
        match meant(|known| known == id, retired) {
            Meant::Check(check) => checks.push(check),
            Meant::Retired(gone) => warnings.extend(gone.into_iter().map(Retired::told)),
            Meant::Nobody => {
                let known = CHECKS.iter().map(|check| check.id.to_owned()).collect();
                return Err(Failure::NoSuchName { kind: "check", wanted: id.clone(), known });
            }
        }
    }
    Ok((checks, warnings))
}

/// What is to be said of these checks.
pub(super) fn catalogue_of(checks: impl IntoIterator<Item = &'static Check>) -> Catalogue {
    Catalogue { schema: SCHEMA, checks: checks.into_iter().map(entry).collect() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_check_that_is_no_more_there_is_a_word() {
        let gone = Retired { id: "bridge-gone", since: "1.1.0", why: "bridge-missing tells it" };
        let ids = ["bridge-gone".to_owned(), "bridge-down".to_owned()];
        let (checks, warnings) = chosen(&ids, &[gone]).expect("nobody is refused");
        assert_eq!(checks.iter().map(|check| check.id).collect::<Vec<_>>(), ["bridge-down"]);
        assert!(matches!(&warnings[..], [said] if said.contains("bridge-missing tells it")), "{warnings:?}");
        // All are not shown in its place.
        assert!(chosen(&ids[..1], &[gone]).expect("nobody is refused").0.is_empty());
        assert!(chosen(&ids[..1], &[]).is_err());
    }
}
