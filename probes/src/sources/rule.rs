//! Policy routing rules of both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::netlink::{Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{AF_INET6, Context, FAMILIES, Meta, Reading};
use crate::facts::{IfName, RoutingRule, RuleAction};

pub(crate) const META: Meta = Meta {
    id: "rules",
    summary: "Policy routing rules of both families",
    basis: "RTM_GETRULE, include/uapi/linux/fib_rules.h",
    since: "0.1.0",
};

const FIB_RULE_INVERT: u32 = 2;
/// A suppressor that is switched off.
const OFF: u32 = u32::MAX;
/// The mask of a port that is not masked.
const WHOLE_PORT: u16 = u16::MAX;

/// `FRA_*`, `include/uapi/linux/fib_rules.h`.
mod fra {
    pub(super) const DST: u16 = 1;
    pub(super) const SRC: u16 = 2;
    pub(super) const IIFNAME: u16 = 3;
    pub(super) const GOTO: u16 = 4;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const FWMARK: u16 = 10;
    /// A realm: it marks packets for tc and selects none.
    pub(super) const FLOW: u16 = 11;
    pub(super) const TUN_ID: u16 = 12;
    pub(super) const SUPPRESS_IFGROUP: u16 = 13;
    pub(super) const SUPPRESS_PREFIXLEN: u16 = 14;
    pub(super) const TABLE: u16 = 15;
    pub(super) const FWMASK: u16 = 16;
    pub(super) const OIFNAME: u16 = 17;
    pub(super) const PAD: u16 = 18;
    pub(super) const L3MDEV: u16 = 19;
    pub(super) const UID_RANGE: u16 = 20;
    /// Who made the rule.
    pub(super) const PROTOCOL: u16 = 21;
    pub(super) const IP_PROTO: u16 = 22;
    pub(super) const SPORT_RANGE: u16 = 23;
    pub(super) const DPORT_RANGE: u16 = 24;
    pub(super) const DSCP: u16 = 25;
    pub(super) const FLOWLABEL: u16 = 26;
    pub(super) const FLOWLABEL_MASK: u16 = 27;
    pub(super) const SPORT_MASK: u16 = 28;
    pub(super) const DPORT_MASK: u16 = 29;
    pub(super) const DSCP_MASK: u16 = 30;

    /// The selectors that have no field of their own, by the names that `ip rule` gives them.
    pub(super) fn name(kind: u16) -> String {
        match kind {
            TUN_ID => "tun_id".to_owned(),
            DSCP | DSCP_MASK => "dscp".to_owned(),
            FLOWLABEL | FLOWLABEL_MASK => "flowlabel".to_owned(),
            SPORT_MASK => "sport mask".to_owned(),
            DPORT_MASK => "dport mask".to_owned(),
            other => format!("attribute {other}"),
        }
    }
}

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<RoutingRule>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut reading = Reading::from(Vec::new());
    for (family, name) in FAMILIES {
        let request = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        match socket.dump(format!("{name} policy rules"), libc::RTM_GETRULE, &request).await {
            Ok(dump) => reading.append(decode(&dump, libc::RTM_NEWRULE, |message| one(family, message))),
            // Without policy routing or without the family there are no rules.
            Err(error) if error.is_unsupported() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reading)
}

