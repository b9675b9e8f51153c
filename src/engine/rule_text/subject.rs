//! What a statement speaks of: its name in nft's words, and how its values lie in the bytes.

use kvmnet_probes::facts::{PayloadBase, Table};

use super::context::Context;
use super::datum::{Order, Shape, Type, Writer, extract};
use super::field::{Field, Header, ipv6_extension, tcp_option};
use super::statement::{Extension, Span, Value};
use super::words;

/// What is known where a statement is worded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) writer: Writer<'a>,
    pub(super) table: &'a Table,
    pub(super) context: Context,
}

/// A value by its name.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) text: String,
    pub(super) shape: Shape,
    /// `& mask ^ xor`.
    pub(super) mask: Option<(Vec<u8>, Vec<u8>)>,
    /// Only so many of its first bits are looked at.
    pub(super) prefix: Option<u32>,
    /// The headers whose fields it names.
    pub(super) headers: Vec<Header>,
    /// The one field that it is.
    pub(super) field: Option<(Header, &'static str)>,
}

impl Subject {
    fn new(text: impl Into<String>, shape: Shape) -> Self {
        let text = text.into();
        Self { text, shape, mask: None, prefix: None, headers: Vec::new(), field: None }
    }

    /// A field of a header.
    pub(super) fn field(header: Header, field: &Field, shape: Shape) -> Self {
        let text = format!("{} {}", header.name(), field.name);
        Self { headers: vec![header], field: Some((header, field.name)), ..Self::new(text, shape) }
    }
}

/// A field of a header that lies in a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) header: Header,
    pub(super) field: Field,
    /// Where it begins in the span, in bits.
    pub(super) at: u32,
    /// How many of its bits are in the span.
    pub(super) bits: u32,
}

impl<'a> Scene<'a> {
    /// The fields that fill a span without a gap; the last one may go on behind it.
    pub(super) fn pieces(&self, span: Span) -> Option<Vec<Piece>> {
        let whole = span.length.checked_mul(8)?;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0;
        while at < whole {
            let begin = span.offset.checked_mul(8)?.checked_add(at)?;
            let header = self.context.header(span.base, begin)?;
            let begin = begin - header.begin();
            let field = *header.fields().iter().find(|field| field.at == begin)?;
            let bits = field.bits.min(whole - at);
            if bits < field.bits && !matches!(field.of, Type::Ip | Type::Ip6 | Type::Mac) {
                return None;
            }
            pieces.push(Piece { header, field, at, bits });
            at += bits;
        }
        Some(pieces)
    }

    /// The value by its name.
    pub(super) fn subject(&self, value: &Value<'a>) -> Subject {
        let host = |text: String, of| Subject::new(text, Shape::One(of, Order::Host));
        match value {
            Value::Payload(span) => self.payload(*span),
            Value::Meta(key) => meta(key),
            Value::Ct { key, direction } => self.ct(key, *direction),
            Value::Fib { result, flags } => fib(result, *flags),
            Value::Rt(key) => match *key {
                "ip nexthop" => Subject::new("rt ip nexthop", Shape::One(Type::Ip, Order::Network)),
                "ip6 nexthop" => Subject::new("rt ip6 nexthop", Shape::One(Type::Ip6, Order::Network)),
                "ipsec" => host("rt ipsec".to_owned(), Type::words(words::PRESENCE)),
                key => host(format!("rt {key}"), Type::Number),
            },
            Value::Extension(extension) => self::extension(*extension),
            Value::Bitwise { of, mask, xor } => self.bitwise(of, mask, xor),
            Value::Swapped(of) => {
                let subject = self.subject(of);
                Subject { shape: subject.shape.swapped(), ..subject }
            }
            Value::Joined(fields) => {
                let subjects: Vec<_> =
                    fields.iter().map(|(length, value)| (*length, self.subject(value))).collect();
                let text: Vec<_> = subjects.iter().map(|(_, subject)| subject.text.as_str()).collect();
                Subject {
                    headers: subjects.iter().flat_map(|(_, subject)| subject.headers.clone()).collect(),
                    ..Subject::new(
                        text.join(" . "),
                        Shape::Joined(
                            subjects.iter().map(|(length, of)| (*length, of.shape.clone())).collect(),
                        ),
                    )
                }
            }
            Value::Shifted { of, left, bits } => {
                let inner = self.subject(of);
                let sign = if *left { "<<" } else { ">>" };
                Subject { text: format!("{} {sign} {bits}", self.operand(of, &inner)), ..inner }
            }
            Value::Mapped { key, map } => {
                let shape = Shape::One(Type::Bytes, Order::Network);
                let key = self.subject(key);
                let text = format!("{} map {}", key.text, self.map(&key.shape, map, &shape));
                Subject { headers: key.headers, ..Subject::new(text, shape) }
            }
            Value::Constant(bytes) => {
                let shape = Shape::One(Type::Bytes, Order::Network);
                Subject::new(self.writer.value(&shape, bytes), shape)
            }
            Value::RestOfMapped => {
                Subject::new("the rest of the map's data", Shape::One(Type::Bytes, Order::Network))
            }
            Value::NotUnderstood(name) => {
                Subject::new(format!("<{name}: not understood>"), Shape::One(Type::Raw, Order::Network))
            }
            Value::Nothing(register) => {
                Subject::new(format!("<register {}>", register.0), Shape::One(Type::Raw, Order::Network))
            }
        }
    }

