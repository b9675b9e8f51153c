//! A set as text, in the words of nft.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bdd::{Arena, Bdd};
use super::cover::{Term, Test, Values, cover};
use super::field::{ARP, Field, IPV4, IPV6};
use super::set::PacketSet;

/// Terms that are printed.
const TERMS: usize = 8;
/// Values of a field that are printed.
const VALUES: usize = 8;

/// Gives the name of a device, if it has one.
type DeviceName<'a> = &'a dyn Fn(u128) -> Option<String>;

impl Arena {
    /// The set in words, `ip saddr 192.168.122.0/24 tcp dport 80-443`: alternatives are joined by
    /// `or`, and what does not fit is `…`.
    pub fn text(&mut self, set: PacketSet, device: DeviceName<'_>) -> String {
        if set == Bdd::NONE {
            return "no packet".to_owned();
        }
        let cover = cover(self, set, TERMS);
        let mut terms: Vec<String> =
            cover.terms.iter().map(|term| Words::of(term, device).term(term)).collect();
        if cover.more {
            terms.push("…".to_owned());
        }
        terms.join(" or ")
    }
}

/// What the words of a term depend on.
struct Words<'a> {
    /// The one EtherType of the term.
    family: Option<u128>,
    /// The one protocol of the term.
    protocol: Option<u128>,
    device: DeviceName<'a>,
}

impl<'a> Words<'a> {
    fn of(term: &Term, device: DeviceName<'a>) -> Self {
        let only = |field| {
            let test = term.iter().find(|test| test.field == field && !test.but)?;
            match test.values[..] {
                [Values::Range(first, last)] if first == last => Some(first),
                _ => None,
            }
        };
        Self { family: only(Field::EtherType), protocol: only(Field::Protocol), device }
    }

    fn term(&self, term: &Term) -> String {
        if term.is_empty() {
            return "any packet".to_owned();
        }
        let tests = |fields: &[Field]| term.iter().any(|test| fields.contains(&test.field));
        // `ip saddr` says the family, `tcp dport` the protocol.
        let family = self.family.is_some() && tests(&[Field::Source, Field::Destination]);
        let protocol = self.protocol.and_then(protocol_name).is_some()
            && tests(&[
                Field::SourcePort,
                Field::DestinationPort,
                Field::TcpFlags,
                Field::IcmpType,
                Field::IcmpCode,
            ]);
        let said = |field| (family && field == Field::EtherType) || (protocol && field == Field::Protocol);
        let words = term.iter().filter(|test| !said(test.field)).map(|test| self.test(test));
        words.collect::<Vec<_>>().join(" ")
    }

    fn test(&self, test: &Test) -> String {
        let mut text = self.name(test.field);
        if let [Values::Masked { value, mask }] = test.values[..] {
            let compare = if test.but { "!=" } else { "==" };
            let _ = write!(text, " & {mask:#x} {compare} {value:#x}");
            return text;
        }
        let mut values = Vec::new();
        for value in test.values.iter().take(VALUES) {
            match *value {
                Values::Masked { value, mask } => values.push(format!("& {mask:#x} == {value:#x}")),
                Values::Range(first, last) => values.extend(self.range(test.field, first, last)),
            }
        }
        values.dedup();
        if test.values.len() > VALUES {
            values.push("…".to_owned());
        }
        let not = if test.but { "!= " } else { "" };
        let _ = match &values[..] {
            [one] => write!(text, " {not}{one}"),
            _ => write!(text, " {not}{{ {} }}", values.join(", ")),
        };
        text
    }

    fn range(&self, field: Field, first: u128, last: u128) -> Vec<String> {
        let value = |value| self.value(field, value);
        // A prefix leaves all bits behind it open, those behind an IPv4 address too.
        let open = first ^ last;
        let prefix = open & open.wrapping_add(1) == 0 && first & open == 0;
        match field {
            _ if first == last => vec![value(first)],
            // Few values, and words for them.
            _ if field.width() <= 3 => (first..=last).map(value).collect(),
            Field::Source | Field::Destination if prefix => match open.leading_zeros() {
                32 if self.family != Some(IPV6) => vec![value(first)],
                length => vec![format!("{}/{length}", value(first))],
            },
            // Names have no order.
            Field::InputDevice | Field::OutputDevice | Field::InputPort | Field::OutputPort => {
                vec![format!("{first}-{last}")]
            }
            _ => vec![format!("{}-{}", value(first), value(last))],
        }
    }

