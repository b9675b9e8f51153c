//! Netfilter rules as the kernel runs them: `nf_tables` registers and expressions.
//!
//! What iptables-nft, ebtables-nft and iptables-legacy made is here in the same form: xtables
//! matches and targets are the expressions [`Expr::Match`] and [`Expr::Target`], and the header
//! matches of a legacy rule are written as the register expressions that iptables-nft would have
//! used. Sources: `include/uapi/linux/netfilter/nf_tables.h`, net/netfilter/nft_*.c.

#![expect(missing_docs, reason = "fields of expressions carry the kernel's own names")]

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bytes, IfName, XtMatch, XtTarget};

/// `NFPROTO_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4 and IPv6 (`NFPROTO_INET`).
    Inet,
    /// IPv4.
    Ip,
    /// ARP.
    Arp,
    /// Ingress and egress of devices.
    Netdev,
    /// Bridged frames.
    Bridge,
    /// IPv6.
    Ip6,
}

impl Family {
    /// The family with this number, if `nf_tables` has tables of it.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Inet),
            2 => Some(Self::Ip),
            3 => Some(Self::Arp),
            5 => Some(Self::Netdev),
            7 => Some(Self::Bridge),
            10 => Some(Self::Ip6),
            _ => None,
        }
    }

    /// Its number (`NFPROTO_*`).
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    /// nft's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who holds the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// `nf_tables`, also where iptables-nft or ebtables-nft wrote it.
    NfTables,
    /// The old xtables (`iptables-legacy`).
    XtablesLegacy,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Who holds it.
    pub generation: Generation,
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its handle; 0 in legacy tables.
    pub handle: u64,
    /// `NFT_TABLE_F_DORMANT`: its chains are not run.
    pub dormant: bool,
    /// The port id of the owning socket, if one owns it.
    pub owner: Option<u32>,
    /// The user's comment.
    pub comment: Option<String>,
    /// Its chains.
    pub chains: Vec<Chain>,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Stateful objects: counters, quotas, limits, helpers, ….
    pub objects: Vec<Object>,
    /// Names of its flowtables.
    pub flowtables: Vec<String>,
}

/// Where a base chain is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Before the stack sees the packet (`netdev`, `inet`).
    Ingress,
    /// After the device's egress queueing was chosen (`netdev`).
    Egress,
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
    /// Bridge brouting (ebtables only).
    Brouting,
}

/// What a base chain does when no rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet is dropped.
    Drop,
}

/// How a base chain is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseChain {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// At which hook.
    pub hook: Hook,
    /// Lower runs first.
    pub priority: i32,
    /// What it does when no rule decided.
    pub policy: Policy,
    /// The devices of an ingress or egress chain; `eth*` stands for all that begin with `eth`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<IfName>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its handle; 0 in legacy tables.
    pub handle: u64,
    /// How it is attached, if it is a base chain.
    pub base: Option<BaseChain>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its handle; in legacy tables its number in the chain, from 1.
    pub handle: u64,
    /// The user's comment (nft user data, or the xtables `comment` match).
    pub comment: Option<String>,
    /// Packets and bytes counted, if it counts.
    pub counter: Option<Counter>,
    /// What it does, in order; one that does not match ends the rule.
    pub exprs: Vec<Expr>,
}

/// A counter's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A set or a map.
#[expect(clippy::struct_excessive_bools, reason = "the kernel's own flags, one each")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its name; anonymous ones are `__set%d` or `__map%d`.
    pub name: String,
    /// Its handle.
    pub handle: u64,
    /// Belongs to one rule (`NFT_SET_ANONYMOUS`).
    pub anonymous: bool,
    /// Elements are intervals (`NFT_SET_INTERVAL`).
    pub interval: bool,
    /// Elements have data (`NFT_SET_MAP`) or name objects (`NFT_SET_OBJECT`).
    pub map: bool,
    /// Rules may change it while packets pass (`NFT_SET_EVAL` or a timeout).
    pub dynamic: bool,
    /// Length of a key in bytes.
    pub key_length: u32,
    /// Lengths of a concatenated key's fields in bytes; each is padded to 4.
    pub key_fields: Vec<u32>,
    /// The data are verdicts.
    pub verdicts: bool,
    /// Its elements, in the kernel's order.
    pub elements: Vec<Element>,
}

/// An element. In an interval set without concatenation an interval is two elements: its first key,
/// and the first key after it marked [`Element::interval_end`]; with concatenation it is one with
/// [`Element::key_end`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    /// The key; `None` for the catch-all element.
    pub key: Option<Bytes>,
    /// The last key of a concatenated interval.
    pub key_end: Option<Bytes>,
    /// `NFT_SET_ELEM_INTERVAL_END`.
    pub interval_end: bool,
    /// What a map gives.
    pub data: Option<Data>,
    /// The object that an object map gives.
    pub object: Option<String>,
    /// Expressions that run when the element matches, e.g. a counter or a limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exprs: Vec<Expr>,
}

/// A stateful object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its kind: `counter`, `quota`, `limit`, `ct-helper`, …, or the kernel's number.
    pub kind: String,
}

/// A register by the kernel's number: 0 is the verdict, 1 to 4 are 16 bytes each, 8 to 23 are the
/// same storage in 4-byte units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Register(pub u32);

