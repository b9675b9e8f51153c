//! `--state`: what is remembered from one run to the next.

use std::path::PathBuf;
use std::{fs, io};

use kvmnet_reports::{Report, Severity, json};

use super::failure::Failure;
use super::output::Destination;
use crate::verify::{RECORD, Record, follow};

/// A file that remembers, and how often something must be seen to count.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    /// None before the first run.
    record: Option<Record>,
    confirm: u32,
}

impl State {
    /// Reads the file; one that is not there yet remembers nothing.
    pub(super) fn read(path: PathBuf, confirm: u32) -> Result<Self, Failure> {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, record: None, confirm });
            }
            Err(source) => return Err(Failure::ReadState { path, source }),
        };
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.schema == RECORD => Ok(Self { path, record: Some(record), confirm }),
            Ok(_) => Err(Failure::NotAState { path, what: "it is of another version".to_owned() }),
            Err(error) => Err(Failure::NotAState { path, what: error.to_string() }),
        }
    }

    /// Says in the report what has become of findings, and remembers them. `limits`: the VMs and networks that the run
    /// was limited to.
    pub(super) fn follow(
        &mut self,
        report: &mut Report,
        limits: &[String],
        fail_on: Severity,
    ) -> Result<(), Failure> {
        if self.record.as_ref().is_some_and(|record| !record.is_about(report, limits)) {
            let what = "it remembers another host, or runs with another --vm or --network".to_owned();
            return Err(Failure::NotAState { path: self.path.clone(), what });
        }
        self.record = Some(follow(self.record.as_ref(), report, limits, self.confirm, fail_on));
        Ok(())
    }

    /// Keeps what is remembered.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let mut text = Vec::new();
        json::write(&self.record, &mut text).expect("memory takes every byte");
        Destination::from(Some(self.path.clone())).deliver(&text, true)
    }
}
