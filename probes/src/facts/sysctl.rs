//! The sysctls that decide a packet's fate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Sysctls by their name with slashes (`net/ipv4/conf/virbr0/rp_filter`), because device names may
/// hold dots. A name that is absent does not exist on this kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sysctls(pub BTreeMap<String, String>);

/// What a file sets a sysctl to whenever it is applied: at boot, by `sysctl --system`, when a package is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysctlSetting {
    /// The sysctl, with slashes.
    pub name: String,
    /// What it is set to.
    pub value: String,
    /// The file; of several the last, which wins.
    pub path: String,
}

impl Sysctls {
    /// The value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value as a number; `None` if it is absent or not a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// `net/ipv4/conf/DEVICE/KEY` or its IPv6 counterpart, as a number.
    pub fn per_device(&self, ipv6: bool, device: &str, key: &str) -> Option<i64> {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        self.number(&format!("net/{family}/conf/{device}/{key}"))
    }
}
