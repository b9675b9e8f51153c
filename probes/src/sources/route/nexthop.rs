//! Nexthop objects, for routes that name one and say no more (`net.ipv4.nexthop_compat_mode` 0).

use std::collections::BTreeMap;

use crate::facts::{IfIndex, NextHop, Route, RouteKind};
use crate::sources::Reading;
use crate::sources::netlink::{self, Malformed, NetlinkError, Socket, attributes, body};

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_GETNEXTHOP: u16 = 106;

/// `NHA_*`, `include/uapi/linux/nexthop.h`.
mod nha {
    pub(super) const ID: u16 = 1;
    pub(super) const GROUP: u16 = 2;
    pub(super) const BLACKHOLE: u16 = 4;
    pub(super) const OIF: u16 = 5;
    pub(super) const GATEWAY: u16 = 6;
    pub(super) const ENCAP_TYPE: u16 = 7;
}

/// What a nexthop object is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object {
    Hop(NextHop),
    /// Members by id, with their weights.
    Group(Vec<(u32, u16)>),
    Blackhole,
    /// Something that a [`NextHop`] cannot say.
    Other,
}

/// Fills in the next hops of routes that have only a nexthop object's id.
pub(super) async fn resolve(socket: &mut Socket, routes: &mut Reading<Vec<Route>>) -> Result<(), NetlinkError> {
    let unresolved = |route: &Route| {
        route.nexthop_id.is_some() && route.next_hops.is_empty() && route.kind == RouteKind::Unicast
    };
    if !routes.value.iter().any(unresolved) {
        return Ok(());
    }
    let dump = socket.dump("nexthop objects", RTM_GETNEXTHOP, &[0; 8]).await?;
    let Reading { value, caveats } = netlink::decode(&dump, RTM_NEWNEXTHOP, |message| one(message).map(Some));
    routes.caveats.extend(caveats);
    let objects: BTreeMap<_, _> = value.into_iter().collect();
    for route in routes.value.iter_mut().filter(|route| unresolved(route)) {
        let id = route.nexthop_id.unwrap_or_default();
        if !fill(route, &objects, id) {
            routes.caveats.push(format!("the nexthop object {id} of route {} cannot be read", route.destination));
        }
    }
    Ok(())
}

/// Whether the object says where the route goes.
fn fill(route: &mut Route, objects: &BTreeMap<u32, Object>, id: u32) -> bool {
    match objects.get(&id) {
        Some(Object::Hop(hop)) => route.next_hops = vec![hop.clone()],
        Some(Object::Blackhole) => route.kind = RouteKind::Blackhole,
        Some(Object::Group(members)) => {
            for (member, weight) in members {
                // Groups have no groups for members.
                let Some(Object::Hop(hop)) = objects.get(member) else { return false };
                route.next_hops.push(NextHop { weight: *weight, ..hop.clone() });
            }
        }
        Some(Object::Other) | None => return false,
    }
    true
}

/// Decodes `struct nhmsg` and its attributes.
fn one(message: &[u8]) -> Result<(u32, Object), Malformed> {
    let (header, rest) = body::<8>(message)?;
    let [_family, _scope, _protocol, _, flag_bits @ ..] = *header;
    let (mut id, mut group, mut other) = (None, None, None);
    let mut hop = NextHop {
        device: None,
        gateway: None,
        weight: 1,
        flags: crate::sources::flags(u32::from_ne_bytes(flag_bits), &super::decode::NEXT_HOP_FLAGS).collect(),
    };
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            nha::ID => id = Some(attribute.u32()?),
            nha::GROUP => group = Some(attribute.value.chunks_exact(8).map(member).collect()),
            nha::BLACKHOLE => other = Some(Object::Blackhole),
            nha::ENCAP_TYPE => other = Some(Object::Other),
            nha::OIF => hop.device = Some(IfIndex(attribute.u32()?)),
            nha::GATEWAY => hop.gateway = Some(attribute.ip()?),
            _ => {}
        }
    }
    let object = other.or(group.map(Object::Group)).unwrap_or(Object::Hop(hop));
    Ok((id.ok_or(Malformed::Absent { kind: nha::ID })?, object))
}

/// Decodes `struct nexthop_grp`: the id, the weight less one in two parts.
fn member(bytes: &[u8]) -> (u32, u16) {
    let mut array = [0; 8];
    array.copy_from_slice(bytes);
    let [i0, i1, i2, i3, low, high, _, _] = array;
    (u32::from_ne_bytes([i0, i1, i2, i3]), u16::from_le_bytes([low, high]).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::netlink::{mutations, put, put_u32};

    #[test]
    fn an_encapsulating_object_is_not_taken_for_a_plain_hop() {
        let mut message = vec![0; 8];
        put_u32(&mut message, nha::ID, 4);
        put_u32(&mut message, nha::OIF, 2);
        put(&mut message, nha::ENCAP_TYPE, &[2, 0]);
        assert_eq!(one(&message), Ok((4, Object::Other)));
    }

    #[test]
    fn weights_above_256_have_a_high_byte() {
        let mut group = 7_u32.to_ne_bytes().to_vec();
        group.extend([0x2b, 0x01, 0, 0]);
        let mut message = vec![0; 8];
        put_u32(&mut message, nha::ID, 9);
        put(&mut message, nha::GROUP, &group);
        assert_eq!(one(&message), Ok((9, Object::Group(vec![(7, 300)]))));
        for bytes in mutations(&message) {
            let _ = one(&bytes);
        }
    }
}
