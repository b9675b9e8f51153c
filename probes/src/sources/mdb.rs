//! Multicast groups that bridges learned.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::MdbEntry;

pub(crate) const META: Meta = Meta {
    id: "mdb",
    summary: "Multicast groups that bridges learned",
    basis: "RTM_GETMDB, net/bridge/br_mdb.c",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<MdbEntry>>, NotBuilt> {
    Err(NotBuilt)
}
