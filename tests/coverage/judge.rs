//! How the engine treats a rule, from what it says of all packets that can come to it.

use std::collections::BTreeSet;
use std::fmt;

use kvmnet::engine::Facts;
use kvmnet::engine::packet_set::bdd::Bdd;
use kvmnet::engine::packet_set::field::FRAGMENT_OFFSET;
use kvmnet::engine::packet_set::{Decided, Event, Field, Headers, HostSets, PacketSet};
use kvmnet_probes::facts::{
    BaseChain, Chain, Expr, Family, Hook, NatKind, Policy, Rule, Snapshot, Table, XtAction, XtTest,
};

use crate::samples::Sample;

/// What is known of the packets that a rule meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// What it does is known for every packet.
    Exact,
    /// By its nature it can go either way.
    EitherWay,
    /// It is not modelled, for some packets or for all.
    Opaque,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exact => "exact",
            Self::EitherWay => "either way",
            Self::Opaque => "opaque",
        })
    }
}

/// A class with what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) class: Class,
    pub(crate) remark: String,
}

/// What a rule does with all packets, where nothing else is in its chain.
#[derive(Debug, PartialEq)]
struct Effect {
    /// Surely stopped where the chain accepts: the rule does it.
    stopped: PacketSet,
    /// Of those the refused.
    refuses: bool,
    /// Surely let through where the chain drops: the rule accepts.
    accepted: PacketSet,
    /// Undecided in either chain.
    open: PacketSet,
    whys: BTreeSet<String>,
    translates: BTreeSet<&'static str>,
    /// By family.
    headers: Vec<Headers>,
}

const IPV4_OVER_ETHERNET: &str = "ARP is taken to be of IPv4 over Ethernet";

/// Matches that hold for every packet, or for none, and why.
const CONSTANT: &[(&str, &str)] = &[
    ("comment", "always matches"),
    ("meta sdif", "there is no VRF: with one it is opaque"),
    ("meta sdifname", "there is no VRF: with one it is opaque"),
    ("ct zone", "0, unless a rule gives another: then it is opaque"),
    ("ip version", ""),
    ("ip6 version", ""),
    ("arp htype", IPV4_OVER_ETHERNET),
    ("arp ptype", IPV4_OVER_ETHERNET),
    ("arp hlen", IPV4_OVER_ETHERNET),
    ("arp plen", IPV4_OVER_ETHERNET),
    ("arp (hardware)", IPV4_OVER_ETHERNET),
    ("--h-length", IPV4_OVER_ETHERNET),
    ("--h-type", IPV4_OVER_ETHERNET),
    ("--proto-type", IPV4_OVER_ETHERNET),
];

/// What else there is to say of a match that is exact.
const NOTES: &[(&str, &str)] = &[("set whose elements expire", "as its elements are now")];

/// Statements that do nothing to a fate, and why: whatever else the engine passes over is a mistake.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("continue", "goes on"),
    ("counter", "counts"),
    ("named counter", "counts"),
    ("log", "writes to the log"),
    ("last", "remembers when"),
    ("meta priority set", "orders queues"),
    ("meta nftrace set", "shows packets"),
    ("secmark", "labels for security modules"),
    ("delete from a set", "the set is opaque"),
    ("ct label set", "is never read as known"),
    ("ct event set", "tells listeners"),
    ("ct secmark set", "labels for security modules"),
    ("ct helper set", "later flows are related"),
    ("ct timeout set", "how long the flow is kept"),
    ("ct expectation set", "later flows are related"),
    ("ip length set", "is never read as known"),
    ("ip id set", "is never read as known"),
    ("ip checksum set", "is never read as known"),
    ("ip6 flowlabel set", "is never read as known"),
    ("icmp id set", "is never read as known"),
    ("tcp window set", "is never read as known"),
    ("tcp checksum set", "is never read as known"),
    ("tcp option set", "is never read as known"),
    ("tcp option set from a route", "is never read as known"),
    ("tcp option reset", "is never read as known"),
    ("udp checksum set", "is never read as known"),
    ("udp length set", "is never read as known"),
    ("@th set", "is never read as known"),
    ("@ih set (header)", "is never read as known"),
    ("LOG", "writes to the log"),
    ("NFLOG", "tells listeners"),
    ("nflog", "tells listeners"),
    ("AUDIT", "writes to the audit log"),
    ("CHECKSUM", "mends a checksum"),
    ("CLASSIFY", "orders queues"),
    ("CLASSIFY (ARP)", "orders queues"),
    ("SECMARK", "labels for security modules"),
    ("TCPMSS", "is never read as known"),
    ("TRACE", "shows packets"),
    ("CT (helper)", "later flows are related"),
    ("CT (events)", "tells listeners"),
    ("CT (timeout)", "how long the flow is kept"),
];

