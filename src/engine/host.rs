//! Packets in the host's IP stack: received, routed, sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kvmnet_probes::facts::{Family, Hook, IfIndex, RouteKind, RuleAction};

use super::packet_set::field::address_value;
use super::packet_set::{Bdd, Decided, Field, PacketSet};
use super::packets::Packets;
use super::route::{
    Answer, Answers, LOCAL, Query, in_prefix, link_local, route_text, rule_text, table_name, way_back,
};
use super::walk::Walk;
use super::{Decision, Site, hooks};

/// Where packets should go from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// Up to the host itself.
    Host,
    /// Out by this device and no other.
    Device(IfIndex),
    /// Wherever routing sends it; by this device if nothing leads there.
    Anywhere(IfIndex),
}

/// The packets come up at a device of the host and pass PREROUTING, unless they have `prerouted` in a
/// bridge already.
pub(super) fn receive(walk: &mut Walk<'_, '_>, packets: &mut Packets, prerouted: bool) -> Decided<()> {
    let Some(input) = packets.input.clone() else { return Ok(()) };
    let name = input.name.as_str();
    if packets.is_ipv6() && sysctl(walk, true, name, "disable_ipv6") == Some(1) {
        refuse_by(walk, name, format!("net/ipv6/conf/{name}/disable_ipv6"), 1);
    }
    if prerouted || packets.is_arp() {
        return Ok(());
    }
    hooks::pass(walk, packets, packets.family, Hook::Prerouting)
}

/// The packets that the host has received are routed. Gives the device by which they go on.
pub(super) fn route(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    towards: Towards,
) -> Decided<Option<IfIndex>> {
    let Some(input) = packets.input.clone() else { return Ok(None) };
    let name = input.name.as_str();
    if packets.is_arp() {
        // Only for a request the kernel looks for the way back (`arp_process`).
        if !packets.reply {
            source_is_valid(walk, packets, name, None)?;
        }
        hooks::pass(walk, packets, Family::Arp, Hook::Input)?;
        return Ok(None);
    }
    // Broadcast and link-local multicast are for whoever listens on the link.
    let to_link = packets.to_group();
    let out = match towards {
        Towards::Host if to_link => None,
        Towards::Host => {
            arrives(walk, packets)?;
            None
        }
        Towards::Device(device) | Towards::Anywhere(device) => {
            Some(onward(walk, packets, device, matches!(towards, Towards::Anywhere(_)))?.0)
        }
    };
    if !(to_link && packets.source().is_some_and(|source| source.is_unspecified())) {
        are_martian(walk, packets, name, out.is_some())?;
        source_is_valid(walk, packets, name, out)?;
    }
    let Some(out) = out else {
        hooks::pass(walk, packets, packets.family, Hook::Input)?;
        return Ok(None);
    };
    packets.output = Some(walk.world.device(out));
    forward(walk, packets, name)?;
    Ok(Some(out))
}

fn forward(walk: &mut Walk<'_, '_>, packets: &mut Packets, input: &str) -> Decided<()> {
    is_forwarding(walk, packets.is_ipv6(), input);
    pass_on(walk, packets)?;
    hooks::pass(walk, packets, packets.family, Hook::Postrouting)
}

/// Packets that the host forwards pass FORWARD.
pub(super) fn pass_on(walk: &mut Walk<'_, '_>, packets: &mut Packets) -> Decided<()> {
    match packets.headers.constant(Field::Ttl) {
        Some(ttl) => packets.headers.set(Field::Ttl, ttl.saturating_sub(1)),
        None => packets.headers.forget(Field::Ttl),
    }
    hooks::pass(walk, packets, packets.family, Hook::Forward)
}

