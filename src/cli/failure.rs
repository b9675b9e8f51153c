//! What can go wrong with the arguments and the files that they name.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::exit;
use super::policy_file::BadPolicy;
use super::suggestion::did_you_mean;

/// Why the program could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The snapshot's bytes could not be had.
    #[error("cannot read the snapshot {}", name(.path))]
    ReadSnapshot { path: PathBuf, source: io::Error },
    /// The snapshot ends too early.
    #[error("cannot use the snapshot {}: it is cut off", name(.path))]
    TruncatedSnapshot { path: PathBuf, source: serde_json::Error },
    /// The file is something else.
    #[error("cannot use the snapshot {}: it is {what}", name(.path))]
    NotASnapshot { path: PathBuf, what: String },
    /// The snapshot is of another version.
    #[error("cannot use the snapshot {}: it is of version {version}, this kvmnet reads {}", name(.path), kvmnet_probes::facts::SCHEMA)]
    OtherVersion { path: PathBuf, version: String },
    /// The snapshot has the right version and the wrong content.
    #[error("cannot use the snapshot {}", name(.path))]
    UnfitSnapshot { path: PathBuf, source: serde_json::Error },
    /// The policy's text could not be had.
    #[error("cannot read the policy {}", name(.path))]
    ReadPolicy { path: PathBuf, source: io::Error },
    /// The policy says something that cannot be used.
    #[error("{0}")]
    BadPolicy(Box<BadPolicy>),
    /// What would be overwritten.
    #[error("{} is there already", name(.path))]
    Exists { path: PathBuf },
    /// What is remembered could not be had.
    #[error("cannot read the state {}", name(.path))]
    ReadState { path: PathBuf, source: io::Error },
    /// The file is something else than what `--state` wrote.
    #[error("cannot use the state {}: {what}", name(.path))]
    NotAState { path: PathBuf, what: String },
    /// A file could not be written.
    #[error("cannot write {}", name(.path))]
    Write { path: PathBuf, source: io::Error },
    /// systemd's journal took no entry.
    #[error("cannot write to systemd's journal ({path})")]
    Journal { path: &'static str, source: io::Error },
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// `--vm` or `--network` names nobody.
    #[error("there is no {kind} `{wanted}`")]
    NoSuchName { kind: &'static str, wanted: String, known: Vec<String> },
    /// `--vm` or `--network`, and nobody knows the names.
    #[error("cannot look for the {kind} `{wanted}`: libvirt was not read: {reason}")]
    NamesUnknown { kind: &'static str, wanted: String, reason: String },
    /// Arguments of `trace` that do not go together.
    #[error("{0}")]
    Usage(&'static str),
    /// The VM has fewer NICs.
    #[error("{vm} has no NIC {nic}")]
    NoSuchNic { vm: String, nic: usize, has: usize },
    /// Nobody is known to have an address of a network of this host.
    #[error("no VM is known to have {address}, an address of network {network}")]
    NobodyHas { address: IpAddr, network: String },
    /// The files of a plan cannot be used.
    #[error("cannot use the plan {}: {why}", name(.directory))]
    BadPlan { directory: PathBuf, why: String },
    /// This machine cannot build the planned host.
    #[error("cannot build the planned host of {}: {why}", name(.directory))]
    Unplannable { directory: PathBuf, why: String },
    /// The process that builds a planned host did not start.
    #[error("cannot start what builds the planned host (setpriv and unshare, of util-linux)")]
    StartPlan { source: io::Error },
    /// It printed something else than facts.
    #[error("cannot understand the facts of the planned host")]
    PlanFacts { source: serde_json::Error },
    /// The kernel refused to take capabilities away.
    #[error("cannot give up capabilities")]
    Privileges(#[source] io::Error),
    /// The asynchronous runtime did not start.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

/// How a file is called in a message.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") { "on standard input".to_owned() } else { path.display().to_string() }
}

impl Failure {
    /// What may help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::ReadSnapshot { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                Some("--snapshot wants the file that `kvmnet snapshot -o FILE` wrote".to_owned())
            }
            Self::ReadPolicy { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`kvmnet policy init` writes one from the present state, to begin with".to_owned())
            }
            Self::Exists { .. } => Some("--force overwrites it".to_owned()),
            Self::Unplannable { .. } | Self::StartPlan { .. } => Some(
                "run this as root; it needs libvirt's daemon and virsh, ip, nft, and iptables for rules of its form"
                    .to_owned(),
            ),
            Self::Journal { .. } => {
                Some("does systemd-journald run here? The entries are written to standard output".to_owned())
            }
            Self::NotAState { .. } => {
                Some("use another file, or remove this one if it is of no use any more: then everything is told anew".to_owned())
            }
            Self::BadPolicy(bad) => {
                bad.wanted.as_ref().and_then(|(wanted, known)| did_you_mean(bad.kind, wanted, known))
            }
            Self::ReadSnapshot { .. }
            | Self::ReadPolicy { .. }
            | Self::ReadState { .. }
            | Self::Write { .. }
            | Self::Stdout(_)
            | Self::BadPlan { .. }
            | Self::PlanFacts { .. }
            | Self::Privileges(_)
            | Self::Runtime(_) => None,
            Self::TruncatedSnapshot { .. } | Self::NotASnapshot { .. } | Self::UnfitSnapshot { .. } => {
                Some("take a snapshot with `kvmnet snapshot -o FILE`".to_owned())
            }
            Self::OtherVersion { .. } => {
                Some("use the kvmnet that took it, or take it again with this one".to_owned())
            }
            Self::NoSuchName { kind, wanted, known } => did_you_mean(kind, wanted, known),
            Self::Usage(_) => Some("see `kvmnet trace --help`".to_owned()),
            Self::NoSuchNic { has: 1, .. } => Some("it has one NIC".to_owned()),
            Self::NoSuchNic { has, .. } => Some(format!("it has {has} NICs, counted from 1")),
            Self::NobodyHas { .. } => Some("`kvmnet ports` lists the addresses that are known".to_owned()),
            Self::NamesUnknown { .. } => Some("run as root, or give the connection with --uri".to_owned()),
        }
    }

    /// The lines of the file that it is about, as they stand there.
    pub(crate) fn place(&self) -> &[String] {
        match self {
            Self::BadPolicy(bad) => &bad.place,
            _ => &[],
        }
    }

    /// The exit code that says the same.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NamesUnknown { .. } | Self::Unplannable { .. } | Self::StartPlan { .. } => exit::INCOMPLETE,
            _ => exit::USAGE,
        }
    }
}
