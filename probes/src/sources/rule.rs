//! Policy routing rules of both families.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::RoutingRule;

pub(crate) const META: Meta = Meta {
    id: "rules",
    summary: "Policy routing rules of both families",
    basis: "RTM_GETRULE, include/uapi/linux/fib_rules.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<RoutingRule>>, NotBuilt> {
    Err(NotBuilt)
}
