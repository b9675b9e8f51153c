//! A rule in the words of ebtables-save.

use kvmnet_probes::facts::{Compare, Expr, PayloadBase, XtTest};

use super::datum::{Order, number};
use super::iptables::{device, not};
use super::statement::{Relation, Span, Statement, Value};
use super::words::{Words, word};
use super::xt_match::{bridged, mac_text};
use super::xt_target;

/// `/etc/ethertypes`.
const ETHERTYPE: Words = &[(0x0800, "IPv4"), (0x0806, "ARP"), (0x8100, "802_1Q"), (0x86dd, "IPv6")];

/// The options of a rule, in the order that ebtables-save has.
#[derive(Default)]
struct Rule {
    protocol: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    input: Option<String>,
    logical_input: Option<String>,
    output: Option<String>,
    logical_output: Option<String>,
    rest: Vec<String>,
    target: Option<String>,
}

/// The statements in ebtables' words; `None` if it has none for one of them.
pub(super) fn ebtables_text(statements: &[Statement<'_>]) -> Option<String> {
    let mut rule = Rule::default();
    for statement in statements {
        if rule.target.is_some() && *statement != Statement::Plain(&Expr::Counter) {
            return None;
        }
        match statement {
            Statement::Test { subject, relation: Relation::Is(op, data) } => rule.test(subject, *op, data)?,
            Statement::Verdict(verdict) => rule.target = Some(xt_target::bridged_verdict(verdict)),
            Statement::Plain(Expr::Counter) => {}
            Statement::Plain(Expr::Match(test)) if matches!(test.test, XtTest::Comment { .. }) => {}
            Statement::Plain(Expr::Match(test)) => rule.rest.push(bridged(test)),
            Statement::Plain(Expr::Limit { over: false }) => rule.rest.push("--limit …".to_owned()),
            // A watcher: it logs, and the rule goes on.
            Statement::Plain(Expr::Target(target)) if matches!(target.name.as_str(), "log" | "nflog") => {
                rule.rest.push(format!("--{} …", target.name));
            }
            Statement::Plain(Expr::Target(target)) => rule.target = Some(xt_target::text(target, false)),
            _ => return None,
        }
    }
    let target = rule.target.unwrap_or_else(|| "-j CONTINUE".to_owned());
    let header = [
        rule.protocol,
        rule.source,
        rule.destination,
        rule.input,
        rule.logical_input,
        rule.output,
        rule.logical_output,
    ];
    let parts = header.into_iter().flatten().chain(rule.rest).chain([target]);
    Some(parts.collect::<Vec<_>>().join(" "))
}

impl Rule {
    fn test(&mut self, subject: &Value<'_>, op: Compare, data: &[u8]) -> Option<()> {
        let (subject, mask) = match subject {
            Value::Bitwise { of, mask, xor } if xor.iter().all(|&byte| byte == 0) => (&**of, Some(*mask)),
            subject => (subject, None),
        };
        let (slot, text) = match subject {
            Value::Meta(key) if mask.is_none() => {
                let (slot, option) = match *key {
                    "iifname" => (&mut self.input, "-i"),
                    "oifname" => (&mut self.output, "-o"),
                    "ibrname" => (&mut self.logical_input, "--logical-in"),
                    "obrname" => (&mut self.logical_output, "--logical-out"),
                    _ => return None,
                };
                (slot, format!("{option} {}{}", not(op)?, device(data)))
            }
            Value::Payload(Span { base: PayloadBase::Link, offset: 12, length: 2 }) if mask.is_none() => {
                let number = number(data, Order::Network)?;
                // Below this it is the length of an IEEE 802.3 frame.
                let text = if op == Compare::Lt && number == 0x0600 {
                    "-p Length".to_owned()
                } else {
                    let name = word(ETHERTYPE, number).map_or_else(|| format!("{number:#x}"), str::to_owned);
                    format!("-p {}{name}", not(op)?)
                };
                (&mut self.protocol, text)
            }
            Value::Payload(Span { base: PayloadBase::Link, offset: at @ (0 | 6), length }) => {
                let (slot, option) =
                    if *at == 6 { (&mut self.source, "-s") } else { (&mut self.destination, "-d") };
                let (mut mac, mut bits) = ([0; 6], [0; 6]);
                let length = (*length as usize).min(6);
                mac.get_mut(..length)?.copy_from_slice(data.get(..length)?);
                match mask {
                    Some(mask) => bits.get_mut(..length)?.copy_from_slice(mask.get(..length)?),
                    None => bits.get_mut(..length)?.fill(0xff),
                }
                (slot, format!("{option} {}{}", not(op)?, mac_text(mac, bits)))
            }
            _ => return None,
        };
        slot.is_none().then(|| *slot = Some(text))
    }
}
