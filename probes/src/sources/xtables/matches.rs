//! Matches (include/uapi/linux/netfilter/xt_*.h, `netfilter_ipv4/ipt_*.h`, `netfilter_ipv6/ip6t_*.h`).

use super::ebtables;
use super::fields::{Fields, terminated};
use crate::facts::{Bytes, Family, IfName, Test, XtMatch, XtTest};

/// Decodes a match from the struct that its module keeps.
pub(crate) fn decode_match(family: Family, name: &str, revision: u32, info: &[u8]) -> XtMatch {
    let ebtables =
        if family == Family::Bridge { ebtables::test(name, revision, &mut Fields::new(info)) } else { None };
    let test = ebtables
        .or_else(|| test(family, name, revision, &mut Fields::new(info)))
        .unwrap_or_else(|| XtTest::Opaque { data: Bytes(info.to_vec()) });
    XtMatch { name: name.to_owned(), revision, test }
}

fn test(family: Family, name: &str, revision: u32, info: &mut Fields<'_>) -> Option<XtTest> {
    // Structs with a `union nf_inet_addr` do not say which address it holds.
    let ipv6 = match family {
        Family::Ip => Some(false),
        Family::Ip6 => Some(true),
        Family::Inet | Family::Arp | Family::Netdev | Family::Bridge => None,
    };
    match (name, revision) {
        ("comment", 0) => {
            let text = terminated(info.bytes(256)?);
            info.end(XtTest::Comment { text: String::from_utf8_lossy(text).into_owned() })
        }
        ("tcp", 0) => tcp(info),
        ("udp" | "udplite", 0) => udp(info),
        ("sctp", 0) => sctp(info),
        ("multiport", 0 | 1) => multiport(revision, info),
        ("icmp" | "icmp6", 0) => {
            let value = (info.u8()?, info.u8()?, info.u8()?);
            let invert = flag(info.u8()?, 1)?;
            info.end(XtTest::Icmp { types: Test { invert, value } })
        }
        ("conntrack", 1..=3) => conntrack(revision, ipv6?, info),
        ("state", 0) => {
            let state = info.u32()?;
            // XT_STATE_UNTRACKED is another bit than XT_CONNTRACK_STATE_UNTRACKED.
            let untracked = if state & 0x40 == 0 { 0 } else { 0x100 };
            let value = state & 0xf | untracked;
            info.end(())?;
            if state & !0x4f != 0 {
                return None;
            }
            Some(XtTest::Conntrack {
                state: Some(Test { invert: false, value }),
                status: None,
                protocol: None,
                original_source: None,
                original_destination: None,
                reply_source: None,
                reply_destination: None,
                original_direction: None,
                opaque: false,
            })
        }
        ("mark", 1) => Some(XtTest::Mark { mark: mark(info)? }),
        ("connmark", 1) => Some(XtTest::Connmark { mark: mark(info)? }),
        ("physdev", 0) => physdev(info),
        ("addrtype", 0 | 1) => addrtype(revision, info),
        ("iprange", 1) => iprange(ipv6?, info),
        ("mac", 0) => {
            let value = info.mac()?;
            let invert = info.i32()? != 0;
            info.end(XtTest::Mac { source: Test { invert, value } })
        }
        ("pkttype", 0) => {
            let value = u8::try_from(info.i32()?).ok()?;
            let invert = info.i32()? != 0;
            info.end(XtTest::Pkttype { packet_type: Test { invert, value } })
        }
        ("ttl" | "hl", 0) => {
            let (mode, value) = (info.u8()?, info.u8()?);
            info.end(())?;
            (mode <= 3).then_some(XtTest::Ttl { mode, value })
        }
        ("dscp", 0) => {
            let (value, invert) = (info.u8()?, info.u8()? != 0);
            info.end(XtTest::Dscp { dscp: Test { invert, value } })
        }
        ("length", 0) => {
            let value = info.range()?;
            let invert = info.u8()? != 0;
            info.end(XtTest::Length { range: Test { invert, value } })
        }
        ("limit" | "statistic" | "quota" | "time", 0)
        | ("connlimit" | "recent", 0 | 1)
        | ("hashlimit", 1..=3) => Some(XtTest::Stateful),
        _ => None,
    }
}

