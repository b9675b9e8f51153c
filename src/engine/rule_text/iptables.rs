//! A rule in the words of iptables-save.

use kvmnet_probes::facts::{Compare, Expr, Family, Masked, PayloadBase, Table, Test, XtTest};

use super::datum::{Order, address, name, number};
use super::statement::{Place, Relation, Span, Statement, Value};
use super::words::{self, word};
use super::xt_match::{self, Transport};
use super::xt_target;

/// The options of a rule, in the order that iptables-save has.
#[derive(Default)]
struct Rule {
    source: Option<String>,
    destination: Option<String>,
    input: Option<String>,
    output: Option<String>,
    protocol: Option<String>,
    fragment: Option<String>,
    /// The number of the protocol, unless that is what it must not be.
    number: Option<u64>,
    /// Native tests of ports and flags, which are one match.
    transport: Option<Transport>,
    matches: Vec<String>,
    target: Option<String>,
}

/// The statements in iptables' words; `None` if it has none for one of them.
pub(super) fn iptables_text(table: &Table, statements: &[Statement<'_>]) -> Option<String> {
    let mut rule = Rule::default();
    for statement in statements {
        // Nothing comes after the target.
        if rule.target.is_some() && *statement != Statement::Plain(&Expr::Counter) {
            return None;
        }
        match statement {
            Statement::Test { subject, relation } => rule.test(table.family, subject, *relation)?,
            Statement::Verdict(verdict) => rule.target = Some(xt_target::verdict(verdict)?),
            Statement::Plain(expr) => rule.plain(table.family, expr)?,
            Statement::Write { place: Place::Meta("nftrace"), value: Value::Constant([1]) } => {
                rule.target = Some("-j TRACE".to_owned());
            }
            Statement::Choose { .. }
            | Statement::Write { .. }
            | Statement::Nat { .. }
            | Statement::Masquerade { .. }
            | Statement::Redirect { .. }
            | Statement::Change { .. } => return None,
        }
    }
    rule.text()
}

/// `! ` where what differs matches; `None` if it is not about equality.
pub(super) fn not(op: Compare) -> Option<&'static str> {
    match op {
        Compare::Eq => Some(""),
        Compare::Ne => Some("! "),
        Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => None,
    }
}

/// A device's name; `+` stands for what begins so.
pub(super) fn device(data: &[u8]) -> String {
    match name(data) {
        (name, true) => name,
        (name, false) => name + "+",
    }
}

impl Rule {
    fn text(self) -> Option<String> {
        let mut matches = self.matches;
        if let Some(transport) = self.transport {
            let name = self.number.and_then(|number| word(words::PROTOCOL, number))?;
            let text = transport.text(name);
            match matches.iter().position(String::is_empty) {
                Some(place) => matches[place] = text,
                None => matches.push(text),
            }
        }
        let header = [self.source, self.destination, self.input, self.output, self.protocol, self.fragment];
        let parts = header.into_iter().flatten().chain(matches).chain(self.target);
        Some(parts.collect::<Vec<_>>().join(" "))
    }

    /// Puts an option where none is yet.
    fn once(slot: &mut Option<String>, text: String) -> Option<()> {
        slot.is_none().then(|| *slot = Some(text))
    }

    fn test(&mut self, family: Family, subject: &Value<'_>, relation: Relation<'_>) -> Option<()> {
        let (subject, mask) = match subject {
            Value::Bitwise { of, mask, xor } if xor.iter().all(|&byte| byte == 0) => (&**of, Some(*mask)),
            subject => (subject, None),
        };
        match (subject, relation) {
            (Value::Meta(key @ ("iifname" | "oifname")), Relation::Is(op, data)) if mask.is_none() => {
                let (slot, option) =
                    if *key == "iifname" { (&mut self.input, "-i") } else { (&mut self.output, "-o") };
                Self::once(slot, format!("{}{option} {}", not(op)?, device(data)))
            }
            (Value::Meta("l4proto"), Relation::Is(op, data)) if mask.is_none() => {
                let number = number(data, Order::Host)?;
                let name = word(words::PROTOCOL, number).map_or_else(|| number.to_string(), str::to_owned);
                self.number = (op == Compare::Eq).then_some(number);
                Self::once(&mut self.protocol, format!("{}-p {name}", not(op)?))
            }
            (Value::Meta("mark"), Relation::Is(op, data)) => {
                let number = |bytes| u32::try_from(number(bytes, Order::Host)?).ok();
                let mark = (number(data)?, mask.map_or(Some(u32::MAX), number)?);
                self.matches.push(format!("-m mark {}--mark {}", not(op)?, xt_match::mark(mark)));
                Some(())
            }
            (Value::Payload(span), relation) => match span.base {
                PayloadBase::Network => self.network(family, *span, mask, relation),
                PayloadBase::Transport => self.transport(*span, mask, relation),
                PayloadBase::Link | PayloadBase::Inner | PayloadBase::Tunnel => None,
            },
            _ => None,
        }
    }

