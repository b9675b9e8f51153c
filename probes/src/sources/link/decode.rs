//! One device from its message.

use super::{kind, port};
use crate::facts::{IfIndex, IfName, Link, Peer, Xdp};
use crate::sources::netlink::{Attribute, Malformed, attributes, body};

const IFLA_XDP_PROG_ID: u16 = 4;
/// `IFLA_XDP_DRV_PROG_ID` and the two after it, with their modes.
const XDP_MODES: [(u16, &str); 3] = [(5, "driver"), (6, "skb"), (7, "hardware")];

/// Decodes `struct ifinfomsg` and its attributes.
pub(super) fn link(message: &[u8]) -> Result<Link, Malformed> {
    let (header, rest) = body::<16>(message)?;
    let [_family, _, h0, h1, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header;
    let hardware = u16::from_ne_bytes([h0, h1]);
    let index = IfIndex(u32::from_ne_bytes([i0, i1, i2, i3]));
    let flags = libc::c_int::from_ne_bytes([f0, f1, f2, f3]);

    let (mut name, mut mac, mut mtu, mut master, mut qdisc, mut group) = (None, None, 0, None, None, 0);
    let (mut lower, mut netns_id) = (None, None);
    let (mut xdp, mut alt_names) = (Vec::new(), Vec::new());
    let mut info = Info::default();
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::IFLA_IFNAME => name = Some(IfName(attribute.text())),
            libc::IFLA_ADDRESS if hardware == libc::ARPHRD_ETHER => mac = attribute.mac(),
            libc::IFLA_MTU => mtu = attribute.u32()?,
            libc::IFLA_MASTER => master = Some(IfIndex(attribute.u32()?)),
            libc::IFLA_QDISC => qdisc = Some(attribute.text()),
            libc::IFLA_GROUP => group = attribute.u32()?,
            libc::IFLA_LINK => lower = Some(IfIndex(attribute.u32()?)),
            libc::IFLA_LINK_NETNSID => netns_id = Some(attribute.i32()?),
            libc::IFLA_XDP => xdp = programs(&attribute)?,
            libc::IFLA_PROP_LIST => {
                for name in attribute.nested() {
                    let name = name?;
                    if name.kind == libc::IFLA_ALT_IFNAME {
                        alt_names.push(name.text());
                    }
                }
            }
            libc::IFLA_LINKINFO => info = Info::read(&attribute)?,
            _ => {}
        }
    }
    Ok(Link {
        index,
        name: name.ok_or(Malformed::Absent { kind: libc::IFLA_IFNAME })?,
        kind: kind::link_kind(info.kind.as_deref(), info.data, hardware)?,
        mac,
        mac_fixed: None,
        up: flags & libc::IFF_UP != 0,
        carrier: flags & libc::IFF_LOWER_UP != 0,
        promiscuous: flags & libc::IFF_PROMISC != 0,
        mtu,
        master,
        // A device without a peer names itself, or 0.
        peer: lower
            .filter(|&lower| lower != IfIndex(0) && (lower != index || netns_id.is_some()))
            .map(|index| Peer { index, netns_id }),
        qdisc,
        xdp,
        port: match (info.port_kind.as_deref(), info.port_data) {
            (Some("bridge"), Some(data)) => Some(port::bridge_port(&data)?),
            _ => None,
        },
        alt_names,
        group,
    })
}

/// `IFLA_LINKINFO`: what the device's kind and its master's kind say of it.
#[derive(Default)]
struct Info<'a> {
    kind: Option<String>,
    data: Option<Attribute<'a>>,
    port_kind: Option<String>,
    port_data: Option<Attribute<'a>>,
}

impl<'a> Info<'a> {
    fn read(attribute: &Attribute<'a>) -> Result<Self, Malformed> {
        let mut info = Self::default();
        for attribute in attribute.nested() {
            let attribute = attribute?;
            match attribute.kind {
                libc::IFLA_INFO_KIND => info.kind = Some(attribute.text()),
                libc::IFLA_INFO_DATA => info.data = Some(attribute),
                libc::IFLA_INFO_SLAVE_KIND => info.port_kind = Some(attribute.text()),
                libc::IFLA_INFO_SLAVE_DATA => info.port_data = Some(attribute),
                _ => {}
            }
        }
        Ok(info)
    }
}

/// Decodes `IFLA_XDP`. Kernels before 4.19 name one program without its mode.
fn programs(attribute: &Attribute<'_>) -> Result<Vec<Xdp>, Malformed> {
    let (mut programs, mut without_mode) = (Vec::new(), None);
    for attribute in attribute.nested() {
        let attribute = attribute?;
        if let Some((_, mode)) = XDP_MODES.iter().find(|(kind, _)| *kind == attribute.kind) {
            programs.push(Xdp { mode: (*mode).to_owned(), program_id: attribute.u32()? });
        } else if attribute.kind == IFLA_XDP_PROG_ID {
            without_mode = Some(Xdp { mode: "unknown".to_owned(), program_id: attribute.u32()? });
        }
    }
    if programs.is_empty() {
        programs.extend(without_mode);
    }
    Ok(programs)
}