/// All packets that the host has received are routed, each its own way, to be forwarded:
/// [`Field::OutputDevice`] says which way it takes, and one that may take several is there once for each.
/// Gives the ways, and the packets of which it is not known which they take.
pub(super) fn route_everywhere(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
) -> Decided<(Vec<(IfIndex, PacketSet)>, PacketSet)> {
    let Some(input) = packets.input.clone().filter(|_| !packets.is_arp()) else {
        return Ok((Vec::new(), Bdd::NONE));
    };
    let (mut astray, mut kept) = (Bdd::NONE, Vec::new());
    let name = input.name.as_str();
    let mut ways: BTreeMap<IfIndex, PacketSet> = BTreeMap::new();
    for (answer, some) in ask(walk, packets)? {
        match &answer {
            Answer::Route(route, hops) if route.kind == RouteKind::Unicast && !hops.is_empty() => {
                for hop in hops {
                    let Some(device) = hop.device else {
                        walk.opaque_to(some, "route", route_text(walk.world, route));
                        astray = walk.sets().or(astray, some)?;
                        continue;
                    };
                    let way = ways.entry(device).or_insert(Bdd::NONE);
                    *way = walk.sets().or(*way, some)?;
                }
            }
            Answer::Unknown(_) => {
                astray = walk.sets().or(astray, some)?;
                stopped(walk, some, &answer);
            }
            // A host has a local route for each of its addresses: which one it was is not asked.
            _ if !walk.all_sites => kept.push(some),
            answer => stopped(walk, some, answer),
        }
    }
    if !kept.is_empty() {
        let all = walk.sets().any_of(&kept)?;
        let text = "not sent on".to_owned();
        let site = Site::Route { table: None, text: text.clone() };
        walk.step_of(all, "route", site, Decision::Drop, text);
    }
    are_martian(walk, packets, name, true)?;
    source_is_valid(walk, packets, name, None)?;
    let mut leaving = Vec::new();
    for (device, some) in &mut ways {
        let sets = walk.sets();
        let by = sets.equal(Field::OutputDevice, device.0.into())?;
        *some = sets.and(*some, by)?;
        leaving.push(*some);
    }
    walk.asked = walk.sets().any_of(&leaving)?;
    is_forwarding(walk, packets.is_ipv6(), name);
    Ok((ways.into_iter().collect(), astray))
}

/// The host itself sends the packets. `bound`: by this device, whatever the routes say.
pub(super) fn send(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    towards: Towards,
    bound: bool,
) -> Decided<Option<IfIndex>> {
    packets.local = true;
    packets.input = None;
    let (Towards::Device(device) | Towards::Anywhere(device)) = towards else { return Ok(None) };
    let anywhere = matches!(towards, Towards::Anywhere(_));
    let name = walk.world.name(device);
    if packets.is_ipv6() && sysctl(walk, true, name.as_str(), "disable_ipv6") == Some(1) {
        refuse_by(walk, name.as_str(), format!("net/ipv6/conf/{name}/disable_ipv6"), 1);
    }
    packets.output = Some(walk.world.device(device));
    if packets.is_arp() {
        hooks::pass(walk, packets, Family::Arp, Hook::Output)?;
        return Ok(Some(device));
    }
    let (mut out, mut astray) = (device, Vec::new());
    // What goes another way may yet be routed again.
    let left = walk.left;
    if !bound && !packets.to_group() {
        // An answer comes from whom the packet was for.
        let chosen = packets.reply || packets.source().is_some();
        if !chosen && walk.one {
            packets.headers.forget(Field::Source);
        }
        // A limit: where all go astray, OUTPUT is passed as if they left by the wanted device (docs/accuracy.md).
        (out, astray) = onward(walk, packets, device, anywhere)?;
        let source = walk.world.source_for(out, packets.is_ipv6(), packets.next_hop);
        if let Some(source) = source.filter(|_| !chosen) {
            packets.headers.set(Field::Source, address_value(source));
        }
        packets.output = Some(walk.world.device(out));
    }
    let before = packets.headers.bits(walk.sets(), Field::Destination)?;
    walk.left = walk.taken.len();
    hooks::pass(walk, packets, packets.family, Hook::Output)?;
    walk.left = left;
    let translated = packets.headers.bits(walk.sets(), Field::Destination)? != before;
    if translated && !packets.reply {
        walk.program("output", "where the host's own packet goes once its destination is translated");
    }
    let discovery = packets.is_discovery(walk.sets())?;
    // Router advertisements are a program's: they keep their device, since they are for a group or a link-local
    // address, and come from none (measured at POSTROUTING, Linux 6.18).
    let advertised = packets.headers.constant(Field::IcmpType) == Some(134);
    let discovery = walk.is(discovery)? == Some(true) && !advertised;
    // Who is bound to a device is not routed again, but for discovery packets: the kernel's socket for
    // them is bound to none (`ip6_route_me_harder`), and only what is for a group keeps its device.
    let again = if bound {
        packets.rerouted && discovery && !packets.to_group()
    } else {
        packets.rerouted || translated
    };
    if again {
        // Where it would have gone is of no account any more.
        for step in astray.into_iter().rev() {
            walk.take_back(step);
        }
        (out, _) = onward(walk, packets, device, anywhere)?;
        packets.output = Some(walk.world.device(out));
    }
    if discovery {
        // The kernel gives its own discovery packets the device by which they leave as where they came
        // from, too (`ndisc_alloc_skb`, `ip6_output`).
        packets.input.clone_from(&packets.output);
    }
    hooks::pass(walk, packets, packets.family, Hook::Postrouting)?;
    packets.input = None;
    Ok(Some(out))
}

