//! The device that a rule asks for, told without running it.
//!
//! Most rules of a host with many networks are about the bridge of one of them. Where the packets' device is
//! known such a rule is passed over at once.

use std::collections::HashMap;

use kvmnet_probes::facts::{Compare, Expr, Hook, IfName, Register, Rule};

use super::field::Field;
use super::headers::Headers;
use crate::engine::scope::Scope;

/// No device has this number.
const NO_DEVICE: u128 = u128::MAX;

/// The rule matches only packets of this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guard {
    field: Field,
    device: u128,
}

/// The guards of rules, by where the rules are in memory.
#[derive(Debug, Default)]
pub(super) struct Guards(HashMap<*const Rule, Vec<Guard>>);

impl Guards {
    /// Whether the rule surely matches none of the packets, whose devices are told by their headers.
    pub(super) fn exclude(&mut self, scope: Scope<'_>, rule: &Rule, headers: &Headers) -> bool {
        let guards = self.0.entry(std::ptr::from_ref(rule)).or_insert_with(|| of_rule(scope, rule));
        guards.iter().any(|guard| {
            let device =
                if is_told(scope.hook, guard.field) { headers.constant(guard.field) } else { Some(0) };
            device.is_some_and(|device| device != guard.device)
        })
    }
}

/// What a hook is not told of is no device.
pub(super) fn is_told(hook: Hook, field: Field) -> bool {
    match field {
        Field::InputDevice => !matches!(hook, Hook::Output | Hook::Egress),
        _ => matches!(hook, Hook::Forward | Hook::Postrouting | Hook::Output | Hook::Egress),
    }
}

fn of_rule(scope: Scope<'_>, rule: &Rule) -> Vec<Guard> {
    let mut guards = Vec::new();
    let mut loaded: Option<(Register, &str)> = None;
    for expr in &rule.exprs {
        match expr {
            Expr::Meta { destination, key } => loaded = Some((*destination, key.as_str())),
            Expr::Cmp { source, op: Compare::Eq, data } => {
                if let Some((register, key)) = loaded
                    && register == *source
                    && let Some(guard) = guard(scope, key, &data.0)
                {
                    guards.push(guard);
                }
            }
            Expr::Cmp { .. }
            | Expr::Range { .. }
            | Expr::Lookup { destination: None, .. }
            | Expr::Match(_)
            | Expr::Counter
            | Expr::Last => {}
            Expr::Payload { .. } | Expr::Ct { .. } | Expr::Bitwise { .. } => loaded = None,
            // What follows may do something before it asks.
            _ => break,
        }
    }
    guards
}

fn guard(scope: Scope<'_>, key: &str, data: &[u8]) -> Option<Guard> {
    let field = match key {
        "iif" | "iifname" => Field::InputDevice,
        "oif" | "oifname" => Field::OutputDevice,
        _ => return None,
    };
    let device = if key.ends_with("name") {
        // Without its end it is the beginning of a name.
        let end = data.iter().position(|octet| *octet == 0)?;
        let name = std::str::from_utf8(&data[..end]).ok().filter(|name| !name.is_empty())?;
        scope.world.link_named(&IfName::from(name)).map_or(NO_DEVICE, |link| link.index.0.into())
    } else {
        u32::from_ne_bytes(data.try_into().ok()?).into()
    };
    Some(Guard { field, device })
}
