//! The fields of headers, by nft's names.

use super::datum::Type;
use super::words;

/// A header that nft knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Ether,
    /// What follows the addresses of a tagged frame.
    Vlan,
    Arp,
    Ip,
    Ip6,
    Tcp,
    Udp,
    Udplite,
    Sctp,
    Dccp,
    Icmp,
    /// ICMP's destination unreachable.
    IcmpUnreachable,
    Icmpv6,
    /// ICMPv6's packet too big.
    Icmpv6TooBig,
    Igmp,
    Esp,
    Ah,
    Comp,
    /// A transport header of a protocol that is not known: its ports.
    Th,
}

/// A field, by its place in bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) at: u32,
    pub(super) bits: u32,
    pub(super) of: Type,
}

const fn field(name: &'static str, at: u32, bits: u32, of: Type) -> Field {
    Field { name, at, bits, of }
}

const ETHERTYPE: Type = Type::Words { words: words::ETHERTYPE, digits: 4 };
const PROTOCOL: Type = Type::Words { words: words::PROTOCOL, digits: 0 };
const DSCP: Type = Type::Words { words: words::DSCP, digits: 2 };
const ECN: Type = Type::Words { words: words::ECN, digits: 2 };

impl Header {
    /// The header of an IP protocol.
    pub(super) fn of_protocol(protocol: u64) -> Option<Self> {
        Some(match protocol {
            1 => Self::Icmp,
            2 => Self::Igmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            33 => Self::Dccp,
            50 => Self::Esp,
            51 => Self::Ah,
            58 => Self::Icmpv6,
            108 => Self::Comp,
            132 => Self::Sctp,
            136 => Self::Udplite,
            _ => return None,
        })
    }

    /// The header of an Ethernet protocol.
    pub(super) fn of_ethertype(ethertype: u64) -> Option<Self> {
        Some(match ethertype {
            0x0800 => Self::Ip,
            0x0806 => Self::Arp,
            0x86dd => Self::Ip6,
            _ => return None,
        })
    }

