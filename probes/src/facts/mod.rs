//! The facts of one host: what was read, from where and when.
//!
//! A [`Snapshot`] is plain data. It is written as JSON with a version in front, so that it can be
//! read, compared, edited by hand and given back to every command in place of the live host.
//!
//! Invariant: a source that could not be read is [`Fact::Missing`] with its reason, never an empty
//! list. Everything that decides a packet's fate is reached through a [`Fact`], so that nobody can
//! forget to ask.

mod anonymize;
mod bridge_config;
mod fdb;
mod libvirt;
mod link;
mod names;
mod netfilter;
mod route;
mod service;
mod sysctl;
mod xt;

pub use bridge_config::*;
pub use fdb::*;
pub use libvirt::*;
pub use link::*;
pub use names::*;
pub use netfilter::*;
pub use route::*;
pub use service::*;
pub use sysctl::*;
pub use xt::*;

use serde::{Deserialize, Serialize};

/// The version that stands in front of every snapshot file. Raised when an older kvmnet could
/// misread a newer file.
pub const SCHEMA: &str = "kvmnet.snapshot/1";

/// What one source said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fact<T> {
    /// The source was read in full.
    Read {
        /// When reading ended, in milliseconds since the Unix epoch.
        at_ms: u64,
        /// What could not be read within the source, and what kept changing while it was read.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        caveats: Vec<String>,
        /// What it said.
        value: T,
    },
    /// The source could not be read.
    Missing {
        /// What failed, on what and why, in words for the administrator.
        reason: String,
    },
}

impl<T> Fact<T> {
    /// A source that was read without a caveat.
    pub fn read(at_ms: u64, value: T) -> Self {
        Self::Read { at_ms, caveats: Vec::new(), value }
    }

    /// A source that could not be read.
    pub fn missing(reason: impl Into<String>) -> Self {
        Self::Missing { reason: reason.into() }
    }

    /// What the source said, if it could be read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Read { value, .. } => Some(value),
            Self::Missing { .. } => None,
        }
    }

    /// Why the source could not be read, if so.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Read { .. } => None,
            Self::Missing { reason } => Some(reason),
        }
    }
}

impl<T> Fact<Vec<T>> {
    /// The items, none if the source is missing: for look-ups whose caller reports the missing
    /// source elsewhere.
    pub fn items(&self) -> &[T] {
        self.known().map_or(&[], Vec::as_slice)
    }
}

/// Who the host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostIdentity {
    /// The node's name (`uname -n`).
    pub name: String,
    /// The kernel's release (`uname -r`).
    pub kernel: String,
}

/// All facts of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// Milliseconds since the Unix epoch when reading began.
    pub taken_ms: u64,
    /// Who the host is.
    pub host: HostIdentity,
    /// Network devices, by index.
    pub links: Fact<Vec<Link>>,
    /// Addresses of both families.
    pub addresses: Fact<Vec<Address>>,
    /// Routes of every table and both families.
    pub routes: Fact<Vec<Route>>,
    /// Policy routing rules of both families.
    pub rules: Fact<Vec<RoutingRule>>,
    /// Neighbour tables of both families.
    pub neighbours: Fact<Vec<Neighbour>>,
    /// MAC tables of bridges and devices.
    pub fdb: Fact<Vec<FdbEntry>>,
    /// Multicast groups that bridges learned.
    pub mdb: Fact<Vec<MdbEntry>>,
    /// tc filters and classful queueing disciplines that can take or change packets.
    pub traffic_control: Fact<Vec<TcHook>>,
    /// nf_tables of every family; what iptables-nft and ebtables-nft made is in there.
    pub nf_tables: Fact<Vec<Table>>,
    /// Tables of iptables-legacy and ip6tables-legacy, in the same form.
    pub xtables_legacy: Fact<Vec<Table>>,
    /// The sysctls that decide a packet's fate.
    pub sysctls: Fact<Sysctls>,
    /// What configuration files set sysctls to.
    #[serde(default = "not_recorded")]
    pub sysctl_files: Fact<Vec<SysctlSetting>>,
    /// libvirt's networks, domains and filters.
    pub libvirt: Fact<Libvirt>,
    /// Who listens on the DHCP and DNS ports.
    pub listeners: Fact<Vec<Listener>>,
    /// Programs that manage the network besides libvirt.
    pub managers: Fact<Vec<Manager>>,
    /// How bridges are configured to come back after a reboot.
    pub bridge_config: Fact<Vec<BridgeConfigFile>>,
}

/// What stands for a source that an older kvmnet did not know.
fn not_recorded<T>() -> Fact<T> {
    Fact::missing("the snapshot was taken by an older kvmnet")
}

impl Snapshot {
    /// The device with this index, if devices could be read.
    pub fn link(&self, index: IfIndex) -> Option<&Link> {
        self.links.items().iter().find(|link| link.index == index)
    }

    /// The device with this name, if devices could be read.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.items().iter().find(|link| link.name.as_str() == name)
    }

    /// Every source with its name and, if it could not be read, the reason.
    pub fn sources(&self) -> Vec<SourceStatus<'_>> {
        fn status<'a, T>(name: &'static str, fact: &'a Fact<T>) -> SourceStatus<'a> {
            let caveats = match fact {
                Fact::Read { caveats, .. } => caveats.as_slice(),
                Fact::Missing { .. } => &[],
            };
            SourceStatus { name, missing: fact.reason(), caveats }
        }
        vec![
            status("links", &self.links),
            status("addresses", &self.addresses),
            status("routes", &self.routes),
            status("rules", &self.rules),
            status("neighbours", &self.neighbours),
            status("fdb", &self.fdb),
            status("mdb", &self.mdb),
            status("traffic-control", &self.traffic_control),
            status("nf-tables", &self.nf_tables),
            status("xtables-legacy", &self.xtables_legacy),
            status("sysctls", &self.sysctls),
            status("sysctl-files", &self.sysctl_files),
            status("libvirt", &self.libvirt),
            status("listeners", &self.listeners),
            status("managers", &self.managers),
            status("bridge-config", &self.bridge_config),
        ]
    }
}

/// How reading one source went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStatus<'a> {
    /// The source's name.
    pub name: &'static str,
    /// Why it is missing, if it is.
    pub missing: Option<&'a str>,
    /// What could not be read within it.
    pub caveats: &'a [String],
}
