//! nf_tables of every family.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Table;

pub(crate) const META: Meta = Meta {
    id: "nf-tables",
    summary: "nf_tables of every family",
    basis: "NFNL_SUBSYS_NFTABLES, include/uapi/linux/netfilter/nf_tables.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Table>>, NotBuilt> {
    Err(NotBuilt)
}
