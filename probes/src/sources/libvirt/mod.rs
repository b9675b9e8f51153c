//! libvirt's networks, domains and filters.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::Libvirt;

pub(crate) const META: Meta = Meta {
    id: "libvirt",
    summary: "libvirt's networks, domains and filters",
    basis: "https://libvirt.org/html/index.html",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Libvirt>, NotBuilt> {
    Err(NotBuilt)
}
