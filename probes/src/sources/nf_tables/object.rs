//! Tables, chains, rules, sets, elements, objects and flowtables, from the messages of a dump.

use super::expression::{expression, expressions};
use super::nest::{Nest, list};
use super::{stateful, words};
use crate::facts::{
    BaseChain, Chain, Element, Expr, Family, Generation, Hook, IfName, Object, Policy, Rule, Set,
    Table, XtTest,
};
use crate::sources::netlink::{Malformed, attributes, body};

/// To what an object belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Of<T> {
    pub(super) family: Family,
    pub(super) table: String,
    pub(super) object: T,
}

/// The family and the attributes after `struct nfgenmsg`.
fn parse(message: &[u8]) -> Result<(Family, Nest<'_>), Malformed> {
    let ([family, ..], attributes) = body::<4>(message)?;
    let family = Family::from_number(*family)
        .ok_or(Malformed::Field { field: "family", value: u32::from(*family) })?;
    Ok((family, Nest::parse(attributes)?))
}

fn need<T>(value: Option<T>, kind: u16) -> Result<T, Malformed> {
    value.ok_or(Malformed::Absent { kind })
}

/// `NFT_MSG_NEWTABLE`.
pub(super) fn table(message: &[u8]) -> Result<Table, Malformed> {
    const DORMANT: u32 = 1;
    let (family, nest) = parse(message)?;
    Ok(Table {
        generation: Generation::NfTables,
        family,
        name: need(nest.text(1), 1)?,
        handle: need(nest.u64(4), 4)?,
        dormant: need(nest.u32_or_0(2), 2)? & DORMANT != 0,
        owner: nest.u32(7),
        comment: comment(nest.get(6)),
        chains: Vec::new(),
        sets: Vec::new(),
        objects: Vec::new(),
        flowtables: Vec::new(),
    })
}

/// `NFT_MSG_NEWCHAIN`; its rules come apart.
pub(super) fn chain(message: &[u8]) -> Result<Of<Chain>, Malformed> {
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    let (family, nest) = parse(message)?;
    let base = if let Some(hook) = nest.get(HOOK) {
        let (hook, priority, devices) = attachment(family, hook)?;
        let policy = match need(nest.u32(POLICY), POLICY)? {
            0 => Policy::Drop,
            1 => Policy::Accept,
            value => return Err(Malformed::Field { field: "chain policy", value }),
        };
        Some(BaseChain { kind: need(nest.text(7), 7)?, hook, priority, policy, devices })
    } else {
        None
    };
    let chain = Chain { name: need(nest.text(3), 3)?, handle: need(nest.u64(2), 2)?, base, rules: Vec::new() };
    Ok(Of { family, table: need(nest.text(1), 1)?, object: chain })
}

/// `NFTA_CHAIN_HOOK`.
fn attachment(family: Family, bytes: &[u8]) -> Result<(Hook, i32, Vec<IfName>), Malformed> {
    const DEVICE: u16 = 3;
    const DEVICES: u16 = 4;
    /// `NFTA_DEVICE_PREFIX`, since Linux 6.16.
    const PREFIX: u16 = 2;
    let nest = Nest::parse(bytes)?;
    let number = need(nest.u32(1), 1)?;
    let hook = words::hook(family, number).ok_or(Malformed::Field { field: "hook", value: number })?;
    let priority = need(nest.u32(2), 2)?.cast_signed();
    let mut devices = Vec::new();
    match nest.get(DEVICES) {
        Some(several) => {
            for device in attributes(several) {
                let device = device?;
                let wildcard = if device.kind == PREFIX { "*" } else { "" };
                devices.push(IfName(device.text() + wildcard));
            }
        }
        None => devices.extend(nest.text(DEVICE).map(IfName)),
    }
    Ok((hook, priority, devices))
}

/// `NFT_MSG_NEWRULE`.
pub(super) fn rule(message: &[u8]) -> Result<Rule, Malformed> {
    let (family, nest) = parse(message)?;
    let expressions = nest.get(4).unwrap_or_default();
    let exprs = Vec::with_capacity(list(expressions).count());
    let mut rule =
        Rule { handle: need(nest.u64(3), 3)?, comment: comment(nest.get(7)), counter: None, exprs };
    for element in list(expressions) {
        let element = element?;
        let expr = expression(family, element)?;
        match &expr {
            Expr::Counter if rule.counter.is_none() => rule.counter = stateful::counter_in(element),
            Expr::Match(found) => {
                if let (None, XtTest::Comment { text }) = (&rule.comment, &found.test) {
                    rule.comment = Some(text.clone());
                }
            }
            _ => {}
        }
        rule.exprs.push(expr);
    }
    Ok(rule)
}