    /// nft's word for the field.
    fn name(&self, field: Field) -> String {
        let network = match self.family {
            Some(IPV4) => "ip ",
            Some(IPV6) => "ip6 ",
            _ => "",
        };
        let transport = self.protocol.and_then(protocol_name);
        let arp = self.family == Some(ARP);
        let word = match field {
            Field::EtherType => "meta protocol",
            Field::Protocol => "meta l4proto",
            Field::InputDevice => "iif",
            Field::OutputDevice => "oif",
            Field::InputPort => "physdev in",
            Field::OutputPort => "physdev out",
            Field::Local => "from",
            Field::Framed => "link layer header",
            Field::PacketType => "meta pkttype",
            Field::Vlan => "vlan id",
            Field::CtState => "ct state",
            Field::CtReply => "ct direction",
            Field::CtStatus => "ct status",
            Field::CtMark => "ct mark",
            Field::Mark => "meta mark",
            Field::SourceMac => "ether saddr",
            Field::DestinationMac => "ether daddr",
            Field::ArpOperation => "arp operation",
            Field::ArpSenderMac => "arp saddr ether",
            Field::ArpTargetMac => "arp daddr ether",
            Field::Source if arp => "arp saddr ip",
            Field::Destination if arp => "arp daddr ip",
            Field::Source => return format!("{network}saddr"),
            Field::Destination => return format!("{network}daddr"),
            Field::Fragment => return format!("{network}frag-off"),
            Field::Extended => return format!("{network}options"),
            Field::Ttl if self.family == Some(IPV6) => "ip6 hoplimit",
            Field::Ttl => "ip ttl",
            Field::TrafficClass => return format!("{network}tos"),
            Field::SourcePort => return format!("{} sport", transport.unwrap_or("th")),
            Field::DestinationPort => return format!("{} dport", transport.unwrap_or("th")),
            Field::TcpFlags => "tcp flags",
            Field::IcmpType => return format!("{} type", transport.unwrap_or("icmp")),
            Field::IcmpCode => return format!("{} code", transport.unwrap_or("icmp")),
        };
        word.to_owned()
    }

    fn value(&self, field: Field, value: u128) -> String {
        let word = |words: &[&'static str], other| {
            let at = usize::try_from(value).unwrap_or(usize::MAX);
            words.get(at).copied().unwrap_or(other)
        };
        match field {
            Field::EtherType if value == IPV4 => "ip".to_owned(),
            Field::EtherType if value == IPV6 => "ip6".to_owned(),
            Field::EtherType if value == ARP => "arp".to_owned(),
            Field::Protocol => protocol_name(value).map_or_else(|| value.to_string(), str::to_owned),
            Field::InputDevice | Field::OutputDevice | Field::InputPort | Field::OutputPort => match value {
                0 => "none".to_owned(),
                _ => (self.device)(value).unwrap_or_else(|| value.to_string()),
            },
            Field::CtState => word(&["invalid", "established", "related", "new"], "untracked").to_owned(),
            Field::CtReply => word(&["original"], "reply").to_owned(),
            Field::Local => word(&["elsewhere"], "this host").to_owned(),
            Field::Framed | Field::Extended => word(&["no"], "yes").to_owned(),
            Field::PacketType => word(&["host", "broadcast", "multicast", "other"], "unknown").to_owned(),
            Field::SourceMac | Field::DestinationMac | Field::ArpSenderMac | Field::ArpTargetMac => {
                let octets = value.to_be_bytes().map(|octet| format!("{octet:02x}"));
                octets[10..].join(":")
            }
            Field::Source | Field::Destination => address(value, self.family).to_string(),
            Field::EtherType
            | Field::Mark
            | Field::CtMark
            | Field::CtStatus
            | Field::TcpFlags
            | Field::Fragment => format!("{value:#x}"),
            Field::Vlan
            | Field::ArpOperation
            | Field::Ttl
            | Field::TrafficClass
            | Field::SourcePort
            | Field::DestinationPort
            | Field::IcmpType
            | Field::IcmpCode => value.to_string(),
        }
    }
}

