//! Address translation.

use kvmnet_probes::facts::{Family, NatKind};

use super::datum::{Order, Shape, Type};
use super::statement::{Bounds, Value};
use super::subject::Scene;

/// `NF_NAT_RANGE_*`.
const RANDOM: u32 = 0x4;
const PERSISTENT: u32 = 0x8;
const FULLY_RANDOM: u32 = 0x10;
const NETMAP: u32 = 0x40;

/// The flags of a translation, with a space before them.
fn flags_text(flags: u32) -> String {
    let words = [(RANDOM, "random"), (FULLY_RANDOM, "fully-random"), (PERSISTENT, "persistent")];
    let set: Vec<_> = words.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
    if set.is_empty() { String::new() } else { format!(" {}", set.join(",")) }
}

impl<'a> Scene<'a> {
    /// `masquerade` and `redirect`.
    pub(super) fn own_address(&self, word: &str, ports: &Bounds<'a>, flags: u32) -> String {
        let to = ports.as_ref().map_or_else(String::new, |_| format!(" to :{}", self.ports(ports)));
        format!("{word}{to}{}", flags_text(flags))
    }

    /// `snat` and `dnat`.
    pub(super) fn nat(
        &self,
        kind: NatKind,
        family: Family,
        addresses: &Bounds<'a>,
        ports: &Bounds<'a>,
        flags: u32,
    ) -> String {
        let mut text = match kind {
            NatKind::Source => "snat".to_owned(),
            NatKind::Destination => "dnat".to_owned(),
        };
        let ipv6 = family == Family::Ip6;
        let mapped = matches!(addresses, Some((Value::Mapped { .. }, _)));
        let rest = |bounds: &Bounds<'_>| matches!(bounds, Some((Value::RestOfMapped, _)));
        let netmap = flags & NETMAP != 0;
        let of_map = mapped && (rest(ports) || netmap);
        if self.table.family == Family::Inet || of_map {
            text += if ipv6 { " ip6" } else { " ip" };
        }
        if netmap {
            text += " prefix";
        }
        text += " to ";
        let address = Self::address_shape(ipv6);
        match addresses {
            Some((map @ Value::Mapped { .. }, last)) => {
                let length = if ipv6 { 16 } else { 4 };
                let port = Shape::One(Type::Number, Order::Network);
                let shape = match last {
                    Some(Value::RestOfMapped) => Shape::Span(address.of()),
                    _ if rest(ports) => Shape::Joined(vec![(length, address), (2, port)]),
                    _ => address,
                };
                text += &self.expression(map, &shape);
            }
            Some((Value::Constant(first), Some(Value::Constant(last)))) if netmap => {
                text += &self.writer.range(&address, first, last);
            }
            Some((first, last)) => {
                let bracketed = ipv6 && ports.is_some();
                let one = |value: &Value<'a>| match self.expression(value, &address) {
                    text if bracketed => format!("[{text}]"),
                    text => text,
                };
                text += &one(first);
                if let Some(last) = last {
                    text += "-";
                    text += &one(last);
                }
            }
            None => {}
        }
        if ports.is_some() && !(mapped && rest(ports)) {
            text += ":";
            text += &self.ports(ports);
        }
        text + &flags_text(flags)
    }

    fn ports(&self, ports: &Bounds<'a>) -> String {
        let shape = Shape::One(Type::Number, Order::Network);
        match ports {
            None => String::new(),
            Some((first, None)) => self.expression(first, &shape),
            Some((first, Some(last))) => {
                format!("{}-{}", self.expression(first, &shape), self.expression(last, &shape))
            }
        }
    }
}
