//! A plain interpreter of rules for one packet: what sets of packets are held to.
//!
//! It was written apart from the set evaluator and shares nothing with it but the facts. In three values:
//! yes, no, and what depends on something that is not known. What asks routes is left undecided.

pub(super) mod chains;
pub(super) mod loads;
pub(super) mod packet;
mod registers;
mod sets;
mod xtables;

use std::net::IpAddr;

use kvmnet_probes::facts::{
    Compare, Data, Expr, Family, Hook, NatKind, PayloadBase, Register, Rule, Table, Verdict,
};

use crate::engine::world::World;
use packet::{Octets, Packet, Tracked, Translation};
use registers::{Registers, Truth, equal, order, within};
use sets::{Found, look_up};

/// Where a rule is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) world: World<'a>,
    pub(super) table: &'a Table,
    /// The family whose hook it is: never `inet`.
    pub(super) family: Family,
    pub(super) hook: Hook,
}

/// How a rule ends, if it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End<'r> {
    /// The next rule goes on: it did not match, or has no verdict.
    Next,
    Accept,
    Drop,
    Reject,
    Jump(&'r str),
    Goto(&'r str),
    Return,
    /// It may do anything with the packet.
    Anything,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome<'r> {
    pub(super) end: End<'r>,
    /// It cannot be said whether the rule matches.
    doubt: bool,
}

/// What one expression does.
pub(super) enum Flow<'r> {
    Continue,
    /// The rule does not match.
    Break,
    /// It cannot be said whether the rule matches.
    Maybe,
    End(End<'r>),
    /// It may do anything with the packet.
    Anything,
}

impl Flow<'_> {
    /// Goes on if it holds.
    fn of(truth: Truth) -> Self {
        match truth {
            Truth::Yes => Self::Continue,
            Truth::No => Self::Break,
            Truth::Maybe => Self::Maybe,
        }
    }
}

/// Runs the rule. `doubtful`: it is not known whether the packet comes to it at all, so that what
/// it would write is unknown afterwards.
fn run<'r>(scope: Scope<'r>, packet: &mut Packet, rule: &'r Rule, doubtful: bool) -> Outcome<'r> {
    let mut registers = Registers::new();
    let mut doubt = false;
    for place in 0..rule.exprs.len() {
        match step(scope, packet, &mut registers, (rule, place), !doubtful && !doubt) {
            Flow::Continue => {}
            Flow::Break => return Outcome { end: End::Next, doubt: false },
            Flow::Maybe => doubt = true,
            Flow::Anything => return Outcome { end: End::Anything, doubt: true },
            Flow::End(end) => return Outcome { end, doubt },
        }
    }
    Outcome { end: End::Next, doubt }
}

