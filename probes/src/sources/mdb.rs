//! Multicast groups that bridges learned.

use std::net::IpAddr;

use super::netlink::{Attribute, Malformed, NetlinkError, Socket, attributes, body, decode_any};
use super::{AF_BRIDGE, Context, Meta, Reading};
use crate::facts::{IfIndex, MdbEntry, VlanId};

pub(crate) const META: Meta = Meta {
    id: "mdb",
    summary: "Multicast groups that bridges learned",
    basis: "RTM_GETMDB, net/bridge/br_mdb.c",
    since: "0.1.0",
};

const MDBA_MDB: u16 = 1;
const MDBA_MDB_ENTRY: u16 = 1;
const MDBA_MDB_ENTRY_INFO: u16 = 1;
const MDB_PERMANENT: u8 = 1;

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<MdbEntry>>, NetlinkError> {
    // struct br_port_msg: the family and a device's index.
    let request = [AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0];
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    match socket.dump("multicast groups of bridges", libc::RTM_GETMDB, &request).await {
        // Bridges answer with the type of the question, VXLAN devices with that of an answer.
        Ok(dump) => {
            let Reading { value, caveats } = decode_any(&dump, &[libc::RTM_GETMDB, libc::RTM_NEWMDB], |message| one(message).map(Some));
            Ok(Reading { value: value.into_iter().flatten().collect(), caveats })
        }
        // A kernel without multicast snooping, or without a bridge.
        Err(error) if error.is_unsupported() => Ok(Vec::new().into()),
        Err(error) => Err(error),
    }
}

/// Decodes `struct br_port_msg` and the groups of that bridge.
fn one(message: &[u8]) -> Result<Vec<MdbEntry>, Malformed> {
    let ([_, _, _, _, index @ ..], rest) = body::<8>(message)?;
    let bridge = IfIndex(u32::from_ne_bytes(*index));
    let mut entries = Vec::new();
    for group in nested(attributes(rest), MDBA_MDB)? {
        for entry in nested(group.nested(), MDBA_MDB_ENTRY)? {
            for info in nested(entry.nested(), MDBA_MDB_ENTRY_INFO)? {
                entries.push(entry_info(bridge, info.value)?);
            }
        }
    }
    Ok(entries)
}

/// The attributes of one kind.
fn nested<'a>(
    attributes: impl Iterator<Item = Result<Attribute<'a>, Malformed>>,
    kind: u16,
) -> Result<Vec<Attribute<'a>>, Malformed> {
    attributes.filter(|attribute| attribute.as_ref().map_or(true, |attribute| attribute.kind == kind)).collect()
}

/// Decodes `struct br_mdb_entry`.
fn entry_info(bridge: IfIndex, bytes: &[u8]) -> Result<MdbEntry, Malformed> {
    let (fixed, _) = body::<28>(bytes)?;
    let [i0, i1, i2, i3, state, _flags, v0, v1, address @ .., p0, p1, _, _] = fixed;
    let vlan = u16::from_ne_bytes([*v0, *v1]);
    let group = match libc::c_int::from(u16::from_be_bytes([*p0, *p1])) {
        libc::ETH_P_IP => {
            let [a, b, c, d, ..] = *address;
            Some(IpAddr::from([a, b, c, d]))
        }
        libc::ETH_P_IPV6 => Some(IpAddr::from(*address)),
        0 => None,
        other => return Err(Malformed::Field { field: "group's protocol", value: other.cast_unsigned() }),
    };
    Ok(MdbEntry {
        bridge,
        port: IfIndex(u32::from_ne_bytes([*i0, *i1, *i2, *i3])),
        group,
        vlan: (vlan != 0).then_some(VlanId(vlan)),
        permanent: *state == MDB_PERMANENT,
    })
}
