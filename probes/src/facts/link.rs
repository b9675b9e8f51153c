//! Network devices, and what a bridge says of its ports.

use serde::{Deserialize, Serialize};

use super::{IfIndex, IfName, Mac, VlanId};

/// A network device, as rtnetlink describes it (`RTM_NEWLINK`, `include/uapi/linux/if_link.h`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its index.
    pub index: IfIndex,
    /// Its name.
    pub name: IfName,
    /// What it is, with what only that kind has.
    pub kind: LinkKind,
    /// Its Ethernet address, if it is an Ethernet device.
    pub mac: Option<Mac>,
    /// Bridges only: the administrator chose the MAC (`addr_assign_type`); an unchosen one moves with
    /// the bridge's ports. `None` where it cannot be read.
    pub mac_fixed: Option<bool>,
    /// `IFF_UP`: the administrator switched it on.
    pub up: bool,
    /// `IFF_LOWER_UP`: there is a carrier.
    pub carrier: bool,
    /// `IFF_PROMISC`.
    pub promiscuous: bool,
    /// The largest packet, in bytes, that it sends.
    pub mtu: u32,
    /// The bridge, bond or VRF that it is enslaved to.
    pub master: Option<IfIndex>,
    /// The other end (veth), the lower device (VLAN, macvlan), if any.
    pub peer: Option<Peer>,
    /// Its root queueing discipline.
    pub qdisc: Option<String>,
    /// Attached XDP programs.
    pub xdp: Vec<Xdp>,
    /// What the bridge says of it, if it is a bridge's port.
    pub port: Option<BridgePort>,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alt_names: Vec<String>,
    /// The group it belongs to, 0 by default; rules can ask for it.
    #[serde(default)]
    pub group: u32,
}

/// `IFLA_LINK` and the namespace in which that index counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The peer's index in its own namespace.
    pub index: IfIndex,
    /// The namespace's id as seen from here; `None`: this one.
    pub netns_id: Option<i32>,
}

/// An attached XDP program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xdp {
    /// `skb`, `driver` or `hardware`.
    pub mode: String,
    /// The program's id.
    pub program_id: u32,
}

/// What a network device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LinkKind {
    /// A device without `IFLA_INFO_KIND`: hardware, or what presents itself as such.
    Physical,
    /// The loopback device.
    Loopback,
    /// A bridge.
    Bridge(Bridge),
    /// A tun or tap device.
    Tun(Tun),
    /// One end of a veth pair.
    Veth,
    /// An 802.1Q or 802.1ad sub-device.
    Vlan {
        /// The VLAN.
        id: VlanId,
        /// The `EtherType`: 0x8100 or 0x88a8.
        protocol: u16,
    },
    /// A VXLAN tunnel end.
    Vxlan {
        /// The network identifier.
        vni: u32,
    },
    /// A macvlan device.
    Macvlan {
        /// Which of its siblings it reaches.
        mode: MacvlanMode,
    },
    /// A macvtap device: a guest's NIC straight on a lower device.
    Macvtap {
        /// Which of its siblings it reaches.
        mode: MacvlanMode,
    },
    /// A bond.
    Bond,
    /// A dummy device.
    Dummy,
    /// A `WireGuard` tunnel.
    Wireguard,
    /// An intermediate functional block.
    Ifb,
    /// A VRF.
    Vrf {
        /// Its routing table.
        table: u32,
    },
    /// Any other kind, by the kernel's name for it.
    Other {
        /// `IFLA_INFO_KIND`.
        kind: String,
    },
}

/// `IFLA_MACVLAN_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    /// Isolated from its siblings.
    Private,
    /// Siblings are reached over an outside switch.
    Vepa,
    /// Siblings are reached directly.
    Bridge,
    /// The lower device belongs to this one alone.
    Passthrough,
    /// By a list of source addresses.
    Source,
    /// A mode that this version does not know.
    Unknown(u32),
}

