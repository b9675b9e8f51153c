//! One route from its message.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::facts::{IfIndex, NextHop, Route, RouteKind};
use crate::sources::netlink::{Attribute, Malformed, attributes, body};
use crate::sources::{AF_INET6, flags, prefix};

/// A cached exception to a route, not a route.
const RTM_F_CLONED: u32 = 0x200;
const RTAX_MTU: u16 = 2;
const RTA_NH_ID: u16 = 30;

/// `RTNH_F_*` in the order of their bits.
pub(super) const NEXT_HOP_FLAGS: [&str; 7] =
    ["dead", "pervasive", "onlink", "offload", "linkdown", "unresolved", "trap"];

/// Decodes `struct rtmsg` and its attributes. `beyond` is told what [`Route`] cannot hold and what
/// may change a packet's fate.
pub(super) fn route(
    asked: u8,
    message: &[u8],
    beyond: &mut dyn FnMut(String),
) -> Result<Option<Route>, Malformed> {
    let (header, rest) = body::<12>(message)?;
    let [family, destination_length, source_length, tos, table, protocol, scope, kind, flag_bits @ ..] = *header;
    let flag_bits = u32::from_ne_bytes(flag_bits);
    if family != asked || flag_bits & RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let any = if family == AF_INET6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let (mut destination, mut source) = (any, any);
    let mut single = Hop::default();
    let mut route = Route {
        table: table.into(),
        kind: route_kind(kind),
        destination: any.into(),
        source: None,
        tos,
        metric: 0,
        preferred_source: None,
        protocol,
        scope,
        next_hops: Vec::new(),
        mtu: None,
        nexthop_id: None,
    };
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::RTA_DST => destination = attribute.ip()?,
            libc::RTA_SRC => source = attribute.ip()?,
            libc::RTA_PRIORITY => route.metric = attribute.u32()?,
            libc::RTA_PREFSRC => route.preferred_source = Some(attribute.ip()?),
            libc::RTA_TABLE => route.table = attribute.u32()?,
            libc::RTA_METRICS => {
                for metric in attribute.nested() {
                    let metric = metric?;
                    if metric.kind == RTAX_MTU {
                        route.mtu = Some(metric.u32()?);
                    }
                }
            }
            libc::RTA_MULTIPATH => route.next_hops = multipath(attribute.value, beyond)?,
            RTA_NH_ID => route.nexthop_id = Some(attribute.u32()?),
            // Age, realm, preference among routers and the time to live of MPLS decide no fate.
            libc::RTA_CACHEINFO | libc::RTA_FLOW | libc::RTA_PREF | libc::RTA_EXPIRES | libc::RTA_TTL_PROPAGATE => {}
            _ => single.take(&attribute, beyond)?,
        }
    }
    route.destination = prefix(destination, destination_length)?;
    route.source = if source_length == 0 { None } else { Some(prefix(source, source_length)?) };
    if drops(route.kind) {
        // IPv6 names the loopback device there.
        route.next_hops.clear();
    } else if route.next_hops.is_empty() && (single.device.is_some() || single.gateway.is_some()) {
        route.next_hops = vec![single.finish(1, flag_bits & 0xff)];
    }
    Ok(Some(route))
}

fn route_kind(kind: u8) -> RouteKind {
    match kind {
        libc::RTN_UNICAST => RouteKind::Unicast,
        libc::RTN_LOCAL => RouteKind::Local,
        libc::RTN_BROADCAST => RouteKind::Broadcast,
        libc::RTN_ANYCAST => RouteKind::Anycast,
        libc::RTN_MULTICAST => RouteKind::Multicast,
        libc::RTN_BLACKHOLE => RouteKind::Blackhole,
        libc::RTN_UNREACHABLE => RouteKind::Unreachable,
        libc::RTN_PROHIBIT => RouteKind::Prohibit,
        libc::RTN_THROW => RouteKind::Throw,
        other => RouteKind::Unknown(other),
    }
}

/// Whether a route of this kind goes nowhere.
fn drops(kind: RouteKind) -> bool {
    match kind {
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw => true,
        RouteKind::Unicast
        | RouteKind::Local
        | RouteKind::Broadcast
        | RouteKind::Anycast
        | RouteKind::Multicast
        | RouteKind::Unknown(_) => false,
    }
}

/// A next hop's attributes, in a route or in one of its several next hops.
#[derive(Default)]
struct Hop {
    device: Option<IfIndex>,
    gateway: Option<IpAddr>,
}

