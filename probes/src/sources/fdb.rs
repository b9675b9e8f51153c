//! MAC tables of bridges and devices.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::FdbEntry;

pub(crate) const META: Meta = Meta {
    id: "fdb",
    summary: "MAC tables of bridges and devices",
    basis: "RTM_GETNEIGH of AF_BRIDGE, net/bridge/br_fdb.c",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<FdbEntry>>, NotBuilt> {
    Err(NotBuilt)
}
