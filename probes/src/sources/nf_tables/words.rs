//! nft's words for the kernel's numbers (`include/uapi/linux/netfilter/nf_tables.h`).

use crate::facts::{Family, Hook};

/// `enum nft_meta_keys`. Number 36 is the kernel's own.
const META: &[&str] = &[
    "len", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid",
    "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu",
    "iifgroup", "oifgroup", "cgroup", "random", "ipsec", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time",
    "day", "hour", "sdif", "sdifname", "broute", "", "ibrhwaddr",
];

/// `enum nft_ct_keys`.
const CT: &[&str] = &[
    "state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto", "saddr", "daddr",
    "protocol", "proto-src", "proto-dst", "label", "packets", "bytes", "avgpkt", "zone", "event", "ip saddr",
    "ip daddr", "ip6 saddr", "ip6 daddr", "id",
];

/// `enum nft_rt_keys`.
const RT: &[&str] = &["classid", "ip nexthop", "ip6 nexthop", "mtu", "ipsec"];

/// `enum nft_exthdr_op`.
const EXTHDR: &[&str] = &["ipv6", "tcp option", "ip option", "sctp", "dccp option"];

/// `enum nft_fib_result`.
const FIB: &[&str] = &["", "oif", "oifname", "type"];

/// `NFT_OBJECT_*`.
const OBJECT: &[&str] = &[
    "", "counter", "quota", "ct-helper", "limit", "connlimit", "tunnel", "ct-timeout", "secmark",
    "ct-expectation", "synproxy",
];

fn word(words: &[&str], number: u32) -> Option<String> {
    words.get(usize::try_from(number).ok()?).filter(|word| !word.is_empty()).map(|&word| word.to_owned())
}

pub(super) fn meta(key: u32) -> Option<String> {
    word(META, key)
}

pub(super) fn ct(key: u32) -> Option<String> {
    word(CT, key)
}

pub(super) fn rt(key: u32) -> Option<String> {
    word(RT, key)
}

pub(super) fn exthdr(op: u32) -> Option<String> {
    word(EXTHDR, op)
}

pub(super) fn fib(result: u32) -> Option<String> {
    word(FIB, result)
}

/// An object's kind, or the kernel's number for it.
pub(super) fn object(kind: u32) -> String {
    word(OBJECT, kind).unwrap_or_else(|| kind.to_string())
}

/// The hook with this number, which each family counts in its own way.
pub(super) fn hook(family: Family, number: u32) -> Option<Hook> {
    let hooks: &[Hook] = match family {
        Family::Ip | Family::Ip6 | Family::Inet | Family::Bridge => {
            &[Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
        }
        Family::Arp => &[Hook::Input, Hook::Output, Hook::Forward],
        Family::Netdev => &[Hook::Ingress, Hook::Egress],
    };
    match (family, number) {
        (Family::Inet, 5) => Some(Hook::Ingress),
        _ => hooks.get(usize::try_from(number).ok()?).copied(),
    }
}
