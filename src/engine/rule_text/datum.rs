//! Bytes as nft writes them, by what they are.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kvmnet_probes::facts::{IfIndex, Mac, Snapshot};

use super::words::{Words, bits, word};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// A decimal number.
    Number,
    /// A mark: eight hexadecimal digits, with a prefix length where a mask is one.
    Mark,
    Ip,
    Ip6,
    Mac,
    /// The index of a device.
    Device,
    /// A name in quotes; one that fills its field and has no end is the beginning of names.
    Name,
    /// A word, or the number: decimal, or in so many hexadecimal digits.
    Words {
        words: Words,
        digits: usize,
    },
    /// Words for bits.
    Flags(Words),
    /// Numbers of bits.
    Labels,
    /// A class of traffic control.
    Class,
    Milliseconds,
    /// A part of a header that has no name.
    Bytes,
    /// What it is is not understood: the bytes as they are.
    Raw,
}

impl Type {
    pub(super) const fn words(words: Words) -> Self {
        Self::Words { words, digits: 0 }
    }

    /// Whether nft writes a mask of it as the length of a prefix.
    pub(super) fn has_prefixes(self) -> bool {
        matches!(self, Self::Ip | Self::Ip6 | Self::Mark)
    }
}

/// In which order the bytes of a number are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Network,
    Host,
}

/// How a value lies in the bytes of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    One(Type, Order),
    /// Some bits of the bytes, the first being the most significant of the first byte.
    Bits {
        of: Type,
        at: u32,
        bits: u32,
    },
    /// Fields behind each other, each with its length; the next one begins at a multiple of four.
    Joined(Vec<(u32, Shape)>),
    /// First and last, one behind the other.
    Span(Type),
}

impl Shape {
    /// The same with its numbers in the other byte order.
    pub(super) fn swapped(self) -> Self {
        match self {
            Self::One(of, Order::Host) => Self::One(of, Order::Network),
            Self::One(of, Order::Network) => Self::One(of, Order::Host),
            other => other,
        }
    }

    /// What it is, if it is one thing.
    pub(super) fn of(&self) -> Type {
        match self {
            Self::One(of, _) | Self::Bits { of, .. } | Self::Span(of) => *of,
            Self::Joined(_) => Type::Bytes,
        }
    }

    /// The bytes of its fields, the most significant first: they compare as the values do.
    pub(super) fn significant(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::One(of, Order::Host) if !matches!(of, Type::Name | Type::Bytes | Type::Raw) => {
                if cfg!(target_endian = "little") {
                    bytes.iter().rev().copied().collect()
                } else {
                    bytes.to_vec()
                }
            }
            Self::One(..) | Self::Span(_) => bytes.to_vec(),
            Self::Bits { at, bits, .. } => extract(bytes, *at, *bits).to_be_bytes().to_vec(),
            Self::Joined(_) => {
                self.fields(bytes).into_iter().flat_map(|(shape, field)| shape.significant(field)).collect()
            }
        }
    }

    /// The fields of a concatenation, each with its bytes.
    pub(super) fn fields<'a>(&'a self, bytes: &'a [u8]) -> Vec<(&'a Shape, &'a [u8])> {
        let Self::Joined(fields) = self else { return vec![(self, bytes)] };
        let mut at = 0;
        let mut found = Vec::new();
        for (length, shape) in fields {
            let length = *length as usize;
            let end = (at + length).min(bytes.len());
            found.push((shape, bytes.get(at..end).unwrap_or_default()));
            at += length.next_multiple_of(4);
        }
        found
    }
}

/// Some bits of bytes, as a number; at most 64 of them.
pub(super) fn extract(bytes: &[u8], at: u32, count: u32) -> u64 {
    (at..at.saturating_add(count.min(64))).fold(0, |number, bit| {
        let byte = bytes.get((bit / 8) as usize).copied().unwrap_or(0);
        number << 1 | u64::from(byte >> (7 - bit % 8) & 1)
    })
}

/// The number in the bytes, if it has no more than 64 bits.
pub(super) fn number(bytes: &[u8], order: Order) -> Option<u64> {
    if bytes.len() > 8 {
        return None;
    }
    let reversed = order == Order::Host && cfg!(target_endian = "little");
    let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if reversed { bytes.iter().rev().fold(0, shift) } else { bytes.iter().fold(0, shift) })
}

/// The length of the prefix that a mask stands for, its most significant byte first.
pub(super) fn prefix_length(mask: &[u8]) -> Option<u32> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let leading = mask.iter().position(|&byte| byte != 0xff).map_or(mask.len(), |at| at);
    let partial = mask.get(leading).map_or(0, |byte| byte.leading_ones());
    let length = u32::try_from(leading * 8).ok()? + partial;
    (ones == length).then_some(length)
}

/// The address in the bytes, those missing at the end being zero.
pub(super) fn address(bytes: &[u8], ipv6: bool) -> IpAddr {
    let mut octets = [0; 16];
    for (to, from) in octets.iter_mut().zip(bytes) {
        *to = *from;
    }
    if ipv6 {
        IpAddr::V6(Ipv6Addr::from(octets))
    } else {
        IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
    }
}