/// Judges the rules of a sample, which must agree; what is wrong with it.
pub(crate) fn judge(
    snapshot: &Snapshot,
    (table, chain, rules): (&Table, &Chain, Vec<&Rule>),
    sample: &Sample,
) -> Result<Judgement, String> {
    let hosts: Vec<[Table; 2]> = rules
        .iter()
        .map(|rule| [Policy::Accept, Policy::Drop].map(|policy| alone(table, chain, rule, policy)))
        .collect();
    let base = chain.base.as_ref().expect("a base chain");
    let facts = Facts::new(snapshot);
    let mut all = HostSets::new(&facts, 1 << 18);
    let input = possible(&mut all, snapshot, base).expect("few sets");
    let effects: Vec<Effect> =
        hosts.iter().map(|tables| effect(&mut all, tables, &chain.name, input).expect("few sets")).collect();
    let mut judged: Vec<Judgement> = Vec::new();
    for (effect, rule) in effects.iter().zip(&rules) {
        let judgement = judge_one(&mut all, table, rule, effect, input, sample)?;
        if judged.iter().any(|other| other.class != judgement.class) {
            return Err(format!("its rules differ, and need names of their own: {judged:?} {judgement:?}"));
        }
        judged.push(judgement);
    }
    let class = judged.first().expect("one was loaded").class;
    if class == Class::Exact {
        distinct(sample, &effects, input)?;
    }
    let mut remarks: Vec<String> = Vec::new();
    for judgement in judged {
        if !remarks.contains(&judgement.remark) {
            remarks.push(judgement.remark);
        }
    }
    remarks.retain(|remark| !remark.is_empty());
    let noted = NOTES.iter().chain(CONSTANT).find(|(name, _)| *name == sample.name && sample.is_match());
    let remark = match (class, noted) {
        (Class::Exact, Some((_, note))) => (*note).to_owned(),
        _ => remarks.join("; "),
    };
    Ok(Judgement { class, remark })
}

/// A setting that the engine does not look at would give the same packets twice.
fn distinct(sample: &Sample, effects: &[Effect], input: PacketSet) -> Result<(), String> {
    if CONSTANT.iter().any(|(name, _)| *name == sample.name) {
        return Ok(());
    }
    if sample.is_match() {
        if sample.rules.len() < 2 {
            return Err("exact, but there is no second rule to tell it from".to_owned());
        }
        if effects.iter().any(|effect| effect.stopped == Bdd::NONE || effect.stopped == input) {
            return Err("matches all packets or none".to_owned());
        }
    }
    let translates = effects.iter().any(|effect| !effect.translates.is_empty());
    let silent = WITHOUT_EFFECT.iter().any(|(name, _)| *name == sample.name);
    for (at, effect) in effects.iter().enumerate() {
        if !translates && !silent && effects[..at].contains(effect) && !is_refusal(effect) {
            return Err(format!("does the same as another of its rules: {}", sample.rules[at]));
        }
    }
    Ok(())
}

/// How a packet is refused is no part of its set.
fn is_refusal(effect: &Effect) -> bool {
    effect.refuses
}

fn judge_one(
    all: &mut HostSets<'_>,
    table: &Table,
    rule: &Rule,
    effect: &Effect,
    input: PacketSet,
    sample: &Sample,
) -> Result<Judgement, String> {
    let whys: Vec<String> = effect.whys.iter().cloned().collect();
    if let Some(why) = whys.iter().find(|why| !is_named(why, sample)) {
        return Err(format!("`{why}` does not name it"));
    }
    if !whys.is_empty() {
        let by_nature = rule.exprs.iter().any(|expr| is_either_way(table, expr)) && !is_opaque(rule);
        let class = if by_nature { Class::EitherWay } else { Class::Opaque };
        return Ok(Judgement { class, remark: whys.join("; ") });
    }
    if effect.open != Bdd::NONE {
        return Err("some packets are undecided, and nothing is named".to_owned());
    }
    let (written, unknown) = written(all, table, &effect.headers).expect("few sets");
    if !unknown.is_empty() {
        let remark = format!("unknown afterwards: {}", unknown.join(", "));
        return Ok(Judgement { class: Class::Opaque, remark });
    }
    if is_opaque(rule) {
        return Err(format!("decided, though it is not understood: {:?}", rule.exprs));
    }
    if sample.is_match() {
        return Ok(Judgement { class: Class::Exact, remark: String::new() });
    }
    let remark = does(all, effect, &written, input, sample)?;
    Ok(Judgement { class: Class::Exact, remark })
}

