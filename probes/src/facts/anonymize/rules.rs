//! Addresses in the bytes of rules and sets: found by following what the registers hold.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::AddressMap;
use crate::facts::{
    Bytes, Compare, Data, Element, Expr, Fact, Family, Mac, PayloadBase, Register, Rule, Set, Snapshot,
    Table, XtAction, XtTest,
};

/// What some bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    V4,
    V6,
    Mac,
}

impl Field {
    const fn size(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
            Self::Mac => 6,
        }
    }

    /// The address that begins with these bytes.
    fn address(self, bytes: &[u8], fill: u8) -> Option<IpAddr> {
        let mut octets = [fill; 16];
        octets[..bytes.len()].copy_from_slice(bytes);
        match self {
            Self::V4 => <[u8; 4]>::try_from(&octets[..4]).ok().map(|octets| Ipv4Addr::from(octets).into()),
            Self::V6 => Some(Ipv6Addr::from(octets).into()),
            Self::Mac => None,
        }
    }
}

/// What is done with the addresses that are found.
pub(super) trait Visitor {
    /// An address, or its first bytes.
    fn point(&mut self, field: Field, bytes: &mut [u8]);
    /// The first and the last address of a range.
    fn range(&mut self, field: Field, first: &mut [u8], last: &mut [u8]);
    /// The addresses up to and from here are compared with.
    fn bound(&mut self, field: Field, bytes: &mut [u8]) {
        self.range(field, &mut vec![0; bytes.len()], bytes);
        self.range(field, bytes, &mut vec![0xff; bytes.len()]);
    }
}

/// Keeps the order of the ends of every range.
pub(super) struct Ranges<'a>(pub(super) &'a mut AddressMap);

impl Visitor for Ranges<'_> {
    fn point(&mut self, field: Field, bytes: &mut [u8]) {
        if field == Field::Mac
            && let Ok(mac) = <[u8; 6]>::try_from(&*bytes)
        {
            // Gives it its number.
            self.0.mac(Mac(mac));
        }
    }

    fn range(&mut self, field: Field, first: &mut [u8], last: &mut [u8]) {
        if let (Some(first), Some(last)) = (field.address(first, 0), field.address(last, 0xff)) {
            self.0.keep_range(first, last);
        }
    }
}

/// Puts the replacements in.
pub(super) struct Replacements<'a>(pub(super) &'a AddressMap);

impl Visitor for Replacements<'_> {
    fn point(&mut self, field: Field, bytes: &mut [u8]) {
        let length = bytes.len();
        match field.address(bytes, 0).map(|address| self.0.ip(address)) {
            Some(IpAddr::V4(address)) => bytes.copy_from_slice(&address.octets()[..length]),
            Some(IpAddr::V6(address)) => bytes.copy_from_slice(&address.octets()[..length]),
            None => {
                if let Ok(mac) = <[u8; 6]>::try_from(&*bytes) {
                    bytes.copy_from_slice(&self.0.known_mac(Mac(mac)).0);
                }
            }
        }
    }

    fn range(&mut self, field: Field, first: &mut [u8], last: &mut [u8]) {
        self.point(field, first);
        self.point(field, last);
    }

    fn bound(&mut self, field: Field, bytes: &mut [u8]) {
        self.point(field, bytes);
    }
}

/// Shows every address in rules and sets to the visitor.
pub(super) fn rewrite(snapshot: &mut Snapshot, visitor: &mut impl Visitor) {
    for tables in [&mut snapshot.nf_tables, &mut snapshot.xtables_legacy] {
        if let Fact::Read { value, .. } = tables {
            for table in value {
                rewrite_table(table, visitor);
            }
        }
    }
}

/// An address, or the first bytes of one, among other bytes.
#[derive(Debug, Clone)]
struct Spot {
    field: Field,
    /// Where it begins.
    at: usize,
    /// How many of its bytes are there.
    length: usize,
    /// Only the bits of this mask count.
    mask: Option<Vec<u8>>,
}