    /// nft's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ether => "ether",
            Self::Vlan => "vlan",
            Self::Arp => "arp",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Udplite => "udplite",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
            Self::Icmp | Self::IcmpUnreachable => "icmp",
            Self::Icmpv6 | Self::Icmpv6TooBig => "icmpv6",
            Self::Igmp => "igmp",
            Self::Esp => "esp",
            Self::Ah => "ah",
            Self::Comp => "comp",
            Self::Th => "th",
        }
    }

    /// Where it begins behind the base that its offsets count from, in bits.
    pub(super) fn begin(self) -> u32 {
        if self == Self::Vlan { 112 } else { 0 }
    }

    /// Its fields, in order.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Ether => {
                const {
                    &[
                        field("daddr", 0, 48, Type::Mac),
                        field("saddr", 48, 48, Type::Mac),
                        field("type", 96, 16, ETHERTYPE),
                    ]
                }
            }
            Self::Vlan => {
                const {
                    &[
                        field("pcp", 0, 3, Type::Number),
                        field("dei", 3, 1, Type::Number),
                        field("id", 4, 12, Type::Number),
                        field("type", 16, 16, ETHERTYPE),
                    ]
                }
            }
            Self::Arp => {
                const {
                    &[
                        field("htype", 0, 16, Type::Number),
                        field("ptype", 16, 16, ETHERTYPE),
                        field("hlen", 32, 8, Type::Number),
                        field("plen", 40, 8, Type::Number),
                        field("operation", 48, 16, Type::words(words::ARP_OPERATION)),
                        field("saddr ether", 64, 48, Type::Mac),
                        field("saddr ip", 112, 32, Type::Ip),
                        field("daddr ether", 144, 48, Type::Mac),
                        field("daddr ip", 192, 32, Type::Ip),
                    ]
                }
            }
            Self::Ip => {
                const {
                    &[
                        field("version", 0, 4, Type::Number),
                        field("hdrlength", 4, 4, Type::Number),
                        field("dscp", 8, 6, DSCP),
                        field("ecn", 14, 2, ECN),
                        field("length", 16, 16, Type::Number),
                        field("id", 32, 16, Type::Number),
                        field("frag-off", 48, 16, Type::Number),
                        field("ttl", 64, 8, Type::Number),
                        field("protocol", 72, 8, PROTOCOL),
                        field("checksum", 80, 16, Type::Number),
                        field("saddr", 96, 32, Type::Ip),
                        field("daddr", 128, 32, Type::Ip),
                    ]
                }
            }
            Self::Ip6 => {
                const {
                    &[
                        field("version", 0, 4, Type::Number),
                        field("dscp", 4, 6, DSCP),
                        field("ecn", 10, 2, ECN),
                        field("flowlabel", 12, 20, Type::Number),
                        field("length", 32, 16, Type::Number),
                        field("nexthdr", 48, 8, PROTOCOL),
                        field("hoplimit", 56, 8, Type::Number),
                        field("saddr", 64, 128, Type::Ip6),
                        field("daddr", 192, 128, Type::Ip6),
                    ]
                }
            }
            Self::Tcp => {
                const {
                    &[
                        field("sport", 0, 16, Type::Number),
                        field("dport", 16, 16, Type::Number),
                        field("sequence", 32, 32, Type::Number),
                        field("ackseq", 64, 32, Type::Number),
                        field("doff", 96, 4, Type::Number),
                        field("reserved", 100, 4, Type::Number),
                        field("flags", 104, 8, Type::Flags(words::TCP_FLAG)),
                        field("window", 112, 16, Type::Number),
                        field("checksum", 128, 16, Type::Number),
                        field("urgptr", 144, 16, Type::Number),
                    ]
                }
            }
            Self::Udp => {
                const {
                    &[
                        field("sport", 0, 16, Type::Number),
                        field("dport", 16, 16, Type::Number),
                        field("length", 32, 16, Type::Number),
                        field("checksum", 48, 16, Type::Number),
                    ]
                }
            }
            Self::Udplite => {
                const {
                    &[
                        field("sport", 0, 16, Type::Number),
                        field("dport", 16, 16, Type::Number),
                        field("csumcov", 32, 16, Type::Number),
                        field("checksum", 48, 16, Type::Number),
                    ]
                }
            }
            Self::Sctp => {
                const {
                    &[
                        field("sport", 0, 16, Type::Number),
                        field("dport", 16, 16, Type::Number),
                        field("vtag", 32, 32, Type::Number),
                        field("checksum", 64, 32, Type::Number),
                    ]
                }
            }
            Self::Dccp | Self::Th => {
                const { &[field("sport", 0, 16, Type::Number), field("dport", 16, 16, Type::Number)] }
            }
            Self::Icmp => {
                const {
                    &[
                        field("type", 0, 8, Type::words(words::ICMP_TYPE)),
                        field("code", 8, 8, Type::words(words::ICMP_CODE)),
                        field("checksum", 16, 16, Type::Number),
                        field("id", 32, 16, Type::Number),
                        field("sequence", 48, 16, Type::Number),
                    ]
                }
            }
            Self::Icmpv6 => {
                const {
                    &[
                        field("type", 0, 8, Type::words(words::ICMPV6_TYPE)),
                        field("code", 8, 8, Type::words(words::ICMPV6_CODE)),
                        field("checksum", 16, 16, Type::Number),
                        field("id", 32, 16, Type::Number),
                        field("sequence", 48, 16, Type::Number),
                    ]
                }
            }
            Self::IcmpUnreachable => {
                const {
                    &[
                        field("type", 0, 8, Type::words(words::ICMP_TYPE)),
                        field("code", 8, 8, Type::words(words::ICMP_CODE)),
                        field("checksum", 16, 16, Type::Number),
                        field("mtu", 48, 16, Type::Number),
                    ]
                }
            }
            Self::Icmpv6TooBig => {
                const {
                    &[
                        field("type", 0, 8, Type::words(words::ICMPV6_TYPE)),
                        field("code", 8, 8, Type::words(words::ICMPV6_CODE)),
                        field("checksum", 16, 16, Type::Number),
                        field("mtu", 32, 32, Type::Number),
                    ]
                }
            }
            Self::Igmp => {
                const {
                    &[
                        field("type", 0, 8, Type::words(words::IGMP_TYPE)),
                        field("mrt", 8, 8, Type::Number),
                        field("checksum", 16, 16, Type::Number),
                        field("group", 32, 32, Type::Ip),
                    ]
                }
            }
            Self::Esp => {
                const { &[field("spi", 0, 32, Type::Number), field("sequence", 32, 32, Type::Number)] }
            }
            Self::Ah => {
                const {
                    &[
                        field("nexthdr", 0, 8, PROTOCOL),
                        field("hdrlength", 8, 8, Type::Number),
                        field("reserved", 16, 16, Type::Number),
                        field("spi", 32, 32, Type::Number),
                        field("sequence", 64, 32, Type::Number),
                    ]
                }
            }
            Self::Comp => {
                const {
                    &[
                        field("nexthdr", 0, 8, PROTOCOL),
                        field("flags", 8, 8, Type::Number),
                        field("cpi", 16, 16, Type::Number),
                    ]
                }
            }
        }
    }
}

/// The fields of an IPv6 extension header.
pub(super) fn ipv6_extension(header: u8, offset: u32, length: u32) -> Option<(&'static str, Type)> {
    Some(match (header, offset, length) {
        (0 | 43 | 44 | 60 | 135, 0, 1) => ("nexthdr", PROTOCOL),
        (0 | 43 | 60 | 135, 1, 1) => ("hdrlength", Type::Number),
        (43 | 135, 2, 1) => ("type", Type::Number),
        (43, 3, 1) => ("seg-left", Type::Number),
        (44, 4, 4) => ("id", Type::Number),
        _ => return None,
    })
}

/// The fields of a TCP option.
pub(super) fn tcp_option(header: u8, offset: u32, length: u32) -> Option<(&'static str, Type)> {
    Some(match (header, offset, length) {
        (_, 0, 1) => ("kind", Type::Number),
        (2..=254, 1, 1) => ("length", Type::Number),
        (2, 2, 2) => ("size", Type::Number),
        (3, 2, 1) => ("count", Type::Number),
        (8, 2, 4) => ("tsval", Type::Number),
        (8, 6, 4) => ("tsecr", Type::Number),
        _ => return None,
    })
}