impl Register {
    /// Where the register begins in the 64 bytes of storage, not counting the verdict.
    pub fn offset(self) -> Option<usize> {
        match self.0 {
            1..=4 => Some((self.0 as usize - 1) * 16),
            8..=23 => Some((self.0 as usize - 8) * 4),
            _ => None,
        }
    }
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verdict {
    /// Ends this base chain; the packet goes on.
    Accept,
    /// Ends the packet.
    Drop,
    /// Goes on with the next rule.
    Continue,
    /// Ends the rule as if it had not matched (`NFT_BREAK`).
    Break,
    /// Goes on in a chain and comes back.
    Jump {
        /// The chain.
        chain: String,
    },
    /// Goes on in a chain and does not come back.
    Goto {
        /// The chain.
        chain: String,
    },
    /// Goes back to the caller.
    Return,
    /// A process decides (`NF_QUEUE`).
    Queue,
    /// The packet is taken away (`NF_STOLEN`).
    Stolen,
    /// A verdict that this version does not know.
    Unknown {
        /// The kernel's number.
        code: i32,
    },
}

/// What an immediate or a map element loads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// Bytes, as they are compared.
    Value(Bytes),
    /// A verdict.
    Verdict(Verdict),
}

/// `NFT_CMP_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less, as `memcmp` orders.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// `NFT_PAYLOAD_*`: from where an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadBase {
    /// The link-layer header.
    Link,
    /// The network header.
    Network,
    /// The transport header.
    Transport,
    /// What follows the transport header.
    Inner,
    /// The inner packet of a tunnel.
    Tunnel,
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RejectWith {
    /// ICMP or `ICMPv6` unreachable with this code of the packet's own family.
    Icmp {
        /// The code.
        code: u8,
    },
    /// `NFT_REJECT_ICMPX_*`: a code that fits both families.
    Icmpx {
        /// The code.
        code: u8,
    },
    /// A TCP reset.
    TcpReset,
}

/// Address translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// One expression of a rule. `destination` is the register that is written, `source` the one that
/// is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "expr", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expr {
    /// Loads a constant, or decides.
    Immediate { destination: Register, data: Data },
    /// Compares.
    Cmp { source: Register, op: Compare, data: Bytes },
    /// Loads from the packet.
    Payload { destination: Register, base: PayloadBase, offset: u32, length: u32 },
    /// Writes into the packet.
    PayloadSet { source: Register, base: PayloadBase, offset: u32, length: u32 },
    /// Loads what the kernel knows of the packet; `key` is nft's word: `iif`, `oifname`, `mark`, ….
    /// Names of devices are 16 bytes, filled with zeroes; a comparison with fewer is a prefix.
    Meta { destination: Register, key: String },
    /// Writes a mark, priority, trace flag, ….
    MetaSet { source: Register, key: String },
    /// Loads from the connection: `state`, `mark`, `status`, `direction`, `zone`, `saddr`,
    /// `proto-dst`, …; `direction` 0 is the original one, 1 the reply's.
    Ct { destination: Register, key: String, direction: Option<u8> },
    /// Writes into the connection.
    CtSet { source: Register, key: String, direction: Option<u8> },
    /// `(source & mask) ^ xor`.
    Bitwise { source: Register, destination: Register, length: u32, mask: Bytes, xor: Bytes },
    /// Shifts left or right by `bits`.
    Shift { source: Register, destination: Register, length: u32, left: bool, bits: u32 },
    /// Swaps bytes; `size` is 2, 4 or 8; `to_host` is `ntoh`.
    Byteorder { source: Register, destination: Register, length: u32, size: u32, to_host: bool },
    /// Looks a key up in a set or map.
    Lookup { set: String, source: Register, destination: Option<Register>, invert: bool },
    /// Compares with a range, both ends included.
    Range { source: Register, invert: bool, from: Bytes, to: Bytes },
    /// Counts.
    Counter,
    /// Writes to the log, or to a listening process.
    Log,
    /// Refuses the packet.
    Reject(RejectWith),
    /// Translates to what the registers hold; absent ones: unchanged.
    Nat {
        kind: NatKind,
        family: Family,
        address_min: Option<Register>,
        address_max: Option<Register>,
        port_min: Option<Register>,
        port_max: Option<Register>,
        flags: u32,
    },
    /// Translates the source to the address of the device that it leaves by.
    Masquerade { port_min: Option<Register>, port_max: Option<Register>, flags: u32 },
    /// Translates the destination to this host.
    Redirect { port_min: Option<Register>, port_max: Option<Register>, flags: u32 },
    /// The packet is not tracked.
    Notrack,
    /// Matches up to a rate (`over`: beyond it): may go either way.
    Limit { over: bool },
    /// Matches up to a number of bytes: may go either way.
    Quota { over: bool },
    /// Matches by the number of connections: may go either way.
    Connlimit { count: u32, over: bool },
    /// Asks the routing table; `result` is `oif`, `oifname` or `type`, `flags` `NFTA_FIB_F_*`.
    Fib { destination: Register, result: String, flags: u32 },
    /// Loads from the route that was chosen.
    Rt { destination: Register, key: String },
    /// Loads from an extension header or option; `kind` is `ipv6`, `tcp option`, `ip option`, `sctp`
    /// or `dccp option`.
    Exthdr { destination: Register, kind: String, header: u8, offset: u32, length: u32, present_only: bool },
    /// Writes into an extension header or option (`tcp option maxseg size set`), or removes it if
    /// nothing is its source.
    ExthdrSet { source: Option<Register>, kind: String, header: u8, offset: u32, length: u32 },
    /// Remembers when it ran last.
    Last,
    /// Adds to (0), updates (1) or deletes from (2) a set.
    Dynset { set: String, op: u32, key: Register, invert: bool, exprs: Vec<Expr> },
    /// Refers to a stateful object by name.
    ObjectRef { name: String, kind: String },
    /// Hands the packet to a process.
    Queue,
    /// An xtables match.
    Match(Box<XtMatch>),
    /// An xtables target.
    Target(Box<XtTarget>),
    /// An expression that this version does not understand: what it does is unknown.
    Opaque {
        /// The kernel's name for it.
        name: String,
        /// Its attributes, raw.
        data: Bytes,
    },
}