/// What the statement does, in words.
fn does(
    all: &mut HostSets<'_>,
    effect: &Effect,
    written: &[String],
    input: PacketSet,
    sample: &Sample,
) -> Result<String, String> {
    let ends = all.sets.or(effect.stopped, effect.accepted).expect("few sets");
    let mut does = Vec::new();
    if effect.stopped != Bdd::NONE {
        does.push(if effect.refuses { "refuses".to_owned() } else { "drops".to_owned() });
    }
    if effect.accepted != Bdd::NONE && effect.translates.is_empty() {
        does.push("accepts".to_owned());
    }
    does.extend(effect.translates.iter().map(|kind| format!("translates the {kind}")));
    if !written.is_empty() {
        does.push(format!("writes {}", written.join(", ")));
    }
    let silent = WITHOUT_EFFECT.iter().find(|(name, _)| *name == sample.name);
    match (does.is_empty(), silent) {
        (false, _) => Ok(does.join(", ")),
        (true, Some((_, why))) => Ok(format!("changes no fate: {why}")),
        (true, None) if matches!(sample.extension(), "return" | "standard") && ends != input => {
            Ok("goes on".to_owned())
        }
        (true, None) => Err("is passed over as if it did nothing".to_owned()),
    }
}

/// Some word of the sample is in what the engine says.
fn is_named(why: &str, sample: &Sample) -> bool {
    let why = why.to_lowercase();
    let words = sample.rules.iter().copied().chain([sample.name]);
    let mut words = words.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.any(|word| word.len() > 1 && why.contains(&word.to_lowercase()))
}

/// The facts themselves say that it is not understood.
fn is_opaque(rule: &Rule) -> bool {
    rule.exprs.iter().any(|expr| match expr {
        Expr::Opaque { .. } => true,
        Expr::Match(found) => {
            matches!(found.test, XtTest::Opaque { .. } | XtTest::Conntrack { opaque: true, .. })
        }
        Expr::Target(found) => matches!(found.action, XtAction::Opaque { .. }),
        _ => false,
    })
}

/// Its answer depends on more than the packet: a rate, chance, the clock, what came before.
fn is_either_way(table: &Table, expr: &Expr) -> bool {
    match expr {
        Expr::Limit { .. } | Expr::Quota { .. } | Expr::Connlimit { .. } | Expr::Dynset { .. } => true,
        Expr::ObjectRef { kind, .. } => matches!(kind.as_str(), "limit" | "quota" | "connlimit"),
        Expr::Meta { key, .. } => matches!(key.as_str(), "random" | "time" | "day" | "hour"),
        Expr::Match(found) => matches!(found.test, XtTest::Stateful),
        Expr::Lookup { set, .. } => table.sets.iter().any(|found| {
            let limited = found.elements.iter().flat_map(|element| &element.exprs);
            found.name == *set && (found.dynamic || limited.count() > 0)
        }),
        _ => false,
    }
}

/// The table with no other rule in its base chain.
pub(crate) fn alone(table: &Table, chain: &Chain, rule: &Rule, policy: Policy) -> Table {
    // Rules that fill a set are elsewhere in the table.
    let fills = chain.rules.iter().filter(|rule| rule.exprs.iter().any(|e| matches!(e, Expr::Dynset { .. })));
    let fills = Chain { name: "fills".to_owned(), handle: 0, base: None, rules: fills.cloned().collect() };
    let base = chain.base.clone().map(|base| BaseChain { policy, ..base });
    let own = Chain { name: chain.name.clone(), handle: chain.handle, base, rules: vec![rule.clone()] };
    let others = table.chains.iter().filter(|other| other.base.is_none()).cloned();
    Table {
        chains: others.chain([own, fills]).collect(),
        name: table.name.clone(),
        comment: None,
        sets: table.sets.clone(),
        objects: table.objects.clone(),
        flowtables: table.flowtables.clone(),
        ..*table
    }
}

