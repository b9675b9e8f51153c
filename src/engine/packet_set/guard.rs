//! What a rule asks for first, told without running it.
//!
//! Most rules of a host with many networks are about the bridge or the subnet of one of them. Where packets
//! are known to have another device or address such a rule is passed over at once.

use std::collections::HashMap;
use std::rc::Rc;

use kvmnet_probes::facts::{Chain, Compare, Expr, Family, Hook, PayloadBase, Register, Rule};

use super::field::Field;
use super::headers::Headers;
use crate::engine::scope::Scope;

/// No device has this number.
const NO_DEVICE: u128 = u128::MAX;

/// What guards ask for.
const FIELDS: [Field; 5] =
    [Field::InputDevice, Field::OutputDevice, Field::Protocol, Field::Source, Field::Destination];

/// The rule matches only packets whose field has these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Guard {
    /// Which of [`FIELDS`].
    field: usize,
    value: u128,
    mask: u128,
}

/// The guards of one rule.
pub(super) type OfRule = Vec<Guard>;

/// The guards of the rules of chains, by where the chains are in memory and the family of the hook.
#[derive(Debug, Default)]
pub(super) struct Guards(HashMap<(*const Chain, Family), Rc<[OfRule]>>);

impl Guards {
    /// Those of the chain's rules, in their order.
    pub(super) fn of(&mut self, scope: Scope<'_>, chain: &Chain) -> Rc<[OfRule]> {
        let guards = self.0.entry((std::ptr::from_ref(chain), scope.family));
        Rc::clone(guards.or_insert_with(|| chain.rules.iter().map(|rule| of_rule(scope, rule)).collect()))
    }
}

/// The bits that are the same in all packets: their values, and which they are.
#[derive(Debug)]
pub(super) struct Known {
    headers: Headers,
    bits: [(u128, u128); FIELDS.len()],
}

impl Known {
    /// Of packets with these headers, at a hook.
    pub(super) fn of(headers: &Headers, hook: Hook) -> Self {
        // What a hook is not told of is no device.
        let bits = FIELDS.map(|field| match field {
            Field::InputDevice | Field::OutputDevice if !is_told(hook, field) => (0, field.mask()),
            field => headers.known_bits(field),
        });
        Self { headers: headers.clone(), bits }
    }

    /// Whether the headers are those that this was made of.
    pub(super) fn is_of(&self, headers: &Headers) -> bool {
        self.headers.are_untouched_since(headers)
    }

    /// Whether their source is the same, as it is of one packet, and of many only once it was translated.
    pub(super) fn is_one_packet(&self) -> bool {
        self.bits[at(Field::Source)].1 == Field::Source.mask()
    }

    /// Whether a rule with this guard surely matches none of the packets.
    pub(super) fn is_excluded(&self, guard: &Guard) -> bool {
        let (value, known) = self.bits[guard.field];
        (value ^ guard.value) & guard.mask & known != 0
    }

    /// The guard by which the rule surely matches none of the packets, if there is one.
    pub(super) fn excluded_by(&self, guards: &OfRule) -> Option<Guard> {
        guards.iter().copied().find(|guard| self.is_excluded(guard))
    }
}

/// What a hook is not told of is no device.
pub(super) fn is_told(hook: Hook, field: Field) -> bool {
    match field {
        Field::InputDevice => !matches!(hook, Hook::Output | Hook::Egress),
        _ => matches!(hook, Hook::Forward | Hook::Postrouting | Hook::Output | Hook::Egress),
    }
}

/// What a register holds.
enum Loaded<'r> {
    /// `meta iif` and the like.
    Device(usize, &'r str),
    /// Octets of fields, with the bits that a mask has left of them.
    Octets(Vec<(Option<Octet>, u8)>),
}

/// An octet of one of [`FIELDS`]: which, and by how much it is shifted.
type Octet = (usize, u32);