/// What routing says to the packets. Of what the host received an address of one link alone is that link's by which
/// it came.
pub(super) fn ask<'a>(walk: &mut Walk<'_, 'a>, packets: &Packets) -> Decided<Answers<'a>> {
    ask_on(walk, packets, packets.input.as_ref().map(|device| device.index))
}

/// The same of packets that mean this link where an address is of one link alone.
fn ask_on<'a>(walk: &mut Walk<'_, 'a>, packets: &Packets, link: Option<IfIndex>) -> Decided<Answers<'a>> {
    if walk.one && packets.destination().is_none() {
        return Ok(vec![(Answer::Unknown("the destination is not known".to_owned()), walk.asked)]);
    }
    let query = Query {
        ipv6: packets.is_ipv6(),
        headers: &packets.headers,
        source: Some(Field::Source),
        destination: Field::Destination,
        input: packets.input.as_ref().map(|device| device.index),
        link: link.filter(|_| packets.is_ipv6()),
        marked: true,
        transport: true,
    };
    walk.look_up(query)
}

/// The packets are for addresses of the host.
fn arrives(walk: &mut Walk<'_, '_>, packets: &Packets) -> Decided<()> {
    for (answer, some) in ask(walk, packets)? {
        if let Answer::Route(route, _) = &answer
            && route.kind == RouteKind::Local
        {
            continue;
        }
        match (walk.world.owns(packets.destination()), packets.destination(), &packets.input) {
            (Some(false), Some(address), Some(input)) => {
                let site = Site::NoAddress { device: input.name.clone(), address };
                walk.step_of(
                    some,
                    input.name.as_str(),
                    site,
                    Decision::Drop,
                    format!("{address} is not an address of this host"),
                );
            }
            _ => stopped(walk, some, &answer),
        }
    }
    Ok(())
}

/// Whether routing sends bridged packets whose destination was translated into their own bridge, as
/// the kernel asks then (`br_nf_pre_routing_finish`).
pub(super) fn routed_into(walk: &mut Walk<'_, '_>, packets: &Packets, bridge: IfIndex) -> Decided<bool> {
    let up = Packets { input: Some(walk.world.device(bridge)), ..packets.clone() };
    Ok(ask(walk, &up)?.iter().all(|(answer, _)| match answer {
        Answer::Route(route, hops) => {
            route.kind == RouteKind::Unicast && hops.first().is_some_and(|hop| hop.device == Some(bridge))
        }
        Answer::Rule(_) | Answer::Nothing | Answer::Unknown(_) => false,
    }))
}

/// Bridged answers whose translation is undone are routed back into their own `bridge` as if they had come
/// up: IPv4 asks whether they may be forwarded, and whether their source may come by the bridge
/// (`br_nf_pre_routing_finish`).
pub(super) fn may_return(walk: &mut Walk<'_, '_>, packets: &Packets, bridge: IfIndex) -> Decided<()> {
    if packets.is_ipv6() {
        return Ok(());
    }
    let name = walk.world.name(bridge);
    is_forwarding(walk, false, name.as_str());
    source_is_valid(walk, packets, name.as_str(), Some(bridge))
}