fn step<'r>(
    scope: Scope<'r>,
    packet: &mut Packet,
    registers: &mut Registers,
    (rule, place): (&'r Rule, usize),
    sure: bool,
) -> Flow<'r> {
    let expr = &rule.exprs[place];
    match expr {
        Expr::Immediate { destination, data: Data::Value(bytes) } => {
            registers.write(*destination, &packet::known(&bytes.0));
        }
        Expr::Immediate { data: Data::Verdict(verdict), .. } => return decide(verdict),
        Expr::Cmp { source, op, data } => {
            let value = registers.read(*source, data.0.len());
            return Flow::of(compare(&value, *op, &data.0));
        }
        Expr::Range { source, invert, from, to } => {
            let value = registers.read(*source, from.0.len());
            return Flow::of(within(&value, &from.0, &to.0).negate(*invert));
        }
        Expr::Payload { destination, base, offset, length } => match packet.load(*base, *offset, *length) {
            Some(octets) => registers.write(*destination, &octets),
            None => return Flow::Break,
        },
        Expr::Meta { destination, key } => match loads::meta(scope, packet, key) {
            Some(octets) => registers.write(*destination, &octets),
            None => return Flow::Break,
        },
        Expr::Ct { destination, key, direction } => match loads::ct(packet, key, *direction) {
            loads::Ct::Value(octets) => registers.write(*destination, &octets),
            loads::Ct::NoEntry => return Flow::Break,
            loads::Ct::Unknown => {
                registers.forget(*destination);
                return Flow::Maybe;
            }
        },
        Expr::Exthdr { destination, kind, present_only, .. } => {
            // The packets that stand for claims carry no IPv6 extension headers and no IPv4 options.
            let absent = kind != "tcp option";
            match (absent || packet.protocol() != Some(6), present_only) {
                (true, true) => registers.write(*destination, &[Some(0)]),
                (true, false) => return Flow::Break,
                // Whether it is there is loaded in any case.
                (false, true) => registers.forget(*destination),
                (false, false) => {
                    registers.forget(*destination);
                    return Flow::Maybe;
                }
            }
        }
        Expr::Fib { destination, .. } | Expr::Rt { destination, .. } => registers.forget(*destination),
        Expr::Bitwise { .. } | Expr::Shift { .. } | Expr::Byteorder { .. } => compute(registers, expr),
        Expr::Lookup { set, source, destination, invert } => {
            return find(scope, registers, (set, *invert), *source, *destination);
        }
        Expr::MetaSet { source, key } => {
            if key == "mark" {
                let mark = loads::to_number(&registers.read(*source, 4));
                packet.mark = mark.filter(|mark| sure || packet.mark == Some(*mark));
            }
        }
        Expr::CtSet { source, key, .. } => {
            // Without an entry nothing is written.
            if key == "mark" && !matches!(packet.connection.tracked, Tracked::No | Tracked::Never) {
                let mark = loads::to_number(&registers.read(*source, 4));
                packet.connection.mark = mark.filter(|_| sure && packet.connection.tracked == Tracked::Yes);
            }
        }
        Expr::PayloadSet { source, base, offset, length } => {
            return rewrite(packet, &registers.read(*source, *length as usize), *base, *offset, sure);
        }
        Expr::Notrack => untrack(packet, sure),
        Expr::Counter | Expr::Log | Expr::Last | Expr::ExthdrSet { .. } => {}
        Expr::Reject(_) => return Flow::End(End::Reject),
        // In `inet` tables a rule of one family passes over packets of the other (`nft_nat_inet_eval`).
        Expr::Nat { family: Family::Ip, .. } if packet.ipv6 => {}
        Expr::Nat { family: Family::Ip6, .. } if !packet.ipv6 => {}
        Expr::Nat { kind, address_min, address_max, port_min, .. } => {
            let load = |register: &Option<Register>| {
                register.map(|register| registers.read(register, if packet.ipv6 { 16 } else { 4 }))
            };
            let (least, most) = (load(address_min), load(address_max));
            let current = if *kind == NatKind::Source { packet.source } else { packet.destination };
            let address = match &least {
                None => current,
                Some(least) if most.is_none() || most.as_ref() == Some(least) => loads::to_address(least),
                Some(_) => None,
            };
            let port = port_min.and_then(|register| loads::to_port(&registers.read(register, 2)));
            return translate(packet, *kind, Translation { address, port, sure });
        }
        Expr::Masquerade { .. } => return masquerade(scope.world, packet, sure),
        Expr::Redirect { port_min, .. } => {
            let port = port_min.and_then(|register| loads::to_port(&registers.read(register, 2)));
            return redirect(scope, packet, port, sure);
        }
        Expr::Limit { .. } | Expr::Quota { .. } | Expr::Connlimit { .. } => return Flow::Maybe,
        Expr::Dynset { exprs, invert, .. } => {
            return match (exprs.iter().any(is_limit), invert) {
                (true, _) => Flow::Maybe,
                (false, true) => Flow::Break,
                (false, false) => Flow::Continue,
            };
        }
        Expr::ObjectRef { kind, .. } => {
            return match kind.as_str() {
                "counter" | "ct-helper" | "ct-timeout" | "ct-expectation" | "secmark" => Flow::Continue,
                "limit" | "quota" | "connlimit" => Flow::Maybe,
                _ => Flow::Anything,
            };
        }
        Expr::Match(test) => {
            return Flow::of(xtables::matches(scope.hook, packet, &test.test));
        }
        Expr::Target(target) => return xtables::act(scope, packet, target, sure),
        Expr::Queue | Expr::Opaque { .. } => return Flow::Anything,
    }
    Flow::Continue
}

