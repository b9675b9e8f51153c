//! `--state`: what is remembered from one run to the next.

use std::io;
use std::path::PathBuf;

use kvmnet_reports::text::printable_prose;
use kvmnet_reports::{Report, Severity, json};
use serde_json::Value;

use super::failure::Failure;
use super::output::Destination;
use super::read::{self, Limit};
use super::{exit, failure};
use crate::verify::{RECORD, Record, follow};

/// A file that remembers, and how often something must be seen to count.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    /// None before the first run.
    record: Option<Record>,
    /// What was in the file and cannot be used.
    lost: Option<Lost>,
    confirm: u32,
}

/// What was remembered once, and why it is of no use.
#[derive(Debug)]
struct Lost {
    why: String,
    /// Nothing, if nothing is left of it.
    content: Vec<u8>,
}

impl State {
    /// Reads the file; one that is not there yet remembers nothing. Neither does one that was damaged: whoever runs this
    /// by cron wants the host's verdict, also after a power failure.
    pub(super) fn read(path: PathBuf, confirm: u32) -> Result<Self, Failure> {
        let content = match read::file(&path, Limit::STATE) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, record: None, lost: None, confirm });
            }
            Err(source) => return Err(Failure::ReadState { path, source }),
        };
        match serde_json::from_slice::<Record>(&content) {
            Ok(record) if record.schema == RECORD => {
                Ok(Self { path, record: Some(record), lost: None, confirm })
            }
            _ => match lost(content) {
                Ok(lost) => Ok(Self { path, record: None, lost: Some(lost), confirm }),
                Err(what) => Err(Failure::NotAState { path, what }),
            },
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

    /// Keeps what is remembered; what could not be used is kept beside it.
    pub(super) fn write(&self) -> Result<(), Failure> {
        if let Some(Lost { why, content }) = &self.lost {
            let mut text =
                format!("warning: the state {} {why}: it is begun anew", failure::name(&self.path));
            if !content.is_empty() {
                let mut kept = self.path.clone().into_os_string();
                kept.push(".corrupt");
                let kept = PathBuf::from(kept);
                text = format!("{text}, and what was there is kept in {}", failure::name(&kept));
                Destination::from(Some(kept)).deliver(content, true)?;
            }
            exit::tell(&format!("{}\n", printable_prose(&text)));
        }
        let mut text = Vec::new();
        json::write(&self.record, &mut text).expect("memory takes every byte");
        Destination::from(Some(self.path.clone())).deliver(&text, true)
    }
}

/// What is left of a state, or what the file is instead: that is somebody else's, and is left alone.
fn lost(content: Vec<u8>) -> Result<Lost, String> {
    // A file system that lost the content may have kept the length.
    if content.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
        return Ok(Lost { why: "is empty".to_owned(), content: Vec::new() });
    }
    let is_state = |value: &Value| value["schema"].as_str().is_some_and(|it| it.starts_with("kvmnet.state/"));
    match serde_json::from_slice::<Value>(&content) {
        Ok(value) if is_state(&value) && value["schema"] != RECORD => {
            Ok(Lost { why: "is of another version".to_owned(), content })
        }
        Ok(value) if is_state(&value) => Ok(Lost { why: "does not fit".to_owned(), content }),
        Err(error) if content.trim_ascii_start().starts_with(b"{") => {
            Ok(Lost { why: format!("is damaged ({error})"), content })
        }
        Ok(_) | Err(_) => Err("it is something else".to_owned()),
    }
}
