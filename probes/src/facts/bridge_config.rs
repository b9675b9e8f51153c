//! How bridges are configured to come back after a reboot.

use serde::{Deserialize, Serialize};

use super::IfName;

/// One bridge or bridge port as one configuration file declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeConfigFile {
    /// Whose file it is.
    pub format: BridgeConfigFormat,
    /// The file's path.
    pub path: String,
    /// The bridge that it declares or joins.
    pub bridge: IfName,
    /// The ports that it declares; a pattern or MAC in the file stands for the devices that have it
    /// now.
    pub ports: Vec<IfName>,
    /// Whether the bridge comes up by itself at boot.
    pub at_boot: bool,
}

/// The formats that kvmnet reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeConfigFormat {
    /// NetworkManager's keyfiles.
    NetworkManager,
    /// systemd-networkd's .netdev and .network files.
    SystemdNetworkd,
    /// netplan's YAML.
    Netplan,
    /// Debian's /etc/network/interfaces.
    Ifupdown,
    /// Red Hat's ifcfg files.
    Ifcfg,
}
