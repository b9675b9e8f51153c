//! Addresses of both families.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Address;

pub(crate) const META: Meta = Meta {
    id: "addresses",
    summary: "Addresses of both families",
    basis: "RTM_GETADDR, include/uapi/linux/if_addr.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Address>>, NotBuilt> {
    Err(NotBuilt)
}
