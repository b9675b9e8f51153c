//! Who listens on the DHCP and DNS ports.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Listener;

pub(crate) const META: Meta = Meta {
    id: "listeners",
    summary: "Who listens on the DHCP and DNS ports",
    basis: "/proc/net/udp and its like, /proc/PID/fd",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Listener>>, NotBuilt> {
    Err(NotBuilt)
}
