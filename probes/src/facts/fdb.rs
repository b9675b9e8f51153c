//! MAC tables and multicast groups of bridges.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{IfIndex, Mac, VlanId};

/// One entry of a MAC table (`RTM_NEWNEIGH` of family `AF_BRIDGE`).
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own flags, one each")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbEntry {
    /// The address.
    pub mac: Mac,
    /// The port behind which it lies.
    pub port: IfIndex,
    /// The bridge, unless the entry is the device's own.
    pub bridge: Option<IfIndex>,
    /// The VLAN, if the bridge filters by VLAN.
    pub vlan: Option<VlanId>,
    /// `NUD_PERMANENT`: the bridge's or port's own address; frames to it go up the stack.
    pub permanent: bool,
    /// `NUD_NOARP`: set by hand, never aged.
    pub is_static: bool,
    /// `NTF_SELF`: the device's own table, not the bridge's.
    pub own: bool,
    /// `NTF_EXT_LEARNED`: set by a control plane.
    pub extern_learned: bool,
    /// `NTF_STICKY`: does not move to another port.
    pub sticky: bool,
    /// `NTF_EXT_LOCKED` or `NTF_OFFLOADED` and the like, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_flags: Vec<String>,
}

/// A multicast group that a bridge forwards to one port only (`RTM_NEWMDB`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MdbEntry {
    /// The bridge.
    pub bridge: IfIndex,
    /// The port that joined.
    pub port: IfIndex,
    /// The group; `None` if it is a MAC group.
    pub group: Option<IpAddr>,
    /// The VLAN, if the bridge filters by VLAN.
    pub vlan: Option<VlanId>,
    /// Set by hand.
    pub permanent: bool,
}