/// Decodes `struct fib_rule_hdr` and its attributes.
fn one(asked: u8, message: &[u8]) -> Result<Option<RoutingRule>, Malformed> {
    let (header, rest) = body::<12>(message)?;
    let [family, destination_length, source_length, tos, table, _, _, action, flags @ ..] = *header;
    if family != asked {
        return Ok(None);
    }
    let ipv6 = family == AF_INET6;
    let mut rule = RoutingRule {
        ipv6,
        priority: 0,
        action: RuleAction::Nop,
        invert: u32::from_ne_bytes(flags) & FIB_RULE_INVERT != 0,
        source: None,
        destination: None,
        input_device: None,
        output_device: None,
        mark: None,
        tos,
        ip_protocol: None,
        source_ports: None,
        destination_ports: None,
        uids: None,
        suppress_prefix_length: None,
        suppress_group: None,
        l3mdev: false,
        opaque: Vec::new(),
    };
    let (mut table, mut goto, mut mark, mut mask) = (u32::from(table), 0, 0, 0);
    let (mut source, mut destination) = (None, None);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            fra::DST => destination = Some(attribute.ip()?),
            fra::SRC => source = Some(attribute.ip()?),
            fra::IIFNAME => rule.input_device = Some(IfName(attribute.text())),
            fra::OIFNAME => rule.output_device = Some(IfName(attribute.text())),
            fra::GOTO => goto = attribute.u32()?,
            fra::PRIORITY => rule.priority = attribute.u32()?,
            fra::FWMARK => mark = attribute.u32()?,
            fra::FWMASK => mask = attribute.u32()?,
            fra::SUPPRESS_IFGROUP => rule.suppress_group = Some(attribute.u32()?).filter(|&group| group != OFF),
            fra::SUPPRESS_PREFIXLEN => {
                rule.suppress_prefix_length = Some(attribute.u32()?).filter(|&length| length != OFF);
            }
            fra::TABLE => table = attribute.u32()?,
            fra::L3MDEV => rule.l3mdev = attribute.on()?,
            fra::UID_RANGE => rule.uids = Some(attribute.pair32()?),
            fra::IP_PROTO => rule.ip_protocol = Some(attribute.u8()?),
            fra::SPORT_RANGE => rule.source_ports = Some(attribute.pair16()?),
            fra::DPORT_RANGE => rule.destination_ports = Some(attribute.pair16()?),
            fra::FLOW | fra::PAD | fra::PROTOCOL => {}
            fra::SPORT_MASK | fra::DPORT_MASK if attribute.u16()? == WHOLE_PORT => {}
            kind => rule.opaque.push(fra::name(kind)),
        }
    }
    rule.opaque.dedup();
    rule.mark = (mask != 0).then_some((mark, mask));
    rule.source = prefix(ipv6, source, source_length)?;
    rule.destination = prefix(ipv6, destination, destination_length)?;
    // FR_ACT_*
    rule.action = match action {
        1 => RuleAction::Lookup { table },
        2 => RuleAction::Goto { priority: goto },
        3 => RuleAction::Nop,
        6 => RuleAction::Blackhole,
        7 => RuleAction::Unreachable,
        8 => RuleAction::Prohibit,
        other => RuleAction::Unknown(other),
    };
    Ok(Some(rule))
}

/// A prefix that is asked for; of length 0 it asks for nothing.
fn prefix(ipv6: bool, address: Option<IpAddr>, length: u8) -> Result<Option<IpNet>, Malformed> {
    if length == 0 {
        return Ok(None);
    }
    let any = || if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    super::prefix(address.unwrap_or_else(any), length).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::netlink::{put, put_u32};
    use super::*;

    /// A rule of family IPv4 that looks up a table by the given attributes.
    fn rule(attributes: &[(u16, &[u8])]) -> RoutingRule {
        let mut message = vec![2, 0, 24, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        for (kind, value) in attributes {
            put(&mut message, *kind, value);
        }
        one(2, &message).unwrap().unwrap()
    }

    #[test]
    fn a_selector_without_a_field_makes_the_rule_opaque() {
        let known = rule(&[(fra::SRC, &[10, 0, 0, 0]), (fra::SPORT_MASK, &[0xff, 0xff])]);
        assert_eq!(known.source, Some("10.0.0.0/24".parse().unwrap()));
        assert!(known.opaque.is_empty());
        let opaque = rule(&[(fra::DSCP, &[8]), (fra::DSCP_MASK, &[63]), (fra::DPORT_MASK, &[0, 0xff]), (77, &[])]);
        assert_eq!(opaque.opaque, ["dscp", "dport mask", "attribute 77"]);
    }

    #[test]
    fn another_familys_rule_is_not_asked_for() {
        let mut message = vec![128, 0, 0, 0, 253, 0, 0, 1, 0, 0, 0, 0];
        put_u32(&mut message, fra::PRIORITY, 7);
        assert_eq!(one(2, &message), Ok(None));
    }

    #[test]
    fn a_length_beyond_the_family_is_malformed() {
        let message = [2, 33, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        assert_eq!(one(2, &message), Err(Malformed::Field { field: "prefix length", value: 33 }));
    }
}
