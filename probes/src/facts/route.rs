//! Addresses, routes, policy rules and neighbours.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{IfIndex, IfName, Mac};

/// An address of a device (`RTM_NEWADDR`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The device.
    pub device: IfIndex,
    /// The address and the prefix that is directly reachable through it.
    pub net: IpNet,
    /// The far end of a point-to-point link, if there is one: the prefix is then around it.
    pub peer: Option<IpAddr>,
    /// `RT_SCOPE_*` by name: `global`, `link`, `host`, or the number.
    pub scope: String,
    /// `IFA_F_*` by name: `secondary`, `tentative`, `dadfailed`, `deprecated`, `noprefixroute`, …
    pub flags: Vec<String>,
}

/// `RTN_*`: what a matching route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// Sends the packet on.
    Unicast,
    /// Takes it up on this host.
    Local,
    /// Takes it up, sends as link broadcast.
    Broadcast,
    /// Takes it up by any member.
    Anycast,
    /// Multicast.
    Multicast,
    /// Drops it in silence.
    Blackhole,
    /// Drops it with ICMP host unreachable.
    Unreachable,
    /// Drops it with ICMP administratively prohibited.
    Prohibit,
    /// Leaves this table; the next policy rule decides.
    Throw,
    /// A kind that this version does not know.
    Unknown(u8),
}

/// A route (`RTM_NEWROUTE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The table: 254 main, 255 local, 253 default.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The destinations; the family's zero prefix for a default route.
    pub destination: IpNet,
    /// IPv6 source prefix, if the route asks for one.
    pub source: Option<IpNet>,
    /// IPv4 type of service that it asks for, 0: any.
    pub tos: u8,
    /// The lower wins.
    pub metric: u32,
    /// The source address that the host prefers.
    pub preferred_source: Option<IpAddr>,
    /// `RTPROT_*`: who made it (2 kernel, 3 boot, 4 static, 9 ra, 16 dhcp, …).
    pub protocol: u8,
    /// `RT_SCOPE_*`: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// Where to; several for multipath; none for kinds that drop.
    pub next_hops: Vec<NextHop>,
    /// `RTAX_MTU`, if the route sets one.
    pub mtu: Option<u32>,
    /// The nexthop object that it uses, if any.
    pub nexthop_id: Option<u32>,
}

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHop {
    /// The device.
    pub device: Option<IfIndex>,
    /// The router; `None`: the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Its share among several, 1 by default.
    pub weight: u16,
    /// `RTNH_F_*` by name: `dead`, `linkdown`, `onlink`, …
    pub flags: Vec<String>,
}

/// `FR_ACT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// Looks the packet up in `table`.
    Lookup {
        /// The table.
        table: u32,
    },
    /// Goes on at the rule with this priority.
    Goto {
        /// The priority.
        priority: u32,
    },
    /// Does nothing.
    Nop,
    /// Drops in silence.
    Blackhole,
    /// Drops with ICMP unreachable.
    Unreachable,
    /// Drops with ICMP prohibited.
    Prohibit,
    /// An action that this version does not know.
    Unknown(u8),
}

/// A policy routing rule (`RTM_NEWRULE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// The lower is asked first.
    pub priority: u32,
    /// What it does with packets that it selects.
    pub action: RuleAction,
    /// The selectors are inverted (`not`).
    pub invert: bool,
    /// Source prefix.
    pub source: Option<IpNet>,
    /// Destination prefix.
    pub destination: Option<IpNet>,
    /// Device that the packet came in by (`lo`: from this host).
    pub input_device: Option<IfName>,
    /// Device that a socket is bound to.
    pub output_device: Option<IfName>,
    /// Mark and mask.
    pub mark: Option<(u32, u32)>,
    /// IPv4 type of service or IPv6 traffic class, 0: any.
    pub tos: u8,
    /// IP protocol.
    pub ip_protocol: Option<u8>,
    /// First and last source port.
    pub source_ports: Option<(u16, u16)>,
    /// First and last destination port.
    pub destination_ports: Option<(u16, u16)>,
    /// First and last user id of the sending socket.
    pub uids: Option<(u32, u32)>,
    /// The table's answer is discarded when its prefix is this long or shorter.
    pub suppress_prefix_length: Option<u32>,
    /// The table's answer is discarded when its device is in this group.
    pub suppress_group: Option<u32>,
    /// Selects by the VRF that the device belongs to (`l3mdev`).
    pub l3mdev: bool,
    /// Attributes that this version does not know: the rule's effect is unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<String>,
}

/// An entry of a neighbour table (`RTM_NEWNEIGH`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The device.
    pub device: IfIndex,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its MAC, if it is resolved.
    pub mac: Option<Mac>,
    /// `NUD_*` by name: `reachable`, `stale`, `failed`, `permanent`, …
    pub state: String,
    /// Answered on behalf of another (`NTF_PROXY`).
    pub proxy: bool,
}
