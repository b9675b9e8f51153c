//! tc filters and classful queueing disciplines that can take or change packets.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::TcHook;

pub(crate) const META: Meta = Meta {
    id: "traffic-control",
    summary: "tc filters and classful queueing disciplines that can take or change packets",
    basis: "RTM_GETQDISC and RTM_GETTFILTER, include/uapi/linux/pkt_cls.h",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<TcHook>>, NotBuilt> {
    Err(NotBuilt)
}
