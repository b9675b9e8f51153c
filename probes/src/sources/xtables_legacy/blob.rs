//! A table as the kernel keeps it: entries one after another, jumps by offset
//! (`include/uapi/linux/netfilter/x_tables.h`, `netfilter_ipv4/ip_tables.h`, `netfilter_ipv6/ip6_tables.h`).
//!
//! A chain of the user begins with an entry whose target is `ERROR` with the chain's name, and ends
//! with an unconditional RETURN. A built-in chain is found by its hook and ends with its policy.

use std::collections::BTreeMap;

use super::header;
use crate::facts::{
    BaseChain, Chain, Counter, Data, Expr, Family, Generation, Hook, Policy, Register, Rule, Table, Verdict,
    XtTest,
};
use crate::sources::xtables::{Fields, decode_match, decode_target, terminated};

/// `XT_TABLE_MAXNAMELEN`.
pub(super) const NAME_LENGTH: usize = 32;
/// Where `struct ipt_get_entries` has its entries, which are aligned to 8 bytes.
pub(super) const ENTRIES_AT: usize = 40;
/// `struct xt_entry_match` and `struct xt_entry_target` before their data.
const EXTENSION: usize = 32;
/// `NF_INET_NUMHOOKS`.
const HOOKS: usize = 5;

/// A table whose entries do not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A name that no table has.
    #[error("`{0}` is not a table's name")]
    Name(String),
    /// It is not known where this table's chains run.
    #[error("`{0}` is not one of the kernel's own tables")]
    Table(String),
    /// The answer about a table ends too early.
    #[error("its description ends early")]
    Info,
    /// An entry leaves the table, or its parts leave it.
    #[error("the entry at {offset} leaves its bounds")]
    Bounds { offset: usize },
    /// A hook begins or ends where no entry is.
    #[error("hook {hook} has no entry at {offset}")]
    Hook { hook: usize, offset: usize },
    /// A built-in chain does not end with ACCEPT or DROP.
    #[error("the policy at {offset} is neither ACCEPT nor DROP")]
    Policy { offset: usize },
    /// A jump to what is not the beginning of a chain.
    #[error("the entry at {offset} jumps to {to}, where no chain begins")]
    Jump { offset: usize, to: usize },
}

/// `length` zero bytes that begin with the table's name.
pub(super) fn question(name: &str, length: usize) -> Result<Vec<u8>, Malformed> {
    let mut question = vec![0; length];
    match question.get_mut(..name.len()) {
        Some(place) if name.len() < NAME_LENGTH => place.copy_from_slice(name.as_bytes()),
        _ => return Err(Malformed::Name(name.to_owned())),
    }
    Ok(question)
}

/// `struct ipt_getinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    hooks: u32,
    begins: [u32; HOOKS],
    ends: [u32; HOOKS],
    /// Of all entries, in bytes.
    pub(super) size: u32,
}

impl Info {
    /// Its length in bytes.
    pub(super) const LENGTH: usize = NAME_LENGTH + 4 * (1 + 2 * HOOKS + 2);

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(bytes);
        let mut parse = || {
            fields.bytes(NAME_LENGTH)?;
            let hooks = fields.u32()?;
            let mut begins = [0; HOOKS];
            let mut ends = [0; HOOKS];
            for offset in begins.iter_mut().chain(&mut ends) {
                *offset = fields.u32()?;
            }
            let _number = fields.u32()?;
            Some(Self { hooks, begins, ends, size: fields.u32()? })
        };
        parse().ok_or(Malformed::Info)
    }
}

