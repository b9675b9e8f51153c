//! What `meta`, `ct` and `fib` load. Keys are nft's words.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, Hook, IfName, LinkKind};

use super::Scope;
use super::packet::{Octets, Packet, Tracked, address, known, number};
use crate::engine::packets::Device;
use crate::engine::world::World;

/// Reads a number in the host's byte order.
pub(in super::super) fn to_number(octets: &[Option<u8>]) -> Option<u32> {
    let bytes: Vec<u8> = octets.iter().copied().collect::<Option<_>>()?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Reads an address.
pub(in super::super) fn to_address(octets: &[Option<u8>]) -> Option<IpAddr> {
    let bytes: Vec<u8> = octets.iter().copied().collect::<Option<_>>()?;
    <[u8; 4]>::try_from(bytes.as_slice())
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
        .ok()
}

/// Reads a port.
pub(in super::super) fn to_port(octets: &[Option<u8>]) -> Option<u16> {
    let bytes: Vec<u8> = octets.iter().copied().collect::<Option<_>>()?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Shifts 32-bit words in the host's byte order, the first being the most significant
/// (`nft_bitwise_eval_lshift`).
pub(in super::super) fn shift(value: &[Option<u8>], left: bool, bits: u32) -> Octets {
    let words: Option<Vec<u32>> = value.chunks(4).map(to_number).collect();
    let Some(words) = words.filter(|_| bits < 32) else { return vec![None; value.len()] };
    let wide = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
    let shifted = (0..words.len()).map(|at| {
        let word = if left {
            ((wide(at) << 32 | wide(at + 1)) << bits) >> 32
        } else {
            (at.checked_sub(1).map_or(0, wide) << 32 | wide(at)) >> bits
        };
        u32::try_from(word & u64::from(u32::MAX)).expect("masked to 32 bits")
    });
    shifted.flat_map(|word| number(Some(word))).collect()
}

pub(in super::super) fn name(name: Option<&IfName>) -> Octets {
    let mut octets = known(name.map_or("", |name| name.as_str()).as_bytes());
    octets.resize(16, Some(0));
    octets
}

fn short(value: u16) -> Octets {
    known(&value.to_ne_bytes())
}

/// `meta KEY`; `None` breaks the rule.
pub(in super::super) fn meta(scope: Scope<'_>, packet: &Packet, key: &str) -> Option<Octets> {
    let (input, output) = devices(scope.hook, packet);
    let bridge = |device: Option<&Device>| {
        let bridge = scope.world.bridge_of(device?.index)?;
        Some(scope.world.name(bridge))
    };
    Some(match key {
        "iif" => number(Some(input.map_or(0, |device| device.index.0))),
        "oif" => number(Some(output.map_or(0, |device| device.index.0))),
        "iifname" => name(input.map(|device| &device.name)),
        "oifname" => name(output.map(|device| &device.name)),
        // The host's own discovery packets have a device from the start.
        "iiftype" if is_at_a_device(scope) || packet.is_discovery() => {
            device_type(scope.world, input.or(output)?)
        }
        "iiftype" => device_type(scope.world, input?),
        "oiftype" => device_type(scope.world, output?),
        "iifgroup" => number(scope.world.link(input?.index).map(|link| link.group)),
        "oifgroup" => number(scope.world.link(output?.index).map(|link| link.group)),
        "iifkind" => device_kind(scope.world, input?),
        "oifkind" => device_kind(scope.world, output?),
        "ibrname" => name(Some(&bridge(input)?)),
        "obrname" => name(Some(&bridge(output)?)),
        "mark" => number(packet.mark),
        "protocol" => known(&packet.ethertype().to_be_bytes()),
        // Chains of `inet` are told the packet's own family, also at ingress (`nft_do_chain_inet_ingress`).
        "nfproto" if scope.table.family == Family::Inet => known(&[protocol_family(packet.family())]),
        "nfproto" => known(&[protocol_family(scope.family)]),
        "l4proto" => known(&[packet.protocol()?]),
        "pkttype" => known(&[packet.packet_type()]),
        "sdif" => number(Some(0)),
        "sdifname" => name(None),
        // Packets of guests carry no security path and have no socket here.
        "ipsec" if !packet.local => known(&[0]),
        "skuid" | "skgid" | "cgroup" if !packet.local => return None,
        _ => vec![None; 16],
    })
}

/// The devices that the hook is told of.
fn devices(hook: Hook, packet: &Packet) -> (Option<&Device>, Option<&Device>) {
    let (input, output) = (packet.input.as_ref(), packet.output.as_ref());
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Brouting | Hook::Input => (input, None),
        Hook::Forward | Hook::Postrouting => (input, output),
        Hook::Output | Hook::Egress => (None, output),
    }
}

/// Whether `iiftype`, for which the kernel (Linux 6.18) asks the device that the packet is at, has one
/// also where the hook is told of no input device: `ether saddr` is read in POSTROUTING, at egress, and of
/// the host's own frames in a bridge's OUTPUT.
pub(in super::super) fn is_at_a_device(scope: Scope<'_>) -> bool {
    matches!(scope.hook, Hook::Postrouting | Hook::Egress)
        || scope.family == Family::Bridge && scope.hook == Hook::Output
}

pub(in super::super) fn device_type(world: World<'_>, device: &Device) -> Octets {
    match world.link(device.index) {
        Some(link) if link.kind == LinkKind::Loopback => short(772),
        Some(link) if link.mac.is_some() => short(1),
        Some(_) | None => vec![None; 2],
    }
}

pub(in super::super) fn device_kind(world: World<'_>, device: &Device) -> Octets {
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
pub(in super::super) fn protocol_family(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}

/// What a `ct` key gives.
pub(in super::super) enum Ct {
    Value(Octets),
    /// Breaks the rule.
    NoEntry,
    Unknown,
}

/// `ct [original|reply] KEY`.
pub(in super::super) fn ct(packet: &Packet, key: &str, direction: Option<u8>) -> Ct {
    let connection = &packet.connection;
    let state = match connection.tracked {
        Tracked::Perhaps => return Ct::Unknown,
        Tracked::Never => 64,
        Tracked::No => 1,
        Tracked::Yes if connection.reply => 2,
        Tracked::Yes => 8,
    };
    if key == "state" {
        return Ct::Value(number(Some(state)));
    }
    if matches!(state, 1 | 64) {
        return Ct::NoEntry;
    }
    // A key of one family has no value for a connection of the other (`nft_ct_get_eval`).
    if key.starts_with("ip6 ") && !packet.ipv6 || key.starts_with("ip ") && packet.ipv6 {
        return Ct::NoEntry;
    }
    let direction = direction.unwrap_or(u8::from(connection.reply));
    let ends = tuple(packet, direction != 0);
    let ports = if direction == 0 {
        connection.original_ports
    } else {
        (connection.original_ports.1, connection.original_ports.0)
    };
    let port = |port: Option<u16>| port.map_or_else(|| vec![None; 2], |port| known(&port.to_be_bytes()));
    let sure = [connection.source_nat, connection.destination_nat].iter().flatten().all(|nat| nat.sure);
    Ct::Value(match key {
        "direction" => known(&[u8::from(connection.reply)]),
        "status" if sure => number(Some(status(packet))),
        "mark" => number(connection.mark),
        "zone" => short(0),
        "l3proto" => known(&[if packet.ipv6 { 10 } else { 2 }]),
        "protocol" => packet.protocol().map_or_else(|| vec![None], |protocol| known(&[protocol])),
        "saddr" | "ip saddr" | "ip6 saddr" => address(ends.0, packet.ipv6),
        "daddr" | "ip daddr" | "ip6 daddr" => address(ends.1, packet.ipv6),
        "proto-src" => port(ports.0),
        "proto-dst" => port(ports.1),
        "helper" => return Ct::NoEntry,
        _ => vec![None; 16],
    })
}

/// Source and destination in conntrack's entry, of its original or its reply direction.
pub(in super::super) fn tuple(packet: &Packet, reply: bool) -> (Option<IpAddr>, Option<IpAddr>) {
    let connection = &packet.connection;
    if !reply {
        return connection.original;
    }
    let source = connection.destination_nat.map_or(connection.original.1, |nat| nat.address);
    let destination = connection.source_nat.map_or(connection.original.0, |nat| nat.address);
    (source, destination)
}

/// `IPS_*` bits of the entry: a reply was seen, confirmed, source and destination translated.
pub(in super::super) fn status(packet: &Packet) -> u32 {
    let connection = &packet.connection;
    let source = if connection.source_nat.is_some() { 1 << 4 | 1 << 7 } else { 0 };
    let destination = if connection.destination_nat.is_some() { 1 << 5 | 1 << 8 } else { 0 };
    source | destination | if connection.reply { 1 << 1 | 1 << 3 } else { 0 }
}
