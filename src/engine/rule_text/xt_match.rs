//! Matches of xtables in the words of iptables-save and ebtables-save.

use std::fmt::Display;
use std::net::IpAddr;

use kvmnet_probes::facts::{Mac, Masked, Test, XtMatch, XtTest};

use super::datum::prefix_length;
use super::words::{self, Words, word};

/// Collects options.
#[derive(Default)]
struct Options(Vec<String>);

impl Options {
    /// `[!] --name value`.
    fn put(&mut self, invert: bool, name: &str, value: impl Display) {
        let not = if invert { "! " } else { "" };
        self.0.push(format!("{not}--{name} {value}"));
    }

    /// `--name [!] value`, as ebtables has it.
    fn bridged<T>(&mut self, test: Option<&Test<T>>, name: &str, value: impl Fn(&T) -> String) {
        if let Some(Test { invert, value: tested }) = test {
            let not = if *invert { "! " } else { "" };
            self.0.push(format!("--{name} {not}{}", value(tested)));
        }
    }

    /// A test that is there.
    fn test<T>(&mut self, test: Option<&Test<T>>, name: &str, value: impl Fn(&T) -> String) {
        if let Some(Test { invert, value: tested }) = test {
            self.put(*invert, name, value(tested));
        }
    }

    /// `[!] --name`.
    fn switch(&mut self, on: Option<bool>, name: &str) {
        self.0.extend(on.map(|on| format!("{}--{name}", if on { "" } else { "! " })));
    }

    fn named(self, name: &str) -> String {
        self.0.into_iter().fold(format!("-m {name}"), |text, option| text + " " + &option)
    }
}

/// A range of numbers.
pub(super) fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}:{last}") }
}

/// A number under a mask.
pub(super) fn mark((mark, mask): (u32, u32)) -> String {
    if mask == u32::MAX { format!("{mark:#x}") } else { format!("{mark:#x}/{mask:#x}") }
}

/// An address under a mask; `whole`: also a mask that leaves nothing open is written.
pub(super) fn address(masked: &Masked, whole: bool) -> String {
    let bytes = match masked.mask {
        IpAddr::V4(mask) => mask.octets().to_vec(),
        IpAddr::V6(mask) => mask.octets().to_vec(),
    };
    match prefix_length(&bytes) {
        Some(length) if !whole && length as usize == bytes.len() * 8 => masked.address.to_string(),
        Some(length) => format!("{}/{length}", masked.address),
        None => format!("{}/{}", masked.address, masked.mask),
    }
}

/// The ports and flags of a transport protocol, however they are tested.
#[derive(Debug, Clone, Default)]
pub(super) struct Transport {
    pub(super) source: Option<Test<(u16, u16)>>,
    pub(super) destination: Option<Test<(u16, u16)>>,
    pub(super) option: Option<Test<u8>>,
    /// Mask and compared flags.
    pub(super) flags: Option<Test<(u8, u8)>>,
}

impl Transport {
    /// With the name of the match.
    pub(super) fn text(&self, name: &str) -> String {
        let mut options = Options::default();
        options.test(self.source.as_ref(), "sport", |ports| range(*ports));
        options.test(self.destination.as_ref(), "dport", |ports| range(*ports));
        options.test(self.option.as_ref(), "tcp-option", u8::to_string);
        options.test(self.flags.as_ref(), "tcp-flags", |(mask, flags)| {
            format!("{} {}", tcp_flags(*mask), tcp_flags(*flags))
        });
        options.named(name)
    }
}

fn tcp_flags(flags: u8) -> String {
    match words::bits(words::TCP_FLAG, u64::from(flags)) {
        _ if flags == 0 => "NONE".to_owned(),
        // iptables has no words for the upper two.
        Some(words) if flags < 64 => words.join(",").to_uppercase(),
        _ => format!("{flags:#04x}"),
    }
}

