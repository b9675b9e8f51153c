//! The VLANs of bridges and their ports (`IFLA_AF_SPEC` of an `AF_BRIDGE` link message).

use std::collections::BTreeMap;

use crate::facts::{Bridge, IfIndex, Link, LinkKind, PortVlan, VlanId};
use crate::sources::netlink::{Malformed, attributes, body};

const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
/// `BRIDGE_VLAN_INFO_*`, `include/uapi/linux/if_bridge.h`.
const PVID: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;
const LAST_VLAN: u16 = 4094;

/// The VLANs of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vlans {
    pvid: Option<VlanId>,
    list: Vec<PortVlan>,
}

/// Decodes `struct ifinfomsg` of family `AF_BRIDGE` and its VLANs. A message without any says
/// nothing: devices that are switches themselves send another for the same index.
pub(super) fn list(message: &[u8]) -> Result<Option<(IfIndex, Vlans)>, Malformed> {
    let (header, rest) = body::<16>(message)?;
    let [_, _, _, _, i0, i1, i2, i3, ..] = *header;
    let mut vlans = Vlans::default();
    let mut begin = None;
    for attribute in attributes(rest) {
        let attribute = attribute?;
        if attribute.kind != libc::IFLA_AF_SPEC {
            continue;
        }
        for info in attribute.nested() {
            let info = info?;
            if info.kind != IFLA_BRIDGE_VLAN_INFO {
                continue;
            }
            let (flags, id) = info.pair16()?;
            if id == 0 || id > LAST_VLAN {
                return Err(Malformed::Field { field: "VLAN", value: id.into() });
            }
            if flags & RANGE_BEGIN != 0 {
                begin = Some(id);
                continue;
            }
            let first = if flags & RANGE_END == 0 { id } else { begin.take().unwrap_or(id) };
            if flags & PVID != 0 {
                vlans.pvid = Some(VlanId(id));
            }
            let untagged = flags & UNTAGGED != 0;
            vlans.list.extend((first..=id).map(|id| PortVlan { id: VlanId(id), untagged }));
        }
    }
    let index = IfIndex(u32::from_ne_bytes([i0, i1, i2, i3]));
    Ok((!vlans.list.is_empty()).then_some((index, vlans)))
}

/// Gives the VLANs to the bridges that filter by VLAN and to their ports. The kernel keeps lists for
/// other bridges too, without effect.
pub(super) fn distribute(links: &mut [Link], vlans: &BTreeMap<IfIndex, Vlans>) {
    let filtering: Vec<_> = links
        .iter()
        .filter(|link| matches!(&link.kind, LinkKind::Bridge(Bridge { vlan_filtering: true, .. })))
        .map(|link| link.index)
        .collect();
    for link in links {
        let Some(Vlans { pvid, list }) = vlans.get(&link.index) else { continue };
        if let LinkKind::Bridge(bridge) = &mut link.kind
            && bridge.vlan_filtering
        {
            (bridge.pvid, bridge.vlans) = (*pvid, list.clone());
        }
        if let Some(port) = &mut link.port
            && link.master.is_some_and(|master| filtering.contains(&master))
        {
            (port.pvid, port.vlans) = (*pvid, list.clone());
        }
    }
}