/// The device by which routing sends the packets on; `wanted` where it sends them elsewhere or nowhere. Also the
/// steps of those that it sends elsewhere.
fn onward(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    wanted: IfIndex,
    anywhere: bool,
) -> Decided<(IfIndex, Vec<usize>)> {
    let destination = packets.destination();
    packets.next_hop = destination;
    // Who sends to a link-local address names the device besides; TCP does not connect without (measured, Linux 6.18).
    let answers = if packets.local { ask_on(walk, packets, Some(wanted))? } else { ask(walk, packets)? };
    // Where several ways are taken only that is followed which is asked for.
    let alone = answers.len() == 1;
    let anywhere = anywhere && alone;
    let input = packets.input.as_ref().map(|input| input.index);
    let (mut out, mut astray) = (wanted, Vec::new());
    let mut next_hops = Vec::new();
    for (answer, some) in answers {
        let at = walk.taken.len();
        let Answer::Route(route, hops) = &answer else {
            stopped(walk, some, &answer);
            continue;
        };
        if route.kind != RouteKind::Unicast {
            stopped(walk, some, &answer);
            if route.kind == RouteKind::Local {
                astray.extend(at..walk.taken.len());
                // What the host sends to itself leaves by the loopback device, whatever the route's.
                if let Some(loopback) = walk.world.loopback().filter(|_| packets.local && alone) {
                    out = loopback;
                }
            }
            continue;
        }
        let text = format!("{}: {}", table_name(route.table), route_text(walk.world, route));
        let site = Site::Route { table: Some(route.table), text: route_text(walk.world, route) };
        walk.ways = walk.ways.max(hops.len());
        let Some(hop) = hops.get(walk.pick % hops.len().max(1)) else {
            stopped(walk, some, &answer);
            continue;
        };
        let Some(device) = hop.device else {
            stopped(walk, some, &Answer::Unknown(text));
            continue;
        };
        if device == wanted || (anywhere && input != Some(device)) {
            next_hops.push(hop.gateway.or(destination));
            walk.step_of(some, "route", site, Decision::Pass, text);
            out = device;
        } else {
            let text = format!("{text}: not to {}", walk.world.name(wanted));
            walk.step_of(some, "route", site, Decision::Drop, text);
            astray.extend(at..walk.taken.len());
        }
    }
    if let Some(first) = next_hops.first() {
        packets.next_hop = first.filter(|_| next_hops.iter().all(|hop| hop == first));
    }
    Ok((out, astray))
}

/// Routing does not send the packets on.
pub(super) fn stopped(walk: &mut Walk<'_, '_>, packets: PacketSet, answer: &Answer<'_>) {
    match answer {
        Answer::Route(route, _) => {
            let text = route_text(walk.world, route);
            let decision = match route.kind {
                RouteKind::Unreachable | RouteKind::Prohibit => Decision::Reject,
                _ => Decision::Drop,
            };
            let words = format!("{}: {text}", table_name(route.table));
            walk.step_of(packets, "route", Site::Route { table: Some(route.table), text }, decision, words);
        }
        Answer::Rule(rule) => {
            let text = rule_text(rule);
            let decision = match rule.action {
                RuleAction::Unreachable | RuleAction::Prohibit => Decision::Reject,
                _ => Decision::Drop,
            };
            let site = Site::Rule { priority: rule.priority, text: text.clone() };
            walk.step_of(packets, "route", site, decision, text);
        }
        Answer::Nothing => {
            let text = "no route leads there".to_owned();
            let site = Site::Route { table: None, text: text.clone() };
            walk.step_of(packets, "route", site, Decision::Reject, text);
        }
        Answer::Unknown(_) if walk.world.snapshot.routes.known().is_none() => walk.missing("route", "routes"),
        Answer::Unknown(_) if walk.world.snapshot.rules.known().is_none() => walk.missing("route", "rules"),
        Answer::Unknown(what) => walk.opaque_to(packets, "route", what.clone()),
    }
}

