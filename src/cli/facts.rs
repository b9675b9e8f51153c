//! The facts: read from this host, or from a snapshot that was taken earlier.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kvmnet_probes::facts::{IfName, SCHEMA, Snapshot};
use kvmnet_probes::sources::{self, Context};
use serde::Deserialize;
use serde_json::error::Category;

use super::failure::Failure;
use super::read::{self, Limit};
use super::{plan, progress};

/// How long libvirt and DHCP servers are waited for, unless the user says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// Where the facts come from.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Ask libvirt at this connection [default: libvirt's own choice]
    #[arg(long, value_name = "URI", conflicts_with = "snapshot")]
    uri: Option<String>,
    /// Examine a host as `kvmnet snapshot` recorded it (`-`: standard input); nothing is sent
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Examine a host as libvirt's XML and the rules in this directory describe it; nothing is sent
    #[arg(long, value_name = "DIR", conflicts_with_all = ["snapshot", "uri"])]
    plan: Option<PathBuf>,
    /// The device by which the planned host reaches the internet
    #[arg(long, value_name = "DEVICE", requires = "plan", default_value = "eth0", value_parser = plan::device)]
    uplink: IfName,
}

/// Where the facts come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Live(Context),
    Recorded(PathBuf),
    Planned(Box<Snapshot>),
}

impl Arguments {
    /// `deadline`: after which time libvirt is given up. A planned host is built here, which takes privileges.
    pub(crate) fn origin(self, deadline: Duration) -> Result<Origin, Failure> {
        Ok(match (self.plan, self.snapshot) {
            (Some(directory), _) => Origin::Planned(Box::new(plan::observe(directory, &self.uplink)?)),
            (None, snapshot) => Origin::new(self.uri, snapshot, deadline),
        })
    }
}

impl Origin {
    /// A recorded host, or this one, with the connection to libvirt and how long it is waited for.
    pub(super) fn new(uri: Option<String>, snapshot: Option<PathBuf>, deadline: Duration) -> Self {
        match snapshot {
            Some(path) => Self::Recorded(path),
            None => {
                Self::Live(Context { libvirt_uri: uri, libvirt_deadline: deadline, ..Context::default() })
            }
        }
    }

    /// This host rather than a recorded one.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// The facts.
    pub(crate) async fn observe(&self) -> Result<Snapshot, Failure> {
        match self {
            Self::Live(context) => {
                Ok(progress::during("reading the host", Box::pin(sources::observe(context))).await)
            }
            Self::Recorded(path) => recorded(path),
            Self::Planned(snapshot) => Ok(Snapshot::clone(snapshot)),
        }
    }
}

/// The facts of a recorded host.
pub(super) fn recorded(path: &Path) -> Result<Snapshot, Failure> {
    let bytes = read::file_or_input(path, Limit::SNAPSHOT);
    parse(path, &bytes.map_err(|source| Failure::ReadSnapshot { path: path.to_owned(), source })?)
}

/// What every file of kvmnet begins with.
#[derive(Deserialize)]
struct Version {
    schema: Option<String>,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Snapshot, Failure> {
    let path = || path.to_owned();
    let not = |what: &str| Failure::NotASnapshot { path: path(), what: what.to_owned() };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(not("empty"));
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|source| match source.classify() {
        Category::Eof => Failure::TruncatedSnapshot { path: path(), source },
        Category::Syntax => not(&format!("not JSON: {source}")),
        Category::Data | Category::Io => not("JSON of another kind"),
    })?;
    match version.schema {
        None => Err(not("JSON of another kind")),
        Some(version) if version == SCHEMA => {
            serde_json::from_slice(bytes).map_err(|source| Failure::UnfitSnapshot { path: path(), source })
        }
        Some(version) if version.starts_with("kvmnet.snapshot/") => {
            Err(Failure::OtherVersion { path: path(), version })
        }
        Some(other) => Err(not(&format!("a file of the kind {other}"))),
    }
}
