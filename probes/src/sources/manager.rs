//! Programs that manage the network besides libvirt.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Manager;

pub(crate) const META: Meta = Meta {
    id: "managers",
    summary: "Programs that manage the network besides libvirt",
    basis: "/proc/PID/comm",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Manager>>, NotBuilt> {
    Err(NotBuilt)
}
