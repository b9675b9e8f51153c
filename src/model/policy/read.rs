//! The file's syntax.

use std::fmt;
use std::marker::PhantomData;
use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

use jiff::civil::Date;
use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::Expected;
use serde::de::{self, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use wildmatch::WildMatch;

use super::{Accept, Assertion, At, Forward, Mode, Policy, Selector, wording};
use crate::model::Protocol;

/// What is wrong with a policy file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Malformed {
    /// What is wrong.
    pub what: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The word that is not known, and those that could stand there.
    pub wanted: Option<(String, Vec<String>)>,
}

/// Why a word cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misread {
    /// It is none of those that could stand there; capitals stand for what the user names.
    NoneOf(String, &'static [&'static str]),
    /// What else is wrong with it.
    Other(String),
}

impl From<String> for Misread {
    fn from(what: String) -> Self {
        Self::Other(what)
    }
}

impl From<AddrParseError> for Misread {
    fn from(error: AddrParseError) -> Self {
        Self::Other(error.to_string())
    }
}

/// The format's version.
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<u32>,
    #[serde(default)]
    internet: OneOrMany<Parsed<IpAddr>>,
    #[serde(default)]
    networks: Vec<RawMode>,
    #[serde(default)]
    forwards: Vec<RawForward>,
    #[serde(default)]
    accept: Vec<Spanned<RawAccept>>,
    #[serde(default)]
    assertions: Vec<Spanned<RawAssertion>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMode {
    name: Spanned<String>,
    mode: ForwardMode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawForward {
    to: Spanned<Parsed<Selector>>,
    traffic: OneOrMany<Parsed<Kind>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccept {
    finding: Spanned<String>,
    #[serde(default)]
    on: OneOrMany<Parsed<Subject>>,
    reason: Spanned<String>,
    until: Option<Parsed<Day>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAssertion {
    name: Option<String>,
    #[serde(default)]
    from: OneOrMany<Parsed<Selector>>,
    #[serde(default)]
    to: OneOrMany<Parsed<Selector>>,
    allow: Option<OneOrMany<Parsed<Kind>>>,
    deny: Option<OneOrMany<Parsed<Kind>>>,
}

/// Reads a policy. It is checked as far as that can be done without a host.
pub fn parse(text: &str) -> Result<Policy, Malformed> {
    if text.trim().is_empty() {
        return Err(Malformed { what: "the policy is empty".to_owned(), line: 1, column: 1, wanted: None });
    }
    wording::refuse_tags(text)?;
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (number(at.line()), number(at.column())));
        Malformed { what: wording::of(&error), line, column, wanted: wording::wanted(&error) }
    })?;
    if document.version.value != VERSION {
        let what = format!("this kvmnet reads policies of version {VERSION}");
        return Err(wrong(what, &document.version));
    }
    let accept = document.accept.into_iter().map(|raw| {
        let line = line(&raw);
        let RawAccept { finding, on, reason, until } = raw.value;
        if reason.value.trim().is_empty() {
            return Err(wrong("a finding is accepted for a reason: say which".to_owned(), &reason));
        }
        let finding = At { line: self::line(&finding), value: WildMatch::new(&finding.value) };
        let on = on.0.into_iter().map(|on| At { line: self::line(&on), value: on.value.0.0 }).collect();
        let until = until.map(|until| until.0.0);
        Ok(Accept { finding, on, reason: reason.value, until, line })
    });
    let forwards = document.forwards.into_iter().map(|raw| {
        let traffic = protocols(&raw.traffic)?;
        match (&raw.to.value.0, traffic.is_empty()) {
            (_, true) => Err(wrong("name the ports that are meant to be open".to_owned(), &raw.to)),
            (Selector::Vm(_) | Selector::Tag(_) | Selector::Network(_) | Selector::Net(_), false) => {
                Ok(Forward { to: At { line: line(&raw.to), value: raw.to.value.0 }, traffic })
            }
            _ => Err(wrong(
                "ports are forwarded to vm:NAME, tag:TAG, network:NAME or an address".to_owned(),
                &raw.to,
            )),
        }
    });
    Ok(Policy {
        internet: document.internet.0.into_iter().map(|address| address.value.0).collect(),
        networks: document
            .networks
            .into_iter()
            .map(|raw| Mode { network: At { line: line(&raw.name), value: raw.name.value }, mode: raw.mode })
            .collect(),
        forwards: forwards.collect::<Result<_, _>>()?,
        accept: accept.collect::<Result<_, _>>()?,
        assertions: document.assertions.into_iter().map(assertion).collect::<Result<_, _>>()?,
    })
}