/// A match that nft_compat or a legacy rule has.
pub(super) fn text(test: &XtMatch) -> String {
    let name = test.name.as_str();
    let mut options = Options::default();
    match &test.test {
        XtTest::Comment { text } => options.put(false, "comment", format_args!("\"{text}\"")),
        XtTest::Ports { source, destination, flags, option } => {
            let asked =
                |test: &Test<(u16, u16)>| (test.invert || test.value != (0, u16::MAX)).then(|| test.clone());
            let transport = Transport {
                source: asked(source),
                destination: asked(destination),
                option: option.clone(),
                flags: flags.clone(),
            };
            return transport.text(name);
        }
        XtTest::Multiport { which, ranges } => {
            let which = match which.as_str() {
                "source" => "sports",
                "destination" => "dports",
                _ => "ports",
            };
            let list: Vec<_> = ranges.value.iter().copied().map(range).collect();
            options.put(ranges.invert, which, list.join(","));
        }
        XtTest::Icmp { types } => {
            let (kind, first, last) = types.value;
            let text = match (kind, first, last) {
                (255, _, _) if name == "icmp" => "any".to_owned(),
                (kind, 0, 255) => kind.to_string(),
                (kind, first, last) if first == last => format!("{kind}/{first}"),
                (kind, first, last) => format!("{kind}/{first}-{last}"),
            };
            options.put(types.invert, if name == "icmp" { "icmp-type" } else { "icmpv6-type" }, text);
        }
        XtTest::Conntrack { .. } => conntrack(&mut options, &test.test),
        XtTest::Mark { mark: test } | XtTest::Connmark { mark: test } => {
            options.put(test.invert, "mark", mark(test.value));
        }
        XtTest::Physdev { input, output, is_in, is_out, is_bridged } => {
            options.switch(*is_in, "physdev-is-in");
            options.test(input.as_ref(), "physdev-in", ToString::to_string);
            options.switch(*is_out, "physdev-is-out");
            options.test(output.as_ref(), "physdev-out", ToString::to_string);
            options.switch(*is_bridged, "physdev-is-bridged");
        }
        XtTest::Addrtype { source, destination, limit_in, limit_out } => {
            options.test(source.as_ref(), "src-type", |types| address_types(*types));
            options.test(destination.as_ref(), "dst-type", |types| address_types(*types));
            options.switch(limit_in.then_some(true), "limit-iface-in");
            options.switch(limit_out.then_some(true), "limit-iface-out");
        }
        XtTest::Iprange { source, destination } => {
            let text = |(first, last): &(IpAddr, IpAddr)| format!("{first}-{last}");
            options.test(source.as_ref(), "src-range", text);
            options.test(destination.as_ref(), "dst-range", text);
        }
        XtTest::Mac { source } => options.put(source.invert, "mac-source", source.value),
        XtTest::Pkttype { packet_type } => {
            options.test(Some(packet_type), "pkt-type", |number| kind_of_packet(*number));
        }
        XtTest::Ttl { mode, value } => {
            let word = match mode {
                0 | 1 => "eq",
                2 => "lt",
                _ => "gt",
            };
            options.put(*mode == 1, &format!("{name}-{word}"), value);
        }
        XtTest::Dscp { dscp } => options.put(dscp.invert, "dscp", format_args!("{:#04x}", dscp.value)),
        XtTest::Length { range: test } => options.put(test.invert, "length", range(test.value)),
        XtTest::Stateful => return format!("-m {name} …"),
        XtTest::EbIp { .. } | XtTest::EbIp6 { .. } | XtTest::EbArp { .. } => return bridged(test),
        XtTest::Opaque { .. } => return format!("-m <{name}: not understood>"),
    }
    options.named(name)
}

/// A match as ebtables writes it.
pub(super) fn bridged(test: &XtMatch) -> String {
    let mut options = Options::default();
    let protocol = |number: &u8| {
        word(words::PROTOCOL, u64::from(*number)).map_or_else(|| number.to_string(), str::to_owned)
    };
    let network = |masked: &Masked| address(masked, false);
    match &test.test {
        XtTest::EbIp {
            source,
            destination,
            tos,
            protocol: ip,
            source_ports,
            destination_ports,
            icmp_types,
        } => {
            options.bridged(source.as_ref(), "ip-src", network);
            options.bridged(destination.as_ref(), "ip-dst", network);
            options.bridged(tos.as_ref(), "ip-tos", |tos| format!("{tos:#04X}").replace("0X", "0x"));
            options.bridged(ip.as_ref(), "ip-proto", protocol);
            options.bridged(source_ports.as_ref(), "ip-sport", |ports| range(*ports));
            options.bridged(destination_ports.as_ref(), "ip-dport", |ports| range(*ports));
            options.bridged(icmp_types.as_ref(), "ip-icmp-type", |types| icmp(*types, words::ICMP_TYPE));
        }
        XtTest::EbIp6 { source, destination, protocol: ip, source_ports, destination_ports, icmp_types } => {
            options.bridged(source.as_ref(), "ip6-src", network);
            options.bridged(destination.as_ref(), "ip6-dst", network);
            options.bridged(ip.as_ref(), "ip6-proto", protocol);
            options.bridged(source_ports.as_ref(), "ip6-sport", |ports| range(*ports));
            options.bridged(destination_ports.as_ref(), "ip6-dport", |ports| range(*ports));
            options.bridged(icmp_types.as_ref(), "ip6-icmp-type", |types| icmp(*types, EB_ICMPV6_TYPE));
        }
        XtTest::EbArp { hardware, protocol, opcode, source, target, source_mac, target_mac, gratuitous } => {
            options.bridged(opcode.as_ref(), "arp-op", |number| {
                word(EB_ARP_OPERATION, u64::from(*number)).map_or_else(|| number.to_string(), str::to_owned)
            });
            options.bridged(hardware.as_ref(), "arp-htype", u16::to_string);
            options.bridged(protocol.as_ref(), "arp-ptype", |number| format!("{number:#x}"));
            options.bridged(source.as_ref(), "arp-ip-src", network);
            options.bridged(target.as_ref(), "arp-ip-dst", network);
            let text = |(mac, mask): &(Mac, Mac)| mac_text(mac.0, mask.0);
            options.bridged(source_mac.as_ref(), "arp-mac-src", text);
            options.bridged(target_mac.as_ref(), "arp-mac-dst", text);
            options.switch(gratuitous.as_ref().map(|test| !test.invert), "arp-gratuitous");
        }
        XtTest::Mark { mark: test } => options.bridged(Some(test), "mark", |tested| mark(*tested)),
        XtTest::Pkttype { packet_type } => {
            options.bridged(Some(packet_type), "pkttype-type", |number| kind_of_packet(*number));
        }
        XtTest::Stateful => return format!("--{} …", test.name),
        XtTest::Opaque { .. } => return format!("<{}: not understood>", test.name),
        _ => return text(test),
    }
    options.0.join(" ")
}

