//! One rule, expression by expression, for all packets at once.
//!
//! A rule is read as if every packet came to it; the chain then looks at those that do. Each test
//! splits: what surely goes on, and what may. The first test that leaves a packet in doubt names
//! the reason.

use kvmnet_probes::facts::{Compare, Data, Expr, Family, PayloadBase, Register, Rule};

use super::bdd::{Arena, Bdd, Decided};
use super::device::Name;
use super::field::Field;
use super::headers::Headers;
use super::loads::Memory;
use super::nat::Nat;
use super::registers::Registers;
use super::set::PacketSet;
use super::truth::{self, Truth, at_least, at_most, equal, host_order};
use super::verdict::{End, Flow, decide, is_limit};
use crate::engine::rule_text::expression_text;
use crate::engine::scope::Scope;

/// Packets that the rule ends for, in the same way.
#[derive(Debug)]
pub(super) struct Branch<'a> {
    /// Surely these, if they come to the rule.
    pub(super) surely: PacketSet,
    /// Perhaps these; all of `surely` is in it.
    pub(super) perhaps: PacketSet,
    pub(super) end: End<'a>,
    /// The rule translates them; for the rest of the flow they are accepted.
    pub(super) nat: Option<Nat>,
}

/// What a rule does with all packets.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) branches: Vec<Branch<'a>>,
    /// Packets for which it cannot be said whether the rule matches, and why.
    pub(super) doubts: Vec<(PacketSet, String)>,
    /// What fields hold after the rule, if it has written any.
    pub(super) headers: Option<Headers>,
    /// The fields that all this follows from; `None`: from something else, too.
    pub(super) read: Option<Vec<Field>>,
}

/// A rule at work.
pub(super) struct Run<'e, 'a> {
    pub(super) sets: &'e mut Arena,
    pub(super) memory: &'e mut Memory,
    pub(super) scope: Scope<'a>,
    pub(super) headers: Headers,
    pub(super) registers: Registers,
    /// A name that was not loaded yet.
    pub(super) name: Option<Name>,
    /// Packets for which all tests so far surely held.
    surely: PacketSet,
    /// Packets for which they may have held.
    perhaps: PacketSet,
    branches: Vec<Branch<'a>>,
    doubts: Vec<(PacketSet, String)>,
    rule: &'a Rule,
    /// Which of its expressions is run.
    at: usize,
}

/// What a load gives, and for which packets there is something to load: for the others the rule ends.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) bits: Vec<Truth>,
    pub(super) there: Truth,
}

impl From<Vec<Truth>> for Loaded {
    fn from(bits: Vec<Truth>) -> Self {
        Self { bits, there: Truth::YES }
    }
}

/// Runs the rule for all packets; `headers` is what their fields hold before.
pub(super) fn run<'a>(
    sets: &mut Arena,
    memory: &mut Memory,
    scope: Scope<'a>,
    headers: &Headers,
    rule: &'a Rule,
) -> Decided<Outcome<'a>> {
    let mut run = Run {
        sets,
        memory,
        scope,
        headers: headers.clone(),
        registers: Registers::new(),
        name: None,
        surely: Bdd::ALL,
        perhaps: Bdd::ALL,
        branches: Vec::new(),
        doubts: Vec::new(),
        rule,
        at: 0,
    };
    run.headers.forget_reads();
    for (at, expr) in rule.exprs.iter().enumerate() {
        if run.perhaps == Bdd::NONE {
            break;
        }
        run.at = at;
        run.step(expr)?;
    }
    let read = run.headers.fields_read().map(Iterator::collect);
    let written = !run.headers.are_untouched_since(headers);
    Ok(Outcome { branches: run.branches, doubts: run.doubts, headers: written.then_some(run.headers), read })
}

