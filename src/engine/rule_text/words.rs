//! nft's words for numbers, which it has from its own tables and from `/etc/protocols`.

/// Words by number.
pub(super) type Words = &'static [(u64, &'static str)];

/// The word for a number.
pub(super) fn word(words: Words, number: u64) -> Option<&'static str> {
    words.iter().find(|(known, _)| *known == number).map(|(_, word)| *word)
}

/// The words for the bits of a number; `None` if one has no word.
pub(super) fn bits(words: Words, number: u64) -> Option<Vec<&'static str>> {
    let found: Vec<_> = words.iter().filter(|(bit, _)| number & bit != 0).collect();
    let covered = found.iter().fold(0, |covered, (bit, _)| covered | bit);
    (covered == number).then(|| found.iter().map(|(_, word)| *word).collect())
}

/// IP protocols (`/etc/protocols`).
pub(super) const PROTOCOL: Words = &[
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (6, "tcp"),
    (8, "egp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (43, "ipv6-route"),
    (44, "ipv6-frag"),
    (46, "rsvp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (59, "ipv6-nonxt"),
    (60, "ipv6-opts"),
    (88, "eigrp"),
    (89, "ospf"),
    (94, "ipip"),
    (97, "etherip"),
    (98, "encap"),
    (103, "pim"),
    (108, "ipcomp"),
    (112, "vrrp"),
    (115, "l2tp"),
    (132, "sctp"),
    (135, "mobility-header"),
    (136, "udplite"),
    (137, "mpls-in-ip"),
];

/// Ethernet protocols.
pub(super) const ETHERTYPE: Words =
    &[(0x0800, "ip"), (0x0806, "arp"), (0x86dd, "ip6"), (0x8100, "8021q"), (0x88a8, "8021ad")];

/// `NFPROTO_*`.
pub(super) const NFPROTO: Words = &[(2, "ipv4"), (10, "ipv6")];

/// `NF_CT_STATE_BIT`.
pub(super) const CT_STATE: Words =
    &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];

/// `IPS_*`.
pub(super) const CT_STATUS: Words = &[
    (1, "expected"),
    (2, "seen-reply"),
    (4, "assured"),
    (8, "confirmed"),
    (0x10, "snat"),
    (0x20, "dnat"),
    (0x200, "dying"),
];

/// `IP_CT_DIR_*`.
pub(super) const CT_DIRECTION: Words = &[(0, "original"), (1, "reply")];

/// `IPCT_*`.
pub(super) const CT_EVENT: Words = &[
    (1, "new"),
    (2, "related"),
    (4, "destroy"),
    (8, "reply"),
    (0x10, "assured"),
    (0x20, "protoinfo"),
    (0x40, "helper"),
    (0x80, "mark"),
    (0x100, "seqadj"),
    (0x200, "secmark"),
    (0x400, "label"),
];

/// `PACKET_*`.
pub(super) const PACKET_TYPE: Words = &[(0, "host"), (1, "broadcast"), (2, "multicast"), (3, "other")];

/// `ARPHRD_*`.
pub(super) const DEVICE_TYPE: Words = &[
    (1, "ether"),
    (512, "ppp"),
    (768, "ipip"),
    (769, "ipip6"),
    (772, "loopback"),
    (776, "sit"),
    (778, "ipgre"),
];

/// `RTN_*`.
pub(super) const ADDRESS_TYPE: Words = &[
    (0, "unspec"),
    (1, "unicast"),
    (2, "local"),
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
    (6, "blackhole"),
    (7, "unreachable"),
    (8, "prohibit"),
];

/// Types of ICMP.
pub(super) const ICMP_TYPE: Words = &[
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];

/// Codes of ICMP's destination unreachable.
pub(super) const ICMP_CODE: Words = &[
    (0, "net-unreachable"),
    (1, "host-unreachable"),
    (2, "prot-unreachable"),
    (3, "port-unreachable"),
    (4, "frag-needed"),
    (9, "net-prohibited"),
    (10, "host-prohibited"),
    (13, "admin-prohibited"),
];

/// Types of ICMPv6.
pub(super) const ICMPV6_TYPE: Words = &[
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];

/// Codes of ICMPv6's destination unreachable.
pub(super) const ICMPV6_CODE: Words = &[
    (0, "no-route"),
    (1, "admin-prohibited"),
    (3, "addr-unreachable"),
    (4, "port-unreachable"),
    (5, "policy-fail"),
    (6, "reject-route"),
];

/// `NFT_REJECT_ICMPX_*`.
pub(super) const ICMPX_CODE: Words =
    &[(0, "no-route"), (1, "port-unreachable"), (2, "host-unreachable"), (3, "admin-prohibited")];

/// Types of IGMP.
pub(super) const IGMP_TYPE: Words = &[
    (0x11, "membership-query"),
    (0x12, "membership-report-v1"),
    (0x16, "membership-report-v2"),
    (0x17, "leave-group"),
    (0x22, "membership-report-v3"),
];

/// Flags of TCP.
pub(super) const TCP_FLAG: Words =
    &[(1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack"), (32, "urg"), (64, "ecn"), (128, "cwr")];

/// Differentiated services code points.
pub(super) const DSCP: Words = &[
    (0x00, "cs0"),
    (0x01, "lephb"),
    (0x08, "cs1"),
    (0x0a, "af11"),
    (0x0c, "af12"),
    (0x0e, "af13"),
    (0x10, "cs2"),
    (0x12, "af21"),
    (0x14, "af22"),
    (0x16, "af23"),
    (0x18, "cs3"),
    (0x1a, "af31"),
    (0x1c, "af32"),
    (0x1e, "af33"),
    (0x20, "cs4"),
    (0x22, "af41"),
    (0x24, "af42"),
    (0x26, "af43"),
    (0x28, "cs5"),
    (0x2c, "va"),
    (0x2e, "ef"),
    (0x30, "cs6"),
    (0x38, "cs7"),
];

/// Explicit congestion notification.
pub(super) const ECN: Words = &[(0, "not-ect"), (1, "ect1"), (2, "ect0"), (3, "ce")];

/// Operations of ARP.
pub(super) const ARP_OPERATION: Words = &[
    (1, "request"),
    (2, "reply"),
    (3, "rrequest"),
    (4, "rreply"),
    (8, "inrequest"),
    (9, "inreply"),
    (10, "nak"),
];

/// Days of the week.
pub(super) const DAY: Words = &[
    (0, "\"Sunday\""),
    (1, "\"Monday\""),
    (2, "\"Tuesday\""),
    (3, "\"Wednesday\""),
    (4, "\"Thursday\""),
    (5, "\"Friday\""),
    (6, "\"Saturday\""),
];

/// Groups of devices that have a name everywhere.
pub(super) const GROUP: Words = &[(0, "\"default\"")];

/// Whether something is there.
pub(super) const PRESENCE: Words = &[(0, "missing"), (1, "exists")];

/// Extension headers of IPv6.
pub(super) const IPV6_EXTENSION: Words = &[(0, "hbh"), (43, "rt"), (44, "frag"), (60, "dst"), (135, "mh")];

/// Options of TCP.
pub(super) const TCP_OPTION: Words = &[
    (0, "eol"),
    (1, "nop"),
    (2, "maxseg"),
    (3, "window"),
    (4, "sack-perm"),
    (5, "sack"),
    (8, "timestamp"),
    (19, "md5sig"),
    (30, "mptcp"),
    (34, "fastopen"),
];

/// Options of IPv4.
pub(super) const IP_OPTION: Words = &[(7, "rr"), (131, "lsrr"), (137, "ssrr"), (148, "ra")];

/// Chunks of SCTP.
pub(super) const SCTP_CHUNK: Words = &[
    (0, "data"),
    (1, "init"),
    (2, "init-ack"),
    (3, "sack"),
    (4, "heartbeat"),
    (5, "heartbeat-ack"),
    (6, "abort"),
    (7, "shutdown"),
    (8, "shutdown-ack"),
    (9, "error"),
];
