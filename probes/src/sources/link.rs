//! Network devices.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Link;

pub(crate) const META: Meta = Meta {
    id: "links",
    summary: "Network devices",
    basis: "RTM_GETLINK, include/uapi/linux/if_link.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Link>>, NotBuilt> {
    Err(NotBuilt)
}