pub(super) fn is_limit(expr: &Expr) -> bool {
    matches!(expr, Expr::Limit { .. } | Expr::Quota { .. } | Expr::Connlimit { .. } | Expr::Opaque { .. })
}

/// What a verdict does.
pub(super) fn decide(verdict: &Verdict) -> Flow<'_> {
    Flow::End(match verdict {
        Verdict::Accept => End::Accept,
        Verdict::Drop | Verdict::Stolen => End::Drop,
        Verdict::Continue => return Flow::Continue,
        Verdict::Break => return Flow::Break,
        Verdict::Jump { chain } => End::Jump(chain),
        Verdict::Goto { chain } => End::Goto(chain),
        Verdict::Return => End::Return,
        Verdict::Queue | Verdict::Unknown { .. } => return Flow::Anything,
    })
}

fn compare(value: &Octets, op: Compare, data: &[u8]) -> Truth {
    let ordered = |holds: fn(std::cmp::Ordering) -> bool| {
        order(value, data).map_or(Truth::Maybe, |order| holds(order).into())
    };
    match op {
        Compare::Eq => equal(value, data),
        Compare::Ne => equal(value, data).negate(true),
        Compare::Lt => ordered(std::cmp::Ordering::is_lt),
        Compare::Le => ordered(std::cmp::Ordering::is_le),
        Compare::Gt => ordered(std::cmp::Ordering::is_gt),
        Compare::Ge => ordered(std::cmp::Ordering::is_ge),
    }
}

fn compute(registers: &mut Registers, expr: &Expr) {
    match expr {
        Expr::Bitwise { source, destination, length, mask, xor } => {
            let value = registers.read(*source, *length as usize);
            let bits =
                value.iter().zip(&mask.0).zip(&xor.0).map(|((octet, mask), xor)| match (octet, mask) {
                    (_, 0) => Some(*xor),
                    (octet, mask) => octet.map(|octet| (octet & mask) ^ xor),
                });
            let mut result: Octets = bits.collect();
            result.resize(value.len(), None);
            registers.write(*destination, &result);
        }
        Expr::Shift { source, destination, length, left, bits } => {
            let value = registers.read(*source, *length as usize);
            registers.write(*destination, &loads::shift(&value, *left, *bits));
        }
        Expr::Byteorder { source, destination, length, size, .. } => {
            let mut value = registers.read(*source, *length as usize);
            if cfg!(target_endian = "little") {
                value.chunks_mut((*size as usize).max(1)).for_each(<[_]>::reverse);
            }
            registers.write(*destination, &value);
        }
        _ => {}
    }
}

fn find<'r>(
    scope: Scope<'r>,
    registers: &mut Registers,
    (name, invert): (&'r str, bool),
    source: Register,
    destination: Option<Register>,
) -> Flow<'r> {
    let Some(set) = scope.table.sets.iter().find(|set| set.name == name) else {
        return Flow::Anything;
    };
    let key = registers.read(source, set.key_length as usize);
    let element = match look_up(scope.table, set, &key) {
        // A map of verdicts may hold any of them.
        Found::Maybe if destination.is_some() && set.verdicts => {
            return Flow::Anything;
        }
        Found::Maybe => {
            destination.inspect(|register| registers.forget(*register));
            return Flow::Maybe;
        }
        Found::Nothing if invert => return Flow::Continue,
        Found::Nothing => return Flow::Break,
        Found::Element(_) if invert => return Flow::Break,
        Found::Element(element) => element,
    };
    if element.exprs.iter().any(is_limit) {
        return Flow::Maybe;
    }
    match (&element.data, destination) {
        (Some(Data::Verdict(verdict)), Some(_)) => return decide(verdict),
        (Some(Data::Value(bytes)), Some(register)) => {
            registers.write(register, &packet::known(&bytes.0));
        }
        (None, Some(register)) => registers.forget(register),
        (_, None) => {}
    }
    Flow::Continue
}