/// `NFT_MSG_NEWSET`; its elements come apart.
pub(super) fn set(message: &[u8]) -> Result<Of<Set>, Malformed> {
    const ANONYMOUS: u32 = 1;
    const INTERVAL: u32 = 4;
    const MAP: u32 = 8;
    const TIMEOUT: u32 = 0x10;
    const EVAL: u32 = 0x20;
    const OBJECT: u32 = 0x40;
    /// `NFT_DATA_VERDICT`.
    const VERDICT: u32 = 0xffff_ff00;
    let (family, nest) = parse(message)?;
    let flags = need(nest.u32_or_0(3), 3)?;
    let set = Set {
        name: need(nest.text(2), 2)?,
        handle: need(nest.u64(16), 16)?,
        anonymous: flags & ANONYMOUS != 0,
        interval: flags & INTERVAL != 0,
        map: flags & (MAP | OBJECT) != 0,
        dynamic: flags & (TIMEOUT | EVAL) != 0,
        key_length: need(nest.u32(5), 5)?,
        key_fields: fields(nest.get(9))?,
        verdicts: need(nest.u32_or_0(6), 6)? == VERDICT,
        elements: Vec::new(),
    };
    Ok(Of { family, table: need(nest.text(1), 1)?, object: set })
}

/// The lengths of a concatenation's fields (`NFTA_SET_DESC_CONCAT`).
fn fields(description: Option<&[u8]>) -> Result<Vec<u32>, Malformed> {
    const CONCATENATION: u16 = 2;
    let Some(description) = description else { return Ok(Vec::new()) };
    let description = Nest::parse(description)?;
    list(description.get(CONCATENATION).unwrap_or_default())
        .map(|field| need(Nest::parse(field?)?.u32(1), 1))
        .collect()
}

/// `NFT_MSG_NEWSETELEM`: several elements of one set.
pub(super) fn elements(message: &[u8]) -> Result<Vec<Element>, Malformed> {
    let (family, nest) = parse(message)?;
    list(nest.get(3).unwrap_or_default()).map(|bytes| element(family, bytes?)).collect()
}

fn element(family: Family, bytes: &[u8]) -> Result<Element, Malformed> {
    const INTERVAL_END: u32 = 1;
    const CATCH_ALL: u32 = 2;
    let nest = Nest::parse(bytes)?;
    let flags = need(nest.u32_or_0(3), 3)?;
    let key = if flags & CATCH_ALL == 0 { Some(need(nest.value(1), 1)?) } else { None };
    Ok(Element {
        key,
        key_end: if nest.has(10) { Some(need(nest.value(10), 10)?) } else { None },
        interval_end: flags & INTERVAL_END != 0,
        data: if nest.has(2) { Some(need(nest.data(2), 2)?) } else { None },
        object: nest.text(9),
        exprs: match (nest.get(7), nest.get(11)) {
            (Some(one), _) => vec![expression(family, one)?],
            (None, Some(several)) => expressions(family, several)?,
            (None, None) => Vec::new(),
        },
    })
}

/// `NFT_MSG_NEWOBJ`.
pub(super) fn object(message: &[u8]) -> Result<Of<Object>, Malformed> {
    let (family, nest) = parse(message)?;
    let kind = words::object(need(nest.u32(3), 3)?);
    let object = Object { name: need(nest.text(2), 2)?, kind };
    Ok(Of { family, table: need(nest.text(1), 1)?, object })
}

/// `NFT_MSG_NEWFLOWTABLE`: its name.
pub(super) fn flowtable(message: &[u8]) -> Result<Of<String>, Malformed> {
    let (family, nest) = parse(message)?;
    Ok(Of { family, table: need(nest.text(1), 1)?, object: need(nest.text(2), 2)? })
}

/// The comment in user data: nft's own records of kind, length and value.
fn comment(mut user_data: Option<&[u8]>) -> Option<String> {
    /// `NFTNL_UDATA_TABLE_COMMENT` and `NFTNL_UDATA_RULE_COMMENT`.
    const COMMENT: u8 = 0;
    while let Some([kind, length, rest @ ..]) = user_data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.split(|&byte| byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        user_data = rest.get(value.len()..);
    }
    None
}
