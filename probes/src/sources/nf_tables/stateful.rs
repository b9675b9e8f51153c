//! Expressions that keep a state: counters, limits, sets that rules change, named objects.

use super::expression::{expression, expressions, switch};
use super::nest::Nest;
use super::words;
use crate::facts::{Counter, Expr, Family};

pub(super) fn decode(family: Family, name: &str, nest: &Nest<'_>) -> Option<Expr> {
    match name {
        "counter" => nest.only(&[1, 2, 3]).map(|()| Expr::Counter),
        "last" => nest.only(&[1, 2, 3]).map(|()| Expr::Last),
        "limit" => {
            nest.only(&[1, 2, 3, 4, 5, 6])?;
            Some(Expr::Limit { over: switch(nest.u32_or_0(5)?, 1)? != 0 })
        }
        "quota" => {
            nest.only(&[1, 2, 3, 4])?;
            // NFT_QUOTA_F_DEPLETED is a state.
            Some(Expr::Quota { over: switch(nest.u32_or_0(2)?, 3)? & 1 != 0 })
        }
        "connlimit" => {
            nest.only(&[1, 2])?;
            Some(Expr::Connlimit { count: nest.u32(1)?, over: switch(nest.u32_or_0(2)?, 1)? != 0 })
        }
        "dynset" => {
            nest.only(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])?;
            let exprs = match (nest.get(7), nest.get(10)) {
                (Some(one), None) => vec![expression(family, one).ok()?],
                (None, Some(several)) => expressions(family, several).ok()?,
                (None, None) => Vec::new(),
                (Some(_), Some(_)) => return None,
            };
            Some(Expr::Dynset {
                set: nest.text(1)?,
                op: nest.u32(3).filter(|op| *op <= 2)?,
                key: nest.register(4)?,
                // NFT_DYNSET_F_EXPR only says that there are expressions.
                invert: switch(nest.u32_or_0(9)?, 3)? & 1 != 0,
                exprs,
            })
        }
        // With a map of objects the packet chooses the object: that stays opaque.
        "objref" => {
            nest.only(&[1, 2])?;
            Some(Expr::ObjectRef { name: nest.text(2)?, kind: words::object(nest.u32(1)?) })
        }
        _ => None,
    }
}

/// The state of a `counter` expression.
pub(super) fn counter_in(expression: &[u8]) -> Option<Counter> {
    const DATA: u16 = 2;
    let nest = Nest::parse(Nest::parse(expression).ok()?.get(DATA)?).ok()?;
    Some(Counter { packets: nest.u64(2)?, bytes: nest.u64(1)? })
}
