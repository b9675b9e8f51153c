//! MAC tables of bridges and devices.

use super::netlink::{Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{AF_BRIDGE, Context, Meta, Reading};
use crate::facts::{FdbEntry, IfIndex, VlanId};

pub(crate) const META: Meta = Meta {
    id: "fdb",
    summary: "MAC tables of bridges and devices",
    basis: "RTM_GETNEIGH of AF_BRIDGE, net/bridge/br_fdb.c",
    since: "0.1.0",
};

const NTF_STICKY: u8 = 0x40;
const NDA_FLAGS_EXT: u16 = 15;
/// `NTF_*` in the order of their bits; those with a field of their own in [`FdbEntry`] are empty.
const FLAGS: [&str; 8] = ["use", "", "", "proxy", "", "offloaded", "", "router"];
/// `NTF_EXT_*` in the order of their bits.
const EXTENDED: [&str; 3] = ["managed", "locked", "validated"];

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<FdbEntry>>, NetlinkError> {
    let mut request = [0; 12];
    request[0] = AF_BRIDGE;
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let dump = socket.dump("MAC tables", libc::RTM_GETNEIGH, &request).await?;
    Ok(decode(&dump, libc::RTM_NEWNEIGH, one))
}

/// Decodes `struct ndmsg` of family `AF_BRIDGE` and its attributes.
fn one(message: &[u8]) -> Result<Option<FdbEntry>, Malformed> {
    let ([family, _, _, _, i0, i1, i2, i3, s0, s1, flags, _], rest) = body::<12>(message)?;
    if *family != AF_BRIDGE {
        return Ok(None);
    }
    let (mut mac, mut vlan, mut bridge, mut extended) = (None, None, None, 0);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::NDA_LLADDR => mac = Some(attribute.mac().ok_or_else(|| attribute.wrong("6"))?),
            libc::NDA_VLAN => vlan = Some(VlanId(attribute.u16()?)),
            libc::NDA_MASTER => bridge = Some(IfIndex(attribute.u32()?)),
            NDA_FLAGS_EXT => extended = attribute.u32()?,
            _ => {}
        }
    }
    let state = u16::from_ne_bytes([*s0, *s1]);
    Ok(Some(FdbEntry {
        mac: mac.ok_or(Malformed::Absent { kind: libc::NDA_LLADDR })?,
        port: IfIndex(u32::from_ne_bytes([*i0, *i1, *i2, *i3])),
        bridge,
        vlan,
        permanent: state & libc::NUD_PERMANENT != 0,
        is_static: state & libc::NUD_NOARP != 0,
        own: flags & libc::NTF_SELF != 0,
        extern_learned: flags & libc::NTF_EXT_LEARNED != 0,
        sticky: flags & NTF_STICKY != 0,
        other_flags: super::flags((*flags).into(), &FLAGS)
            .filter(|name| !name.is_empty())
            .chain(super::flags(extended, &EXTENDED))
            .collect(),
    }))
}