fn assertion(raw: Spanned<RawAssertion>) -> Result<Assertion, Malformed> {
    let place = Spanned { value: (), referenced: raw.referenced, defined: raw.defined };
    let line = line(&raw);
    let RawAssertion { name, from, to, allow, deny } = raw.value;
    let (expected, kinds) = match (allow, deny) {
        (Some(kinds), None) => (Expected::Allow, kinds),
        (None, Some(kinds)) => (Expected::Deny, kinds),
        (Some(_), Some(_)) | (None, None) => {
            return Err(wrong("an assertion either allows or denies something".to_owned(), &place));
        }
    };
    let at_gateway = from.0.iter().find(|end| end.value.0.is_gateway());
    if let Some(end) = at_gateway {
        let what =
            "`gateway` stands in `to` alone, where it is that of the VM in `from`; the host's end is `host`";
        return Err(wrong(what.to_owned(), end));
    }
    let traffic = protocols(&kinds)?;
    if expected == Expected::Allow {
        let vague = kinds.0.iter().find(|kind| !kind.value.0.is_one());
        if let Some(kind) = vague {
            let what = "what is allowed is shown by a packet: name `icmp`, `tcp/PORT` or `udp/PORT`";
            return Err(wrong(what.to_owned(), kind));
        }
    }
    let selectors = |ends: OneOrMany<Parsed<Selector>>| -> Vec<At<Selector>> {
        ends.0.into_iter().map(|end| At { line: self::line(&end), value: end.value.0 }).collect()
    };
    Ok(Assertion { name, from: selectors(from), to: selectors(to), expected, traffic, line })
}

/// The protocols of a list; none where it says `any`.
fn protocols(kinds: &OneOrMany<Parsed<Kind>>) -> Result<Vec<Protocol>, Malformed> {
    let any = kinds.0.iter().find(|kind| kind.value.0 == Kind::Any);
    match any {
        Some(any) if kinds.0.len() > 1 => Err(wrong("`any` stands alone".to_owned(), any)),
        Some(_) => Ok(Vec::new()),
        None => Ok(kinds.0.iter().filter_map(|kind| kind.value.0.protocol()).collect()),
    }
}

fn wrong<T>(what: String, at: &Spanned<T>) -> Malformed {
    Malformed { what, line: line(at), column: number(at.referenced.column()), wanted: None }
}

fn line<T>(at: &Spanned<T>) -> usize {
    number(at.referenced.line())
}

fn number(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

/// What an assertion is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Any,
    Of(Protocol),
}

impl Kind {
    fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Any => None,
            Self::Of(protocol) => Some(protocol.clone()),
        }
    }

    /// One packet shows it.
    fn is_one(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Of(Protocol::Icmp) => true,
            Self::Of(Protocol::Tcp(ports) | Protocol::Udp(ports)) => ports.start() == ports.end(),
        }
    }
}

/// How kinds are written, with examples.
const KINDS: &[&str] = &["any", "icmp", "tcp", "udp", "tcp/443", "udp/8000-8099"];

impl FromStr for Kind {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let wrong = || Misread::NoneOf(text.to_owned(), KINDS);
        let (protocol, ports) = match text.split_once('/') {
            Some((protocol, ports)) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
                let (first, last) = (port(first)?, port(last)?);
                if first == 0 {
                    return Err(format!("`{text}`: there is no port 0, ports are 1-65535").into());
                }
                if first > last {
                    return Err(format!("`{ports}` ends before it begins").into());
                }
                (protocol, Some(first..=last))
            }
            None => (text, None),
        };
        let all = || 0..=u16::MAX;
        match (protocol, ports) {
            ("any", None) => Ok(Self::Any),
            ("icmp", None) => Ok(Self::Of(Protocol::Icmp)),
            ("tcp", ports) => Ok(Self::Of(Protocol::Tcp(ports.unwrap_or_else(all)))),
            ("udp", ports) => Ok(Self::Of(Protocol::Udp(ports.unwrap_or_else(all)))),
            _ => Err(wrong()),
        }
    }
}

/// Whom a finding is about.
struct Subject(WildMatch);

impl FromStr for Subject {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let is_pattern = |text: &str| text.contains(['*', '?']);
        let known = match text.split_once(':') {
            Some(("vm" | "network" | "link", name)) => !name.is_empty(),
            Some((kind, _)) => is_pattern(kind),
            None => text == "host" || is_pattern(text),
        };
        if known {
            Ok(Self(WildMatch::new(text)))
        } else {
            Err(Misread::NoneOf(text.to_owned(), &["vm:NAME", "network:NAME", "link:NAME", "host"]))
        }
    }
}

/// A day.
struct Day(Date);

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is no day: write it as 2027-01-31"))
    }
}

/// A string that says something.
#[derive(Debug, Clone, PartialEq)]
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: Into<Misread>>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error: T::Err| match error.into() {
            Misread::NoneOf(word, known) => de::Error::unknown_variant(&word, known),
            Misread::Other(what) => de::Error::custom(what),
        })
    }
}

/// One thing, or a list of them.
struct OneOrMany<T>(Vec<Spanned<T>>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, defined } = Spanned::deserialize(deserializer)?;
        Ok(Self(match value {
            Items::One(value) => vec![Spanned { value, referenced, defined }],
            Items::Many(items) => items,
        }))
    }
}

enum Items<T> {
    One(T),
    Many(Vec<Spanned<T>>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Read<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(text.into_deserializer()).map(Items::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                if items.is_empty() {
                    return Err(de::Error::custom(
                        "an empty list names nothing: leave it out, or name something",
                    ));
                }
                Ok(Items::Many(items))
            }
        }
        deserializer.deserialize_any(Read(PhantomData))
    }
}
