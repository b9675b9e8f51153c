//! All base chains of a hook, in the kernel's order, with conntrack and NAT between them.

use std::ops::RangeInclusive;

use kvmnet_probes::facts::{BaseChain, Family, Generation, Hook, NatKind, Policy, Table};

use super::chains::run_base;
use super::packet_set::{Bdd, Decided, Event, Field, Nat, PacketSet, Truth};
use super::packets::{Device, Packets, Translated};
use super::scope::Scope;
use super::walk::Walk;
use super::world::{Entry, World};

/// `NF_IP_PRI_CONNTRACK`.
const CONNTRACK: i32 = -200;
/// `NF_IP_PRI_NAT_DST`: all nat chains of a hook run here, whatever their own priority.
const NAT_DESTINATION: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`.
const NAT_SOURCE: i32 = 100;

/// Takes the packets through the hook of `family`, which is that of the hook and never `inet`.
pub(super) fn pass(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    family: Family,
    hook: Hook,
) -> Decided<()> {
    pass_within(walk, packets, (family, hook), i32::MIN..=i32::MAX)
}

/// As [`pass`], through what has these priorities.
pub(super) fn pass_within<'a>(
    walk: &mut Walk<'_, 'a>,
    packets: &mut Packets,
    (family, hook): (Family, Hook),
    priorities: RangeInclusive<i32>,
) -> Decided<()> {
    let place = place(family, hook);
    let snapshot = walk.world.snapshot;
    for (source, missing) in [
        ("nf-tables", snapshot.nf_tables.known().is_none()),
        ("xtables-legacy", snapshot.xtables_legacy.known().is_none()),
    ] {
        if missing {
            walk.missing(place, source);
        }
    }
    walk.leave_stopped()?;
    packets.tell_place(walk.sets())?;
    let device = if hook == Hook::Egress { packets.output.as_ref() } else { packets.input.as_ref() };
    let mut entries = entries(walk.world, device, packets.is_arp(), family, hook);
    entries.retain(|entry| priorities.contains(&entry.2.priority));
    // Of two with one priority the one that was registered last comes first (`nf_hook_entries_grow`).
    entries.reverse();
    entries.sort_by_key(|entry| entry.2.priority);
    let (nat, filter): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.2.kind == "nat");
    let mut filter = filter.into_iter().peekable();
    let tracks = matches!(hook, Hook::Prerouting | Hook::Output)
        && priorities.contains(&CONNTRACK)
        && match family {
            Family::Ip | Family::Ip6 => true,
            Family::Bridge => walk.world.tracks(Family::Bridge),
            Family::Inet | Family::Arp | Family::Netdev => false,
        };
    let nat_priority = match hook {
        Hook::Prerouting | Hook::Output => Some(NAT_DESTINATION),
        Hook::Input | Hook::Postrouting => Some(NAT_SOURCE),
        Hook::Ingress | Hook::Egress | Hook::Forward | Hook::Brouting => None,
    };
    let mut until = |walk: &mut Walk<'_, 'a>, packets: &mut Packets, priority: Option<i32>| -> Decided<()> {
        while let Some(entry) =
            filter.next_if(|entry| priority.is_none_or(|priority| entry.2.priority < priority))
        {
            walk.leave_stopped()?;
            run_one(walk, packets, (family, hook), entry, (walk.asked, Bdd::NONE))?;
        }
        Ok(())
    };
    if tracks {
        until(walk, packets, Some(CONNTRACK))?;
        packets.track(walk.sets())?;
    }
    if let Some(priority) = nat_priority.filter(|_| matches!(family, Family::Ip | Family::Ip6)) {
        until(walk, packets, Some(priority))?;
        translate(walk, packets, family, hook, &nat)?;
    }
    until(walk, packets, None)
}

/// The base chains of the hook; those of `netdev` are at the device.
fn entries<'a>(
    world: World<'a>,
    device: Option<&Device>,
    is_arp: bool,
    family: Family,
    hook: Hook,
) -> Vec<Entry<'a>> {
    let attached = |base: &BaseChain| {
        base.devices.iter().any(|name| {
            device.is_some_and(|device| match name.as_str().strip_suffix('*') {
                Some(prefix) => device.name.as_str().starts_with(prefix),
                None => *name == device.name,
            })
        })
    };
    let of_family = |table: &Table| match family {
        // A chain of `inet` sees IP alone (`nft_do_chain_inet_ingress`).
        Family::Netdev => table.family == Family::Netdev || table.family == Family::Inet && !is_arp,
        Family::Ip | Family::Ip6 => table.family == family || table.family == Family::Inet,
        Family::Arp | Family::Bridge | Family::Inet => table.family == family,
    };
    let meets = |(table, _, base): &&Entry<'a>| {
        base.hook == hook && of_family(table) && (family != Family::Netdev || attached(base))
    };
    world.base_chains().iter().filter(meets).copied().collect()
}

/// Whether a chain of the hook may stop packets at the device.
pub(super) fn may_stop(world: World<'_>, device: &Device, family: Family, hook: Hook) -> bool {
    let entries = entries(world, Some(device), false, family, hook);
    entries.iter().any(|(_, chain, base)| base.policy == Policy::Drop || !chain.rules.is_empty())
}

/// Takes packets through one base chain, those of the second set perhaps; gives what may translate them.
fn run_one<'a>(
    walk: &mut Walk<'_, 'a>,
    packets: &mut Packets,
    (family, hook): (Family, Hook),
    (table, chain, base): Entry<'a>,
    within: (PacketSet, PacketSet),
) -> Decided<Vec<(Translated, Nat)>> {
    let scope = Scope { world: walk.world, table, family, hook, next_hop: packets.next_hop };
    let before = packets.headers.clone();
    let passage = run_base(walk, scope, (chain, base), within, &mut packets.headers)?;
    // Only these route again what they mark (`nf_route_table_hook4`, `ipt_mangle_out`), and of IPv6 also
    // that whose hop limit they set (`nf_route_table_hook6`).
    let routes =
        base.kind == "route" || table.generation == Generation::XtablesLegacy && table.name == "mangle";
    if routes && hook == Hook::Output {
        let fields: &[Field] =
            if family == Family::Ip6 { &[Field::Mark, Field::Ttl] } else { &[Field::Mark] };
        for field in fields {
            let sets = walk.sets();
            packets.rerouted |= before.bits(sets, *field)? != packets.headers.bits(sets, *field)?;
        }
    }
    let translations = passage.met.into_iter().filter_map(|met| match met.what {
        Event::Translate(nat) => {
            Some((Translated { surely: met.surely, perhaps: met.packets, address: None }, nat))
        }
        Event::Accept | Event::Stop(_) | Event::Doubt(_) | Event::Anything(_) => None,
    });
    Ok(translations.collect())
}

/// NAT at this hook: chosen by the flow's first packet, undone for its answers.
fn translate<'a>(
    walk: &mut Walk<'_, 'a>,
    packets: &mut Packets,
    family: Family,
    hook: Hook,
    chains: &[Entry<'a>],
) -> Decided<()> {
    let entry = packets.headers.range(walk.sets(), Field::CtState, &(1..=3))?;
    let (surely, tracked) = walk.parted(entry)?;
    if tracked == Bdd::NONE {
        return Ok(());
    }
    let of_destination = matches!(hook, Hook::Prerouting | Hook::Output);
    if packets.reply {
        return undo(walk, packets, of_destination, (surely, tracked));
    }
    // Whatever a chain of type nat says: without a rule that needs connections none are tracked, and
    // what has no connection is not translated.
    if chains.is_empty() || !walk.world.tracks(family) {
        return Ok(());
    }
    for entry in chains {
        let chosen = chosen(packets, of_destination);
        let sets = walk.sets();
        let (tracked, surely) = (sets.minus(tracked, chosen.surely)?, sets.minus(surely, chosen.perhaps)?);
        if tracked == Bdd::NONE {
            break;
        }
        let perhaps = sets.minus(tracked, surely)?;
        for (translated, nat) in run_one(walk, packets, (family, hook), *entry, (tracked, perhaps))? {
            if (nat.kind == NatKind::Destination) == of_destination {
                apply(walk, packets, translated, &nat)?;
            }
        }
    }
    Ok(())
}

/// Gives packets the address and the port that a rule has chosen for them.
fn apply(walk: &mut Walk<'_, '_>, packets: &mut Packets, translated: Translated, nat: &Nat) -> Decided<()> {
    let (address, port, changed, done) = match nat.kind {
        NatKind::Source => (Field::Source, Field::SourcePort, 4, 7),
        NatKind::Destination => (Field::Destination, Field::DestinationPort, 5, 8),
    };
    let before = packets.headers.clone();
    let ipv6 = packets.is_ipv6();
    let came = (translated.surely, translated.perhaps);
    let one = walk.one;
    let sets = walk.sets();
    if let Some(bits) = &nat.address {
        let mut bits = bits.clone();
        if !ipv6 {
            // Behind an IPv4 address there is nothing.
            bits[32..].fill(Truth::NO);
        }
        // Which of many packets have an address that is not known takes more nodes than it tells.
        if !one && bits[..32].iter().all(|bit| *bit == Truth::MAYBE) {
            packets.headers.forget(address);
        } else {
            packets.headers.write(sets, address, came, &bits)?;
        }
    }
    if let Some(bits) = &nat.port {
        packets.headers.write(sets, port, came, bits)?;
    }
    // `IPS_SRC_NAT`, if anything is another now, and `IPS_SRC_NAT_DONE`, or those of the destination.
    let mut is_other = Truth::NO;
    for field in [address, port] {
        let length = if field == address && !ipv6 { 32 } else { field.width() };
        if packets.headers.differ(sets, &before, field, length)? {
            let known = before.constant(field).is_some() && packets.headers.constant(field).is_some();
            is_other = if known || is_other == Truth::YES { Truth::YES } else { Truth::MAYBE };
        }
    }
    let mut bits = packets.headers.bits(sets, Field::CtStatus)?;
    if is_other != Truth::NO {
        bits[15 - changed] = is_other;
    }
    bits[15 - done] = Truth::YES;
    packets.headers.write(sets, Field::CtStatus, came, &bits)?;
    if let Some(tuples) = packets.headers.tuples() {
        let mut tuples = tuples.clone();
        for field in [address, port] {
            tuples.reply.set(field.turned(), packets.headers.value(field));
        }
        packets.headers.set_tuples(tuples);
    }
    let now = packets.headers.constant_address(address, ipv6);
    let slot = match nat.kind {
        NatKind::Source => &mut packets.connection.source_nat,
        NatKind::Destination => &mut packets.connection.destination_nat,
    };
    let first = !slot.is_any();
    *slot = Translated {
        surely: sets.or(slot.surely, translated.surely)?,
        perhaps: sets.or(slot.perhaps, translated.perhaps)?,
        address: now.filter(|_| first || slot.address == now),
    };
    Ok(())
}

fn chosen(packets: &Packets, of_destination: bool) -> Translated {
    if of_destination { packets.connection.destination_nat } else { packets.connection.source_nat }
}

/// The answers go to where the flow began, and come from where it was sent to.
fn undo(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    of_destination: bool,
    (surely, tracked): (PacketSet, PacketSet),
) -> Decided<()> {
    let Some(tuples) = packets.headers.tuples().cloned() else { return Ok(()) };
    // What the source was before is the destination of answers.
    let (nat, before, port) = if of_destination {
        (packets.connection.source_nat, Field::Source, Field::SourcePort)
    } else {
        (packets.connection.destination_nat, Field::Destination, Field::DestinationPort)
    };
    if nat.is_any() {
        // Of those that were not translated it is the same.
        for field in [before, port] {
            let bits = tuples.original.bits(walk.sets(), field)?;
            packets.headers.write(walk.sets(), field.turned(), (surely, tracked), &bits)?;
        }
    }
    Ok(())
}

/// The hook's name in a trace.
pub(super) fn place(family: Family, hook: Hook) -> &'static str {
    match (family, hook) {
        (Family::Bridge, Hook::Prerouting) => "bridge pre",
        (Family::Bridge, Hook::Input) => "bridge in",
        (Family::Bridge, Hook::Forward) => "bridge fwd",
        (Family::Bridge, Hook::Output) => "bridge out",
        (Family::Bridge, Hook::Postrouting) => "bridge post",
        (_, Hook::Ingress) => "ingress",
        (_, Hook::Egress) => "egress",
        (_, Hook::Prerouting) => "prerouting",
        (_, Hook::Input) => "input",
        (_, Hook::Forward) => "forward",
        (_, Hook::Output) => "output",
        (_, Hook::Postrouting) => "postrouting",
        (_, Hook::Brouting) => "brouting",
    }
}