fn protocol_name(protocol: u128) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// The address that the value stands for.
fn address(value: u128, family: Option<u128>) -> IpAddr {
    match u32::try_from(value >> 96) {
        Ok(short) if matches!(family, Some(IPV4 | ARP)) => Ipv4Addr::from(short).into(),
        _ => Ipv6Addr::from(value).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packet_set::Decided;

    fn check(expected: &str, build: impl FnOnce(&mut Arena) -> Decided<PacketSet>) {
        let mut sets = Arena::new(1 << 20);
        let set = build(&mut sets).unwrap();
        assert_eq!(sets.text(set, &|index| (index == 3).then(|| "virbr0".to_owned())), expected);
    }

    fn net(sets: &mut Arena, field: Field, text: &str) -> PacketSet {
        let net: ipnet::IpNet = text.parse().unwrap();
        sets.network(field, net.addr(), net.prefix_len()).unwrap()
    }

    fn ports(sets: &mut Arena, protocol: u128, first: u128, last: u128) -> PacketSet {
        let protocol = sets.equal(Field::Protocol, protocol).unwrap();
        let ports = sets.range(Field::DestinationPort, &(first..=last)).unwrap();
        sets.and(protocol, ports).unwrap()
    }

    #[test]
    fn prefixes_and_ranges_are_put_together() {
        check("ip saddr 192.168.122.0/24 tcp dport 80-443", |sets| {
            let (net, ports) = (net(sets, Field::Source, "192.168.122.0/24"), ports(sets, 6, 80, 443));
            sets.and(net, ports)
        });
        check("ip saddr { 10.0.0.0/8, 192.168.0.0/23 }", |sets| {
            let nets = ["10.0.0.0/8", "192.168.0.0/24", "192.168.1.0/24"];
            let nets = nets.map(|text| net(sets, Field::Source, text));
            sets.any_of(&nets)
        });
        check("ip6 daddr 2001:db8::/32", |sets| Ok(net(sets, Field::Destination, "2001:db8::/32")));
        check("ip daddr 192.0.2.1", |sets| Ok(net(sets, Field::Destination, "192.0.2.1/32")));
    }

    #[test]
    fn alternatives_come_out_as_they_went_in() {
        check("tcp dport 80 or ip saddr 10.0.0.0/8", |sets| {
            let (net, ports) = (net(sets, Field::Source, "10.0.0.0/8"), ports(sets, 6, 80, 80));
            sets.or(net, ports)
        });
    }

    #[test]
    fn what_is_left_out_is_named_where_that_is_shorter() {
        check("ip saddr != 10.0.0.0/8", |sets| {
            let (all, net) = (net(sets, Field::Source, "0.0.0.0/0"), net(sets, Field::Source, "10.0.0.0/8"));
            sets.minus(all, net)
        });
        check("any packet", |_| Ok(Bdd::ALL));
        check("no packet", |_| Ok(Bdd::NONE));
    }

    #[test]
    fn fields_have_words_of_their_own() {
        check("iif virbr0", |sets| sets.equal(Field::InputDevice, 3));
        check("meta mark & 0x10001 == 0x1", |sets| sets.masked(Field::Mark, 1, 0x10001));
        check("ct state { established, related }", |sets| sets.range(Field::CtState, &(1..=2)));
        check("ether saddr 52:54:00:aa:00:01", |sets| sets.equal(Field::SourceMac, 0x5254_00aa_0001));
    }

    #[test]
    fn long_lists_are_cut_short() {
        let mut sets = Arena::new(1 << 20);
        let odd: Vec<_> = (0..40_u128).map(|at| 3 * at..=3 * at).collect();
        let set = sets.one_of(Field::DestinationPort, &odd).unwrap();
        let text = sets.text(set, &|_| None);
        assert!(text.starts_with("th dport { 0, 3, 6,") && text.ends_with("… }"), "{text}");
    }
}
