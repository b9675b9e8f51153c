//! One reader per source of facts.
//!
//! [`observe`] runs all of them side by side and takes the [`Snapshot`]. To add a source: its field
//! in [`Snapshot`], its file here with `META` and `read`, and its line in the registry below.
//!
//! Invariants: reading changes nothing on the host; what could not be read is a missing fact or a
//! caveat with its reason, never an empty list.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use self::netlink::Malformed;
use crate::facts::{Fact, SCHEMA, Snapshot, Table};

mod files;
mod host;
mod netlink;
mod process;
mod xtables;

pub use libvirt::xml as libvirt_xml;
pub(crate) use link::{brport, port_of};
pub(crate) use netlink::{put, put_u32};

/// Declares each source's module, lists its description, and reads all of them into a snapshot.
macro_rules! sources {
    ($($field:ident: $module:ident,)*) => {
        $(mod $module;)*

        /// Every source, in the order of [`Snapshot::sources`].
        pub const SOURCES: &[Meta] = &[$($module::META),*];

        /// Reads every source of this host, side by side. A source that cannot be read is a
        /// [`Fact::Missing`] in the snapshot.
        pub async fn observe(context: &Context) -> Snapshot {
            let taken_ms = now_ms();
            let host = host::identity();
            let ($($field,)*) =
                tokio::join!($(async { fact($module::META.id, $module::read(context).await) }),*);
            Snapshot { schema: SCHEMA.to_owned(), taken_ms, host, $($field),* }
        }
    };
}

sources! {
    links: link,
    addresses: address,
    routes: route,
    rules: rule,
    neighbours: neighbour,
    fdb: fdb,
    mdb: mdb,
    traffic_control: traffic_control,
    nf_tables: nf_tables,
    xtables_legacy: xtables_legacy,
    sysctls: sysctl,
    sysctl_files: sysctl_files,
    libvirt: libvirt,
    listeners: listener,
    managers: manager,
    bridge_config: bridge_config,
}

/// Reads the rules of `nf_tables` alone.
pub async fn nf_tables(context: &Context) -> Fact<Vec<Table>> {
    fact(nf_tables::META.id, nf_tables::read(context).await)
}

/// Where to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// libvirt's connection; `None`: libvirt's own choice.
    pub libvirt_uri: Option<String>,
    /// How long libvirt may take before it is given up.
    pub libvirt_deadline: Duration,
    /// Below which directory the host's configuration files are.
    pub root: PathBuf,
}

impl Default for Context {
    fn default() -> Self {
        Self { libvirt_uri: None, libvirt_deadline: Duration::from_secs(5), root: PathBuf::from("/") }
    }
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Its permanent name.
    pub id: &'static str,
    /// What it reads, in a line.
    pub summary: &'static str,
    /// By which interface, and where that is defined.
    pub basis: &'static str,
    /// The version of kvmnet that had it first.
    pub since: &'static str,
}

/// What a source read, and what it could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading<T> {
    /// What was read.
    pub(crate) value: T,
    /// What could not be read, or kept changing.
    pub(crate) caveats: Vec<String>,
}

impl<T> From<T> for Reading<T> {
    fn from(value: T) -> Self {
        Self { value, caveats: Vec::new() }
    }
}

impl<T> Reading<Vec<T>> {
    /// Adds what another call read of the same source.
    pub(crate) fn append(&mut self, other: Self) {
        self.value.extend(other.value);
        self.caveats.extend(other.caveats);
    }
}

/// Both families with the names that they have in errors.
const FAMILIES: [(u8, &str); 2] = [(AF_INET, "IPv4"), (AF_INET6, "IPv6")];

/// Address families in the one byte that rtnetlink's headers have for them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const AF_BRIDGE: u8 = 7;

/// The names of the bits that are set; a bit without a name in hexadecimal.
fn flags(bits: u32, names: &'static [&'static str]) -> impl Iterator<Item = String> {
    (0..u32::BITS).filter(move |bit| bits & (1 << bit) != 0).map(|bit| {
        names.get(bit as usize).map_or_else(|| format!("{:#x}", 1_u32 << bit), |&name| name.to_owned())
    })
}

/// A prefix whose bits beyond its length are zero.
fn prefix(address: IpAddr, length: u8) -> Result<IpNet, Malformed> {
    IpNet::new(address, length)
        .map(|net| net.trunc())
        .map_err(|_| Malformed::Field { field: "prefix length", value: length.into() })
}

/// `RT_SCOPE_*` by name, or the number.
fn scope(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

fn fact<T, E: Error + 'static>(id: &str, read: Result<Reading<T>, E>) -> Fact<T> {
    match read {
        Ok(Reading { value, caveats }) => Fact::Read { at_ms: now_ms(), caveats, value },
        Err(error) => Fact::Missing { reason: chain(&error) + needs(id, &error) },
    }
}

/// The capability that a source takes and that was not there.
fn needs(id: &str, error: &(dyn Error + 'static)) -> &'static str {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let denied = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    match id {
        _ if !causes.any(denied) => "",
        "nf-tables" => " (needs CAP_NET_ADMIN)",
        "xtables-legacy" => " (needs CAP_NET_ADMIN, and for users other than root CAP_DAC_READ_SEARCH)",
        _ => "",
    }
}

/// An error with its causes in one line: `operation on object: cause: its cause`.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Milliseconds since the Unix epoch, 0 if the clock stands before it.
fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn every_source_is_described_under_the_name_that_the_snapshot_gives_it() {
        // A directory that does not exist keeps the test off this machine's configuration.
        let context = Context { root: PathBuf::from("/nonexistent"), ..Context::default() };
        let snapshot = observe(&context).await;
        let names: Vec<_> = snapshot.sources().iter().map(|source| source.name).collect();
        let ids: Vec<_> = SOURCES.iter().map(|meta| meta.id).collect();
        assert_eq!(ids, names);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for meta in SOURCES {
            for text in [meta.summary, meta.basis, meta.since] {
                assert!(!text.is_empty(), "{}", meta.id);
            }
        }
    }

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("dump routes")]
        struct Outer(#[source] std::num::ParseIntError);
        let error = Outer("x".parse::<u8>().unwrap_err());
        assert_eq!(chain(&error), "dump routes: invalid digit found in string");
    }
}