/// What only a tun or tap device has (`IFLA_TUN_*`).
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own switches, one each")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tun {
    /// Ethernet frames (`tap`) rather than IP packets (`tun`).
    pub tap: bool,
    /// It outlives the process that opened it.
    pub persistent: bool,
    /// It has several queues.
    pub multi_queue: bool,
    /// Frames carry a virtio-net header.
    pub vnet_header: bool,
    /// The user who may open it.
    pub owner: Option<u32>,
}

/// A bridge's own attributes (`IFLA_BR_*`).
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own switches, one each")]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Spanning tree: 0 off, 1 in the kernel, 2 by a daemon.
    pub stp: u32,
    /// Time in listening and in learning each, in hundredths of a second.
    pub forward_delay_cs: u32,
    /// How long a learned MAC is kept, in hundredths of a second.
    pub ageing_cs: u32,
    /// Frames are filtered by VLAN.
    pub vlan_filtering: bool,
    /// The VLAN of untagged frames on new ports.
    pub default_pvid: Option<VlanId>,
    /// IGMP and MLD snooping.
    pub multicast_snooping: bool,
    /// Bridged frames pass the IPv4 netfilter hooks, whatever the sysctl says.
    pub nf_call_iptables: bool,
    /// The same for IPv6.
    pub nf_call_ip6tables: bool,
    /// The same for ARP.
    pub nf_call_arptables: bool,
    /// Link-local groups (01:80:c2:00:00:0X) that are forwarded, one bit each.
    pub group_fwd_mask: u16,
    /// Learned entries are refused when the table is full; 0 is no limit.
    pub fdb_max_learned: u32,
    /// The VLAN of untagged frames that the host itself sends into the bridge.
    #[serde(default)]
    pub pvid: Option<VlanId>,
    /// The VLANs that the host itself takes part in; empty unless the bridge filters by VLAN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<PortVlan>,
}

/// `IFLA_BRPORT_STATE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// Takes no part: no carrier, device down, or switched off.
    Disabled,
    /// Spanning tree listens before it learns.
    Listening,
    /// Spanning tree learns before it forwards.
    Learning,
    /// Forwards frames.
    Forwarding,
    /// Blocked by spanning tree.
    Blocking,
    /// A state that this version does not know.
    Unknown(u8),
}

/// What a bridge says of one port (`IFLA_BRPORT_*`).
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own switches, one each")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgePort {
    /// Its state.
    pub state: PortState,
    /// Sends to ports that are not isolated only.
    pub isolated: bool,
    /// Frames may leave by the port that they came in by.
    pub hairpin: bool,
    /// Learns source MACs.
    pub learning: bool,
    /// Frames to unknown MACs are flooded to it.
    pub unicast_flood: bool,
    /// Multicast frames are flooded to it.
    pub multicast_flood: bool,
    /// Broadcast frames are flooded to it.
    pub broadcast_flood: bool,
    /// BPDUs are refused.
    pub guard: bool,
    /// ARP and NDP are answered for known neighbours.
    pub neigh_suppress: bool,
    /// Only MACs that the table holds for this port may send.
    pub locked: bool,
    /// The VLAN of untagged frames.
    pub pvid: Option<VlanId>,
    /// The VLANs that may pass; empty unless the bridge filters by VLAN.
    pub vlans: Vec<PortVlan>,
}

/// One VLAN on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortVlan {
    /// The VLAN.
    pub id: VlanId,
    /// Frames leave without a tag.
    pub untagged: bool,
}

/// Something that tc attached to a device and that can take or change packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcHook {
    /// On which device.
    pub device: IfIndex,
    /// `ingress`, `egress`, or the handle of its parent.
    pub parent: String,
    /// The classifier's or discipline's name: `bpf`, `u32`, `flower`, `netem`, …
    pub kind: String,
    /// A program's name, and the actions: `gact drop`, `csum`, `mirred egress redirect to device 7`.
    /// A filter without any only sorts packets into classes, unless it is a program.
    pub detail: Option<String>,
}