/// What a register holds besides addresses, as far as it tells the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    NfProto,
    EtherType,
}

/// The network-layer header that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer3 {
    Ip,
    Ip6,
    Arp,
}

/// What is known of the sets of a table: what their keys and their data hold.
#[derive(Default)]
struct Sets {
    keys: BTreeMap<String, Vec<Spot>>,
    data: BTreeMap<String, Vec<Spot>>,
}

fn rewrite_table(table: &mut Table, visitor: &mut impl Visitor) {
    let mut sets = Sets::default();
    for rule in table.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
        Walk::new(table.family, &mut sets).rule(rule, visitor);
    }
    for set in &mut table.sets {
        match sets.keys.get(&set.name) {
            Some(spots) => {
                rewrite_set(set, spots, sets.data.get(&set.name).map_or(&[], Vec::as_slice), visitor);
            }
            // No rule asks it, so nobody can say what it holds, and nothing depends on it.
            None => set.elements.clear(),
        }
    }
}

/// One rule, expression by expression.
struct Walk<'a> {
    layer3: Option<Layer3>,
    spots: Vec<Spot>,
    tags: BTreeMap<usize, Tag>,
    /// Which expression, or which map, wrote a register last.
    writers: BTreeMap<usize, Writer>,
    sets: &'a mut Sets,
}

#[derive(Debug, Clone)]
enum Writer {
    Immediate(usize),
    Map(String, usize),
}

impl<'a> Walk<'a> {
    fn new(family: Family, sets: &'a mut Sets) -> Self {
        let layer3 = match family {
            Family::Ip => Some(Layer3::Ip),
            Family::Ip6 => Some(Layer3::Ip6),
            Family::Arp => Some(Layer3::Arp),
            Family::Inet | Family::Netdev | Family::Bridge => None,
        };
        Self { layer3, spots: Vec::new(), tags: BTreeMap::new(), writers: BTreeMap::new(), sets }
    }

    fn rule(mut self, rule: &mut Rule, visitor: &mut impl Visitor) {
        for position in 0..rule.exprs.len() {
            let (done, rest) = rule.exprs.split_at_mut(position);
            self.expression(position, &mut rest[0], done, visitor);
        }
    }