/// Whether `bits` has `bit`; `None` if it has others too.
fn flag(bits: u8, bit: u8) -> Option<bool> {
    (bits & !bit == 0).then_some(bits & bit != 0)
}

fn tcp(info: &mut Fields<'_>) -> Option<XtTest> {
    let (source, destination) = (info.range()?, info.range()?);
    let (option, mask, compared, invert) = (info.u8()?, info.u8()?, info.u8()?, info.u8()?);
    info.end(())?;
    if invert & !0x0f != 0 {
        return None;
    }
    Some(XtTest::Ports {
        source: Test { invert: invert & 1 != 0, value: source },
        destination: Test { invert: invert & 2 != 0, value: destination },
        // Nothing masked equals nothing compared, unless that is inverted.
        flags: (mask != 0 || compared != 0 || invert & 4 != 0)
            .then_some(Test { invert: invert & 4 != 0, value: (mask, compared) }),
        option: (option != 0).then_some(Test { invert: invert & 8 != 0, value: option }),
    })
}

fn udp(info: &mut Fields<'_>) -> Option<XtTest> {
    let (source, destination, invert) = (info.range()?, info.range()?, info.u8()?);
    info.end(())?;
    if invert & !3 != 0 {
        return None;
    }
    Some(XtTest::Ports {
        source: Test { invert: invert & 1 != 0, value: source },
        destination: Test { invert: invert & 2 != 0, value: destination },
        flags: None,
        option: None,
    })
}

fn sctp(info: &mut Fields<'_>) -> Option<XtTest> {
    // Unlike the others it has the destination first.
    let (destination, source) = (info.range()?, info.range()?);
    // Chunk map, match type, four flag records of 3 bytes, their count.
    info.bytes(256)?;
    info.u32()?;
    info.bytes(12)?;
    info.u32()?;
    let (flags, invert) = (info.u32()?, info.u32()?);
    info.end(())?;
    if (flags | invert) & !3 != 0 {
        return None;
    }
    let ports = |bit: u32, value| {
        if flags & bit == 0 {
            Test { invert: false, value: (0, u16::MAX) }
        } else {
            Test { invert: invert & bit != 0, value }
        }
    };
    Some(XtTest::Ports {
        source: ports(1, source),
        destination: ports(2, destination),
        flags: None,
        option: None,
    })
}

fn multiport(revision: u32, info: &mut Fields<'_>) -> Option<XtTest> {
    let which = match info.u8()? {
        0 => "source",
        1 => "destination",
        2 => "either",
        _ => return None,
    };
    let count = usize::from(info.u8()?);
    let mut ports = [0; 15];
    for port in &mut ports {
        *port = info.u16()?;
    }
    let (begins, invert) = if revision == 1 { (info.array()?, info.u8()? != 0) } else { ([0_u8; 15], false) };
    info.end(())?;
    let mut numbers = ports.get(..count)?.iter().zip(begins);
    let mut ranges = Vec::new();
    while let Some((&first, begins)) = numbers.next() {
        let last = if begins == 0 { first } else { *numbers.next()?.0 };
        ranges.push((first, last));
    }
    Some(XtTest::Multiport { which: which.to_owned(), ranges: Test { invert, value: ranges } })
}

fn conntrack(revision: u32, ipv6: bool, info: &mut Fields<'_>) -> Option<XtTest> {
    const STATE: u16 = 1;
    const PROTOCOL: u16 = 1 << 1;
    const STATUS: u16 = 1 << 6;
    /// Expiry, and ports of the four tuples.
    const NOT_COMPARED: u16 = 1 << 7 | 0xf << 8;
    const DIRECTION: u16 = 1 << 12;
    const KNOWN: u16 = (1 << 14) - 1;

    let (original_source, original_destination) = (info.masked_inet(ipv6)?, info.masked_inet(ipv6)?);
    let (reply_source, reply_destination) = (info.masked_inet(ipv6)?, info.masked_inet(ipv6)?);
    info.u32()?;
    info.u32()?;
    let protocol = info.u16()?;
    info.bytes(8)?;
    let (present, invert) = (info.u16()?, info.u16()?);
    let (state, status) = if revision == 1 {
        (u16::from(info.u8()?), u16::from(info.u8()?))
    } else {
        (info.u16()?, info.u16()?)
    };
    if revision == 3 {
        info.bytes(8)?;
    }
    info.end(())?;
    if present & !KNOWN != 0 {
        return None;
    }
    let inverted = |bit: u16| invert & bit != 0;
    let bits = |bit, value: u16| {
        (present & bit != 0).then_some(Test { invert: inverted(bit), value: u32::from(value) })
    };
    let address = |bit, value| (present & bit != 0).then_some(Test { invert: inverted(bit), value });
    let protocol = if present & PROTOCOL == 0 {
        None
    } else {
        Some(Test { invert: inverted(PROTOCOL), value: u8::try_from(protocol).ok()? })
    };
    Some(XtTest::Conntrack {
        state: bits(STATE, state),
        status: bits(STATUS, status),
        protocol,
        original_source: address(1 << 2, original_source),
        original_destination: address(1 << 3, original_destination),
        reply_source: address(1 << 4, reply_source),
        reply_destination: address(1 << 5, reply_destination),
        original_direction: (present & DIRECTION != 0).then_some(!inverted(DIRECTION)),
        opaque: present & NOT_COMPARED != 0,
    })
}

