//! xtables matches and targets, also those of ebtables.

use std::net::IpAddr;

use kvmnet_probes::facts::{Hook, IfName, Mac, Masked, NatKind, Test, XtAction, XtTarget, XtTest};

use super::loads::{status, tuple};
use super::packet::{Body, Packet, Tracked, Translation};
use super::registers::Truth;
use super::{End, Flow, Scope, decide, masquerade, redirect, translate, untrack};
use crate::engine::packets::Device;

/// Whether a test that may be absent and may be inverted holds; `None`: not known.
fn test<T, U>(test: Option<&Test<T>>, value: Option<U>, holds: impl FnOnce(&T, U) -> bool) -> Truth {
    match (test, value) {
        (None, _) => Truth::Yes,
        (Some(_), None) => Truth::Maybe,
        (Some(test), Some(value)) => Truth::from(holds(&test.value, value)).negate(test.invert),
    }
}

fn masked(masked: &Masked, address: IpAddr) -> bool {
    match (masked.address, masked.mask, address) {
        (IpAddr::V4(wanted), IpAddr::V4(mask), IpAddr::V4(address)) => {
            u32::from(address) & u32::from(mask) == u32::from(wanted) & u32::from(mask)
        }
        (IpAddr::V6(wanted), IpAddr::V6(mask), IpAddr::V6(address)) => {
            u128::from(address) & u128::from(mask) == u128::from(wanted) & u128::from(mask)
        }
        _ => false,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "`test` gives it a reference")]
fn in_range(&(first, last): &(u16, u16), port: u16) -> bool {
    first <= port && port <= last
}

fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
    truths.into_iter().fold(Truth::Yes, Truth::and)
}

/// Whether the packet matches.
pub(super) fn matches(hook: Hook, packet: &Packet, asked: &XtTest) -> Truth {
    let ports = packet.ports();
    match asked {
        XtTest::Comment { .. } => Truth::Yes,
        XtTest::Ports { source, destination, flags, option } => {
            let Some(ports) = ports else { return Truth::No };
            let carried = if let Body::Tcp { flags, .. } = packet.body { flags } else { 0 };
            all([
                test(Some(source), Some(ports.0), in_range),
                test(Some(destination), Some(ports.1), in_range),
                test(flags.as_ref(), Some(carried), |(mask, wanted), carried| carried & mask == *wanted),
                test(option.as_ref(), None::<u8>, |_, _| false),
            ])
        }
        XtTest::Multiport { which, ranges } => {
            let Some((source, destination)) = ports else { return Truth::No };
            test(Some(ranges), Some(()), |ranges, ()| {
                ranges.iter().any(|range| match which.as_str() {
                    "source" => in_range(range, source),
                    "destination" => in_range(range, destination),
                    _ => in_range(range, source) || in_range(range, destination),
                })
            })
        }
        XtTest::Icmp { types } => {
            let Body::Icmp { kind, code } = packet.body else { return Truth::No };
            test(Some(types), Some(()), |(wanted, from, to), ()| {
                let any = *wanted == 255 && !packet.ipv6;
                any || (*wanted == kind && *from <= code && code <= *to)
            })
        }
        XtTest::Conntrack { .. } => conntrack(packet, asked),
        XtTest::Mark { mark } => test(Some(mark), packet.mark, |(mark, mask), ours| ours & mask == *mark),
        XtTest::Connmark { mark } => match packet.connection.tracked {
            Tracked::No | Tracked::Never => Truth::No,
            Tracked::Perhaps => Truth::Maybe,
            Tracked::Yes => {
                test(Some(mark), packet.connection.mark, |(mark, mask), ours| ours & mask == *mark)
            }
        },
        XtTest::Physdev { input, output, is_in, is_out, is_bridged } => {
            let (from, to) = (packet.port_in.as_ref(), packet.port_out.as_ref());
            if from.is_none() && to.is_none() {
                // Without bridge information only what is negated can match.
                let asked_for = [is_in, is_out, is_bridged].contains(&&Some(true));
                let named = [input, output].iter().any(|test| test.as_ref().is_some_and(|test| !test.invert));
                return Truth::from(!asked_for && !named);
            }
            let named = |wanted: &IfName, device: Option<&Device>| {
                device.is_some_and(|device| prefix(wanted, &device.name))
            };
            // Without the port that is asked for `in` holds and `out` fails, negated or not (`physdev_mt`).
            all([
                if from.is_none() { Truth::Yes } else { test(input.as_ref(), Some(from), named) },
                Truth::from(output.is_none() || to.is_some()),
                test(output.as_ref(), Some(to), named),
                Truth::from(is_in.is_none_or(|is| is == from.is_some())),
                Truth::from(is_out.is_none_or(|is| is == to.is_some())),
                Truth::from(is_bridged.is_none_or(|is| is == to.is_some())),
            ])
        }
        XtTest::Iprange { source, destination } => {
            let holds =
                |(first, last): &(IpAddr, IpAddr), address: IpAddr| *first <= address && address <= *last;
            test(source.as_ref(), packet.source, holds).and(test(
                destination.as_ref(),
                packet.destination,
                holds,
            ))
        }
        // Without a link-layer header, or a device by which it came, the match fails, also a negated one.
        XtTest::Mac { .. } if !packet.framed || packet.input.is_none() || hook == Hook::Output => Truth::No,
        XtTest::Mac { source } => test(Some(source), packet.source_mac, |wanted, mac| *wanted == mac),
        XtTest::Pkttype { packet_type } => {
            test(Some(packet_type), Some(packet.packet_type()), |wanted, kind| *wanted == kind)
        }
        XtTest::Ttl { mode, value } => match mode {
            0 => Truth::from(packet.ttl == *value),
            1 => Truth::from(packet.ttl != *value),
            2 => Truth::from(packet.ttl < *value),
            3 => Truth::from(packet.ttl > *value),
            _ => Truth::Maybe,
        },
        XtTest::Dscp { dscp } => test(Some(dscp), Some(0), |wanted, dscp| *wanted == dscp),
        XtTest::Addrtype { .. } | XtTest::Length { .. } | XtTest::Stateful | XtTest::Opaque { .. } => {
            Truth::Maybe
        }
        XtTest::EbIp { .. } | XtTest::EbIp6 { .. } | XtTest::EbArp { .. } => ebtables(packet, asked),
    }
}