/// An Ethernet address under a mask, or ebtables' word for it.
pub(super) fn mac_text(mac: [u8; 6], mask: [u8; 6]) -> String {
    match (mac, mask) {
        ([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => {
            "Broadcast".to_owned()
        }
        ([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]) => "Multicast".to_owned(),
        ([0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]) => "Unicast".to_owned(),
        ([1, 0x80, 0xc2, 0, 0, 0], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => "BGA".to_owned(),
        (mac, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => Mac(mac).to_string(),
        (mac, mask) => format!("{}/{}", Mac(mac), Mac(mask)),
    }
}

/// What ebtables calls otherwise than nft.
const EB_ICMPV6_TYPE: Words = &[
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (133, "router-solicitation"),
    (134, "router-advertisement"),
    (135, "neighbour-solicitation"),
    (136, "neighbour-advertisement"),
    (137, "redirect"),
];

/// Operations of ARP in ebtables' words.
const EB_ARP_OPERATION: Words = &[
    (1, "Request"),
    (2, "Reply"),
    (3, "Request_Reverse"),
    (4, "Reply_Reverse"),
    (5, "DRARP_Request"),
    (6, "DRARP_Reply"),
    (7, "DRARP_Error"),
    (8, "InARP_Request"),
    (9, "ARP_NAK"),
];

fn icmp((first, last, from, to): (u8, u8, u8, u8), names: Words) -> String {
    let whole = (from, to) == (0, 255);
    if let (true, true, Some(name)) = (first == last, whole, word(names, u64::from(first))) {
        return name.to_owned();
    }
    let pair = |first, last| if first == last { format!("{first}") } else { format!("{first}:{last}") };
    if whole { pair(first, last) } else { format!("{}/{}", pair(first, last), pair(from, to)) }
}

fn kind_of_packet(number: u8) -> String {
    match number {
        0 => "unicast".to_owned(),
        1 => "broadcast".to_owned(),
        2 => "multicast".to_owned(),
        3 => "otherhost".to_owned(),
        number => number.to_string(),
    }
}

fn address_types(mask: u16) -> String {
    const WORDS: Words = &[
        (1, "UNSPEC"),
        (2, "UNICAST"),
        (4, "LOCAL"),
        (8, "BROADCAST"),
        (0x10, "ANYCAST"),
        (0x20, "MULTICAST"),
        (0x40, "BLACKHOLE"),
        (0x80, "UNREACHABLE"),
        (0x100, "PROHIBIT"),
        (0x200, "THROW"),
        (0x400, "NAT"),
        (0x800, "XRESOLVE"),
    ];
    words::bits(WORDS, u64::from(mask)).map_or_else(|| format!("{mask:#x}"), |words| words.join(","))
}

fn conntrack(options: &mut Options, test: &XtTest) {
    /// In the order that iptables-save has.
    const STATE: Words = &[
        (1, "INVALID"),
        (8, "NEW"),
        (4, "RELATED"),
        (2, "ESTABLISHED"),
        (0x100, "UNTRACKED"),
        (0x40, "SNAT"),
        (0x80, "DNAT"),
    ];
    const STATUS: Words = &[(1, "EXPECTED"), (2, "SEEN_REPLY"), (4, "ASSURED"), (8, "CONFIRMED")];

    let XtTest::Conntrack {
        state,
        status,
        protocol,
        original_source,
        original_destination,
        reply_source,
        reply_destination,
        original_direction,
        opaque,
    } = test
    else {
        return;
    };
    let bits = |words, number: u32| match words::bits(words, u64::from(number)) {
        Some(words) if words.is_empty() => "NONE".to_owned(),
        Some(words) => words.join(","),
        None => format!("{number:#x}"),
    };
    let network = |masked: &Masked| address(masked, false);
    options.test(state.as_ref(), "ctstate", |state| bits(STATE, *state));
    options.test(protocol.as_ref(), "ctproto", u8::to_string);
    options.test(original_source.as_ref(), "ctorigsrc", network);
    options.test(original_destination.as_ref(), "ctorigdst", network);
    options.test(reply_source.as_ref(), "ctreplsrc", network);
    options.test(reply_destination.as_ref(), "ctrepldst", network);
    options.test(status.as_ref(), "ctstatus", |status| bits(STATUS, *status));
    // Ports and expiry, of which the facts say only that they are tested.
    if *opaque {
        options.0.push("…".to_owned());
    }
    if let Some(original) = original_direction {
        options.put(false, "ctdir", if *original { "ORIGINAL" } else { "REPLY" });
    }
}
