//! `kvmnet doctor`.
use super::output::Color;
use std::process::ExitCode;
/// To be
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: Arguments, _: Color) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