/// A name that ends in `+` is a prefix.
pub(super) fn prefix(wanted: &IfName, name: &IfName) -> bool {
    match wanted.as_str().strip_suffix('+') {
        Some(prefix) => name.as_str().starts_with(prefix),
        None => wanted == name,
    }
}

/// `net/netfilter/xt_conntrack.c`.
fn conntrack(packet: &Packet, asked: &XtTest) -> Truth {
    let XtTest::Conntrack {
        state,
        status: bits,
        protocol,
        original_source,
        original_destination,
        reply_source,
        reply_destination,
        original_direction,
        opaque,
    } = asked
    else {
        return Truth::Maybe;
    };
    let connection = &packet.connection;
    let entry = match (connection.tracked, connection.reply) {
        (Tracked::Perhaps, _) => return Truth::Maybe,
        // XT_CONNTRACK_STATE_UNTRACKED, _INVALID, established, new.
        (Tracked::Never, _) => 256,
        (Tracked::No, _) => 1,
        (Tracked::Yes, true) => 2,
        (Tracked::Yes, false) => 8,
    };
    // XT_CONNTRACK_STATE_SNAT and _DNAT.
    let translated = if connection.source_nat.is_some() { 64 } else { 0 }
        | if connection.destination_nat.is_some() { 128 } else { 0 };
    let sure = [connection.source_nat, connection.destination_nat].iter().flatten().all(|nat| nat.sure);
    let known_bits = sure.then_some(entry | if entry > 1 && entry < 256 { translated } else { 0 });
    let in_state = test(state.as_ref(), known_bits, |mask, bits| mask & bits != 0);
    if matches!(entry, 1 | 256) {
        return if state.is_some() { in_state } else { Truth::No };
    }
    let (original, reply) = (tuple(packet, false), tuple(packet, true));
    let rest = all([
        in_state,
        test(bits.as_ref(), sure.then(|| status(packet)), |mask, bits| mask & bits != 0),
        test(protocol.as_ref(), packet.protocol(), |wanted, protocol| *wanted == protocol),
        test(original_source.as_ref(), original.0, masked),
        test(original_destination.as_ref(), original.1, masked),
        test(reply_source.as_ref(), reply.0, masked),
        test(reply_destination.as_ref(), reply.1, masked),
        Truth::from(original_direction.is_none_or(|original| original != connection.reply)),
    ]);
    if *opaque { rest.and(Truth::Maybe) } else { rest }
}