/// Bytes in hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The name in the bytes, and whether it ends there: if not, it is the beginning of names.
pub(super) fn name(bytes: &[u8]) -> (String, bool) {
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned();
    (text, end.is_some() || bytes.len() >= 16)
}

/// Writes values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Between the words for bits.
    pub(super) between_flags: &'static str,
}

impl<'a> Writer<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, between_flags: "," }
    }

    /// A value.
    pub(super) fn value(self, shape: &Shape, bytes: &[u8]) -> String {
        match shape {
            Shape::One(of, order) => self.one(*of, bytes, *order),
            Shape::Bits { of, at, bits } => {
                self.one(*of, &extract(bytes, *at, *bits).to_be_bytes(), Order::Network)
            }
            Shape::Joined(_) => {
                let fields = shape.fields(bytes).into_iter();
                fields.map(|(shape, bytes)| self.value(shape, bytes)).collect::<Vec<_>>().join(" . ")
            }
            Shape::Span(of) => {
                let (first, last) = bytes.split_at(bytes.len() / 2);
                self.range(&Shape::One(*of, Order::Network), first, last)
            }
        }
    }

    /// A range, as a prefix or a single value if it is one.
    pub(super) fn range(self, shape: &Shape, first: &[u8], last: &[u8]) -> String {
        if let Shape::Joined(_) = shape {
            let fields = shape.fields(first).into_iter().zip(shape.fields(last));
            let texts = fields.map(|((shape, first), (_, last))| self.range(shape, first, last));
            return texts.collect::<Vec<_>>().join(" . ");
        }
        if first == last {
            return self.value(shape, first);
        }
        if shape.of() == Type::Name {
            let open = |(from, to): (&u8, &u8)| *from == 0 && *to == 0xff;
            let common = first.iter().zip(last).take_while(|(from, to)| from == to).count();
            if first[common..].iter().zip(&last[common..]).all(open) {
                return self.one(Type::Name, &first[..common], Order::Network);
            }
        }
        if shape.of().has_prefixes() {
            let (from, to) = (shape.significant(first), shape.significant(last));
            let mask: Vec<u8> = from.iter().zip(&to).map(|(from, to)| !(from ^ to)).collect();
            let aligned = from.iter().zip(&mask).all(|(from, mask)| from & !mask == 0);
            let full = to.iter().zip(&mask).all(|(to, mask)| to | mask == 0xff);
            if let (true, true, Some(length)) = (aligned, full, prefix_length(&mask)) {
                return format!("{}/{length}", self.value(shape, first));
            }
        }
        format!("{}-{}", self.value(shape, first), self.value(shape, last))
    }

    fn one(self, of: Type, bytes: &[u8], order: Order) -> String {
        let Some(number) = number(bytes, order) else {
            return match of {
                Type::Ip6 => address(bytes, true).to_string(),
                Type::Name => quoted(bytes),
                Type::Labels => labels(bytes),
                _ => hexadecimal(bytes),
            };
        };
        match of {
            Type::Number => number.to_string(),
            Type::Mark => format!("0x{number:08x}"),
            Type::Ip => address(bytes, false).to_string(),
            Type::Ip6 => address(bytes, true).to_string(),
            Type::Mac => match <[u8; 6]>::try_from(bytes) {
                Ok(octets) => Mac(octets).to_string(),
                Err(_) => hexadecimal(bytes),
            },
            Type::Device => {
                let link = |index| self.snapshot.links.items().iter().find(|link| link.index == index);
                let link = u32::try_from(number).ok().and_then(|index| link(IfIndex(index)));
                link.map_or_else(|| number.to_string(), |link| format!("\"{}\"", link.name))
            }
            Type::Name => quoted(bytes),
            Type::Words { words, digits } => match word(words, number) {
                Some(word) => word.to_owned(),
                None if digits == 0 => number.to_string(),
                None => format!("0x{number:0digits$x}"),
            },
            Type::Flags(words) => match bits(words, number) {
                Some(words) if !words.is_empty() => words.join(self.between_flags),
                Some(_) | None => format!("0x{number:x}"),
            },
            Type::Labels => labels(bytes),
            Type::Class => match number {
                0 => "none".to_owned(),
                0xffff_ffff => "root".to_owned(),
                class => format!("{:x}:{:x}", class >> 16, class & 0xffff),
            },
            Type::Milliseconds => duration(number),
            Type::Bytes => format!("0x{number:x}"),
            Type::Raw => hexadecimal(bytes),
        }
    }
}

fn quoted(bytes: &[u8]) -> String {
    let (name, whole) = name(bytes);
    if whole { format!("\"{name}\"") } else { format!("\"{name}*\"") }
}

fn labels(bytes: &[u8]) -> String {
    let bits = bytes.iter().enumerate().flat_map(|(at, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| (at * 8 + bit).to_string())
    });
    bits.collect::<Vec<_>>().join(",")
}

fn duration(milliseconds: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = milliseconds;
    let mut text = String::new();
    for (unit, length) in units {
        if rest >= length {
            let _ = write!(text, "{}{unit}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