    /// Addresses and fragments.
    fn network(
        &mut self,
        family: Family,
        span: Span,
        mask: Option<&[u8]>,
        relation: Relation<'_>,
    ) -> Option<()> {
        let Relation::Is(op, data) = relation else { return None };
        let ipv6 = family == Family::Ip6;
        let (source, destination, length) = if ipv6 { (8, 24, 16) } else { (12, 16, 4) };
        let (slot, option) = match span.offset {
            // The offset in an IPv4 header: not 0 in all but the first fragment.
            6 if !ipv6 && mask == Some(&[0x1f, 0xff]) && data == [0, 0] => {
                let text = if op == Compare::Ne { "-f" } else { "! -f" };
                return not(op).and_then(|_| Self::once(&mut self.fragment, text.to_owned()));
            }
            offset if offset == source => (&mut self.source, "-s"),
            offset if offset == destination => (&mut self.destination, "-d"),
            _ => return None,
        };
        if span.length > length || data.len() != span.length as usize {
            return None;
        }
        let whole = vec![0xff; data.len()];
        let mask = address(mask.unwrap_or(&whole), ipv6);
        let masked = Masked { address: address(data, ipv6), mask };
        Self::once(slot, format!("{}{option} {}", not(op)?, xt_match::address(&masked, true)))
    }

    /// Ports and flags.
    fn transport(&mut self, span: Span, mask: Option<&[u8]>, relation: Relation<'_>) -> Option<()> {
        const TCP: u64 = 6;
        const UDP: u64 = 17;
        let protocol = self.number.filter(|number| matches!(*number, TCP | UDP))?;
        if self.transport.is_none() {
            // Its place among the matches.
            self.matches.push(String::new());
        }
        let transport = self.transport.get_or_insert_default();
        let port = |data: &[u8]| u16::try_from(number(data, Order::Network)?).ok();
        match (span.offset, span.length, mask, relation) {
            (offset @ (0 | 2), 2, None, relation) => {
                let slot = if offset == 0 { &mut transport.source } else { &mut transport.destination };
                let (invert, first, last) = match relation {
                    Relation::Is(Compare::Eq, data) => (false, port(data)?, port(data)?),
                    Relation::Is(Compare::Ne, data) => (true, port(data)?, port(data)?),
                    Relation::Is(Compare::Ge, data) => (false, port(data)?, u16::MAX),
                    Relation::Is(Compare::Le, data) => (false, 0, port(data)?),
                    Relation::Within { invert, from, to } => (invert, port(from)?, port(to)?),
                    Relation::Is(Compare::Lt | Compare::Gt, _) | Relation::In { .. } => return None,
                };
                slot.is_none().then(|| *slot = Some(Test { invert, value: (first, last) }))
            }
            (13, 1, mask, Relation::Is(op, &[flags])) if protocol == TCP => {
                let mask = mask.map_or(Some(0xff), |mask| mask.first().copied())?;
                let invert = !not(op)?.is_empty();
                let slot = &mut transport.flags;
                slot.is_none().then(|| *slot = Some(Test { invert, value: (mask, flags) }))
            }
            _ => None,
        }
    }

    fn plain(&mut self, family: Family, expr: &Expr) -> Option<()> {
        match expr {
            Expr::Counter => {}
            Expr::Match(test) if matches!(test.test, XtTest::Comment { .. }) => {}
            Expr::Match(test) => self.matches.push(xt_match::text(test)),
            Expr::Limit { over: false } => self.matches.push("-m limit …".to_owned()),
            Expr::Target(target) => self.target = Some(xt_target::text(target, family == Family::Ip6)),
            Expr::Log => self.target = Some("-j NFLOG".to_owned()),
            _ => return None,
        }
        Some(())
    }
}