/// The matches `ip`, `ip6` and `arp` of ebtables.
fn ebtables(packet: &Packet, asked: &XtTest) -> Truth {
    let ports = packet.ports();
    let port = |wanted: &Option<Test<(u16, u16)>>, port: Option<u16>| match (wanted, port) {
        (None, _) => Truth::Yes,
        // Without ports the match fails, also a negated one.
        (Some(_), None) => Truth::No,
        (wanted, port) => test(wanted.as_ref(), port, in_range),
    };
    let icmp = |types: &Option<Test<(u8, u8, u8, u8)>>| match (types, packet.body) {
        (None, _) => Truth::Yes,
        (types, Body::Icmp { kind, code }) => {
            test(types.as_ref(), Some(()), |(first, last, from, to), ()| {
                (*first..=*last).contains(&kind) && (*from..=*to).contains(&code)
            })
        }
        (Some(_), Body::Arp { .. } | Body::Tcp { .. } | Body::Udp { .. }) => Truth::No,
    };
    let ip = packet.protocol();
    match asked {
        XtTest::EbIp { source, destination, tos, protocol, source_ports, destination_ports, icmp_types }
            if ip.is_some() && !packet.ipv6 =>
        {
            all([
                test(source.as_ref(), packet.source, masked),
                test(destination.as_ref(), packet.destination, masked),
                test(tos.as_ref(), Some(0), |wanted, tos| *wanted == tos),
                test(protocol.as_ref(), ip, |wanted, protocol| *wanted == protocol),
                port(source_ports, ports.map(|ports| ports.0)),
                port(destination_ports, ports.map(|ports| ports.1)),
                icmp(icmp_types),
            ])
        }
        XtTest::EbIp6 { source, destination, protocol, source_ports, destination_ports, icmp_types }
            if ip.is_some() && packet.ipv6 =>
        {
            all([
                test(source.as_ref(), packet.source, masked),
                test(destination.as_ref(), packet.destination, masked),
                test(protocol.as_ref(), ip, |wanted, protocol| *wanted == protocol),
                port(source_ports, ports.map(|ports| ports.0)),
                port(destination_ports, ports.map(|ports| ports.1)),
                icmp(icmp_types),
            ])
        }
        XtTest::EbArp { hardware, protocol, opcode, source, target, source_mac, target_mac, gratuitous } => {
            let Body::Arp { request } = packet.body else { return Truth::No };
            let same = |(mac, mask): &(Mac, Mac), ours: Mac| {
                mac.0
                    .iter()
                    .zip(mask.0)
                    .zip(ours.0)
                    .all(|((wanted, mask), ours)| ours & mask == wanted & mask)
            };
            let asked_mac = if request { Some(Mac([0; 6])) } else { packet.destination_mac };
            let own = packet.source.zip(packet.destination).map(|(source, target)| source == target);
            all([
                test(hardware.as_ref(), Some(1), |wanted, value| *wanted == value),
                test(protocol.as_ref(), Some(0x0800), |wanted, value| *wanted == value),
                test(opcode.as_ref(), Some(if request { 1 } else { 2 }), |wanted, value| *wanted == value),
                test(source.as_ref(), packet.source, masked),
                test(target.as_ref(), packet.destination, masked),
                test(source_mac.as_ref(), packet.source_mac, same),
                test(target_mac.as_ref(), asked_mac, same),
                test(gratuitous.as_ref(), own, |wanted, own| *wanted == own),
            ])
        }
        _ => Truth::No,
    }
}

/// What the target does.
pub(super) fn act<'r>(scope: Scope<'_>, packet: &mut Packet, target: &'r XtTarget, sure: bool) -> Flow<'r> {
    let one = |addresses: &Option<(IpAddr, IpAddr)>, current: Option<IpAddr>| match addresses {
        None => current,
        Some((first, last)) if first == last => Some(*first),
        Some(_) => None,
    };
    match &target.action {
        XtAction::Reject { .. } => Flow::End(End::Reject),
        XtAction::Masquerade { .. } => masquerade(scope.world, packet, sure),
        XtAction::Snat { addresses, .. } => {
            let address = one(addresses, packet.source);
            translate(packet, NatKind::Source, Translation { address, port: None, sure })
        }
        XtAction::Dnat { addresses, ports } => {
            let address = one(addresses, packet.destination);
            let port = ports.filter(|(first, last)| first == last).map(|ports| ports.0);
            translate(packet, NatKind::Destination, Translation { address, port, sure })
        }
        XtAction::Redirect { ports } => {
            redirect(scope, packet, ports.filter(|(first, last)| first == last).map(|ports| ports.0), sure)
        }
        XtAction::Netmap { .. } => {
            let kind = match scope.hook {
                Hook::Postrouting | Hook::Input => NatKind::Source,
                _ => NatKind::Destination,
            };
            translate(packet, kind, Translation { address: None, port: None, sure })
        }
        XtAction::SetMark { mark, mask } => {
            packet.mark = packet.mark.filter(|_| sure).map(|old| (old & !mask) ^ mark);
            Flow::Continue
        }
        XtAction::Connmark { mode, mark, ct_mask, packet_mask } => {
            // Without an entry nothing is done.
            let entry = match packet.connection.tracked {
                Tracked::No | Tracked::Never => return Flow::Continue,
                Tracked::Perhaps => false,
                Tracked::Yes => sure,
            };
            let (ours, theirs) = (packet.mark.filter(|_| entry), packet.connection.mark.filter(|_| entry));
            match mode {
                0 => packet.connection.mark = theirs.map(|old| (old & !ct_mask) ^ mark),
                1 => {
                    packet.connection.mark =
                        theirs.zip(ours).map(|(old, ours)| (old & !ct_mask) ^ (ours & packet_mask));
                }
                2 => {
                    packet.mark = ours.zip(theirs).map(|(ours, old)| (ours & !packet_mask) ^ (old & ct_mask));
                }
                _ => (packet.mark, packet.connection.mark) = (None, None),
            }
            Flow::Continue
        }
        XtAction::Ct { notrack, zone } => {
            if *notrack {
                untrack(packet, sure);
            } else if *zone != 0 {
                packet.connection.tracked = Tracked::Perhaps;
            }
            Flow::Continue
        }
        XtAction::Log | XtAction::Harmless => Flow::Continue,
        XtAction::EbVerdict { verdict } => decide(verdict),
        XtAction::EbRewrite { .. } | XtAction::Opaque { .. } => Flow::Anything,
    }
}
