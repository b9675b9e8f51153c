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

#[cfg(test)]
mod tests {
    use super::super::netlink::{mutations, put};
    use super::*;

    /// `struct br_mdb_entry` for port 3 in VLAN 10.
    fn info(state: u8, address: [u8; 16], protocol: u16) -> Vec<u8> {
        let mut info = 3_u32.to_ne_bytes().to_vec();
        info.extend([state, 0]);
        info.extend(10_u16.to_ne_bytes());
        info.extend(address);
        info.extend(protocol.to_be_bytes());
        info.extend([0, 0]);
        info
    }

    /// A dump's message: bridge 2 with one group for each entry.
    fn message(infos: &[Vec<u8>]) -> Vec<u8> {
        let mut groups = Vec::new();
        for info in infos {
            let mut entry = Vec::new();
            put(&mut entry, MDBA_MDB_ENTRY_INFO, info);
            put(&mut groups, MDBA_MDB_ENTRY, &entry);
        }
        let mut message = vec![AF_BRIDGE, 0, 0, 0];
        message.extend(2_u32.to_ne_bytes());
        put(&mut message, MDBA_MDB, &groups);
        message
    }

    fn address(bytes: &[u8]) -> [u8; 16] {
        let mut address = [0; 16];
        address[..bytes.len()].copy_from_slice(bytes);
        address
    }

    #[test]
    fn groups_are_known_by_family() {
        let ipv6 = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb];
        let entries = one(&message(&[
            info(1, address(&[239, 1, 1, 1]), 0x0800),
            info(0, ipv6, 0x86dd),
            info(0, address(&[1, 0, 0x5e, 0, 0, 1]), 0),
        ]))
        .unwrap();
        let groups: Vec<_> = entries.iter().map(|entry| (entry.group, entry.permanent)).collect();
        let expected =
            [(Some("239.1.1.1".parse().unwrap()), true), (Some("ff02::fb".parse().unwrap()), false), (None, false)];
        assert_eq!(groups, expected);
        for entry in &entries {
            assert_eq!(
                (entry.bridge, entry.port, entry.vlan),
                (IfIndex(2), IfIndex(3), Some(VlanId(10)))
            );
        }
    }

    #[test]
    fn an_unknown_family_is_malformed_and_no_bytes_make_it_panic() {
        let message = message(&[info(0, address(&[]), 0x1234)]);
        assert_eq!(one(&message), Err(Malformed::Field { field: "group's protocol", value: 0x1234 }));
        for bytes in mutations(&message) {
            let _ = one(&bytes);
        }
    }
}
