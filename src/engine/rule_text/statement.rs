//! Expressions put together into statements: what a register holds is followed from the expression
//! that wrote it to the one that reads it.

use kvmnet_probes::facts::{
    Compare, Data, Expr, Family, NatKind, PayloadBase, Register, Rule, Table, Verdict,
};

/// Where something lies in a packet, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) base: PayloadBase,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Where something lies in an extension header or option, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub(super) kind: &'a str,
    pub(super) header: u8,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) present_only: bool,
}

/// What a register holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Constant(&'a [u8]),
    Payload(Span),
    Meta(&'a str),
    Ct {
        key: &'a str,
        direction: Option<u8>,
    },
    Fib {
        result: &'a str,
        flags: u32,
    },
    Rt(&'a str),
    Extension(Extension<'a>),
    /// `(of & mask) ^ xor`.
    Bitwise {
        of: Box<Value<'a>>,
        mask: &'a [u8],
        xor: &'a [u8],
    },
    Shifted {
        of: Box<Value<'a>>,
        left: bool,
        bits: u32,
    },
    /// The same in the other byte order.
    Swapped(Box<Value<'a>>),
    /// What a map gives for a key.
    Mapped {
        key: Box<Value<'a>>,
        map: &'a str,
    },
    /// A part of what a map gave, behind its beginning.
    RestOfMapped,
    /// Fields behind each other, each with its length in bytes.
    Joined(Vec<(u32, Value<'a>)>),
    /// What an expression gave that is not understood, by its name.
    NotUnderstood(&'a str),
    /// Nothing wrote it.
    Nothing(Register),
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation<'a> {
    Is(Compare, &'a [u8]),
    Within { invert: bool, from: &'a [u8], to: &'a [u8] },
    In { set: &'a str, invert: bool },
}

/// What a statement writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Meta(&'a str),
    Ct { key: &'a str, direction: Option<u8> },
    Payload(Span),
    Extension(Extension<'a>),
}

/// Bounds of what is translated to; a missing last one is the same as the first.
pub(super) type Bounds<'a> = Option<(Value<'a>, Option<Value<'a>>)>;

/// What one statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement<'a> {
    /// The rule ends here unless it holds.
    Test {
        subject: Value<'a>,
        relation: Relation<'a>,
    },
    /// A map decides.
    Choose {
        key: Value<'a>,
        map: &'a str,
    },
    Write {
        place: Place<'a>,
        value: Value<'a>,
    },
    Verdict(&'a Verdict),
    Nat {
        kind: NatKind,
        family: Family,
        addresses: Bounds<'a>,
        ports: Bounds<'a>,
        flags: u32,
    },
    Masquerade {
        ports: Bounds<'a>,
        flags: u32,
    },
    Redirect {
        ports: Bounds<'a>,
        flags: u32,
    },
    /// Adds to (0), updates (1) or deletes from (2) a set.
    Change {
        set: &'a str,
        op: u32,
        key: Value<'a>,
        invert: bool,
        exprs: &'a [Expr],
    },
    /// An expression that reads and writes no register, or that is not understood.
    Plain(&'a Expr),
}

/// The statements of a rule's first `count` expressions.
pub(super) fn statements<'a>(table: &'a Table, rule: &'a Rule, count: usize) -> Vec<Statement<'a>> {
    let mut reader = Reader { table, slots: Vec::new(), statements: Vec::new(), opaque: None };
    for expr in rule.exprs.iter().take(count) {
        reader.take(expr);
    }
    reader.statements
}

/// A value in the registers' storage: first byte, length.
struct Slot<'a> {
    offset: usize,
    length: usize,
    value: Value<'a>,
}

struct Reader<'a> {
    table: &'a Table,
    slots: Vec<Slot<'a>>,
    statements: Vec<Statement<'a>>,
    /// The last expression that was not understood, which may have written any register.
    opaque: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn write(&mut self, register: Register, length: u32, value: Value<'a>) {
        let Some(offset) = register.offset() else { return };
        let length = (length as usize).max(1);
        self.slots.retain(|slot| slot.offset < offset || slot.offset >= offset + length);
        for slot in &mut self.slots {
            if slot.offset < offset {
                slot.length = slot.length.min(offset - slot.offset);
            }
        }
        self.slots.push(Slot { offset, length, value });
    }

    /// What a register holds; `length` 0 where that is not known.
    fn read(&mut self, register: Register, length: u32) -> Value<'a> {
        let unknown = match self.opaque {
            Some(name) => Value::NotUnderstood(name),
            None => Value::Nothing(register),
        };
        let Some(begin) = register.offset() else { return unknown };
        let Some(first) = self.slots.iter().find(|slot| slot.offset == begin) else {
            let within = |slot: &&Slot<'_>| slot.offset < begin && begin < slot.offset + slot.length;
            return match self.slots.iter().find(within).map(|slot| &slot.value) {
                Some(Value::Mapped { .. }) => Value::RestOfMapped,
                _ => self.consumed(unknown),
            };
        };
        let end = begin + length as usize;
        if begin + first.length.next_multiple_of(4) >= end {
            return first.value.clone();
        }
        let mut fields = Vec::new();
        let mut at = begin;
        while at < end {
            let Some(slot) = self.slots.iter().find(|slot| slot.offset == at) else { return unknown };
            fields.push((u32::try_from(slot.length).unwrap_or(0), slot.value.clone()));
            at += slot.length.next_multiple_of(4);
        }
        Value::Joined(fields)
    }

    /// What is not understood is named where it is read, so it need not stand for itself too.
    fn consumed(&mut self, value: Value<'a>) -> Value<'a> {
        let last = self.statements.last();
        if matches!(value, Value::NotUnderstood(_))
            && matches!(last, Some(Statement::Plain(Expr::Opaque { .. })))
        {
            self.statements.pop();
        }
        value
    }

    fn bounds(&mut self, min: Option<Register>, max: Option<Register>, length: u32) -> Bounds<'a> {
        let min = min?;
        let last = max.filter(|max| *max != min).map(|max| self.read(max, length));
        Some((self.read(min, length), last))
    }

    fn test(&mut self, subject: Value<'a>, relation: Relation<'a>) {
        // Two comparisons of the same value are a range.
        if let Relation::Is(Compare::Le, to) = relation
            && let Some(Statement::Test { subject: earlier, relation: Relation::Is(Compare::Ge, from) }) =
                self.statements.last()
            && *earlier == subject
        {
            let relation = Relation::Within { invert: false, from, to };
            self.statements.pop();
            self.statements.push(Statement::Test { subject, relation });
            return;
        }
        self.statements.push(Statement::Test { subject, relation });
    }

    fn put(&mut self, place: Place<'a>, source: Register, length: u32) {
        let value = self.read(source, length);
        self.statements.push(Statement::Write { place, value });
    }

    fn take(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Immediate { data: Data::Verdict(verdict), .. } => {
                self.statements.push(Statement::Verdict(verdict));
            }
            Expr::Immediate { destination, data: Data::Value(bytes) } => {
                let length = u32::try_from(bytes.0.len()).unwrap_or(u32::MAX);
                self.write(*destination, length, Value::Constant(&bytes.0));
            }
            Expr::Cmp { source, op, data } => {
                let subject = self.read(*source, u32::try_from(data.0.len()).unwrap_or(u32::MAX));
                self.test(subject, Relation::Is(*op, &data.0));
            }
            Expr::Range { source, invert, from, to } => {
                let subject = self.read(*source, u32::try_from(from.0.len()).unwrap_or(u32::MAX));
                self.test(subject, Relation::Within { invert: *invert, from: &from.0, to: &to.0 });
            }
            Expr::Payload { destination, base, offset, length } => {
                let span = Span { base: *base, offset: *offset, length: *length };
                self.write(*destination, *length, Value::Payload(span));
            }
            Expr::Meta { destination, key } => {
                self.write(*destination, meta_length(key), Value::Meta(key));
            }
            Expr::Ct { destination, key, direction } => {
                let value = Value::Ct { key, direction: *direction };
                self.write(*destination, ct_length(key), value);
            }
            Expr::Fib { destination, result, flags } => {
                let length = if result == "oifname" { 16 } else { 4 };
                self.write(*destination, length, Value::Fib { result, flags: *flags });
            }
            Expr::Rt { destination, key } => {
                let length = if key == "ip6 nexthop" { 16 } else { 4 };
                self.write(*destination, length, Value::Rt(key));
            }
            Expr::Exthdr { destination, kind, header, offset, length, present_only } => {
                let extension = Extension {
                    kind,
                    header: *header,
                    offset: *offset,
                    length: *length,
                    present_only: *present_only,
                };
                self.write(*destination, *length, Value::Extension(extension));
            }
            Expr::Bitwise { source, destination, length, mask, xor } => {
                let of = Box::new(self.read(*source, *length));
                self.write(*destination, *length, Value::Bitwise { of, mask: &mask.0, xor: &xor.0 });
            }
            Expr::Shift { source, destination, length, left, bits } => {
                let of = Box::new(self.read(*source, *length));
                self.write(*destination, *length, Value::Shifted { of, left: *left, bits: *bits });
            }
            Expr::Byteorder { source, destination, length, .. } => {
                let of = Box::new(self.read(*source, *length));
                self.write(*destination, *length, Value::Swapped(of));
            }
            Expr::Lookup { set, source, destination: None, invert } => {
                let subject = self.read_key(*source, set);
                self.test(subject, Relation::In { set, invert: *invert });
            }
            Expr::Lookup { set, source, destination: Some(Register(0)), .. } => {
                let key = self.read_key(*source, set);
                self.statements.push(Statement::Choose { key, map: set });
            }
            Expr::Lookup { set, source, destination: Some(destination), .. } => {
                let key = Box::new(self.read_key(*source, set));
                // How much it gives is in the map alone: all that follows may be of it.
                self.write(*destination, 64, Value::Mapped { key, map: set });
            }
            Expr::MetaSet { source, key } => self.put(Place::Meta(key), *source, meta_length(key)),
            Expr::CtSet { source, key, direction } => {
                self.put(Place::Ct { key, direction: *direction }, *source, ct_length(key));
            }
            Expr::PayloadSet { source, base, offset, length } => {
                let span = Span { base: *base, offset: *offset, length: *length };
                self.put(Place::Payload(span), *source, *length);
            }
            Expr::ExthdrSet { source: Some(source), kind, header, offset, length } => {
                let extension = Extension {
                    kind,
                    header: *header,
                    offset: *offset,
                    length: *length,
                    present_only: false,
                };
                self.put(Place::Extension(extension), *source, *length);
            }
            Expr::Nat { kind, family, address_min, address_max, port_min, port_max, flags } => {
                let addresses = self.bounds(*address_min, *address_max, 0);
                let ports = self.bounds(*port_min, *port_max, 0);
                let (kind, family, flags) = (*kind, *family, *flags);
                self.statements.push(Statement::Nat { kind, family, addresses, ports, flags });
            }
            Expr::Masquerade { port_min, port_max, flags } => {
                let ports = self.bounds(*port_min, *port_max, 0);
                self.statements.push(Statement::Masquerade { ports, flags: *flags });
            }
            Expr::Redirect { port_min, port_max, flags } => {
                let ports = self.bounds(*port_min, *port_max, 0);
                self.statements.push(Statement::Redirect { ports, flags: *flags });
            }
            Expr::Dynset { set, op, key, invert, exprs } => {
                let key = self.read_key(*key, set);
                self.statements.push(Statement::Change { set, op: *op, key, invert: *invert, exprs });
            }
            Expr::Opaque { name, .. } => {
                self.slots.clear();
                self.opaque = Some(name);
                self.statements.push(Statement::Plain(expr));
            }
            Expr::ExthdrSet { source: None, .. }
            | Expr::Counter
            | Expr::Log
            | Expr::Reject(_)
            | Expr::Notrack
            | Expr::Limit { .. }
            | Expr::Quota { .. }
            | Expr::Connlimit { .. }
            | Expr::Last
            | Expr::ObjectRef { .. }
            | Expr::Queue
            | Expr::Match(_)
            | Expr::Target(_) => self.statements.push(Statement::Plain(expr)),
        }
    }

    /// The key of a look-up.
    fn read_key(&mut self, register: Register, set: &str) -> Value<'a> {
        let set = self.table.sets.iter().find(|candidate| candidate.name == set);
        self.read(register, set.map_or(0, |set| set.key_length))
    }
}

/// How many bytes `meta KEY` loads.
fn meta_length(key: &str) -> u32 {
    match key {
        "iifname" | "oifname" | "ibrname" | "obrname" | "iifkind" | "oifkind" | "sdifname" => 16,
        "protocol" | "iiftype" | "oiftype" | "ibrpvid" | "ibrvproto" => 2,
        "nfproto" | "l4proto" | "pkttype" | "ipsec" | "day" | "nftrace" | "broute" => 1,
        "ibrhwaddr" => 6,
        "time" => 8,
        _ => 4,
    }
}

/// How many bytes `ct KEY` loads.
fn ct_length(key: &str) -> u32 {
    match key {
        "direction" | "l3proto" | "protocol" => 1,
        "proto-src" | "proto-dst" | "zone" => 2,
        "packets" | "bytes" | "avgpkt" => 8,
        "saddr" | "daddr" | "ip6 saddr" | "ip6 daddr" | "label" | "helper" => 16,
        _ => 4,
    }
}