    /// The text of a value that is part of a larger expression.
    fn operand(&self, value: &Value<'a>, subject: &Subject) -> String {
        if subject.mask.is_some() || matches!(value, Value::Shifted { .. }) {
            format!("({})", self.expression(value, &subject.shape))
        } else {
            subject.text.clone()
        }
    }

    fn payload(&self, span: Span) -> Subject {
        if let Some([piece]) = self.pieces(span).as_deref() {
            let shape = Shape::One(piece.field.of, Order::Network);
            let subject = Subject::field(piece.header, &piece.field, shape);
            return Subject { prefix: (piece.bits < piece.field.bits).then_some(piece.bits), ..subject };
        }
        let base = match span.base {
            PayloadBase::Link => "ll",
            PayloadBase::Network => "nh",
            PayloadBase::Transport => "th",
            PayloadBase::Inner => "ih",
            PayloadBase::Tunnel => "tunnel",
        };
        let (at, bits) = (u64::from(span.offset) * 8, u64::from(span.length) * 8);
        Subject::new(format!("@{base},{at},{bits}"), Shape::One(Type::Bytes, Order::Network))
    }

    /// The field that is all that a mask leaves of a span.
    pub(super) fn masked_field(&self, span: Span, mask: &[u8]) -> Option<Piece> {
        let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
        let whole = u32::try_from(mask.len()).ok()?.checked_mul(8)?;
        let at = (0..whole).find(|&bit| extract(mask, bit, 1) == 1)?;
        if ones > 64 || extract(mask, at, ones).count_ones() != ones {
            return None;
        }
        let begin = span.offset.checked_mul(8)?.checked_add(at)?;
        let header = self.context.header(span.base, begin)?;
        let begin = begin - header.begin();
        let field = header.fields().iter().find(|field| field.at == begin && field.bits == ones)?;
        Some(Piece { header, field: *field, at, bits: ones })
    }

    fn bitwise(&self, of: &Value<'a>, mask: &[u8], xor: &[u8]) -> Subject {
        let plain = xor.iter().all(|&byte| byte == 0);
        if let (Value::Payload(span), true) = (of, plain)
            && let Some(piece) = self.masked_field(*span, mask)
        {
            let shape = Shape::Bits { of: piece.field.of, at: piece.at, bits: piece.bits };
            return Subject::field(piece.header, &piece.field, shape);
        }
        if let (Value::Extension(Extension { kind: "ipv6", header: 44, offset, .. }), true) = (of, plain) {
            let bits = |at, bits| Shape::Bits { of: Type::Number, at, bits };
            match (offset, mask) {
                (2, [0xff, 0xf8]) => return Subject::new("frag frag-off", bits(0, 13)),
                (3, [1]) => return Subject::new("frag more-fragments", bits(7, 1)),
                _ => {}
            }
        }
        let inner = self.subject(of);
        let text = self.operand(of, &inner);
        Subject { text, mask: Some((mask.to_vec(), xor.to_vec())), ..inner }
    }

    fn ct(&self, key: &str, direction: Option<u8>) -> Subject {
        let ipv6 = self.context.network == Some(Header::Ip6);
        let (of, order) = match key {
            "state" => (Type::Flags(words::CT_STATE), Order::Host),
            "status" => (Type::Flags(words::CT_STATUS), Order::Host),
            "event" => (Type::Flags(words::CT_EVENT), Order::Host),
            "direction" => (Type::words(words::CT_DIRECTION), Order::Host),
            "mark" => (Type::Mark, Order::Host),
            "expiration" => (Type::Milliseconds, Order::Host),
            "helper" => (Type::Name, Order::Network),
            "l3proto" => (Type::words(words::NFPROTO), Order::Host),
            "protocol" => (Type::words(words::PROTOCOL), Order::Host),
            "saddr" | "daddr" => (if ipv6 { Type::Ip6 } else { Type::Ip }, Order::Network),
            "ip saddr" | "ip daddr" => (Type::Ip, Order::Network),
            "ip6 saddr" | "ip6 daddr" => (Type::Ip6, Order::Network),
            "proto-src" | "proto-dst" => (Type::Number, Order::Network),
            "label" => (Type::Labels, Order::Network),
            _ => (Type::Number, Order::Host),
        };
        let text = match direction {
            None => format!("ct {key}"),
            Some(0) => format!("ct original {key}"),
            Some(_) => format!("ct reply {key}"),
        };
        Subject::new(text, Shape::One(of, order))
    }
}

