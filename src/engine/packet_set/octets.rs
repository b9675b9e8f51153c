//! What rules load of devices, as octets of which some may not be known.

use kvmnet_probes::facts::{Family, Hook, IfName, LinkKind};

use crate::engine::packets::Device;
use crate::engine::scope::Scope;
use crate::engine::world::World;

/// Octets of which some are not known.
pub(super) type Octets = Vec<Option<u8>>;

/// Known octets.
pub(super) fn known(bytes: &[u8]) -> Octets {
    bytes.iter().copied().map(Some).collect()
}

/// Octets of a number in the host's byte order.
pub(super) fn number(value: Option<u32>) -> Octets {
    value.map_or_else(|| vec![None; 4], |value| known(&value.to_ne_bytes()))
}

pub(super) fn name(name: Option<&IfName>) -> Octets {
    let mut octets = known(name.map_or("", |name| name.as_str()).as_bytes());
    octets.resize(16, Some(0));
    octets
}

fn short(value: u16) -> Octets {
    known(&value.to_ne_bytes())
}

/// Whether packets may come by a VRF: without any no packet has a device of its own under one.
pub(super) fn may_have_vrfs(world: World<'_>) -> bool {
    let links = world.snapshot.links.known();
    links.is_none_or(|links| links.iter().any(|link| matches!(link.kind, LinkKind::Vrf { .. })))
}

/// Whether `iiftype`, for which the kernel (Linux 6.18) asks the device that the packet is at, has one
/// also where the hook is told of no input device: `ether saddr` is read in POSTROUTING, at egress, and of
/// the host's own frames in a bridge's OUTPUT.
pub(super) fn is_at_a_device(scope: Scope<'_>) -> bool {
    matches!(scope.hook, Hook::Postrouting | Hook::Egress)
        || scope.family == Family::Bridge && scope.hook == Hook::Output
}

pub(super) fn device_type(world: World<'_>, device: &Device) -> Octets {
    match world.link(device.index) {
        Some(link) if link.kind == LinkKind::Loopback => short(772),
        Some(link) if link.mac.is_some() => short(1),
        Some(_) | None => vec![None; 2],
    }
}

pub(super) fn device_kind(world: World<'_>, device: &Device) -> Octets {
    let kind = match world.link(device.index).map(|link| &link.kind) {
        Some(LinkKind::Bridge(_)) => "bridge",
        Some(LinkKind::Tun(_)) => "tun",
        Some(LinkKind::Veth) => "veth",
        Some(LinkKind::Vlan { .. }) => "vlan",
        Some(LinkKind::Bond) => "bond",
        Some(LinkKind::Wireguard) => "wireguard",
        Some(LinkKind::Physical | LinkKind::Loopback) => "",
        Some(_) | None => return vec![None; 16],
    };
    name(Some(&IfName::from(kind)))
}

/// `NFPROTO_*`.
pub(super) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}
