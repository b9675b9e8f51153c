//! What is written into the packet, its metadata or its connection.

use super::datum::{Order, Shape, Type, extract};
use super::field::Header;
use super::statement::{Extension, Place, Value};
use super::subject::{Scene, Subject, meta};

/// A statement that writes, and the headers whose fields it names.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) headers: Vec<Header>,
}

impl<'a> Scene<'a> {
    /// `PLACE set VALUE`.
    pub(super) fn write(&self, place: &Place<'a>, value: &Value<'a>) -> Written {
        if let Some(written) = self.some_bits(place, value) {
            return written;
        }
        let target = match place {
            Place::Meta(key) => meta(key),
            Place::Ct { key, direction } => self.subject(&Value::Ct { key, direction: *direction }),
            Place::Payload(span) => self.subject(&Value::Payload(*span)),
            Place::Extension(extension) => self.subject(&Value::Extension(*extension)),
        };
        let headers = self.headers(target.headers, value);
        Written { text: format!("{} set {}", target.text, self.expression(value, &target.shape)), headers }
    }

    /// Removes an option.
    pub(super) fn reset(&self, kind: &str, header: u8) -> String {
        let extension = Extension { kind, header, offset: 0, length: 0, present_only: true };
        let scene: Scene<'_> = *self;
        format!("reset {}", scene.subject(&Value::Extension(extension)).text)
    }

    /// The value as it is computed; `shape` is what it is.
    pub(super) fn expression(&self, value: &Value<'a>, shape: &Shape) -> String {
        match value {
            Value::Constant(bytes) => self.writer.value(shape, bytes),
            Value::Mapped { key, map } => {
                let key = self.subject(key);
                format!("{} map {}", key.text, self.map(&key.shape, map, shape))
            }
            Value::Bitwise { of, mask, xor } => {
                if let (Value::Payload(span), true) = (&**of, xor.iter().all(|&byte| byte == 0))
                    && self.masked_field(*span, mask).is_some()
                {
                    return self.subject(value).text;
                }
                let text = match self.expression(of, shape) {
                    text if matches!(**of, Value::Bitwise { .. } | Value::Shifted { .. }) => {
                        format!("({text})")
                    }
                    text => text,
                };
                self.masked(&text, shape, mask, xor)
            }
            Value::Swapped(of) => self.expression(of, &shape.clone().swapped()),
            Value::Shifted { of, left, bits } => {
                let sign = if *left { "<<" } else { ">>" };
                format!("{} {sign} {bits}", self.expression(of, shape))
            }
            _ => self.subject(value).text,
        }
    }

    /// `(text & mask) ^ xor`. What the mask clears and the other operand sets is set whatever it was:
    /// nft calls that `|` and leaves those bits in the mask.
    pub(super) fn masked(&self, text: &str, shape: &Shape, mask: &[u8], xor: &[u8]) -> String {
        let set: Vec<u8> = mask.iter().zip(xor).map(|(mask, xor)| !mask & xor).collect();
        let kept: Vec<u8> = mask.iter().zip(&set).map(|(mask, set)| mask | set).collect();
        let turned: Vec<u8> = xor.iter().zip(&set).map(|(xor, set)| xor & !set).collect();
        let mut text = text.to_owned();
        for (sign, bytes, idle) in [("&", kept, 0xff), ("^", turned, 0), ("|", set, 0)] {
            if bytes.iter().any(|&byte| byte != idle) {
                text = format!("{text} {sign} {}", self.writer.value(shape, &bytes));
            }
        }
        text
    }

    /// A field that shares its bytes with others, whose bits are kept.
    fn some_bits(&self, place: &Place<'a>, value: &Value<'a>) -> Option<Written> {
        let (Place::Payload(span), Value::Bitwise { of, mask, xor }) = (place, value) else { return None };
        if **of != Value::Payload(*span) {
            return None;
        }
        let written: Vec<u8> = mask.iter().map(|mask| !mask).collect();
        if xor.iter().zip(*mask).any(|(xor, mask)| xor & mask != 0) {
            return None;
        }
        let piece = self.masked_field(*span, &written)?;
        let bits = extract(xor, piece.at, piece.bits).to_be_bytes();
        let shape = Shape::One(piece.field.of, Order::Network);
        let subject = Subject::field(piece.header, &piece.field, shape.clone());
        let text = format!("{} set {}", subject.text, self.writer.value(&shape, &bits));
        Some(Written { text, headers: subject.headers })
    }

    fn headers(&self, mut headers: Vec<Header>, value: &Value<'a>) -> Vec<Header> {
        match value {
            Value::Mapped { key, .. } => headers.extend(self.subject(key).headers),
            Value::Constant(_) => {}
            _ => headers.extend(self.subject(value).headers),
        }
        headers
    }

    /// The shape of an address.
    pub(super) fn address_shape(ipv6: bool) -> Shape {
        Shape::One(if ipv6 { Type::Ip6 } else { Type::Ip }, Order::Network)
    }
}
