//! How bridges are configured to come back after a reboot.

use super::{Context, Meta, NotBuilt, Reading};
use crate::facts::BridgeConfigFile;

pub(crate) const META: Meta = Meta {
    id: "bridge-config",
    summary: "How bridges are configured to come back after a reboot",
    basis: "the configuration formats of NetworkManager, systemd-networkd, netplan, ifupdown, ifcfg",
    since: "0.1.0",
};

/// Reads the source.
#[expect(clippy::unused_async, reason = "the reader is still to come")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<BridgeConfigFile>>, NotBuilt> {
    Err(NotBuilt)
}