/// Decodes a table.
pub(super) fn table(family: Family, name: &str, info: &Info, bytes: &[u8]) -> Result<Table, Malformed> {
    let entries = walk(family, bytes)?;
    let chains = user_chains(&entries);
    let heads: BTreeMap<usize, &str> = chains.iter().map(|(first, name)| (*first, name.as_str())).collect();
    let rules = |range: &[Entry<'_>]| -> Result<Vec<Rule>, Malformed> {
        range.iter().zip(1..).map(|(entry, number)| entry.rule(family, number, &heads)).collect()
    };

    let mut table = Table {
        generation: Generation::XtablesLegacy,
        family,
        name: name.to_owned(),
        handle: 0,
        dormant: false,
        owner: None,
        comment: None,
        chains: Vec::new(),
        sets: Vec::new(),
        objects: Vec::new(),
        flowtables: Vec::new(),
    };
    for (number, (begin, end)) in info.begins.iter().zip(&info.ends).enumerate() {
        if info.hooks >> number & 1 == 0 {
            continue;
        }
        let at = |offset: u32| {
            let offset = offset as usize;
            entries
                .binary_search_by_key(&offset, |entry| entry.offset)
                .map_err(|_| Malformed::Hook { hook: number, offset })
        };
        let range = entries.get(at(*begin)?..=at(*end)?).unwrap_or_default();
        let Some((last, range)) = range.split_last() else {
            return Err(Malformed::Hook { hook: number, offset: *begin as usize });
        };
        let (chain, base) = base_chain(name, number, last.policy()?)?;
        table.chains.push(Chain { name: chain.to_owned(), handle: 0, base: Some(base), rules: rules(range)? });
    }
    for (first, name) in &chains {
        let begin = entries.partition_point(|entry| entry.offset < *first);
        let length = entries[begin..].iter().take_while(|entry| entry.chain().is_none()).count();
        let mut rules = rules(&entries[begin..begin + length])?;
        // The RETURN that every chain ends with is not the user's.
        if rules.last().is_some_and(|rule| rule.exprs == [Expr::Counter, verdict_expr(Verdict::Return)]) {
            rules.pop();
        }
        table.chains.push(Chain { name: name.clone(), handle: 0, base: None, rules });
    }
    Ok(table)
}

/// How the kernel's own tables are attached (`enum nf_ip_hook_priorities`).
fn base_chain(table: &str, hook: usize, policy: Policy) -> Result<(&'static str, BaseChain), Malformed> {
    let (name, hook) = match hook {
        0 => ("PREROUTING", Hook::Prerouting),
        1 => ("INPUT", Hook::Input),
        2 => ("FORWARD", Hook::Forward),
        3 => ("OUTPUT", Hook::Output),
        _ => ("POSTROUTING", Hook::Postrouting),
    };
    let (kind, priority) = match (table, hook) {
        ("raw", _) => ("filter", -300),
        ("mangle", Hook::Output) => ("route", -150),
        ("mangle", _) => ("filter", -150),
        ("nat", Hook::Prerouting | Hook::Output) => ("nat", -100),
        ("nat", _) => ("nat", 100),
        ("filter", _) => ("filter", 0),
        ("security", _) => ("filter", 50),
        _ => return Err(Malformed::Table(table.to_owned())),
    };
    Ok((name, BaseChain { kind: kind.to_owned(), hook, priority, policy, devices: Vec::new() }))
}

/// Where the user's chains have their first rule, and their names.
fn user_chains(entries: &[Entry<'_>]) -> Vec<(usize, String)> {
    // The last entry is an ERROR too: the end of the table.
    let (_, entries) = entries.split_last().unzip();
    entries
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| entry.chain().map(|name| (entry.next, name)))
        .collect()
}

/// `struct ipt_entry` or `struct ip6t_entry` with its matches and target.
struct Entry<'a> {
    offset: usize,
    next: usize,
    header: &'a [u8],
    counter: Counter,
    matches: Vec<Extension<'a>>,
    target: Extension<'a>,
}

/// A match or a target.
struct Extension<'a> {
    name: &'a [u8],
    revision: u8,
    data: &'a [u8],
}

fn walk(family: Family, bytes: &[u8]) -> Result<Vec<Entry<'_>>, Malformed> {
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let entry = Entry::parse(family, bytes, offset).ok_or(Malformed::Bounds { offset })?;
        offset = entry.next;
        entries.push(entry);
    }
    Ok(entries)
}