    fn expression(
        &mut self,
        position: usize,
        expr: &mut Expr,
        done: &mut [Expr],
        visitor: &mut impl Visitor,
    ) {
        match expr {
            Expr::Payload { destination, base, offset, length } => {
                self.load(*destination, *base, *offset, *length);
            }
            Expr::Meta { destination, key } => {
                let tag = match key.as_str() {
                    "nfproto" => Some(Tag::NfProto),
                    "protocol" => Some(Tag::EtherType),
                    _ => None,
                };
                self.overwrite(*destination, 16, Vec::new(), tag);
            }
            Expr::Ct { destination, key, .. } | Expr::Rt { destination, key } => {
                let field = match key.as_str() {
                    "ip saddr" | "ip daddr" | "ip nexthop" => Some(Field::V4),
                    "ip6 saddr" | "ip6 daddr" | "ip6 nexthop" => Some(Field::V6),
                    "saddr" | "daddr" => {
                        Some(if self.layer3 == Some(Layer3::Ip6) { Field::V6 } else { Field::V4 })
                    }
                    _ => None,
                };
                let spot = |field: Field| Spot { field, at: 0, length: field.size(), mask: None };
                self.overwrite(*destination, 16, field.map(spot).into_iter().collect(), None);
            }
            Expr::Bitwise { source, destination, length, mask, xor } => {
                let mut spots = self.found(*source, *length as usize);
                for spot in &mut spots {
                    spot.mask = mask.0.get(spot.at..spot.at + spot.length).map(<[u8]>::to_vec);
                }
                spots.retain(|_| xor.0.iter().all(|byte| *byte == 0));
                self.overwrite(*destination, *length as usize, spots, None);
            }
            Expr::Shift { destination, length, .. } | Expr::Byteorder { destination, length, .. } => {
                self.overwrite(*destination, *length as usize, Vec::new(), None);
            }
            Expr::Fib { destination, .. } | Expr::Exthdr { destination, .. } => {
                self.overwrite(*destination, 16, Vec::new(), None);
            }
            Expr::Immediate { destination, data: Data::Value(bytes) } => {
                self.overwrite(*destination, bytes.0.len(), Vec::new(), None);
                if let Some(at) = destination.offset() {
                    self.writers.insert(at, Writer::Immediate(position));
                }
            }
            Expr::Cmp { source, op, data } => {
                self.learn_protocol(*source, *op, &data.0);
                for spot in self.found(*source, data.0.len()) {
                    compare(&spot, *op, &mut data.0, visitor);
                }
            }
            Expr::Range { source, from, to, .. } => {
                for spot in self.found(*source, from.0.len()) {
                    let place = spot.at..spot.at + spot.length;
                    if let (Some(from), Some(to)) = (from.0.get_mut(place.clone()), to.0.get_mut(place)) {
                        visitor.range(spot.field, from, to);
                    }
                }
            }
            Expr::Lookup { set, source, destination, .. } => {
                let spots = self.found(*source, 64);
                self.sets.keys.entry(set.clone()).or_default().extend(spots);
                if let Some(destination) = destination {
                    self.overwrite(*destination, 16, Vec::new(), None);
                    let start = destination.offset().unwrap_or(usize::MAX);
                    for at in (0..16).step_by(4).filter(|_| start < usize::MAX) {
                        self.writers.insert(start + at, Writer::Map(set.clone(), at));
                    }
                }
            }
            Expr::Dynset { set, key, .. } => {
                let spots = self.found(*key, 64);
                self.sets.keys.entry(set.clone()).or_default().extend(spots);
            }
            Expr::Nat { family, address_min, address_max, .. } => {
                let field = if *family == Family::Ip6 { Field::V6 } else { Field::V4 };
                self.translation(field, *address_min, *address_max, done, visitor);
            }
            Expr::Match(found) => {
                if let XtTest::Opaque { data } = &mut found.test {
                    data.0.fill(0);
                }
            }
            Expr::Target(target) => {
                if let XtAction::Opaque { data } = &mut target.action {
                    data.0.fill(0);
                }
            }
            Expr::Opaque { data, .. } => data.0.fill(0),
            _ => {}
        }
    }

    /// The spots of the `length` bytes from a register on, counted from there.
    fn found(&self, register: Register, length: usize) -> Vec<Spot> {
        let Some(start) = register.offset() else { return Vec::new() };
        let inside = |spot: &&Spot| spot.at >= start && spot.at + spot.length <= start + length;
        self.spots.iter().filter(inside).map(|spot| Spot { at: spot.at - start, ..spot.clone() }).collect()
    }

    fn overwrite(&mut self, register: Register, length: usize, spots: Vec<Spot>, tag: Option<Tag>) {
        let Some(start) = register.offset() else { return };
        self.spots.retain(|spot| spot.at + spot.length <= start || spot.at >= start + length);
        self.spots.extend(spots.into_iter().map(|spot| Spot { at: spot.at + start, ..spot }));
        self.tags.retain(|at, _| *at < start || *at >= start + length);
        self.tags.extend(tag.map(|tag| (start, tag)));
        self.writers.retain(|at, _| *at < start || *at >= start + length);
    }

