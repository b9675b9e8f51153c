//! Routes of every table and both families.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Route;

pub(crate) const META: Meta = Meta {
    id: "routes",
    summary: "Routes of every table and both families",
    basis: "RTM_GETROUTE, include/uapi/linux/rtnetlink.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Route>>, NotBuilt> {
    Err(NotBuilt)
}