fn of_rule(scope: Scope<'_>, rule: &Rule) -> OfRule {
    let mut guards = Vec::new();
    let mut loaded: Option<(Register, Loaded<'_>)> = None;
    for expr in &rule.exprs {
        match expr {
            Expr::Meta { destination, key } => {
                loaded = of_meta(scope, key).map(|what| (*destination, what));
            }
            Expr::Payload { destination, base: PayloadBase::Network, offset, length } => {
                let octets = (*offset..offset.saturating_add(*length).min(offset + 64))
                    .map(|at| (octet_at(scope.family, at), u8::MAX));
                loaded = Some((*destination, Loaded::Octets(octets.collect())));
            }
            Expr::Bitwise { source, destination, mask, xor, .. } => {
                loaded = match loaded {
                    Some((register, Loaded::Octets(mut octets)))
                        if register == *source && xor.0.iter().all(|octet| *octet == 0) =>
                    {
                        let masks = mask.0.iter().copied().chain(std::iter::repeat(0));
                        octets.iter_mut().zip(masks).for_each(|((_, kept), mask)| *kept &= mask);
                        Some((*destination, Loaded::Octets(octets)))
                    }
                    _ => None,
                };
            }
            Expr::Cmp { source, op: Compare::Eq, data } => match &loaded {
                Some((register, what)) if register == source => guards.extend(equal(scope, what, &data.0)),
                _ => {}
            },
            Expr::Cmp { .. }
            | Expr::Range { .. }
            | Expr::Lookup { destination: None, .. }
            | Expr::Match(_)
            | Expr::Counter
            | Expr::Last => {}
            Expr::Payload { .. } | Expr::Ct { .. } => loaded = None,
            // What follows may do something before it asks.
            _ => break,
        }
    }
    guards
}

fn at(field: Field) -> usize {
    FIELDS.iter().position(|other| *other == field).expect("it is one of them")
}

fn of_meta<'r>(scope: Scope<'_>, key: &'r str) -> Option<Loaded<'r>> {
    match key {
        "iif" | "iifname" => Some(Loaded::Device(at(Field::InputDevice), key)),
        "oif" | "oifname" => Some(Loaded::Device(at(Field::OutputDevice), key)),
        "l4proto" if matches!(scope.family, Family::Ip | Family::Ip6) => {
            Some(Loaded::Octets(vec![(Some((at(Field::Protocol), 0)), u8::MAX)]))
        }
        _ => None,
    }
}

/// The octet of a field at this place of the IP header.
fn octet_at(family: Family, offset: u32) -> Option<Octet> {
    let (source, destination, length) = match family {
        Family::Ip if offset == 9 => return Some((at(Field::Protocol), 0)),
        Family::Ip => (12, 16, 4),
        Family::Ip6 => (8, 24, 16),
        Family::Arp | Family::Inet | Family::Netdev | Family::Bridge => return None,
    };
    [(Field::Source, source), (Field::Destination, destination)].into_iter().find_map(|(field, first)| {
        let within = offset.checked_sub(first).filter(|within| *within < length)?;
        Some((at(field), 120 - within * 8))
    })
}

/// What the field must hold for the comparison to hold.
fn equal(scope: Scope<'_>, loaded: &Loaded<'_>, data: &[u8]) -> Vec<Guard> {
    match loaded {
        Loaded::Device(field, key) => {
            let guard = device(scope, key, data).map(|value| Guard { field: *field, value, mask: u128::MAX });
            guard.into_iter().collect()
        }
        Loaded::Octets(octets) => {
            let mut guards: Vec<Guard> = Vec::new();
            for ((octet, kept), wanted) in octets.iter().zip(data) {
                let Some((field, shift)) = *octet else { continue };
                let (value, mask) = (u128::from(wanted & kept) << shift, u128::from(*kept) << shift);
                match guards.iter_mut().find(|guard| guard.field == field) {
                    Some(guard) => (guard.value, guard.mask) = (guard.value | value, guard.mask | mask),
                    None => guards.push(Guard { field, value, mask }),
                }
            }
            guards
        }
    }
}

fn device(scope: Scope<'_>, key: &str, data: &[u8]) -> Option<u128> {
    if !key.ends_with("name") {
        return Some(u32::from_ne_bytes(data.try_into().ok()?).into());
    }
    // Without its end it is the beginning of a name.
    let end = data.iter().position(|octet| *octet == 0)?;
    let name = std::str::from_utf8(&data[..end]).ok().filter(|name| !name.is_empty())?;
    Some(scope.world.link_named(name).map_or(NO_DEVICE, |link| link.index.0.into()))
}
