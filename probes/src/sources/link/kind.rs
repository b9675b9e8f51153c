//! What a device is, from `IFLA_INFO_KIND` and `IFLA_INFO_DATA`.

use crate::facts::{Bridge, LinkKind, MacvlanMode, Tun, VlanId};
use crate::sources::netlink::{Attribute, Malformed};

/// Attributes of the kinds, `include/uapi/linux/if_link.h`.
mod ifla {
    pub(super) const TUN_OWNER: u16 = 1;
    pub(super) const TUN_TYPE: u16 = 3;
    pub(super) const TUN_VNET_HDR: u16 = 5;
    pub(super) const TUN_PERSIST: u16 = 6;
    pub(super) const TUN_MULTI_QUEUE: u16 = 7;

    pub(super) const VLAN_ID: u16 = 1;
    pub(super) const VLAN_PROTOCOL: u16 = 5;
    pub(super) const VXLAN_ID: u16 = 1;
    pub(super) const MACVLAN_MODE: u16 = 1;
    pub(super) const VRF_TABLE: u16 = 1;

    pub(super) const BR_FORWARD_DELAY: u16 = 1;
    pub(super) const BR_AGEING_TIME: u16 = 4;
    pub(super) const BR_STP_STATE: u16 = 5;
    pub(super) const BR_VLAN_FILTERING: u16 = 7;
    pub(super) const BR_GROUP_FWD_MASK: u16 = 9;
    pub(super) const BR_MCAST_SNOOPING: u16 = 23;
    pub(super) const BR_NF_CALL_IPTABLES: u16 = 36;
    pub(super) const BR_NF_CALL_IP6TABLES: u16 = 37;
    pub(super) const BR_NF_CALL_ARPTABLES: u16 = 38;
    pub(super) const BR_VLAN_DEFAULT_PVID: u16 = 39;
    pub(super) const BR_FDB_MAX_LEARNED: u16 = 49;
}

/// `IFF_TAP`, as `IFLA_TUN_TYPE` has it.
const TAP: u8 = 2;
const ETH_P_8021Q: u16 = 0x8100;

/// What a device is. `hardware` is its `ARPHRD_*`.
pub(super) fn link_kind(
    kind: Option<&str>,
    data: Option<Attribute<'_>>,
    hardware: u16,
) -> Result<LinkKind, Malformed> {
    let data = Data::read(data)?;
    Ok(match kind {
        None if hardware == libc::ARPHRD_LOOPBACK => LinkKind::Loopback,
        None => LinkKind::Physical,
        Some("bridge") => LinkKind::Bridge(bridge(&data)?),
        Some("tun") => LinkKind::Tun(Tun {
            tap: data.u8(ifla::TUN_TYPE)? == Some(TAP),
            persistent: data.on(ifla::TUN_PERSIST)?,
            multi_queue: data.on(ifla::TUN_MULTI_QUEUE)?,
            vnet_header: data.on(ifla::TUN_VNET_HDR)?,
            owner: data.u32(ifla::TUN_OWNER)?,
        }),
        Some("veth") => LinkKind::Veth,
        Some("vlan") => LinkKind::Vlan {
            id: VlanId(data.u16(ifla::VLAN_ID)?.ok_or(Malformed::Absent { kind: ifla::VLAN_ID })?),
            protocol: data.be16(ifla::VLAN_PROTOCOL)?.unwrap_or(ETH_P_8021Q),
        },
        Some("vxlan") => LinkKind::Vxlan { vni: data.u32(ifla::VXLAN_ID)?.unwrap_or_default() },
        Some("macvlan") => LinkKind::Macvlan { mode: macvlan_mode(&data)? },
        Some("macvtap") => LinkKind::Macvtap { mode: macvlan_mode(&data)? },
        Some("bond") => LinkKind::Bond,
        Some("dummy") => LinkKind::Dummy,
        Some("wireguard") => LinkKind::Wireguard,
        Some("ifb") => LinkKind::Ifb,
        Some("vrf") => LinkKind::Vrf {
            table: data.u32(ifla::VRF_TABLE)?.ok_or(Malformed::Absent { kind: ifla::VRF_TABLE })?,
        },
        Some(other) => LinkKind::Other { kind: other.to_owned() },
    })
}

fn bridge(data: &Data<'_>) -> Result<Bridge, Malformed> {
    Ok(Bridge {
        stp: data.u32(ifla::BR_STP_STATE)?.unwrap_or_default(),
        forward_delay_cs: data.u32(ifla::BR_FORWARD_DELAY)?.unwrap_or_default(),
        ageing_cs: data.u32(ifla::BR_AGEING_TIME)?.unwrap_or_default(),
        vlan_filtering: data.on(ifla::BR_VLAN_FILTERING)?,
        default_pvid: data.u16(ifla::BR_VLAN_DEFAULT_PVID)?.filter(|&id| id != 0).map(VlanId),
        multicast_snooping: data.on(ifla::BR_MCAST_SNOOPING)?,
        nf_call_iptables: data.on(ifla::BR_NF_CALL_IPTABLES)?,
        nf_call_ip6tables: data.on(ifla::BR_NF_CALL_IP6TABLES)?,
        nf_call_arptables: data.on(ifla::BR_NF_CALL_ARPTABLES)?,
        group_fwd_mask: data.u16(ifla::BR_GROUP_FWD_MASK)?.unwrap_or_default(),
        fdb_max_learned: data.u32(ifla::BR_FDB_MAX_LEARNED)?.unwrap_or_default(),
        // Told by another dump.
        pvid: None,
        vlans: Vec::new(),
    })
}

/// `IFLA_MACVLAN_MODE`.
fn macvlan_mode(data: &Data<'_>) -> Result<MacvlanMode, Malformed> {
    Ok(match data.u32(ifla::MACVLAN_MODE)?.unwrap_or_default() {
        1 => MacvlanMode::Private,
        2 => MacvlanMode::Vepa,
        4 => MacvlanMode::Bridge,
        8 => MacvlanMode::Passthrough,
        16 => MacvlanMode::Source,
        other => MacvlanMode::Unknown(other),
    })
}

/// `IFLA_INFO_DATA`, by attribute.
struct Data<'a>(Vec<Attribute<'a>>);

impl<'a> Data<'a> {
    fn read(data: Option<Attribute<'a>>) -> Result<Self, Malformed> {
        data.iter().flat_map(Attribute::nested).collect::<Result<_, _>>().map(Self)
    }

    fn find(&self, kind: u16) -> Option<&Attribute<'a>> {
        self.0.iter().find(|attribute| attribute.kind == kind)
    }

    fn u8(&self, kind: u16) -> Result<Option<u8>, Malformed> {
        self.find(kind).map(Attribute::u8).transpose()
    }

    fn u16(&self, kind: u16) -> Result<Option<u16>, Malformed> {
        self.find(kind).map(Attribute::u16).transpose()
    }

    fn be16(&self, kind: u16) -> Result<Option<u16>, Malformed> {
        self.find(kind).map(Attribute::be16).transpose()
    }

    fn u32(&self, kind: u16) -> Result<Option<u32>, Malformed> {
        self.find(kind).map(Attribute::u32).transpose()
    }

    /// A switch; off where the kernel does not know it.
    fn on(&self, kind: u16) -> Result<bool, Malformed> {
        Ok(self.u8(kind)?.is_some_and(|value| value != 0))
    }
}
