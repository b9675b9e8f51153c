//! A rule in nft's words.

use kvmnet_probes::facts::{Compare, Expr, Family, RejectWith, Snapshot, Table, Verdict};

use super::context::{Context, Layer};
use super::datum::{Order, Shape, Type, Writer, extract, number, prefix_length};
use super::field::Header;
use super::set::attached;
use super::statement::{Relation, Statement, Value};
use super::subject::{Scene, Subject};
use super::words::{self, word};
use super::{xt_match, xt_target};

/// The statements in nft's words.
pub(super) fn nft_text(snapshot: &Snapshot, table: &Table, statements: &[Statement<'_>]) -> String {
    let texts: Vec<_> = nft_texts(snapshot, table, statements).into_iter().flatten().collect();
    texts.join(" ")
}

/// The last of the statements in nft's words.
pub(super) fn last_text(snapshot: &Snapshot, table: &Table, statements: &[Statement<'_>]) -> String {
    let before = statements.len().saturating_sub(1);
    // One statement may be several tests.
    let before = nft_texts(snapshot, table, &statements[..before]).len();
    let texts: Vec<_> = nft_texts(snapshot, table, statements).into_iter().skip(before).flatten().collect();
    texts.join(" ")
}

/// The statements one by one; none where it follows from a later one.
fn nft_texts(snapshot: &Snapshot, table: &Table, statements: &[Statement<'_>]) -> Vec<Option<String>> {
    let context = Context::new(table.family);
    let scene = Scene { writer: Writer::new(snapshot), table, context };
    let mut nft = Nft { scene, said: Vec::new() };
    for statement in statements {
        nft.say(statement);
    }
    nft.said.into_iter().map(|said| said.text).collect()
}

/// One statement as it is worded.
struct Said {
    text: Option<String>,
    /// The layer that it settles: not said if a later statement implies it.
    settles: Option<Layer>,
    /// It changes nothing, so that it may change places with a test.
    test: bool,
}

struct Nft<'a> {
    scene: Scene<'a>,
    said: Vec<Said>,
}

impl<'a> Nft<'a> {
    fn say(&mut self, statement: &Statement<'a>) {
        match statement {
            Statement::Test { subject, relation } => self.test(subject, *relation),
            Statement::Choose { key, map } => {
                let subject = self.scene.subject(key);
                let none = Shape::One(Type::Bytes, Order::Network);
                let text = format!("{} vmap {}", subject.text, self.scene.map(&subject.shape, map, &none));
                self.done(text, &subject.headers);
            }
            Statement::Write { place, value } => {
                let written = self.scene.write(place, value);
                self.done(written.text, &written.headers);
            }
            Statement::Verdict(verdict) => self.done(verdict_text(verdict), &[]),
            Statement::Nat { kind, family, addresses, ports, flags } => {
                let text = self.scene.nat(*kind, *family, addresses, ports, *flags);
                let mapped = match addresses {
                    Some((Value::Mapped { key, .. }, _)) => self.scene.subject(key).headers,
                    _ => Vec::new(),
                };
                self.done(text, &mapped);
            }
            Statement::Masquerade { ports, flags } => {
                self.done(self.scene.own_address("masquerade", ports, *flags), &[]);
            }
            Statement::Redirect { ports, flags } => {
                self.done(self.scene.own_address("redirect", ports, *flags), &[]);
            }
            Statement::Change { set, op, key, invert, exprs } => {
                let subject = self.scene.subject(key);
                let word = match op {
                    0 => "add",
                    1 => "update",
                    _ => "delete",
                };
                let invert = if *invert { "! " } else { "" };
                let with = exprs.iter().fold(String::new(), |text, expr| text + " " + &attached(expr));
                self.done(format!("{invert}{word} @{set} {{ {}{with} }}", subject.text), &subject.headers);
            }
            Statement::Plain(expr) => self.plain(expr),
        }
    }

    fn test(&mut self, value: &Value<'a>, relation: Relation<'a>) {
        // nft loads fields that lie side by side at once.
        if let (Value::Payload(span), Relation::Is(Compare::Eq, data)) = (value, relation)
            && let Some(pieces) = self.scene.pieces(*span).filter(|pieces| pieces.len() > 1)
        {
            for piece in pieces {
                let begin = (piece.at / 8) as usize;
                let (shape, bytes) = if piece.at % 8 == 0 && piece.bits % 8 == 0 {
                    let end = begin + (piece.bits / 8) as usize;
                    (Shape::One(piece.field.of, Order::Network), data.get(begin..end).unwrap_or_default())
                } else {
                    (Shape::Bits { of: piece.field.of, at: piece.at, bits: piece.bits }, data)
                };
                let prefix = (piece.bits < piece.field.bits).then_some(piece.bits);
                let subject = Subject::field(piece.header, &piece.field, shape);
                self.tested(&Subject { prefix, ..subject }, Relation::Is(Compare::Eq, bytes), None);
            }
            return;
        }
        let subject = self.scene.subject(value);
        let key = if let Value::Meta(key) = value { Some(*key) } else { None };
        self.tested(&subject, relation, key);
    }

    fn tested(&mut self, subject: &Subject, relation: Relation<'a>, meta: Option<&str>) {
        let text = self.scene.relation(subject, relation);
        self.imply(&subject.headers);
        let is = match (relation, &subject.mask, &subject.shape) {
            (Relation::Is(Compare::Eq, data), None, Shape::One(_, order)) => number(data, *order),
            (Relation::Is(Compare::Eq, data), None, Shape::Bits { at, bits, .. }) => {
                Some(extract(data, *at, *bits))
            }
            _ => None,
        };
        let context = &mut self.scene.context;
        let settles = match (is, meta, subject.field) {
            (Some(number), Some(key), _) => context.meta_is(key, number),
            (Some(number), None, Some((header, field))) => context.field_is(header, field, number),
            _ => None,
        };
        self.said.push(Said { text: Some(text), settles, test: true });
    }

    /// A statement that is no test.
    fn done(&mut self, text: String, headers: &[Header]) {
        self.imply(headers);
        self.said.push(Said { text: Some(text), settles: None, test: false });
    }

    /// What the fields of these headers imply need not be said.
    fn imply(&mut self, headers: &[Header]) {
        for layer in headers.iter().flat_map(|header| self.scene.context.implied(*header)) {
            let tests = self.said.iter_mut().rev().take_while(|said| said.test);
            for said in tests.filter(|said| said.settles == Some(*layer)) {
                said.text = None;
            }
        }
    }

    fn plain(&mut self, expr: &Expr) {
        let text = match expr {
            Expr::Log => "log".to_owned(),
            Expr::Notrack => "notrack".to_owned(),
            Expr::Queue => "queue".to_owned(),
            Expr::Reject(with) => return self.reject(*with),
            Expr::ObjectRef { name, kind } => match kind.as_str() {
                "ct-helper" => format!("ct helper set \"{name}\""),
                "ct-timeout" => format!("ct timeout set \"{name}\""),
                "ct-expectation" => format!("ct expectation set \"{name}\""),
                "secmark" => format!("meta secmark set \"{name}\""),
                "connlimit" => format!("ct count name \"{name}\""),
                kind => format!("{kind} name \"{name}\""),
            },
            Expr::ExthdrSet { kind, header, .. } => self.scene.reset(kind, *header),
            Expr::Match(test) => xt_match::text(test),
            Expr::Target(target) => xt_target::text(target, self.scene.table.family == Family::Ip6),
            expr => attached(expr),
        };
        self.done(text, &[]);
    }

    fn reject(&mut self, with: RejectWith) {
        /// `NFT_REJECT_ICMPX_PORT_UNREACH`.
        const PORT_UNREACHABLE: u8 = 1;
        let family = self.scene.table.family;
        let code =
            |words, code: u8| word(words, u64::from(code)).map_or_else(|| code.to_string(), str::to_owned);
        let (text, headers): (_, &[Header]) = match with {
            // In tables of both IP families nft does not ask for the protocol by itself.
            RejectWith::TcpReset if matches!(family, Family::Ip | Family::Ip6) => {
                ("reject with tcp reset".to_owned(), self.scene.context.tcp())
            }
            RejectWith::TcpReset => ("reject with tcp reset".to_owned(), &[]),
            RejectWith::Icmpx { code: PORT_UNREACHABLE } => ("reject".to_owned(), &[]),
            RejectWith::Icmpx { code: number } => {
                (format!("reject with icmpx {}", code(words::ICMPX_CODE, number)), &[])
            }
            RejectWith::Icmp { code: number } => match (family, self.scene.context.network) {
                (Family::Ip, _) if number == 3 => ("reject".to_owned(), &[]),
                (Family::Ip6, _) if number == 4 => ("reject".to_owned(), &[]),
                (_, Some(Header::Ip6)) => {
                    (format!("reject with icmpv6 {}", code(words::ICMPV6_CODE, number)), &[Header::Ip6])
                }
                (_, Some(Header::Ip)) => {
                    (format!("reject with icmp {}", code(words::ICMP_CODE, number)), &[Header::Ip])
                }
                _ => (format!("reject with icmp code {number}"), &[]),
            },
        };
        self.done(text, headers);
    }
}

impl Scene<'_> {
    /// A comparison.
    fn relation(&self, subject: &Subject, relation: Relation<'_>) -> String {
        let Subject { text, shape, mask, prefix, .. } = subject;
        let masked = mask.as_ref().map(|(mask, xor)| self.masked(text, shape, mask, xor));
        let not = |invert: bool| if invert { "!= " } else { "" };
        match relation {
            Relation::In { set, invert } => {
                format!("{} {}{}", masked.as_ref().unwrap_or(text), not(invert), self.set(shape, set))
            }
            Relation::Within { invert, from, to } => {
                let range = format!("{}-{}", self.writer.value(shape, from), self.writer.value(shape, to));
                format!("{} {}{range}", masked.as_ref().unwrap_or(text), not(invert))
            }
            Relation::Is(op, data) => {
                let value = |bytes: &[u8]| self.writer.value(shape, bytes);
                let sign = |eq: &'static str| match op {
                    Compare::Eq => eq,
                    Compare::Ne => "!= ",
                    Compare::Lt => "< ",
                    Compare::Le => "<= ",
                    Compare::Gt => "> ",
                    Compare::Ge => ">= ",
                };
                if let (Some(masked), Some((mask, xor))) = (masked, mask) {
                    return self
                        .masked_is(subject, op, data, mask, xor)
                        .unwrap_or_else(|| format!("{masked} {}{}", sign("== "), value(data)));
                }
                let eq = if matches!(shape.of(), Type::Flags(_)) { "== " } else { "" };
                match prefix {
                    None => format!("{text} {}{}", sign(eq), value(data)),
                    Some(length) => format!("{text} {}{}/{length}", sign(eq), value(&padded(shape, data))),
                }
            }
        }
    }

    /// A comparison under a mask, where nft has a shorter form.
    fn masked_is(
        &self,
        subject: &Subject,
        op: Compare,
        data: &[u8],
        mask: &[u8],
        xor: &[u8],
    ) -> Option<String> {
        let Subject { text, shape, .. } = subject;
        let not = match op {
            Compare::Eq => "",
            Compare::Ne => "!= ",
            Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => return None,
        };
        let zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if !zero(xor) {
            return None;
        }
        let value = |bytes: &[u8]| self.writer.value(shape, bytes);
        let flags = matches!(shape.of(), Type::Flags(_) | Type::Labels);
        if flags && zero(data) && !zero(mask) {
            return Some(match op {
                Compare::Ne => format!("{text} {}", value(mask)),
                _ => format!("{text} ! {}", value(mask)),
            });
        }
        let one_bit = mask.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1;
        if flags && op == Compare::Ne && data == mask && one_bit {
            return None;
        }
        if flags && !zero(data) && data.iter().zip(mask).all(|(data, mask)| data & !mask == 0) {
            return Some(format!("{text} {not}{} / {}", value(data), value(mask)));
        }
        if shape.of().has_prefixes() && data.iter().zip(mask).all(|(data, mask)| data & !mask == 0) {
            let length = prefix_length(&shape.significant(mask))?;
            return Some(format!("{text} {not}{}/{length}", value(data)));
        }
        None
    }
}

/// The beginning of a field, filled up with zeroes.
fn padded(shape: &Shape, data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(
        match shape.of() {
            Type::Mac => 6,
            Type::Ip6 => 16,
            _ => 4,
        },
        0,
    );
    bytes
}

/// A verdict.
pub(super) fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Break => "break".to_owned(),
        Verdict::Jump { chain } => format!("jump {chain}"),
        Verdict::Goto { chain } => format!("goto {chain}"),
        Verdict::Return => "return".to_owned(),
        Verdict::Queue => "queue".to_owned(),
        Verdict::Stolen => "<verdict stolen>".to_owned(),
        Verdict::Unknown { code } => format!("<verdict {code}: not understood>"),
    }
}
