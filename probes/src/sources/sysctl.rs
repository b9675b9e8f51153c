//! The sysctls that decide a packet's fate.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Sysctls;

pub(crate) const META: Meta = Meta {
    id: "sysctls",
    summary: "The sysctls that decide a packet's fate",
    basis: "/proc/sys/net, Documentation/networking/ip-sysctl.rst",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Sysctls>, NotBuilt> {
    Err(NotBuilt)
}