    fn load(&mut self, destination: Register, base: PayloadBase, offset: u32, length: u32) {
        let (offset, length) = (offset as usize, length as usize);
        let fields: &[(Field, usize)] = match (base, self.layer3) {
            (PayloadBase::Link, _) => &[(Field::Mac, 0), (Field::Mac, 6)],
            (PayloadBase::Network, Some(Layer3::Ip6)) => &[(Field::V6, 8), (Field::V6, 24)],
            (PayloadBase::Network, Some(Layer3::Arp)) => {
                &[(Field::Mac, 8), (Field::V4, 14), (Field::Mac, 18), (Field::V4, 24)]
            }
            // Without a test of the protocol the place and length tell.
            (PayloadBase::Network, None) if matches!(offset, 8 | 24) => &[(Field::V6, 8), (Field::V6, 24)],
            (PayloadBase::Network, None | Some(Layer3::Ip)) => &[(Field::V4, 12), (Field::V4, 16)],
            (PayloadBase::Transport | PayloadBase::Inner | PayloadBase::Tunnel, _) => &[],
        };
        let spot = |(field, at): &(Field, usize)| {
            let at = at.checked_sub(offset).filter(|at| *at < length)?;
            Some(Spot { field: *field, at, length: field.size().min(length - at), mask: None })
        };
        let ether_type = base == PayloadBase::Link && (offset, length) == (12, 2);
        let spots = fields.iter().filter_map(spot).collect();
        self.overwrite(destination, length, spots, ether_type.then_some(Tag::EtherType));
    }

    fn learn_protocol(&mut self, source: Register, op: Compare, data: &[u8]) {
        let tag = source.offset().and_then(|at| self.tags.get(&at));
        let known = match (tag, data) {
            (Some(Tag::NfProto), [2]) | (Some(Tag::EtherType), [0x08, 0x00]) => Layer3::Ip,
            (Some(Tag::NfProto), [10]) | (Some(Tag::EtherType), [0x86, 0xdd]) => Layer3::Ip6,
            (Some(Tag::EtherType), [0x08, 0x06]) => Layer3::Arp,
            _ => return,
        };
        if op == Compare::Eq {
            self.layer3 = Some(known);
        }
    }

    /// The addresses that NAT translates to: constants of the rule, or a map's data.
    fn translation(
        &mut self,
        field: Field,
        first: Option<Register>,
        last: Option<Register>,
        done: &mut [Expr],
        visitor: &mut impl Visitor,
    ) {
        let writer = |register: Option<Register>| self.writers.get(&register?.offset()?).cloned();
        let mut constants = Vec::new();
        for writer in [writer(first), writer(last)].into_iter().flatten() {
            match writer {
                Writer::Immediate(position) if !constants.contains(&position) => constants.push(position),
                Writer::Immediate(_) => {}
                Writer::Map(set, at) => {
                    let spot = Spot { field, at, length: field.size(), mask: None };
                    self.sets.data.entry(set).or_default().push(spot);
                }
            }
        }
        let mut bytes: Vec<_> = constants.iter().filter_map(|position| constant(&done[*position])).collect();
        match bytes.as_mut_slice() {
            [one] if one.len() == field.size() => visitor.point(field, one),
            [first, last] if first.len() == field.size() && last.len() == field.size() => {
                visitor.range(field, first, last);
            }
            _ => {}
        }
        for (position, bytes) in constants.into_iter().zip(bytes) {
            if let Expr::Immediate { data, .. } = &mut done[position] {
                *data = Data::Value(Bytes(bytes));
            }
        }
    }
}

fn constant(expr: &Expr) -> Option<Vec<u8>> {
    match expr {
        Expr::Immediate { data: Data::Value(Bytes(bytes)), .. } => Some(bytes.clone()),
        _ => None,
    }
}

fn compare(spot: &Spot, op: Compare, data: &mut [u8], visitor: &mut impl Visitor) {
    let Some(bytes) = data.get_mut(spot.at..spot.at + spot.length) else { return };
    if let Some(mask) = &spot.mask
        && (!is_prefix(mask) || (spot.field == Field::Mac && mask.iter().any(|byte| *byte != 0xff)))
    {
        return;
    }
    match op {
        Compare::Eq | Compare::Ne => visitor.point(spot.field, bytes),
        Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => visitor.bound(spot.field, bytes),
    }
    for (byte, mask) in bytes.iter_mut().zip(spot.mask.iter().flatten()) {
        *byte &= mask;
    }
}