/// Writes into the packet: addresses are followed, checksums and the like change no fate.
fn rewrite<'r>(packet: &mut Packet, value: &Octets, base: PayloadBase, offset: u32, sure: bool) -> Flow<'r> {
    let span = offset as usize..offset as usize + value.len();
    let (source, destination) = if packet.ipv6 { (8..24, 24..40) } else { (12..16, 16..20) };
    let touches = |field: &std::ops::Range<usize>| span.start < field.end && field.start < span.end;
    let address = loads::to_address(value).filter(|_| sure);
    let hop_limit: usize = if packet.ipv6 { 7 } else { 8 };
    if base == PayloadBase::Network
        && let Some(limit) = hop_limit.checked_sub(span.start).and_then(|at| value.get(at))
    {
        match limit.filter(|limit| sure && *limit > 1) {
            Some(limit) => packet.ttl = limit,
            // Where it runs out the packet ends.
            None => return Flow::Anything,
        }
    }
    match base {
        PayloadBase::Network if span == source => packet.source = address,
        PayloadBase::Network if span == destination => packet.destination = address,
        PayloadBase::Network if touches(&source) || touches(&destination) => {
            return Flow::Anything;
        }
        PayloadBase::Transport if span.start < 4 => return Flow::Anything,
        PayloadBase::Link => return Flow::Anything,
        PayloadBase::Network | PayloadBase::Transport | PayloadBase::Inner | PayloadBase::Tunnel => {}
    }
    Flow::Continue
}

/// `notrack`: without effect where the packet has an entry already.
pub(super) fn untrack(packet: &mut Packet, sure: bool) {
    let tracked = &mut packet.connection.tracked;
    *tracked = match (*tracked, sure) {
        (Tracked::No, true) => Tracked::Never,
        (Tracked::No, false) => Tracked::Perhaps,
        (tracked, _) => tracked,
    };
}

/// Sets up NAT for the flow; like the kernel, accepts.
pub(super) fn translate<'r>(packet: &mut Packet, kind: NatKind, translation: Translation) -> Flow<'r> {
    let slot = match kind {
        NatKind::Source => &mut packet.connection.source_nat,
        NatKind::Destination => &mut packet.connection.destination_nat,
    };
    // Where an undecided rule may have translated already, either can have won.
    *slot = Some(match slot {
        Some(earlier) if *earlier != translation => {
            Translation { address: None, sure: earlier.sure || translation.sure, ..translation }
        }
        _ => translation,
    });
    Flow::End(End::Accept)
}

/// `masquerade`: to the address of the device that the packet leaves by; without any, a drop.
pub(super) fn masquerade<'r>(world: World<'_>, packet: &mut Packet, sure: bool) -> Flow<'r> {
    let Some(output) = packet.output.clone() else {
        return Flow::Anything;
    };
    let address = world.source_for(output.index, packet.ipv6, packet.next_hop);
    if address.is_none() && world.snapshot.addresses.known().is_some() {
        return Flow::End(End::Drop);
    }
    translate(packet, NatKind::Source, Translation { address, port: None, sure })
}

/// Whether the address is of the link alone.
pub(super) fn on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// `redirect`: to the first address of the device that the packet came in by, or to loopback.
pub(super) fn redirect<'r>(scope: Scope<'_>, packet: &mut Packet, port: Option<u16>, sure: bool) -> Flow<'r> {
    let address = match (&packet.input, packet.ipv6) {
        // In IPv6 one whose scope is the destination's (`nf_nat_redirect_ipv6_usable`).
        (Some(device), ipv6) => scope
            .world
            .addresses(device.index, ipv6)
            .map(|address| address.net.addr())
            .find(|address| !ipv6 || packet.destination.is_none_or(|to| on_link(to) == on_link(*address))),
        (None, false) => Some(IpAddr::from([127, 0, 0, 1])),
        (None, true) => Some(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
    };
    if address.is_none() && scope.world.snapshot.addresses.known().is_some() {
        return Flow::End(End::Drop);
    }
    translate(packet, NatKind::Destination, Translation { address, port, sure })
}
