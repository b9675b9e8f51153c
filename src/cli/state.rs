//! `--state`: what is remembered from one run to the next.

use std::path::{Path, PathBuf};
use std::{fs, io};

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

    /// Keeps what is remembered; what could not be used is kept beside it, or else stays where it is.
    pub(super) fn write(&self) -> Result<(), Failure> {
        if let Some(Lost { why, content }) = &self.lost {
            let name = failure::name(&self.path);
            let (text, is_kept) = match keep(&self.path, content) {
                Ok(None) => (format!("the state {name} {why}: it is begun anew"), true),
                Ok(Some(kept)) => {
                    let kept = failure::name(&kept);
                    (
                        format!(
                            "the state {name} {why}: it is begun anew, and what was there is kept in {kept}"
                        ),
                        true,
                    )
                }
                Err(error) => {
                    let text = format!(
                        "the state {name} {why}, and what is there could not be kept beside it ({error}): nothing is \
                         remembered"
                    );
                    (text, false)
                }
            };
            exit::tell(&format!("warning: {}\n", printable_prose(&text)));
            if !is_kept {
                return Ok(());
            }
        }
        let mut text = Vec::new();
        json::write(&self.record, &mut text).expect("memory takes every byte");
        Destination::from(Some(self.path.clone())).deliver(&text, true)
    }
}

/// Old states that are kept of one file.
const KEPT: usize = 10;

/// Puts what was in the file beside it, under a name that nothing has yet; nothing is kept of an empty one.
fn keep(path: &Path, content: &[u8]) -> io::Result<Option<PathBuf>> {
    if content.is_empty() {
        return Ok(None);
    }
    let target = fs::canonicalize(path)?;
    for number in 0..KEPT {
        let mut kept = target.as_os_str().to_owned();
        kept.push(if number == 0 { ".corrupt".to_owned() } else { format!(".corrupt.{number}") });
        match fs::hard_link(&target, &kept) {
            Ok(()) => return Ok(Some(kept.into())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{KEPT} are there already")))
}

/// Where a state says that it is one: near its beginning.
const HEAD: usize = 4096;

/// What is left of a state, or what the file is instead: that is somebody else's, and is left alone.
fn lost(content: Vec<u8>) -> Result<Lost, String> {
    // A file system that lost the content may have kept the length.
    if content.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
        return Ok(Lost { why: "is empty".to_owned(), content: Vec::new() });
    }
    let head = String::from_utf8_lossy(&content[..content.len().min(HEAD)]);
    let says_so = head.contains("\"kvmnet.state/");
    let schema = serde_json::from_slice::<Value>(&content).map(|value| value["schema"].clone());
    let why = match schema {
        Ok(schema) if says_so && schema != RECORD => "is of another version".to_owned(),
        Ok(_) if says_so => "does not fit".to_owned(),
        // The first block may be lost, and the rest not.
        Err(error) if says_so || content[0] == 0 => format!("is damaged ({error})"),
        Ok(_) | Err(_) => return Err("it is something else".to_owned()),
    };
    Ok(Lost { why, content })
}
