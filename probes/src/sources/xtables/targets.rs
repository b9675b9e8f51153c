//! Targets (include/uapi/linux/netfilter/xt_*.h, `nf_nat.h`, `netfilter_ipv4/ipt_REJECT.h`,
//! `netfilter_ipv6/ip6t_REJECT.h`).

use std::net::IpAddr;

use super::ebtables;
use super::fields::Fields;
use crate::facts::{Bytes, Family, RejectWith, XtAction, XtTarget};

/// Decodes a target from the struct that its module keeps.
pub(crate) fn decode_target(family: Family, name: &str, revision: u32, info: &[u8]) -> XtTarget {
    let ebtables = if family == Family::Bridge {
        ebtables::action(name, revision, &mut Fields::new(info))
    } else {
        None
    };
    let action = ebtables
        .or_else(|| action(family, name, revision, &mut Fields::new(info)))
        .unwrap_or_else(|| XtAction::Opaque { data: Bytes(info.to_vec()) });
    XtTarget { name: name.to_owned(), revision, action }
}

fn action(family: Family, name: &str, revision: u32, info: &mut Fields<'_>) -> Option<XtAction> {
    let ipv6 = match family {
        Family::Ip => Some(false),
        Family::Ip6 => Some(true),
        Family::Inet | Family::Arp | Family::Netdev | Family::Bridge => None,
    };
    match (name, revision) {
        ("REJECT", 0) => {
            let with = info.u32()?;
            let with = if ipv6? { reject_v6(with)? } else { reject_v4(with)? };
            info.end(XtAction::Reject { with })
        }
        ("MASQUERADE", 0) => range(ipv6?, 0, info).map(|range| XtAction::Masquerade { ports: range.ports }),
        ("REDIRECT", 0) => range(ipv6?, 0, info).map(|range| XtAction::Redirect { ports: range.ports }),
        ("SNAT", 0..=2) => {
            range(ipv6?, revision, info).map(|Range { addresses, ports }| XtAction::Snat { addresses, ports })
        }
        ("DNAT", 0..=2) => {
            range(ipv6?, revision, info).map(|Range { addresses, ports }| XtAction::Dnat { addresses, ports })
        }
        ("NETMAP", 0) => range(ipv6?, 0, info)?.addresses.map(|addresses| XtAction::Netmap { addresses }),
        ("MARK", 2) => {
            let (mark, mask) = (info.u32()?, info.u32()?);
            info.end(XtAction::SetMark { mark, mask })
        }
        ("CONNMARK", 1 | 2) => {
            let (mark, ct_mask, packet_mask) = (info.u32()?, info.u32()?, info.u32()?);
            if revision == 2 {
                let (_direction, bits) = (info.u8()?, info.u8()?);
                if bits != 0 {
                    return None;
                }
            }
            let mode = info.u8()?;
            info.end(())?;
            (mode <= 2).then_some(XtAction::Connmark { mode, mark, ct_mask, packet_mask })
        }
        ("CT", 0..=2) => {
            let (flags, zone) = (info.u16()?, info.u16()?);
            // Events, helper, timeout policy and the kernel's own pointer.
            info.bytes(if revision == 0 { 24 } else { 56 })?;
            info.u64()?;
            info.end(())?;
            // Zones of one direction or from the mark are more than the fact can say.
            (flags & !3 == 0).then_some(XtAction::Ct { notrack: flags & 3 != 0, zone })
        }
        ("NOTRACK", 0) => info.end(XtAction::Ct { notrack: true, zone: 0 }),
        ("LOG" | "NFLOG", 0) => Some(XtAction::Log),
        ("CHECKSUM" | "TCPMSS" | "CLASSIFY" | "TRACE", 0) | ("AUDIT" | "SECMARK", 0 | 1) => {
            Some(XtAction::Harmless)
        }
        _ => None,
    }
}

/// `enum ipt_reject_with`.
fn reject_v4(with: u32) -> Option<RejectWith> {
    let code = match with {
        0..=3 => u8::try_from(with).ok()?,
        5 => 9,
        6 => 10,
        7 => return Some(RejectWith::TcpReset),
        8 => 13,
        _ => return None,
    };
    Some(RejectWith::Icmp { code })
}

/// `enum ip6t_reject_with`.
fn reject_v6(with: u32) -> Option<RejectWith> {
    let code = match with {
        0..=4 => u8::try_from(with).ok()?,
        6 => return Some(RejectWith::TcpReset),
        7 => 5,
        8 => 6,
        _ => return None,
    };
    Some(RejectWith::Icmp { code })
}

/// To what a NAT target translates; `None`: unchanged.
struct Range {
    addresses: Option<(IpAddr, IpAddr)>,
    ports: Option<(u16, u16)>,
}

/// Revision 0 is `nf_nat_ipv4_multi_range_compat` in IPv4 and `nf_nat_range` in IPv6, revision 1 is
/// `nf_nat_range`, revision 2 is `nf_nat_range2`.
fn range(ipv6: bool, revision: u32, info: &mut Fields<'_>) -> Option<Range> {
    const ADDRESSES: u32 = 1;
    const PORTS: u32 = 2;
    const KNOWN: u32 = 0x7f;

    let compat = revision == 0 && !ipv6;
    if compat && info.u32()? != 1 {
        return None;
    }
    let flags = info.u32()?;
    let addresses = if compat { (info.ipv4()?, info.ipv4()?) } else { (info.inet(ipv6)?, info.inet(ipv6)?) };
    let ports = (info.be16()?, info.be16()?);
    if revision == 2 {
        info.be16()?;
    }
    info.end(())?;
    if flags & !KNOWN != 0 {
        return None;
    }
    Some(Range {
        addresses: (flags & ADDRESSES != 0).then_some(addresses),
        ports: (flags & PORTS != 0).then_some(ports),
    })
}