fn mark(info: &mut Fields<'_>) -> Option<Test<(u32, u32)>> {
    let value = (info.u32()?, info.u32()?);
    let invert = info.u8()? != 0;
    info.end(Test { invert, value })
}

fn physdev(info: &mut Fields<'_>) -> Option<XtTest> {
    let (input, input_mask) = (info.array()?, info.array()?);
    let (output, output_mask) = (info.array()?, info.array()?);
    let (invert, present) = (info.u8()?, info.u8()?);
    info.end(())?;
    if present & !0x1f != 0 {
        return None;
    }
    let device = |bit: u8, name, mask| {
        if present & bit == 0 {
            return Some(None);
        }
        device(name, mask).map(|value| Some(Test { invert: invert & bit != 0, value }))
    };
    let state = |bit: u8| (present & bit != 0).then_some(invert & bit == 0);
    Some(XtTest::Physdev {
        input: device(1, &input, &input_mask)?,
        output: device(2, &output, &output_mask)?,
        is_bridged: state(4),
        is_in: state(8),
        is_out: state(0x10),
    })
}

/// A device's name, with `+` at its end if the mask leaves the rest open; `None` for other masks.
pub(crate) fn device(name: &[u8; 16], mask: &[u8; 16]) -> Option<IfName> {
    let name = terminated(name);
    let compared = mask.iter().take_while(|&&byte| byte == 0xff).count();
    if mask[compared..].iter().any(|&byte| byte != 0) {
        return None;
    }
    let text = String::from_utf8(name.to_vec()).ok()?;
    let wildcard = text.strip_suffix('+');
    match wildcard {
        Some(prefix) if compared == prefix.len() => Some(IfName(text)),
        None if compared > name.len() || compared == 16 => Some(IfName(text)),
        None if compared == name.len() => Some(IfName(text + "+")),
        Some(_) | None => None,
    }
}

fn addrtype(revision: u32, info: &mut Fields<'_>) -> Option<XtTest> {
    let (source, destination) = (info.u16()?, info.u16()?);
    let (invert_source, invert_destination, limit) = if revision == 0 {
        (info.u32()? != 0, info.u32()? != 0, 0)
    } else {
        let flags = info.u32()?;
        if flags & !0xf != 0 {
            return None;
        }
        (flags & 1 != 0, flags & 2 != 0, flags)
    };
    info.end(XtTest::Addrtype {
        source: (source != 0).then_some(Test { invert: invert_source, value: source }),
        destination: (destination != 0).then_some(Test { invert: invert_destination, value: destination }),
        limit_in: limit & 4 != 0,
        limit_out: limit & 8 != 0,
    })
}

fn iprange(ipv6: bool, info: &mut Fields<'_>) -> Option<XtTest> {
    let source = (info.inet(ipv6)?, info.inet(ipv6)?);
    let destination = (info.inet(ipv6)?, info.inet(ipv6)?);
    let flags = info.u8()?;
    info.end(())?;
    if flags & !0x33 != 0 {
        return None;
    }
    let range = |shift: u8, value| {
        (flags >> shift & 1 != 0).then_some(Test { invert: flags >> (4 + shift) & 1 != 0, value })
    };
    Some(XtTest::Iprange { source: range(0, source), destination: range(1, destination) })
}