/// Packets that can come to the hook, by devices that are there.
pub(crate) fn possible(all: &mut HostSets<'_>, snapshot: &Snapshot, base: &BaseChain) -> Decided<PacketSet> {
    let devices = snapshot.links.items().iter().map(|link| u128::from(link.index.0));
    let devices: Vec<_> = devices.chain([0]).map(|index| index..=index).collect();
    let mut parts = Vec::new();
    for field in [Field::InputDevice, Field::OutputDevice, Field::InputPort, Field::OutputPort] {
        parts.push(all.sets.one_of(field, &devices)?);
    }
    match base.hook {
        Hook::Output => {
            parts.push(all.sets.equal(Field::Local, 1)?);
            parts.push(all.sets.equal(Field::InputDevice, 0)?);
        }
        Hook::Postrouting | Hook::Egress => parts.push(!all.sets.equal(Field::OutputDevice, 0)?),
        Hook::Forward => {
            parts.push(all.sets.equal(Field::Local, 0)?);
            parts.push(!all.sets.equal(Field::InputDevice, 0)?);
            parts.push(!all.sets.equal(Field::OutputDevice, 0)?);
        }
        _ => {}
    }
    all.sets.all_of(&parts)
}

fn effect<'a>(
    all: &mut HostSets<'a>,
    tables: &'a [Table; 2],
    name: &str,
    input: PacketSet,
) -> Decided<Effect> {
    let mut effect = Effect {
        stopped: Bdd::NONE,
        refuses: false,
        accepted: Bdd::NONE,
        open: Bdd::NONE,
        whys: BTreeSet::new(),
        translates: BTreeSet::new(),
        headers: Vec::new(),
    };
    for (table, accepts) in tables.iter().zip([true, false]) {
        let families = match table.family {
            Family::Inet => vec![Family::Ip, Family::Ip6],
            family => vec![family],
        };
        let chain = table.chains.iter().find(|chain| chain.name == name).expect("it was kept");
        for family in families {
            let mut headers = Headers::default();
            let passage = all.through(table, chain, family, input, &mut headers);
            let whole = whole(all)?;
            let open = all.sets.and(passage.either, whole)?;
            effect.open = all.sets.or(effect.open, open)?;
            for (packets, why) in passage.doubts() {
                if all.sets.and(packets, whole)? != Bdd::NONE {
                    effect.whys.insert(why.to_owned());
                }
            }
            if accepts {
                effect.stopped = all.sets.or(effect.stopped, passage.stopped)?;
                effect.refuses |= passage.stops().any(|met| matches!(met.what, Event::Stop(Some(_))));
                effect.headers.push(headers);
            } else {
                effect.accepted = all.sets.or(effect.accepted, passage.passes)?;
            }
            effect.translates.extend(passage.met.iter().filter_map(|met| match &met.what {
                Event::Translate(nat) if nat.kind == NatKind::Source => Some("source"),
                Event::Translate(_) => Some("destination"),
                _ => None,
            }));
        }
    }
    Ok(effect)
}

/// Packets that are no later fragments: those have anything in place of a transport header, and every rule
/// that asks for one is open for them.
pub(crate) fn whole(all: &mut HostSets<'_>) -> Decided<PacketSet> {
    all.sets.masked(Field::Fragment, 0, FRAGMENT_OFFSET)
}

/// The fields that the rule writes, and those whose values it leaves unknown.
fn written(
    all: &mut HostSets<'_>,
    table: &Table,
    headers: &[Headers],
) -> Decided<(Vec<String>, Vec<String>)> {
    let (mut written, mut unknown) = (Vec::new(), Vec::new());
    if headers.iter().all(Headers::are_untouched) {
        return Ok((written, unknown));
    }
    for field in Field::ALL {
        let before = Headers::default().bits(&mut all.sets, field)?;
        for (at, after) in headers.iter().enumerate() {
            let mut after = after.bits(&mut all.sets, field)?;
            // An IPv4 address has the first 32 bits.
            let ipv4 = table.family == Family::Ip || table.family == Family::Inet && at == 0;
            if ipv4 && matches!(field, Field::Source | Field::Destination) {
                after.truncate(32);
            }
            let known = after.iter().all(|bit| bit.is_known());
            let list = if known { &mut written } else { &mut unknown };
            let name = word(field);
            if before[..after.len()] != after && !list.contains(&name) {
                list.push(name);
            }
        }
    }
    Ok((written, unknown))
}

fn word(field: Field) -> String {
    let words = format!("{field:?}");
    let mut text = String::new();
    for letter in words.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
