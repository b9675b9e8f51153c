//! xtables matches and targets, decoded from the kernel's own structs.
//!
//! An unknown name or revision is kept raw: its effect is undecided, never "no match".

#![expect(missing_docs, reason = "fields of expressions carry the kernel's own names")]

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Bytes, IfName, Mac};

/// An address with its mask, which need not be a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masked {
    /// The address.
    pub address: IpAddr,
    /// The bits that count.
    pub mask: IpAddr,
}

/// A comparison that may be inverted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test<T> {
    /// Matches what differs.
    pub invert: bool,
    /// With what it compares.
    pub value: T,
}

/// An xtables match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XtMatch {
    /// The kernel's name for it.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// What it asks.
    pub test: XtTest,
}

/// An xtables target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XtTarget {
    /// The kernel's name for it.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// What it does.
    pub action: XtAction,
}

/// What an xtables match asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "match", rename_all = "kebab-case", deny_unknown_fields)]
pub enum XtTest {
    /// `comment`: always matches.
    Comment { text: String },
    /// `tcp`, `udp` or `sctp`/`udplite`: ports and, for TCP, flags and an option.
    Ports {
        source: Test<(u16, u16)>,
        destination: Test<(u16, u16)>,
        /// Mask and compared flags, TCP only.
        flags: Option<Test<(u8, u8)>>,
        /// A TCP option that must be present.
        option: Option<Test<u8>>,
    },
    /// `multiport`: any of several port ranges; `which` is `source`, `destination` or `either`.
    Multiport { which: String, ranges: Test<Vec<(u16, u16)>> },
    /// `icmp` or `icmp6`: type (255: any, IPv4) and range of codes.
    Icmp { types: Test<(u8, u8, u8)> },
    /// `conntrack` (or `state`): every part that is present must match.
    Conntrack {
        /// `XT_CONNTRACK_STATE_*` bits: 1 invalid, 2 established, 4 related, 8 new, 0x40 snat,
        /// 0x80 dnat, 0x100 untracked (also where `state` has another number for it).
        state: Option<Test<u32>>,
        /// IPS_* bits.
        status: Option<Test<u32>>,
        /// IP protocol.
        protocol: Option<Test<u8>>,
        /// Original source, original destination, reply source, reply destination.
        original_source: Option<Test<Masked>>,
        original_destination: Option<Test<Masked>>,
        reply_source: Option<Test<Masked>>,
        reply_destination: Option<Test<Masked>>,
        /// `original` if true, `reply` if false.
        original_direction: Option<bool>,
        /// Parts that this version does not compare (ports, expiry): undecided.
        opaque: bool,
    },
    /// `mark`.
    Mark { mark: Test<(u32, u32)> },
    /// `connmark`.
    Connmark { mark: Test<(u32, u32)> },
    /// `physdev`: bridge ports of a bridged packet; `vnet+` stands for all that begin with `vnet`.
    Physdev {
        input: Option<Test<IfName>>,
        output: Option<Test<IfName>>,
        /// `--physdev-is-in`, `--physdev-is-out`, `--physdev-is-bridged`; true: must, false: must not.
        is_in: Option<bool>,
        is_out: Option<bool>,
        is_bridged: Option<bool>,
    },
    /// `addrtype`: RTN_* bit masks of source and destination, as the routing table sees them.
    Addrtype { source: Option<Test<u16>>, destination: Option<Test<u16>>, limit_in: bool, limit_out: bool },
    /// `iprange`.
    Iprange { source: Option<Test<(IpAddr, IpAddr)>>, destination: Option<Test<(IpAddr, IpAddr)>> },
    /// `mac`: the source.
    Mac { source: Test<Mac> },
    /// `pkttype`: PACKET_*.
    Pkttype { packet_type: Test<u8> },
    /// `ttl` or `hl`: mode 0 eq, 1 ne, 2 lt, 3 gt.
    Ttl { mode: u8, value: u8 },
    /// `dscp`.
    Dscp { dscp: Test<u8> },
    /// `length`: of the IP packet, in bytes.
    Length { range: Test<(u16, u16)> },
    /// Goes either way: `limit`, `hashlimit`, `recent`, `statistic`, `quota`, `time`, `connlimit`.
    Stateful,
    /// ebtables `ip` match.
    EbIp {
        source: Option<Test<Masked>>,
        destination: Option<Test<Masked>>,
        tos: Option<Test<u8>>,
        protocol: Option<Test<u8>>,
        source_ports: Option<Test<(u16, u16)>>,
        destination_ports: Option<Test<(u16, u16)>>,
        /// Range of types, range of codes.
        icmp_types: Option<Test<(u8, u8, u8, u8)>>,
    },
    /// ebtables `ip6` match.
    EbIp6 {
        source: Option<Test<Masked>>,
        destination: Option<Test<Masked>>,
        protocol: Option<Test<u8>>,
        source_ports: Option<Test<(u16, u16)>>,
        destination_ports: Option<Test<(u16, u16)>>,
        /// Range of types, range of codes.
        icmp_types: Option<Test<(u8, u8, u8, u8)>>,
    },
    /// ebtables `arp` match.
    EbArp {
        hardware: Option<Test<u16>>,
        protocol: Option<Test<u16>>,
        opcode: Option<Test<u16>>,
        source: Option<Test<Masked>>,
        target: Option<Test<Masked>>,
        source_mac: Option<Test<(Mac, Mac)>>,
        target_mac: Option<Test<(Mac, Mac)>>,
        gratuitous: Option<Test<bool>>,
    },
    /// Not understood.
    Opaque { data: Bytes },
}

/// What an xtables target does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "kebab-case", deny_unknown_fields)]
pub enum XtAction {
    /// Refuses.
    Reject { with: super::RejectWith },
    /// Translates the source to the outgoing device's address.
    Masquerade { ports: Option<(u16, u16)> },
    /// Translates the source.
    Snat { addresses: Option<(IpAddr, IpAddr)>, ports: Option<(u16, u16)> },
    /// Translates the destination.
    Dnat { addresses: Option<(IpAddr, IpAddr)>, ports: Option<(u16, u16)> },
    /// Translates the destination to this host.
    Redirect { ports: Option<(u16, u16)> },
    /// Translates a whole prefix.
    Netmap { addresses: (IpAddr, IpAddr) },
    /// `(mark & !mask) ^ mark`.
    SetMark { mark: u32, mask: u32 },
    /// Saves, restores or sets the connection's mark: mode 0 set, 1 save, 2 restore.
    Connmark { mode: u8, mark: u32, ct_mask: u32, packet_mask: u32 },
    /// Not tracked, or another conntrack setting.
    Ct { notrack: bool, zone: u16 },
    /// Writes to the log.
    Log,
    /// Changes nothing that decides a fate (CHECKSUM, TCPMSS, CLASSIFY, TRACE, …).
    Harmless,
    /// ebtables standard verdict.
    EbVerdict { verdict: super::Verdict },
    /// ebtables `mark`, `snat`, `dnat`, `redirect`, `arpreply` with the verdict that follows.
    EbRewrite { detail: String, verdict: super::Verdict },
    /// Not understood.
    Opaque { data: Bytes },
}