/// All ones come before all zeroes.
fn is_prefix(mask: &[u8]) -> bool {
    let ones = mask.iter().map(|byte| byte.leading_ones() as usize).sum::<usize>();
    let total = mask.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
    let first_gap = mask.iter().position(|byte| *byte != 0xff).unwrap_or(mask.len());
    ones == total && mask.iter().skip(first_gap + 1).all(|byte| *byte == 0)
}

fn rewrite_set(set: &mut Set, keys: &[Spot], data: &[Spot], visitor: &mut impl Visitor) {
    for element in &mut set.elements {
        if let Some(Data::Value(Bytes(bytes))) = &mut element.data {
            for spot in data {
                if let Some(bytes) = bytes.get_mut(spot.at..spot.at + spot.length) {
                    visitor.point(spot.field, bytes);
                }
            }
        }
    }
    // Several rules may ask the same set; each place is replaced once.
    let mut spots: Vec<&Spot> = Vec::new();
    for spot in keys {
        if !spots.iter().any(|known| known.at == spot.at) {
            spots.push(spot);
        }
    }
    let whole = |spot: &&&Spot| spot.at == 0 && spot.length == set.key_length as usize;
    if let Some(spot) = spots.iter().find(whole)
        && set.interval
        && set.elements.iter().all(|element| element.key_end.is_none())
    {
        set.elements = intervals(std::mem::take(&mut set.elements), spot.field, visitor);
        return;
    }
    for element in &mut set.elements {
        let Element { key: Some(key), key_end, .. } = element else { continue };
        for spot in &spots {
            let place = spot.at..spot.at + spot.length;
            let Some(first) = key.0.get_mut(place.clone()) else { continue };
            match key_end.as_mut().and_then(|end| end.0.get_mut(place)) {
                Some(last) => visitor.range(spot.field, first, last),
                None => visitor.point(spot.field, first),
            }
        }
    }
}

/// Replaces intervals that are kept as boundaries: each boundary holds up to the next.
fn intervals(mut elements: Vec<Element>, field: Field, visitor: &mut impl Visitor) -> Vec<Element> {
    let mut result: Vec<Element> = Vec::new();
    let key = |element: &Element| element.key.as_ref().map(|key| key.0.clone());
    result.extend(elements.extract_if(.., |element| element.key.is_none()));
    elements.sort_by_key(|element| (key(element), !element.interval_end));
    let mut replaced: Vec<(Vec<u8>, Element)> = Vec::new();
    let mut boundaries = elements.into_iter().peekable();
    while let Some(mut element) = boundaries.next() {
        let next = boundaries.peek().and_then(key);
        let Some(first) = element.key.as_mut().filter(|_| !element.interval_end) else { continue };
        if next.as_ref() == Some(&first.0) {
            continue;
        }
        let mut last = next.map_or_else(|| vec![0xff; first.0.len()], |next| step(&next, false));
        visitor.range(field, &mut first.0, &mut last);
        replaced.push((last, element));
    }
    replaced.sort_by_key(|(_, element)| key(element));
    let starts: Vec<_> = replaced.iter().skip(1).map(|(_, element)| key(element)).collect();
    for (position, (last, element)) in replaced.into_iter().enumerate() {
        result.push(element);
        let end = step(&last, true);
        let at_the_top = last.iter().all(|byte| *byte == 0xff);
        if !at_the_top && starts.get(position) != Some(&Some(end.clone())) {
            result.push(Element {
                key: Some(Bytes(end)),
                key_end: None,
                interval_end: true,
                data: None,
                object: None,
                exprs: Vec::new(),
            });
        }
    }
    result
}

/// The number after or before this one.
fn step(number: &[u8], up: bool) -> Vec<u8> {
    let mut number = number.to_vec();
    for byte in number.iter_mut().rev() {
        let (next, carry) = if up { byte.overflowing_add(1) } else { byte.overflowing_sub(1) };
        *byte = next;
        if !carry {
            break;
        }
    }
    number
}
