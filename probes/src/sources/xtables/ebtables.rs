//! Matches and targets of ebtables (`include/uapi/linux/netfilter_bridge/ebt_*.h`).

use super::fields::Fields;
use crate::facts::{Masked, Test, Verdict, XtAction, XtTest};

/// The test of a match that only ebtables has.
pub(super) fn test(name: &str, revision: u32, info: &mut Fields<'_>) -> Option<XtTest> {
    match (name, revision) {
        ("ip", 0) => ip(info),
        ("ip6", 0) => ip6(info),
        ("arp", 0) => arp(info),
        ("mark_m", 0) => {
            let (mark, mask) = (info.long()?, info.long()?);
            let (invert, how) = (info.u8()? != 0, info.u8()?);
            let mark = match how {
                // EBT_MARK_AND: the masked mark is this one.
                1 => Test { invert, value: (mark, mask) },
                // EBT_MARK_OR: any of these bits.
                2 => Test { invert: !invert, value: (0, mask) },
                _ => return None,
            };
            info.end(XtTest::Mark { mark })
        }
        ("pkttype", 0) => {
            let (value, invert) = (info.u8()?, info.u8()? != 0);
            info.end(XtTest::Pkttype { packet_type: Test { invert, value } })
        }
        _ => None,
    }
}

/// What is present and what is inverted; the same bits mean the same field in both.
#[derive(Clone, Copy)]
struct Flags {
    present: u8,
    invert: u8,
}

impl Flags {
    fn test<T>(self, bit: u8, value: T) -> Option<Test<T>> {
        (self.present & bit != 0).then_some(Test { invert: self.invert & bit != 0, value })
    }
}

fn ip(info: &mut Fields<'_>) -> Option<XtTest> {
    const IGMP: u8 = 0x80;
    let (source, destination) = (info.ipv4()?, info.ipv4()?);
    let (source_mask, destination_mask) = (info.ipv4()?, info.ipv4()?);
    let (tos, protocol) = (info.u8()?, info.u8()?);
    let flags = Flags { present: info.u8()?, invert: info.u8()? };
    let (first, second) = (info.array()?, info.array()?);
    info.end(())?;
    if flags.present & IGMP != 0 {
        return None;
    }
    Some(XtTest::EbIp {
        source: flags.test(1, Masked { address: source, mask: source_mask }),
        destination: flags.test(2, Masked { address: destination, mask: destination_mask }),
        tos: flags.test(4, tos),
        protocol: flags.test(8, protocol),
        source_ports: flags.test(0x10, ports(first)),
        destination_ports: flags.test(0x20, ports(second)),
        icmp_types: flags.test(0x40, (first[0], first[1], second[0], second[1])),
    })
}

fn ip6(info: &mut Fields<'_>) -> Option<XtTest> {
    const TRAFFIC_CLASS: u8 = 4;
    let (source, destination) = (info.ipv6()?, info.ipv6()?);
    let (source_mask, destination_mask) = (info.ipv6()?, info.ipv6()?);
    let (_, protocol) = (info.u8()?, info.u8()?);
    let flags = Flags { present: info.u8()?, invert: info.u8()? };
    let (first, second) = (info.array()?, info.array()?);
    info.end(())?;
    if flags.present & (TRAFFIC_CLASS | 0x80) != 0 {
        return None;
    }
    Some(XtTest::EbIp6 {
        source: flags.test(1, Masked { address: source, mask: source_mask }),
        destination: flags.test(2, Masked { address: destination, mask: destination_mask }),
        protocol: flags.test(8, protocol),
        source_ports: flags.test(0x10, ports(first)),
        destination_ports: flags.test(0x20, ports(second)),
        icmp_types: flags.test(0x40, (first[0], first[1], second[0], second[1])),
    })
}

/// A range of ports, which shares its bytes with a range of types or codes.
fn ports([a, b, c, d]: [u8; 4]) -> (u16, u16) {
    (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]))
}

fn arp(info: &mut Fields<'_>) -> Option<XtTest> {
    let (hardware, protocol, opcode) = (info.be16()?, info.be16()?, info.be16()?);
    let source = Masked { address: info.ipv4()?, mask: info.ipv4()? };
    let target = Masked { address: info.ipv4()?, mask: info.ipv4()? };
    let source_mac = (info.mac()?, info.mac()?);
    let target_mac = (info.mac()?, info.mac()?);
    let flags = Flags { present: info.u8()?, invert: info.u8()? };
    info.end(XtTest::EbArp {
        opcode: flags.test(1, opcode),
        hardware: flags.test(2, hardware),
        protocol: flags.test(4, protocol),
        source: flags.test(8, source),
        target: flags.test(0x10, target),
        source_mac: flags.test(0x20, source_mac),
        target_mac: flags.test(0x40, target_mac),
        gratuitous: flags.test(0x80, true),
    })
}

/// What a target that only ebtables has does.
pub(super) fn action(name: &str, revision: u32, info: &mut Fields<'_>) -> Option<XtAction> {
    let (detail, verdict) = match (name, revision) {
        ("standard", 0) => {
            let verdict = verdict(info.i32()?);
            return info.end(XtAction::EbVerdict { verdict });
        }
        ("log" | "nflog", 0) => return Some(XtAction::Log),
        ("mark", 0) => {
            let mark = info.long()?;
            let target = info.i32()?;
            // MARK_SET_VALUE and its kin stand where the verdict leaves the bits free.
            let how = match target & !0xf {
                -0x10 => "set",
                -0x20 => "or",
                -0x30 => "and",
                -0x40 => "xor",
                _ => return None,
            };
            (format!("mark {how} {mark:#x}"), packed(target))
        }
        ("snat" | "dnat" | "arpreply", 0) => (format!("{name} {}", info.mac()?), packed(info.i32()?)),
        ("redirect", 0) => (name.to_owned(), packed(info.i32()?)),
        _ => return None,
    };
    info.end(XtAction::EbRewrite { detail, verdict })
}

/// A verdict whose upper bits say something else (`EBT_VERDICT_BITS`).
fn packed(target: i32) -> Verdict {
    verdict(target | !0xf)
}

/// `EBT_ACCEPT` and its kin.
fn verdict(code: i32) -> Verdict {
    match code {
        -1 => Verdict::Accept,
        -2 => Verdict::Drop,
        -3 => Verdict::Continue,
        -4 => Verdict::Return,
        code => Verdict::Unknown { code },
    }
}
