//! Expressions of rules (net/netfilter/nft_*.c, each with its attributes).
//!
//! A decoder gives `None` for what it does not know: an attribute that came later, a number out of
//! range, bytes that are cut off. The expression then stays opaque.

use super::nest::{Nest, list};
use super::{stateful, words};
use crate::facts::{Bytes, Compare, Data, Expr, Family, NatKind, PayloadBase, RejectWith};
use crate::sources::netlink::Malformed;
use crate::sources::xtables::{decode_match, decode_target};

/// A list of expressions.
pub(super) fn expressions(family: Family, bytes: &[u8]) -> Result<Vec<Expr>, Malformed> {
    list(bytes).map(|element| expression(family, element?)).collect()
}

/// One expression.
pub(super) fn expression(family: Family, bytes: &[u8]) -> Result<Expr, Malformed> {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    let nest = Nest::parse(bytes)?;
    let name = nest.word(NAME).ok_or(Malformed::Absent { kind: NAME })?;
    // Expressions without a setting, such as notrack, have no data.
    let data = nest.get(DATA).unwrap_or_default();
    let known = Nest::parse(data).ok().and_then(|nest| decode(family, &name, &nest));
    Ok(known.unwrap_or_else(|| Expr::Opaque { name: name.into_owned(), data: Bytes(data.to_vec()) }))
}

fn decode(family: Family, name: &str, nest: &Nest<'_>) -> Option<Expr> {
    match name {
        "immediate" => {
            nest.only(&[1, 2])?;
            let (destination, data) = (nest.register(1)?, nest.data(2)?);
            // Verdicts go to register 0, and nothing else does.
            (matches!(data, Data::Verdict(_)) == (destination.0 == 0))
                .then_some(Expr::Immediate { destination, data })
        }
        "cmp" => {
            nest.only(&[1, 2, 3])?;
            let op = match nest.u32(2)? {
                0 => Compare::Eq,
                1 => Compare::Ne,
                2 => Compare::Lt,
                3 => Compare::Le,
                4 => Compare::Gt,
                5 => Compare::Ge,
                _ => return None,
            };
            Some(Expr::Cmp { source: nest.register(1)?, op, data: nest.value(3)? })
        }
        "payload" => payload(nest),
        "meta" => {
            nest.only(&[1, 2, 3])?;
            let key = words::meta(nest.u32(2)?)?;
            match (nest.register_if_any(1)?, nest.register_if_any(3)?) {
                (Some(destination), None) => Some(Expr::Meta { destination, key }),
                (None, Some(source)) => Some(Expr::MetaSet { source, key }),
                _ => None,
            }
        }
        "ct" => {
            nest.only(&[1, 2, 3, 4])?;
            let key = words::ct(nest.u32(2)?)?;
            let direction = if nest.has(3) { Some(nest.u8(3)?) } else { None };
            match (nest.register_if_any(1)?, nest.register_if_any(4)?) {
                (Some(destination), None) => Some(Expr::Ct { destination, key, direction }),
                (None, Some(source)) => Some(Expr::CtSet { source, key, direction }),
                _ => None,
            }
        }
        "bitwise" => bitwise(nest),
        "byteorder" => {
            nest.only(&[1, 2, 3, 4, 5])?;
            Some(Expr::Byteorder {
                source: nest.register(1)?,
                destination: nest.register(2)?,
                length: nest.u32(4)?,
                size: nest.u32(5).filter(|size| matches!(size, 2 | 4 | 8))?,
                to_host: switch(nest.u32(3)?, 1)? == 0,
            })
        }
        "lookup" => {
            nest.only(&[1, 2, 3, 4, 5])?;
            Some(Expr::Lookup {
                set: nest.text(1)?,
                source: nest.register(2)?,
                destination: nest.register_if_any(3)?,
                invert: switch(nest.u32_or_0(5)?, 1)? != 0,
            })
        }
        "range" => {
            nest.only(&[1, 2, 3, 4])?;
            Some(Expr::Range {
                source: nest.register(1)?,
                invert: switch(nest.u32(2)?, 1)? != 0,
                from: nest.value(3)?,
                to: nest.value(4)?,
            })
        }
        "log" => nest.only(&[1, 2, 3, 4, 5, 6]).map(|()| Expr::Log),
        "reject" => reject(nest),
        "nat" => nat(nest),
        "masq" => {
            nest.only(&[1, 2, 3])?;
            Some(Expr::Masquerade {
                flags: nest.u32_or_0(1)?,
                port_min: nest.register_if_any(2)?,
                port_max: nest.register_if_any(3)?,
            })
        }
        "redir" => {
            nest.only(&[1, 2, 3])?;
            Some(Expr::Redirect {
                port_min: nest.register_if_any(1)?,
                port_max: nest.register_if_any(2)?,
                flags: nest.u32_or_0(3)?,
            })
        }
        "notrack" => nest.only(&[]).map(|()| Expr::Notrack),
        "fib" => {
            nest.only(&[1, 2, 3])?;
            Some(Expr::Fib {
                destination: nest.register(1)?,
                result: words::fib(nest.u32(2)?)?,
                flags: switch(nest.u32(3)?, 0x3f)?,
            })
        }
        "rt" => {
            nest.only(&[1, 2])?;
            Some(Expr::Rt { destination: nest.register(1)?, key: words::rt(nest.u32(2)?)? })
        }
        "exthdr" => exthdr(nest),
        "queue" => nest.only(&[1, 2, 3, 4]).map(|()| Expr::Queue),
        "match" => {
            let (name, revision, info) = extension(nest)?;
            Some(Expr::Match(Box::new(decode_match(family, &name, revision, info))))
        }
        "target" => {
            let (name, revision, info) = extension(nest)?;
            Some(Expr::Target(Box::new(decode_target(family, &name, revision, info))))
        }
        _ => stateful::decode(family, name, nest),
    }
}

