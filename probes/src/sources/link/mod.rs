//! Network devices with what their kind, their bridge and their master add.

mod decode;
mod kind;
mod port;
#[cfg(test)]
mod tests;
mod vlan;

use std::collections::BTreeMap;
use std::fs;

pub(crate) use port::brport;

use super::netlink::{self, NetlinkError, Socket, put_u32};
use super::{AF_BRIDGE, Context, Meta, Reading};
use crate::facts::{Bridge, BridgePort, IfIndex, Link, LinkKind};

pub(crate) const META: Meta = Meta {
    id: "links",
    summary: "Network devices",
    basis: "RTM_GETLINK, include/uapi/linux/if_link.h and if_bridge.h; /sys/class/net/DEVICE/addr_assign_type",
    since: "0.1.0",
};

/// Every family.
pub(super) const AF_UNSPEC: u8 = 0;
/// `RTEXT_FILTER_SKIP_STATS`: counters are not wanted.
pub(super) const SKIP_STATS: u32 = 1 << 3;
/// `NET_ADDR_SET`: somebody set the MAC (`include/uapi/linux/netdevice.h`).
const NET_ADDR_SET: &str = "3";

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Link>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let dump = socket.dump("network devices", libc::RTM_GETLINK, &request(AF_UNSPEC, SKIP_STATS)).await?;
    let mut links = netlink::decode(&dump, libc::RTM_NEWLINK, |message| decode::link(message).map(Some));
    links.value.sort_by_key(|link| link.index);

    let filter = libc::RTEXT_FILTER_BRVLAN_COMPRESSED.cast_unsigned() | SKIP_STATS;
    let filtering = |link: &Link| matches!(&link.kind, LinkKind::Bridge(Bridge { vlan_filtering: true, .. }));
    if links.value.iter().any(filtering) {
        let dump = socket.dump("bridge VLANs", libc::RTM_GETLINK, &request(AF_BRIDGE, filter)).await?;
        let vlans = netlink::decode(&dump, libc::RTM_NEWLINK, vlan::list);
        links.caveats.extend(vlans.caveats);
        vlan::distribute(&mut links.value, &vlans.value.into_iter().collect::<BTreeMap<_, _>>());
    }
    for link in &mut links.value {
        if let LinkKind::Bridge(_) = link.kind {
            link.mac_fixed = mac_fixed(link);
        }
    }
    Ok(links)
}

/// What a bridge says of this device now; `None` if it is in none.
pub(crate) async fn port_of(index: IfIndex) -> Result<Option<BridgePort>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut request = request(AF_UNSPEC, SKIP_STATS);
    request[4..8].copy_from_slice(&index.0.to_ne_bytes());
    let answer = socket.ask("a network device", libc::RTM_GETLINK, &request).await?;
    let links = netlink::decode(&answer, libc::RTM_NEWLINK, |message| decode::link(message).map(Some));
    Ok(links.value.into_iter().next().and_then(|link: Link| link.port))
}

/// `struct ifinfomsg` of a family, and `IFLA_EXT_MASK`.
pub(super) fn request(family: u8, filter: u32) -> Vec<u8> {
    let mut request = vec![0; 16];
    request[0] = family;
    put_u32(&mut request, libc::IFLA_EXT_MASK, filter);
    request
}

/// Whether somebody set a bridge's MAC. sysfs can show another network namespace than this one, so
/// it counts only if it has the same index and MAC under the name.
fn mac_fixed(link: &Link) -> Option<bool> {
    let file = |file: &str| {
        let text = fs::read_to_string(format!("/sys/class/net/{}/{file}", link.name)).ok()?;
        Some(text.trim().to_owned())
    };
    let same = file("ifindex")?.parse().ok().map(IfIndex) == Some(link.index)
        && file("address")?.parse().ok() == link.mac;
    if same { Some(file("addr_assign_type")? == NET_ADDR_SET) } else { None }
}
