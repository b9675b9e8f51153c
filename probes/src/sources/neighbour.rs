//! Neighbour tables of both families, with the addresses that are answered for others.

use super::netlink::{Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{Context, FAMILIES, Meta, Reading};
use crate::facts::{IfIndex, Mac, Neighbour};

pub(crate) const META: Meta = Meta {
    id: "neighbours",
    summary: "Neighbour tables of both families",
    basis: "RTM_GETNEIGH, include/uapi/linux/neighbour.h",
    since: "0.1.0",
};

/// `NUD_*` in the order of their bits.
const STATES: [&str; 8] =
    ["incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"];

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Neighbour>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut reading = Reading::from(Vec::new());
    for (family, name) in FAMILIES {
        // Proxy entries are in a table of their own (net/core/neighbour.c, neigh_dump_info).
        for (flags, object) in [(0, "neighbours"), (libc::NTF_PROXY, "proxied neighbours")] {
            let request = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0];
            let dump = socket.dump(format!("{name} {object}"), libc::RTM_GETNEIGH, &request).await?;
            reading.append(decode(&dump, libc::RTM_NEWNEIGH, |message| one(family, message)));
        }
    }
    Ok(reading)
}

/// Decodes `struct ndmsg` and its attributes.
fn one(asked: u8, message: &[u8]) -> Result<Option<Neighbour>, Malformed> {
    let ([family, _, _, _, i0, i1, i2, i3, s0, s1, flags, _], rest) = body::<12>(message)?;
    if *family != asked {
        return Ok(None);
    }
    let (mut address, mut mac) = (None, None);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::NDA_DST => address = Some(attribute.ip()?),
            libc::NDA_LLADDR => mac = attribute.mac(),
            _ => {}
        }
    }
    let state: Vec<_> = super::flags(u16::from_ne_bytes([*s0, *s1]).into(), &STATES).collect();
    Ok(Some(Neighbour {
        device: IfIndex(u32::from_ne_bytes([*i0, *i1, *i2, *i3])),
        address: address.ok_or(Malformed::Absent { kind: libc::NDA_DST })?,
        // The kernel sends an old or a zero address for an entry that was never resolved.
        mac: mac.filter(|&mac| mac != Mac([0; 6])),
        state: if state.is_empty() { "none".to_owned() } else { state.join(" ") },
        proxy: flags & libc::NTF_PROXY != 0,
    }))
}
