//! Neighbour tables of both families.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Neighbour;

pub(crate) const META: Meta = Meta {
    id: "neighbours",
    summary: "Neighbour tables of both families",
    basis: "RTM_GETNEIGH, include/uapi/linux/neighbour.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Neighbour>>, NotBuilt> {
    Err(NotBuilt)
}
