//! Tables of iptables-legacy and ip6tables-legacy.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Table;

pub(crate) const META: Meta = Meta {
    id: "xtables-legacy",
    summary: "Tables of iptables-legacy and ip6tables-legacy",
    basis: "IPT_SO_GET_ENTRIES, include/uapi/linux/netfilter_ipv4/ip_tables.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Table>>, NotBuilt> {
    Err(NotBuilt)
}