/// `flags`, if it has no other bits than `known`.
pub(super) fn switch(flags: u32, known: u32) -> Option<u32> {
    (flags & !known == 0).then_some(flags)
}

/// The name, revision and struct of an xtables match or target (`net/netfilter/nft_compat.c`).
fn extension<'a>(nest: &Nest<'a>) -> Option<(String, u32, &'a [u8])> {
    nest.only(&[1, 2, 3])?;
    Some((nest.text(1)?, nest.u32(2)?, nest.get(3)?))
}

fn payload(nest: &Nest<'_>) -> Option<Expr> {
    nest.only(&[1, 2, 3, 4, 5, 6, 7, 8])?;
    let base = match nest.u32(2)? {
        0 => PayloadBase::Link,
        1 => PayloadBase::Network,
        2 => PayloadBase::Transport,
        3 => PayloadBase::Inner,
        4 => PayloadBase::Tunnel,
        _ => return None,
    };
    let (offset, length) = (nest.u32(3)?, nest.u32(4)?);
    match (nest.register_if_any(1)?, nest.register_if_any(5)?) {
        (Some(destination), None) => Some(Expr::Payload { destination, base, offset, length }),
        (None, Some(source)) => Some(Expr::PayloadSet { source, base, offset, length }),
        _ => None,
    }
}

fn bitwise(nest: &Nest<'_>) -> Option<Expr> {
    nest.only(&[1, 2, 3, 4, 5, 6, 7])?;
    let (source, destination, length) = (nest.register(1)?, nest.register(2)?, nest.u32(3)?);
    let op = nest.u32_or_0(6)?;
    match op {
        0 => {
            let (mask, xor) = (nest.value(4)?, nest.value(5)?);
            Some(Expr::Bitwise { source, destination, length, mask, xor })
        }
        1 | 2 => {
            let bits = u32::from_ne_bytes(nest.value(7)?.0.try_into().ok()?);
            Some(Expr::Shift { source, destination, length, left: op == 1, bits })
        }
        _ => None,
    }
}

fn reject(nest: &Nest<'_>) -> Option<Expr> {
    nest.only(&[1, 2])?;
    Some(Expr::Reject(match nest.u32(1)? {
        0 => RejectWith::Icmp { code: nest.u8(2)? },
        1 => RejectWith::TcpReset,
        2 => RejectWith::Icmpx { code: nest.u8(2)? },
        _ => return None,
    }))
}

fn nat(nest: &Nest<'_>) -> Option<Expr> {
    nest.only(&[1, 2, 3, 4, 5, 6, 7])?;
    Some(Expr::Nat {
        kind: match nest.u32(1)? {
            0 => NatKind::Source,
            1 => NatKind::Destination,
            _ => return None,
        },
        family: Family::from_number(u8::try_from(nest.u32(2)?).ok()?)?,
        address_min: nest.register_if_any(3)?,
        address_max: nest.register_if_any(4)?,
        port_min: nest.register_if_any(5)?,
        port_max: nest.register_if_any(6)?,
        flags: nest.u32_or_0(7)?,
    })
}

fn exthdr(nest: &Nest<'_>) -> Option<Expr> {
    nest.only(&[1, 2, 3, 4, 5, 6, 7])?;
    let kind = words::exthdr(nest.u32_or_0(6)?)?;
    let (header, offset, length) = (nest.u8(2)?, nest.u32(3)?, nest.u32(4)?);
    let present_only = switch(nest.u32_or_0(5)?, 1)? != 0;
    match (nest.register_if_any(1)?, nest.register_if_any(7)?) {
        (Some(destination), None) => {
            Some(Expr::Exthdr { destination, kind, header, offset, length, present_only })
        }
        (None, source) => Some(Expr::ExthdrSet { source, kind, header, offset, length }),
        (Some(_), Some(_)) => None,
    }
}
