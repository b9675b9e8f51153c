//! Addresses of both families.

use ipnet::IpNet;

use super::netlink::{Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{Context, FAMILIES, Meta, Reading};
use crate::facts::{Address, IfIndex};

pub(crate) const META: Meta = Meta {
    id: "addresses",
    summary: "Addresses of both families",
    basis: "RTM_GETADDR, include/uapi/linux/if_addr.h",
    since: "0.1.0",
};

/// `IFA_F_*` in the order of their bits. The first is called `temporary` for IPv6.
const FLAGS: [&str; 12] = [
    "secondary",
    "nodad",
    "optimistic",
    "dadfailed",
    "homeaddress",
    "deprecated",
    "tentative",
    "permanent",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "stable-privacy",
];

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Address>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut reading = Reading::from(Vec::new());
    for (family, name) in FAMILIES {
        let request = [family, 0, 0, 0, 0, 0, 0, 0];
        let dump = socket.dump(format!("{name} addresses"), libc::RTM_GETADDR, &request).await?;
        reading.append(decode(&dump, libc::RTM_NEWADDR, |message| one(family, message)));
    }
    Ok(reading)
}

/// Decodes `struct ifaddrmsg` and its attributes.
fn one(asked: u8, message: &[u8]) -> Result<Option<Address>, Malformed> {
    let ([family, prefix, flags, scope, i0, i1, i2, i3], rest) = body::<8>(message)?;
    // A kernel without the family answers for all that it has.
    if *family != asked {
        return Ok(None);
    }
    let (mut address, mut local, mut flags) = (None, None, u32::from(*flags));
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::IFA_ADDRESS => address = Some(attribute.ip()?),
            libc::IFA_LOCAL => local = Some(attribute.ip()?),
            libc::IFA_FLAGS => flags = attribute.u32()?,
            _ => {}
        }
    }
    // IFA_ADDRESS is the far end of a point-to-point link, elsewhere the address itself.
    let own = local.or(address).ok_or(Malformed::Absent { kind: libc::IFA_ADDRESS })?;
    let net = IpNet::new(own, *prefix)
        .map_err(|_| Malformed::Field { field: "prefix length", value: u32::from(*prefix) })?;
    Ok(Some(Address {
        device: IfIndex(u32::from_ne_bytes([*i0, *i1, *i2, *i3])),
        net,
        peer: address.filter(|&address| address != own),
        scope: super::scope(*scope),
        flags: super::flags(flags, &FLAGS)
            .map(|name| if name == "secondary" && own.is_ipv6() { "temporary".to_owned() } else { name })
            .collect(),
    }))
}
