//! The header matches of a rule, as the register expressions that iptables-nft has for them.

use crate::facts::{Bytes, Compare, Data, Expr, Family, PayloadBase, Register, Verdict};
use crate::sources::xtables::{Fields, device};

/// `NFT_REG_1`.
const REGISTER: Register = Register(1);

/// The header matches of one rule.
pub(super) struct Header {
    pub(super) exprs: Vec<Expr>,
    /// Its jump does not come back.
    pub(super) goto: bool,
}

/// The length of `struct ipt_ip` or `struct ip6t_ip6` in bytes.
pub(super) fn length(family: Family) -> usize {
    if family == Family::Ip6 { 136 } else { 84 }
}

/// Decodes `struct ipt_ip` or `struct ip6t_ip6`. What is not known makes the whole header opaque.
pub(super) fn decode(family: Family, bytes: &[u8]) -> Header {
    parse(family, bytes).unwrap_or_else(|| {
        let name = if family == Family::Ip6 { "ip6t_ip6" } else { "ipt_ip" };
        Header { exprs: vec![Expr::Opaque { name: name.to_owned(), data: Bytes(bytes.to_vec()) }], goto: false }
    })
}

/// `IPT_INV_*` and `IP6T_INV_*`.
mod invert {
    pub(super) const INPUT: u8 = 0x01;
    pub(super) const OUTPUT: u8 = 0x02;
    pub(super) const SOURCE: u8 = 0x08;
    pub(super) const DESTINATION: u8 = 0x10;
    pub(super) const FRAGMENT: u8 = 0x20;
    pub(super) const PROTOCOL: u8 = 0x40;
}

fn parse(family: Family, bytes: &[u8]) -> Option<Header> {
    let ipv6 = family == Family::Ip6;
    let (size, source_at, destination_at) = if ipv6 { (16, 8, 24) } else { (4, 12, 16) };
    let mut fields = Fields::new(bytes);
    let (source, destination) = (fields.bytes(size)?, fields.bytes(size)?);
    let (source_mask, destination_mask) = (fields.bytes(size)?, fields.bytes(size)?);
    let (input, output) = (fields.array()?, fields.array()?);
    let (input, output) = (device(&input, &fields.array()?)?, device(&output, &fields.array()?)?);
    let protocol = fields.u16()?;
    let tos = if ipv6 { fields.u8()? } else { 0 };
    let (flags, inverted) = (fields.u8()?, fields.u8()?);
    let (fragment, goto, protocol) = if ipv6 {
        // IP6T_F_PROTO, IP6T_F_TOS (which nothing sets), IP6T_F_GOTO.
        (false, flags & 4 != 0, if flags & 1 == 0 { 0 } else { protocol })
    } else {
        (flags & 1 != 0, flags & 2 != 0, protocol)
    };
    let unknown = flags & if ipv6 { !5 } else { !3 };
    let known = invert::INPUT | invert::OUTPUT | invert::SOURCE | invert::DESTINATION | invert::PROTOCOL;
    let known = if fragment { known | invert::FRAGMENT } else { known };
    if unknown != 0 || inverted & !known != 0 || tos != 0 {
        return None;
    }
    let op = |bit| if inverted & bit == 0 { Compare::Eq } else { Compare::Ne };

    let mut exprs = Vec::new();
    address(&mut exprs, source_at, source, source_mask, op(invert::SOURCE));
    address(&mut exprs, destination_at, destination, destination_mask, op(invert::DESTINATION));
    interface(&mut exprs, "iifname", input.as_str(), op(invert::INPUT));
    interface(&mut exprs, "oifname", output.as_str(), op(invert::OUTPUT));
    if fragment {
        // The offset in the IPv4 header: not 0 in all but the first fragment.
        load(&mut exprs, 6, 2);
        mask(&mut exprs, &[0x1f, 0xff]);
        let op = if inverted & invert::FRAGMENT == 0 { Compare::Ne } else { Compare::Eq };
        compare(&mut exprs, op, vec![0, 0]);
    }
    if protocol != 0 {
        let protocol = u8::try_from(protocol).ok()?;
        exprs.push(Expr::Meta { destination: REGISTER, key: "l4proto".to_owned() });
        compare(&mut exprs, op(invert::PROTOCOL), vec![protocol]);
    }
    Some(Header { exprs, goto })
}

fn load(exprs: &mut Vec<Expr>, offset: u32, length: u32) {
    exprs.push(Expr::Payload { destination: REGISTER, base: PayloadBase::Network, offset, length });
}

fn mask(exprs: &mut Vec<Expr>, mask: &[u8]) {
    exprs.push(Expr::Bitwise {
        source: REGISTER,
        destination: REGISTER,
        length: u32::try_from(mask.len()).expect("a mask is no longer than an address"),
        mask: Bytes(mask.to_vec()),
        xor: Bytes(vec![0; mask.len()]),
    });
}

fn compare(exprs: &mut Vec<Expr>, op: Compare, data: Vec<u8>) {
    exprs.push(Expr::Cmp { source: REGISTER, op, data: Bytes(data) });
}

/// An address under a mask. Whole bytes are loaded as such, other masks are applied.
fn address(exprs: &mut Vec<Expr>, offset: u32, value: &[u8], bits: &[u8], op: Compare) {
    let whole = bits.iter().take_while(|&&byte| byte == 0xff).count();
    let all = u32::try_from(value.len()).expect("an address has 4 or 16 bytes");
    let open = bits.iter().all(|&byte| byte == 0) && value.iter().all(|&byte| byte == 0);
    if open && op == Compare::Eq {
        return;
    }
    let rest = bits[whole..].iter().chain(&value[whole..]);
    if whole > 0 && rest.copied().all(|byte| byte == 0) {
        load(exprs, offset, u32::try_from(whole).expect("no longer than an address"));
        compare(exprs, op, value[..whole].to_vec());
    } else {
        load(exprs, offset, all);
        mask(exprs, bits);
        compare(exprs, op, value.to_vec());
    }
}

/// A device's name; with `+` at its end those that begin so.
fn interface(exprs: &mut Vec<Expr>, key: &str, name: &str, op: Compare) {
    let data = match name.strip_suffix('+') {
        // Any device, or none at all if that is inverted.
        Some("") if op == Compare::Eq => return,
        Some("") => {
            exprs.push(Expr::Immediate { destination: Register(0), data: Data::Verdict(Verdict::Break) });
            return;
        }
        Some(prefix) => prefix.as_bytes().to_vec(),
        None => {
            let mut name = name.as_bytes().to_vec();
            name.resize(16, 0);
            name
        }
    };
    exprs.push(Expr::Meta { destination: REGISTER, key: key.to_owned() });
    compare(exprs, op, data);
}