const fn ipv4(octets: [u8; 4], length: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

/// The network of the address with these first and last 16 bits.
const fn ipv6(first: u16, last: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), length))
}

/// Addresses that no packet from a link may have (`ip_route_input_slow`, `ip6_rcv_core`), and those that
/// the host does not forward (`ip6_forward`).
pub(super) fn are_martian(
    walk: &mut Walk<'_, '_>,
    packets: &Packets,
    device: &str,
    forwarded: bool,
) -> Decided<()> {
    let localnet = walk.world.sysctls().map(|sysctls| {
        let value = |device| sysctls.per_device(false, device, "route_localnet").unwrap_or(0);
        value("all").max(value(device)) != 0
    });
    let multicast = walk.world.sysctls().and_then(|all| all.per_device(false, "all", "mc_forwarding"));
    let martian: &[(Field, IpNet, bool)] = if packets.is_ipv6() {
        &[
            (Field::Source, ipv6(0xff00, 0, 8), true),
            (Field::Source, ipv6(0, 1, 128), true),
            (Field::Destination, ipv6(0, 1, 128), true),
            (Field::Source, link_local(), forwarded),
            (Field::Source, ipv6(0, 0, 128), forwarded),
            // They stay on the link that they came by.
            (Field::Destination, link_local(), forwarded),
        ]
    } else {
        &[
            (Field::Source, ipv4([224, 0, 0, 0], 4), true),
            (Field::Source, ipv4([255; 4], 32), true),
            (Field::Source, ipv4([0; 4], 8), true),
            (Field::Source, ipv4([127, 0, 0, 0], 8), localnet == Some(false)),
            (Field::Destination, ipv4([0; 4], 8), true),
            (Field::Destination, ipv4([127, 0, 0, 0], 8), localnet == Some(false)),
            // A router of multicast, which says so there, may forward it.
            (Field::Destination, ipv4([224, 0, 0, 0], 4), forwarded && multicast == Some(0)),
            (Field::Destination, ipv4([255; 4], 32), forwarded),
        ]
    };
    for (field, end) in [(Field::Source, "source"), (Field::Destination, "destination")] {
        let mut all = Bdd::NONE;
        let mut nets = Vec::new();
        for (_, net, _) in martian.iter().filter(|(of, _, dropped)| *of == field && *dropped) {
            let holds = in_prefix(&mut walk.host.sets, &packets.headers, field, *net)?;
            let (some, _) = walk.parted(holds)?;
            if some != Bdd::NONE {
                all = walk.sets().or(all, some)?;
                nets.push(net.to_string());
            }
        }
        if nets.is_empty() {
            continue;
        }
        let text = format!("martian {end} {}", nets.join(", "));
        let site = Site::Route { table: None, text: text.clone() };
        walk.step_of(all, device, site, Decision::Drop, text);
    }
    Ok(())
}