impl<'a> Entry<'a> {
    /// `None` if it leaves its bounds; `next` is always greater than `offset`.
    fn parse(family: Family, bytes: &'a [u8], offset: usize) -> Option<Self> {
        let rest = bytes.get(offset..)?;
        let mut fields = Fields::new(rest);
        let header = fields.bytes(header::length(family))?;
        let _cache = fields.u32()?;
        let (target, next) = (usize::from(fields.u16()?), usize::from(fields.u16()?));
        let _back = fields.u32()?;
        let counter = Counter { packets: fields.u64()?, bytes: fields.u64()? };
        let mut extensions = rest.get(fields.position()..target)?;
        let mut matches = Vec::new();
        while !extensions.is_empty() {
            let (extension, length) = Extension::parse(extensions)?;
            matches.push(extension);
            extensions = extensions.get(length..)?;
        }
        let (target, _) = Extension::parse(rest.get(target..next)?)?;
        Some(Self { offset, next: offset + next, header, counter, matches, target })
    }

    /// The name of the chain that begins after this entry.
    fn chain(&self) -> Option<String> {
        (self.target.name == b"ERROR")
            .then(|| String::from_utf8_lossy(terminated(self.target.data)).into_owned())
    }

    /// The verdict of a standard target.
    fn standard(&self) -> Option<i32> {
        if self.target.name.is_empty() { Fields::new(self.target.data).i32() } else { None }
    }

    fn policy(&self) -> Result<Policy, Malformed> {
        match self.standard() {
            Some(-2) => Ok(Policy::Accept),
            Some(-1) => Ok(Policy::Drop),
            _ => Err(Malformed::Policy { offset: self.offset }),
        }
    }

    fn rule(&self, family: Family, number: u64, heads: &BTreeMap<usize, &str>) -> Result<Rule, Malformed> {
        let header = header::decode(family, self.header);
        let mut exprs = header.exprs;
        let mut comment = None;
        for found in &self.matches {
            let found = decode_match(family, &found.name(), u32::from(found.revision), found.data);
            if let (None, XtTest::Comment { text }) = (&comment, &found.test) {
                comment = Some(text.clone());
            }
            exprs.push(Expr::Match(Box::new(found)));
        }
        exprs.push(Expr::Counter);
        match self.standard() {
            Some(verdict) => exprs.extend(self.verdict(verdict, header.goto, heads)?.map(verdict_expr)),
            None => exprs.push(Expr::Target(Box::new(decode_target(
                family,
                &self.target.name(),
                u32::from(self.target.revision),
                self.target.data,
            )))),
        }
        Ok(Rule { handle: number, comment, counter: Some(self.counter), exprs })
    }

    /// `None` for a rule without a target, which the kernel sends on to the next.
    fn verdict(
        &self,
        verdict: i32,
        goto: bool,
        heads: &BTreeMap<usize, &str>,
    ) -> Result<Option<Verdict>, Malformed> {
        let Ok(to) = usize::try_from(verdict) else {
            // -NF_DROP - 1 and its kin, and XT_RETURN.
            return Ok(Some(match verdict {
                -1 => Verdict::Drop,
                -2 => Verdict::Accept,
                -3 => Verdict::Stolen,
                -4 => Verdict::Queue,
                -5 => Verdict::Return,
                code => Verdict::Unknown { code },
            }));
        };
        if to == self.next {
            return Ok(None);
        }
        let chain = (*heads.get(&to).ok_or(Malformed::Jump { offset: self.offset, to })?).to_owned();
        Ok(Some(if goto { Verdict::Goto { chain } } else { Verdict::Jump { chain } }))
    }
}

impl<'a> Extension<'a> {
    /// The extension that `bytes` begin with, and its length.
    fn parse(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut fields = Fields::new(bytes);
        let length = usize::from(fields.u16()?);
        let name = terminated(fields.bytes(29)?);
        let revision = fields.u8()?;
        Some((Self { name, revision, data: bytes.get(EXTENSION..length)? }, length))
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(self.name).into_owned()
    }
}

fn verdict_expr(verdict: Verdict) -> Expr {
    Expr::Immediate { destination: Register(0), data: Data::Verdict(verdict) }
}