/// A part of an extension header or option.
fn extension(extension: Extension<'_>) -> Subject {
    let Extension { kind, header, offset, length, present_only } = extension;
    let (kind_words, name) = match kind {
        "ipv6" => (words::IPV6_EXTENSION, ""),
        "tcp option" => (words::TCP_OPTION, "tcp option "),
        "ip option" => (words::IP_OPTION, "ip option "),
        "sctp" => (words::SCTP_CHUNK, "sctp chunk "),
        _ => (&[] as words::Words, "dccp option "),
    };
    let word = words::word(kind_words, u64::from(header));
    let headers = if kind == "ipv6" { vec![Header::Ip6] } else { Vec::new() };
    if present_only {
        let text = match (kind, word) {
            ("ipv6", Some(word)) => format!("exthdr {word}"),
            ("ipv6", None) => format!("exthdr {header}"),
            (_, Some(word)) => format!("{name}{word}"),
            (_, None) => format!("{name}{header}"),
        };
        let shape = Shape::One(Type::words(words::PRESENCE), Order::Host);
        return Subject { headers, ..Subject::new(text, shape) };
    }
    let field = match kind {
        "ipv6" => ipv6_extension(header, offset, length),
        "tcp option" => tcp_option(header, offset, length),
        _ => None,
    };
    let (text, of) = if let (Some(word), Some((field, of))) = (word, field) {
        (format!("{name}{word} {field}"), of)
    } else {
        let (at, bits) = (u64::from(offset) * 8, u64::from(length) * 8);
        let name = if kind == "ipv6" { "exthdr " } else { name };
        (format!("{name}@{header},{at},{bits}"), Type::Bytes)
    };
    Subject { headers, ..Subject::new(text, Shape::One(of, Order::Network)) }
}

/// `meta KEY`.
pub(super) fn meta(key: &str) -> Subject {
    let (of, order) = match key {
        "iif" | "oif" | "sdif" => (Type::Device, Order::Host),
        "iifname" | "oifname" | "sdifname" | "ibrname" | "obrname" | "iifkind" | "oifkind" => {
            (Type::Name, Order::Network)
        }
        "mark" => (Type::Mark, Order::Host),
        "protocol" | "ibrvproto" => (Type::Words { words: words::ETHERTYPE, digits: 4 }, Order::Network),
        "nfproto" => (Type::words(words::NFPROTO), Order::Host),
        "l4proto" => (Type::words(words::PROTOCOL), Order::Host),
        "pkttype" => (Type::words(words::PACKET_TYPE), Order::Host),
        "iiftype" | "oiftype" => (Type::words(words::DEVICE_TYPE), Order::Host),
        "iifgroup" | "oifgroup" => (Type::words(words::GROUP), Order::Host),
        "day" => (Type::words(words::DAY), Order::Host),
        "ipsec" => (Type::words(words::PRESENCE), Order::Host),
        "priority" => (Type::Class, Order::Host),
        "ibrhwaddr" => (Type::Mac, Order::Network),
        _ => (Type::Number, Order::Host),
    };
    let text = match key {
        "iif" | "oif" | "iifname" | "oifname" | "iifgroup" | "oifgroup" => key.to_owned(),
        "len" => "meta length".to_owned(),
        key => format!("meta {key}"),
    };
    Subject::new(text, Shape::One(of, order))
}

/// `fib`.
fn fib(result: &str, flags: u32) -> Subject {
    /// `NFTA_FIB_F_PRESENT`.
    const PRESENT: u32 = 32;
    let words = [(1, "saddr"), (2, "daddr"), (4, "mark"), (8, "iif"), (16, "oif")];
    let asked: Vec<_> = words.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
    let shape = match result {
        _ if flags & PRESENT != 0 => Shape::One(Type::words(words::PRESENCE), Order::Host),
        "oifname" => Shape::One(Type::Name, Order::Network),
        "oif" => Shape::One(Type::Device, Order::Host),
        _ => Shape::One(Type::words(words::ADDRESS_TYPE), Order::Host),
    };
    Subject::new(format!("fib {} {result}", asked.join(" . ")), shape)
}