impl Hop {
    fn take(&mut self, attribute: &Attribute<'_>, beyond: &mut dyn FnMut(String)) -> Result<(), Malformed> {
        match attribute.kind {
            libc::RTA_OIF => self.device = Some(IfIndex(attribute.u32()?)),
            libc::RTA_GATEWAY => self.gateway = Some(attribute.ip()?),
            // struct rtvia: the family in two bytes, then the address.
            libc::RTA_VIA => {
                let (_, address) = body::<2>(attribute.value)?;
                self.gateway = Some(Attribute { value: address, ..*attribute }.ip()?);
            }
            libc::RTA_ENCAP_TYPE => beyond(format!("encapsulation {}", encapsulation(attribute.u16()?))),
            // The realm, and the details of an encapsulation.
            libc::RTA_FLOW | libc::RTA_ENCAP => {}
            other => beyond(format!("attribute {other}")),
        }
        Ok(())
    }

    fn finish(self, weight: u16, flag_bits: u32) -> NextHop {
        NextHop {
            device: self.device,
            gateway: self.gateway,
            weight,
            flags: flags(flag_bits, &NEXT_HOP_FLAGS).collect(),
        }
    }
}

/// `LWTUNNEL_ENCAP_*` (`include/uapi/linux/lwtunnel.h`).
fn encapsulation(kind: u16) -> String {
    const NAMES: [&str; 11] =
        ["none", "mpls", "ip", "ila", "ip6", "seg6", "bpf", "seg6local", "rpl", "ioam6", "xfrm"];
    NAMES.get(usize::from(kind)).map_or_else(|| kind.to_string(), |&name| name.to_owned())
}

/// Decodes the `struct rtnexthop` of a route, one after another.
fn multipath(mut bytes: &[u8], beyond: &mut dyn FnMut(String)) -> Result<Vec<NextHop>, Malformed> {
    const HEADER: usize = 8;
    let mut next_hops = Vec::new();
    while bytes.len() >= HEADER {
        let ([l0, l1, flag_bits, hops, device @ ..], _) = body::<HEADER>(bytes)?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let rest = bytes.get(HEADER..length).ok_or(Malformed::Length { length, left: bytes.len() })?;
        let mut hop = Hop { device: Some(IfIndex(u32::from_ne_bytes(*device))), gateway: None };
        for attribute in attributes(rest) {
            hop.take(&attribute?, beyond)?;
        }
        next_hops.push(hop.finish(u16::from(*hops) + 1, u32::from(*flag_bits)));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(next_hops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::AF_INET;
    use crate::sources::netlink::{mutations, put, put_u32};

    /// A route to 10.0.0.0/8 of the given kind in table main.
    fn message(kind: u8, flag_bits: u32) -> Vec<u8> {
        let mut message = vec![AF_INET, 8, 0, 0, 254, 3, 0, kind];
        message.extend(flag_bits.to_ne_bytes());
        put(&mut message, libc::RTA_DST, &[10, 0, 0, 0]);
        message
    }

    fn decode(message: &[u8]) -> (Option<Route>, Vec<String>) {
        let mut beyond = Vec::new();
        let route = route(AF_INET, message, &mut |what| beyond.push(what)).unwrap();
        (route, beyond)
    }

    #[test]
    fn what_a_route_cannot_hold_is_told() {
        let mut message = message(libc::RTN_UNICAST, 0);
        put(&mut message, libc::RTA_ENCAP_TYPE, &2_u16.to_ne_bytes());
        put(&mut message, libc::RTA_ENCAP, &[]);
        put_u32(&mut message, 99, 0);
        put_u32(&mut message, libc::RTA_FLOW, 1);
        let (route, beyond) = decode(&message);
        assert_eq!(route.unwrap().destination, "10.0.0.0/8".parse().unwrap());
        assert_eq!(beyond, ["encapsulation ip", "attribute 99"]);
    }

    #[test]
    fn a_cached_exception_and_another_family_are_no_routes() {
        assert_eq!(decode(&message(libc::RTN_UNICAST, RTM_F_CLONED)), (None, vec![]));
        let message = message(libc::RTN_UNICAST, 0);
        assert_eq!(super::route(AF_INET6, &message, &mut |_| ()), Ok(None));
    }

    #[test]
    fn a_kind_that_drops_goes_nowhere_and_an_unknown_kind_is_kept() {
        for (kind, expected, hops) in
            [(libc::RTN_PROHIBIT, RouteKind::Prohibit, 0), (42, RouteKind::Unknown(42), 1)]
        {
            let mut message = message(kind, 0);
            put_u32(&mut message, libc::RTA_OIF, 1);
            let route = decode(&message).0.unwrap();
            assert_eq!((route.kind, route.next_hops.len()), (expected, hops));
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_hang() {
        let mut hops = vec![16, 0, 0, 1, 2, 0, 0, 0];
        put(&mut hops, libc::RTA_GATEWAY, &[10, 0, 0, 1]);
        let mut message = message(libc::RTN_UNICAST, 0);
        put(&mut message, libc::RTA_MULTIPATH, &[hops.clone(), hops].concat());
        assert_eq!(decode(&message).0.unwrap().next_hops.len(), 2);
        for bytes in mutations(&message) {
            let _ = super::route(AF_INET, &bytes, &mut |_| ());
        }
    }
}