impl<'a> Run<'_, 'a> {
    /// Gives the words for the expression that is run.
    fn said(&self) -> impl FnOnce() -> String + use<'a> {
        let (scope, rule, at) = (self.scope, self.rule, self.at);
        move || format!("`{}`", expression_text(scope.world.snapshot, scope.table, rule, at))
    }

    fn step(&mut self, expr: &'a Expr) -> Decided<()> {
        if let Some(holds) = self.compares_name(expr)? {
            return self.test(holds, self.said());
        }
        match expr {
            Expr::Immediate { destination, data: Data::Value(bytes) } => {
                self.registers.write(*destination, &known(&bytes.0));
            }
            Expr::Immediate { data: Data::Verdict(verdict), .. } => {
                return self.flow(Truth::YES, decide(verdict));
            }
            Expr::Cmp { source, op, data } => {
                let holds = self.compare(*source, *op, &data.0)?;
                return self.test(holds, self.said());
            }
            Expr::Range { source, invert, from, to } => {
                let value = self.registers.read(*source, from.0.len());
                let (from, to) = (at_least(self.sets, &value, &from.0)?, at_most(self.sets, &value, &to.0)?);
                let holds = self.sets.both(from, to)?.negate(*invert);
                return self.test(holds, self.said());
            }
            Expr::Payload { destination, base, offset, length } => {
                let loaded = self.payload(*base, *offset, *length)?;
                return self.load(*destination, &loaded, || "a header that may be missing".to_owned());
            }
            Expr::Meta { destination, key } => {
                self.name = self.is_name(key).map(|field| Name::new(*destination, field));
                if self.name.is_some() {
                    self.registers.forget(*destination);
                    return Ok(());
                }
                let loaded = self.meta(key)?;
                return self.load(*destination, &loaded, || format!("meta {key}"));
            }
            Expr::Ct { destination, key, direction } => {
                let loaded = self.ct(key, *direction)?;
                return self.load(*destination, &loaded, || format!("ct {key}"));
            }
            Expr::Exthdr { destination, kind, present_only, .. } => {
                let loaded = self.extension(kind, *present_only)?;
                return self.load(*destination, &loaded, || match kind.as_str() {
                    "ipv6" => "an IPv6 extension header".to_owned(),
                    _ => kind.clone(),
                });
            }
            Expr::Fib { destination, result, flags } => {
                let loaded = self.fib(result, *flags)?;
                return self.load(*destination, &loaded, || "fib".to_owned());
            }
            Expr::Rt { destination, key } => {
                // These are loaded only where a route was chosen (`nft_rt_validate`).
                let there = if key == "mtu" || key == "ipsec" { Truth::YES } else { Truth::MAYBE };
                let loaded = Loaded { bits: vec![Truth::MAYBE; 128], there };
                return self.load(*destination, &loaded, || format!("rt {key}"));
            }
            Expr::Bitwise { .. } | Expr::Shift { .. } | Expr::Byteorder { .. } => self.compute(expr),
            Expr::Lookup { set, source, destination, invert } => {
                return self.find(set, *source, *destination, *invert);
            }
            Expr::MetaSet { source, key } => return self.set_meta(key, *source),
            Expr::CtSet { source, key, .. } => return self.set_ct(key, *source),
            Expr::PayloadSet { source, base, offset, length } => {
                return self.rewrite(*source, *base, *offset, *length);
            }
            Expr::Notrack => return self.untrack(),
            Expr::ExthdrSet { .. } => {
                // Without a TCP header the rule ends (`nft_exthdr_tcp_set_eval`).
                let tcp = self.headers.equal(self.sets, Field::Protocol, 6)?;
                let transport = self.transport()?;
                let there = self.sets.both(tcp, transport)?;
                return self.test(there, String::new);
            }
            // Where the set is full the rule ends; to delete never fails (`nft_dynset_eval`).
            Expr::Dynset { op, set, exprs, .. } if *op != 2 => {
                let limit = exprs.iter().any(is_limit);
                let why = if limit { "a limit for each element of" } else { "room in" };
                return self.test(Truth::MAYBE, || format!("{why} set {set}"));
            }
            Expr::Counter | Expr::Log | Expr::Last | Expr::Dynset { .. } => {}
            Expr::Reject(with) => return self.end(Truth::YES, End::Reject(*with), None),
            Expr::Nat { .. } => return self.translate(expr),
            Expr::Masquerade { .. } => return self.masquerade(),
            Expr::Redirect { port_min, port_max, .. } => {
                let port = port_min.map(|register| self.port(register, *port_max));
                return self.redirect(port);
            }
            Expr::Limit { .. } => return self.test(Truth::MAYBE, || "a rate limit".to_owned()),
            Expr::Quota { .. } => return self.test(Truth::MAYBE, || "a quota".to_owned()),
            Expr::Connlimit { .. } => return self.test(Truth::MAYBE, || "a limit of connections".to_owned()),
            Expr::ObjectRef { name, kind } => match kind.as_str() {
                "counter" | "ct-helper" | "ct-timeout" | "ct-expectation" | "secmark" => {}
                "limit" | "quota" | "connlimit" => {
                    return self.test(Truth::MAYBE, || format!("{kind} {name}"));
                }
                _ => return self.anything(Truth::YES, format!("object {name} of kind {kind}")),
            },
            Expr::Queue => return self.anything(Truth::YES, "a process decides (queue)".to_owned()),
            Expr::Match(test) => {
                let holds = self.matches(&test.test)?;
                return self.test(holds, self.said());
            }
            Expr::Target(target) => return self.act(target),
            Expr::Opaque { name, .. } => {
                return self.anything(Truth::YES, format!("expression {name} is not understood"));
            }
        }
        Ok(())
    }

    /// The rule goes on for packets for which it holds.
    pub(super) fn test(&mut self, holds: Truth, why: impl FnOnce() -> String) -> Decided<()> {
        if !holds.is_known() {
            self.doubt(holds, why)?;
        }
        self.surely = self.sets.and(self.surely, holds.yes)?;
        self.perhaps = self.sets.minus(self.perhaps, holds.no)?;
        Ok(())
    }

    /// Notes the packets that were sure until here.
    fn doubt(&mut self, holds: Truth, why: impl FnOnce() -> String) -> Decided<()> {
        let open = self.sets.minus(self.surely, holds.yes)?;
        let open = self.sets.minus(open, holds.no)?;
        if open != Bdd::NONE {
            self.doubts.push((open, why()));
        }
        Ok(())
    }

    /// The rule ends for packets for which it holds, and goes on for the others.
    pub(super) fn end(&mut self, holds: Truth, end: End<'a>, nat: Option<Nat>) -> Decided<()> {
        let surely = self.sets.and(self.surely, holds.yes)?;
        let perhaps = self.sets.minus(self.perhaps, holds.no)?;
        if perhaps != Bdd::NONE {
            self.branches.push(Branch { surely, perhaps, end, nat });
        }
        self.surely = self.sets.and(self.surely, holds.no)?;
        self.perhaps = self.sets.minus(self.perhaps, holds.yes)?;
        Ok(())
    }

    /// The rule may do anything with packets for which it holds.
    pub(super) fn anything(&mut self, holds: Truth, why: String) -> Decided<()> {
        let open = self.sets.minus(self.perhaps, holds.no)?;
        if open == Bdd::NONE {
            return Ok(());
        }
        self.doubts.push((open, why));
        self.end(holds, End::Anything, None)
    }

    /// A verdict that was given to packets for which it holds.
    pub(super) fn flow(&mut self, holds: Truth, flow: Flow<'a>) -> Decided<()> {
        match flow {
            Flow::Continue => Ok(()),
            Flow::Break => self.test(holds.negate(true), String::new),
            Flow::End(end) => self.end(holds, end, None),
            Flow::Anything(why) => self.anything(holds, why),
        }
    }

    fn load(&mut self, register: Register, loaded: &Loaded, why: impl FnOnce() -> String) -> Decided<()> {
        self.registers.write(register, &loaded.bits);
        self.test(loaded.there, why)
    }

    fn compare(&mut self, source: Register, op: Compare, data: &[u8]) -> Decided<Truth> {
        let value = self.registers.read(source, data.len());
        Ok(match op {
            Compare::Eq => equal(self.sets, &value, data)?,
            Compare::Ne => equal(self.sets, &value, data)?.negate(true),
            Compare::Ge => at_least(self.sets, &value, data)?,
            Compare::Lt => at_least(self.sets, &value, data)?.negate(true),
            Compare::Le => at_most(self.sets, &value, data)?,
            Compare::Gt => at_most(self.sets, &value, data)?.negate(true),
        })
    }

    fn compute(&mut self, expr: &Expr) {
        match expr {
            Expr::Bitwise { source, destination, length, mask, xor } => {
                let mut value = self.registers.read(*source, *length as usize);
                let masks = known(&mask.0).into_iter().zip(known(&xor.0));
                let mut given = 0;
                for (bit, (mask, xor)) in value.iter_mut().zip(masks) {
                    let kept = if mask == Truth::YES { *bit } else { Truth::NO };
                    *bit = kept.negate(xor == Truth::YES);
                    given += 1;
                }
                value[given..].fill(Truth::MAYBE);
                self.registers.write(*destination, &value);
            }
            Expr::Shift { source, destination, length, left, bits } => {
                let value = self.registers.read(*source, *length as usize);
                self.registers.write(*destination, &shift(&value, *left, *bits as usize));
            }
            Expr::Byteorder { source, destination, length, size, .. } => {
                let value = self.registers.read(*source, *length as usize);
                self.registers.write(*destination, &host_order(&value, *size as usize));
            }
            _ => {}
        }
    }

    fn find(
        &mut self,
        name: &'a str,
        source: Register,
        destination: Option<Register>,
        invert: bool,
    ) -> Decided<()> {
        let Some(set) = self.scope.table.sets.iter().find(|set| set.name == name) else {
            return self.anything(Truth::YES, format!("set {name} was not read"));
        };
        let key = self.registers.read(source, set.key_length as usize);
        let Some(found) = super::lookup::elements(self.sets, self.scope.table, set, &key)? else {
            // A map of verdicts may hold any of them.
            if destination.is_some() && set.verdicts {
                return self.anything(Truth::YES, self.said()());
            }
            destination.inspect(|register| self.registers.forget(*register));
            return self.test(Truth::MAYBE, self.said());
        };
        let all: Vec<Truth> = found.iter().map(|(holds, _)| *holds).collect();
        let any = self.sets.any_truth(&all)?;
        self.test(any.negate(invert), self.said())?;
        let Some(destination) = destination.filter(|_| !invert) else { return Ok(()) };
        if set.verdicts {
            return self.dispatch(&found);
        }
        let data: Vec<Option<&[u8]>> = found
            .iter()
            .map(|(_, element)| match &element.data {
                Some(Data::Value(bytes)) => Some(bytes.0.as_slice()),
                Some(Data::Verdict(_)) | None => None,
            })
            .collect();
        let bits = super::lookup::chosen(self.sets, &all, &data)?;
        self.registers.write(destination, &bits);
        Ok(())
    }

    /// Ends as the element says that was found.
    fn dispatch(&mut self, found: &[(Truth, &'a kvmnet_probes::facts::Element)]) -> Decided<()> {
        let mut groups: Vec<(&Data, Vec<Truth>)> = Vec::new();
        for (holds, element) in found {
            let Some(data) = &element.data else { continue };
            match groups.iter_mut().find(|(other, _)| *other == data) {
                Some((_, all)) => all.push(*holds),
                None => groups.push((data, vec![*holds])),
            }
        }
        for (data, all) in groups {
            let holds = self.sets.any_truth(&all)?;
            if let Data::Verdict(verdict) = data {
                self.flow(holds, decide(verdict))?;
            }
        }
        Ok(())
    }

    fn set_meta(&mut self, key: &str, source: Register) -> Decided<()> {
        match key {
            "mark" => {
                let bits = host_order(&self.registers.read(source, 4), 4);
                self.write(Field::Mark, &bits)
            }
            "pkttype" => self.write(Field::PacketType, &[Truth::MAYBE; 3]),
            "priority" | "nftrace" | "secmark" => Ok(()),
            // `broute` takes a frame out of the bridge.
            _ => self.anything(Truth::YES, self.said()()),
        }
    }

    fn set_ct(&mut self, key: &str, source: Register) -> Decided<()> {
        match key {
            "mark" => {
                let bits = host_order(&self.registers.read(source, 4), 4);
                // Without an entry nothing is written.
                let entry = self.entry()?;
                self.write_where(entry, Field::CtMark, &bits)
            }
            "zone" => self.forget_connection(),
            "label" | "event" | "secmark" => Ok(()),
            _ => self.anything(Truth::YES, self.said()()),
        }
    }

    /// Writes a field of the packets that are still in the rule.
    pub(super) fn write(&mut self, field: Field, bits: &[Truth]) -> Decided<()> {
        self.headers.write(self.sets, field, (self.surely, self.perhaps), bits)
    }

    /// Another zone may know the flow otherwise.
    pub(super) fn forget_connection(&mut self) -> Decided<()> {
        for field in [Field::CtState, Field::CtReply, Field::CtStatus, Field::CtMark] {
            self.write(field, &vec![Truth::MAYBE; field.width() as usize])?;
        }
        Ok(())
    }

    /// `notrack`: without effect where the packet has an entry already.
    pub(super) fn untrack(&mut self) -> Decided<()> {
        let without = self.headers.equal(self.sets, Field::CtState, 0)?;
        self.write_where(without, Field::CtState, &[Truth::YES, Truth::NO, Truth::NO])
    }

    /// Writes a field of the packets that are still in the rule and for which it holds.
    pub(super) fn write_where(&mut self, holds: Truth, field: Field, bits: &[Truth]) -> Decided<()> {
        let surely = self.sets.and(self.surely, holds.yes)?;
        let perhaps = self.sets.minus(self.perhaps, holds.no)?;
        self.headers.write(self.sets, field, (surely, perhaps), bits)
    }

    /// Writes into the packet, where it has that header: checksums and the like change no fate.
    fn rewrite(&mut self, source: Register, base: PayloadBase, offset: u32, length: u32) -> Decided<()> {
        let bits = self.registers.read(source, length as usize);
        let (from, to) = (offset as usize, offset as usize + bits.len() / 8);
        match (base, self.scope.family) {
            (PayloadBase::Inner | PayloadBase::Tunnel, _) => {
                let there = self.transport()?.doubted();
                self.test(there, self.said())
            }
            (PayloadBase::Transport, _) => {
                let there = self.transport()?;
                self.test(there, String::new)?;
                match 13_usize.checked_sub(from).map(|at| bits.get(at * 8..at * 8 + 8)) {
                    _ if from < 4 => self.anything(Truth::YES, self.said()()),
                    // Where others have something else nothing asks for flags.
                    Some(Some(flags)) => self.write(Field::TcpFlags, flags),
                    Some(None) | None => Ok(()),
                }
            }
            (PayloadBase::Network, Family::Ip) if (from, to) == (12, 16) => {
                self.write(Field::Source, &bits_of(&bits))
            }
            (PayloadBase::Network, Family::Ip) if (from, to) == (16, 20) => {
                self.write(Field::Destination, &bits_of(&bits))
            }
            (PayloadBase::Network, Family::Ip6) if (from, to) == (8, 24) => self.write(Field::Source, &bits),
            (PayloadBase::Network, Family::Ip6) if (from, to) == (24, 40) => {
                self.write(Field::Destination, &bits)
            }
            (PayloadBase::Network, Family::Ip) if to <= 12 => self.rewrite_first_octets(from, &bits),
            (PayloadBase::Network, Family::Ip6) if to <= 8 => self.rewrite_first_octets(from, &bits),
            (PayloadBase::Link | PayloadBase::Network, _) => self.anything(Truth::YES, self.said()()),
        }
    }

    /// Writes before the addresses. nft writes whole words, so that most of what it writes is as it was.
    fn rewrite_first_octets(&mut self, from: usize, bits: &[Truth]) -> Decided<()> {
        let before = self.payload(PayloadBase::Network, 0, 12)?.bits;
        let mut after = before.clone();
        after[from * 8..from * 8 + bits.len()].copy_from_slice(bits);
        let changes = |span: std::ops::Range<usize>| before[span.clone()] != after[span];
        // Version and length, or where the protocol and the fragment stand, which the hook has read already.
        let (others, class, limit) = if self.scope.family == Family::Ip6 {
            (changes(0..4) || changes(48..56), 4..12, 56..64)
        } else {
            (changes(0..8) || changes(48..64) || changes(72..80), 8..16, 64..72)
        };
        if others {
            return self.anything(Truth::YES, self.said()());
        }
        if changes(class.clone()) {
            self.write(Field::TrafficClass, &after[class])?;
        }
        if changes(limit.clone()) {
            self.write(Field::Ttl, &after[limit.clone()])?;
            // Where it runs out the packet ends.
            let long = at_least(self.sets, &after[limit], &[2])?;
            self.anything(long.negate(true), self.said()())?;
        }
        Ok(())
    }

    /// Whether the field has one of the values.
    pub(super) fn one_of(&mut self, field: Field, values: &[u128]) -> Decided<Truth> {
        let headers = &self.headers;
        let all = values.iter().map(|value| headers.equal(self.sets, field, *value));
        let all: Vec<Truth> = all.collect::<Decided<_>>()?;
        self.sets.any_truth(&all)
    }
}

/// The bits of bytes.
pub(super) fn known(bytes: &[u8]) -> Vec<Truth> {
    truth::bits(&super::octets::known(bytes))
}

/// An IPv4 address in the place of both families'.
fn bits_of(bits: &[Truth]) -> Vec<Truth> {
    [bits, &[Truth::MAYBE; 96]].concat()
}

/// Shifts 32-bit words in the host's byte order, the first being the most significant.
fn shift(value: &[Truth], left: bool, by: usize) -> Vec<Truth> {
    let mut bits = host_order(value, 4);
    if by >= 32 {
        return vec![Truth::MAYBE; value.len()];
    }
    if left {
        bits.rotate_left(by);
        let kept = bits.len() - by;
        bits[kept..].fill(Truth::NO);
    } else {
        bits.rotate_right(by);
        bits[..by].fill(Truth::NO);
    }
    host_order(&bits, 4)
}