/// Reverse path and martian checks of IPv4 (`fib_validate_source`).
pub(super) fn source_is_valid(
    walk: &mut Walk<'_, '_>,
    packets: &Packets,
    device: &str,
    out: Option<IfIndex>,
) -> Decided<()> {
    if packets.is_ipv6() {
        return Ok(());
    }
    let value = |walk: &mut Walk<'_, '_>, key: &str| {
        let (all, own) = (sysctl(walk, false, "all", key)?, sysctl(walk, false, device, key)?);
        Some(if all > own { (all, "all".to_owned()) } else { (own, device.to_owned()) })
    };
    let address = packets.source();
    if walk.one && address.is_none() {
        return Ok(());
    }
    let address = address.map_or_else(|| "the source".to_owned(), |address| address.to_string());
    let Some((strictness, place)) = value(walk, "rp_filter") else { return Ok(()) };
    let marked = value(walk, "src_valid_mark").is_some_and(|(value, _)| value != 0);
    let name = format!("net/ipv4/conf/{place}/rp_filter");
    let query = way_back(&packets.headers, false, marked, out);
    // The host's own addresses and those of broadcasts, which are named only where it is one of them.
    let mut own = Bdd::NONE;
    for (answer, some) in walk.look_up(query)? {
        let answer = match answer {
            Answer::Route(route, _)
                if matches!(
                    route.kind,
                    RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit
                ) =>
            {
                Answer::Nothing
            }
            answer => answer,
        };
        match answer {
            Answer::Unknown(what) if strictness != 0 => {
                walk.opaque_to(some, device, format!("{name}: {what}"));
            }
            Answer::Route(route, hops) => match route.kind {
                RouteKind::Unicast => {
                    let here = hops
                        .iter()
                        .any(|hop| hop.device.map(|hop| walk.world.name(hop).0).as_deref() == Some(device));
                    if strictness == 1 && !here {
                        let text = format!(
                            "{name} = 1: answers to {address} would not leave by {device} ({}: {})",
                            table_name(route.table),
                            route_text(walk.world, route)
                        );
                        let site = Site::Sysctl { name: name.clone(), value: "1".to_owned() };
                        walk.step_of(some, device, site, Decision::Drop, text);
                    }
                }
                RouteKind::Local if value(walk, "accept_local").is_some_and(|(value, _)| value != 0) => {}
                _ if !walk.one => own = walk.sets().or(own, some)?,
                _ => {
                    let text = route_text(walk.world, route);
                    let words = format!("martian source {address}: {text}");
                    let site = Site::Route { table: Some(route.table), text };
                    walk.step_of(some, device, site, Decision::Drop, words);
                }
            },
            Answer::Rule(_) | Answer::Nothing if strictness != 0 => {
                let text = format!("{name} = {strictness}: no route leads back to {address}");
                let site = Site::Sysctl { name: name.clone(), value: strictness.to_string() };
                walk.step_of(some, device, site, Decision::Drop, text);
            }
            Answer::Rule(_) | Answer::Nothing | Answer::Unknown(_) => {}
        }
    }
    let text = "martian source: an address of this host, or of a broadcast".to_owned();
    let site = Site::Route { table: Some(LOCAL), text: text.clone() };
    walk.step_of(own, device, site, Decision::Drop, text);
    Ok(())
}

/// The host forwards what comes in by the device. IPv4 asks the device, IPv6 asks `all`.
fn is_forwarding(walk: &mut Walk<'_, '_>, ipv6: bool, device: &str) {
    if !ipv6 {
        if sysctl(walk, false, device, "forwarding") == Some(0) {
            let all = walk.world.sysctls().and_then(|sysctls| sysctls.number("net/ipv4/ip_forward"));
            let name = match all {
                Some(0) => "net/ipv4/ip_forward".to_owned(),
                Some(_) | None => format!("net/ipv4/conf/{device}/forwarding"),
            };
            refuse_by(walk, "forward", name, 0);
        }
        return;
    }
    let forced =
        walk.world.sysctls().and_then(|sysctls| sysctls.per_device(true, device, "force_forwarding"));
    if sysctl(walk, true, "all", "forwarding") == Some(0) && forced.unwrap_or(0) == 0 {
        refuse_by(walk, "forward", "net/ipv6/conf/all/forwarding".to_owned(), 0);
    }
}

pub(super) fn refuse_by(walk: &mut Walk<'_, '_>, place: &str, name: String, value: i64) {
    let text = format!("{name} = {value}");
    walk.step(place, Site::Sysctl { name, value: value.to_string() }, Decision::Drop, text);
}

/// A sysctl that decides; without it the way is unknown.
pub(super) fn sysctl(walk: &mut Walk<'_, '_>, ipv6: bool, device: &str, key: &str) -> Option<i64> {
    let Some(sysctls) = walk.world.sysctls() else {
        walk.missing(device, "sysctls");
        return None;
    };
    let value = sysctls.per_device(ipv6, device, key);
    // A device that is gone has none, and that is told already.
    if value.is_none() && (device == "all" || walk.world.link_named(device).is_some()) {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        walk.opaque(device, format!("net/{family}/conf/{device}/{key}, which was not read"));
    }
    value
}
