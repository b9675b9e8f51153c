//! A packet in the host's IP stack: received, routed, sent.

use std::net::IpAddr;

use kvmnet_probes::facts::{Address, Family, Hook, IfIndex, RouteKind, RuleAction};

use super::packet::Packet;
use super::route::{Answer, Query, look_up, route_text, rule_text, table_name, way_back};
use super::walk::Walk;
use super::{Decision, Site, hooks};

/// Where a packet should go from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Towards {
    /// Up to the host itself.
    Host,
    /// Out by this device and no other.
    Device(IfIndex),
    /// Wherever routing sends it; by this device if nothing leads there.
    Anywhere(IfIndex),
}

/// The packet comes up at a device of the host and passes PREROUTING, unless it has `prerouted` in a
/// bridge already.
pub(super) fn receive(walk: &mut Walk<'_>, packet: &mut Packet, prerouted: bool) {
    let Some(input) = packet.input.clone() else { return };
    let name = input.name.as_str();
    if packet.ipv6 && sysctl(walk, true, name, "disable_ipv6") == Some(1) {
        refuse_by(walk, name, format!("net/ipv6/conf/{name}/disable_ipv6"), 1);
    }
    if !prerouted && !packet.is_arp() {
        hooks::pass(walk, packet, packet.family(), Hook::Prerouting);
    }
}

/// The packet that the host has received is routed. Gives the device by which it goes on.
pub(super) fn route(walk: &mut Walk<'_>, packet: &mut Packet, towards: Towards) -> Option<IfIndex> {
    let input = packet.input.clone()?;
    let name = input.name.as_str();
    if packet.is_arp() {
        source_is_valid(walk, packet, name, None);
        hooks::pass(walk, packet, Family::Arp, Hook::Input);
        return None;
    }
    // Broadcast and link-local multicast are for whoever listens on the link.
    let to_link = packet.to_group();
    let out = match towards {
        Towards::Host if to_link => None,
        Towards::Host => {
            arrives(walk, packet);
            None
        }
        Towards::Device(device) | Towards::Anywhere(device) => {
            Some(onward(walk, packet, device, matches!(towards, Towards::Anywhere(_))).0)
        }
    };
    if !(to_link && packet.source.is_some_and(|source| source.is_unspecified())) {
        source_is_valid(walk, packet, name, out);
    }
    let Some(out) = out else {
        hooks::pass(walk, packet, packet.family(), Hook::Input);
        return None;
    };
    is_forwarding(walk, packet.ipv6, name);
    packet.ttl = packet.ttl.saturating_sub(1);
    packet.output = Some(walk.world.device(out));
    hooks::pass(walk, packet, packet.family(), Hook::Forward);
    hooks::pass(walk, packet, packet.family(), Hook::Postrouting);
    Some(out)
}

/// The host itself sends the packet. `bound`: by this device, whatever the routes say.
pub(super) fn send(
    walk: &mut Walk<'_>,
    packet: &mut Packet,
    towards: Towards,
    bound: bool,
) -> Option<IfIndex> {
    packet.local = true;
    packet.input = None;
    let (Towards::Device(device) | Towards::Anywhere(device)) = towards else { return None };
    let anywhere = matches!(towards, Towards::Anywhere(_));
    let name = walk.world.name(device);
    if packet.ipv6 && sysctl(walk, true, name.as_str(), "disable_ipv6") == Some(1) {
        refuse_by(walk, name.as_str(), format!("net/ipv6/conf/{name}/disable_ipv6"), 1);
    }
    packet.output = Some(walk.world.device(device));
    if packet.is_arp() {
        hooks::pass(walk, packet, Family::Arp, Hook::Output);
        return Some(device);
    }
    let (mut out, mut astray) = (device, false);
    let first = walk.steps.len();
    if !bound && !packet.to_group() {
        (out, astray) = onward(walk, packet, device, anywhere);
        packet.source = packet.source.or_else(|| walk.world.source_for(out, packet.ipv6, packet.next_hop));
        packet.output = Some(walk.world.device(out));
    }
    let before = packet.destination;
    hooks::pass(walk, packet, packet.family(), Hook::Output);
    if before != packet.destination && !packet.connection.reply {
        walk.program("output", "where the host's own packet goes once its destination is translated");
    }
    if !bound && (packet.rerouted || before != packet.destination) {
        if astray && first < walk.steps.len() {
            // Where it would have gone is of no account any more.
            walk.steps.remove(first);
        }
        (out, _) = onward(walk, packet, device, anywhere);
        packet.output = Some(walk.world.device(out));
    }
    if packet.is_discovery() {
        // The kernel gives its own discovery packets the device by which they leave as where they came
        // from, too (`ndisc_alloc_skb`, `ip6_output`).
        packet.input.clone_from(&packet.output);
    }
    hooks::pass(walk, packet, packet.family(), Hook::Postrouting);
    packet.input = None;
    Some(out)
}

/// The packet is for an address of the host.
fn arrives(walk: &mut Walk<'_>, packet: &Packet) {
    let query = Query::of(packet);
    let answer = look_up(walk.world, &query);
    if let Answer::Route(route, _) = &answer
        && route.kind == RouteKind::Local
    {
        return;
    }
    match (walk.world.owns(packet.destination), packet.destination, &packet.input) {
        (Some(false), Some(address), Some(input)) => {
            let site = Site::NoAddress { device: input.name.clone(), address };
            walk.step(
                input.name.as_str(),
                site,
                Decision::Drop,
                format!("{address} is not an address of this host"),
            );
        }
        _ => stopped(walk, &answer),
    }
}

/// Whether routing sends a bridged packet whose destination was translated into its own bridge, as
/// the kernel asks then (`br_nf_pre_routing_finish`).
pub(super) fn routed_into(walk: &Walk<'_>, packet: &Packet, bridge: IfIndex) -> bool {
    match look_up(walk.world, &Query::of(packet)) {
        Answer::Route(route, hops) => {
            route.kind == RouteKind::Unicast && hops.first().is_some_and(|hop| hop.device == Some(bridge))
        }
        Answer::Rule(_) | Answer::Nothing | Answer::Unknown(_) => false,
    }
}

/// The device by which routing sends the packet on; `wanted` where it sends it elsewhere (then also
/// true) or nowhere.
fn onward(walk: &mut Walk<'_>, packet: &mut Packet, wanted: IfIndex, anywhere: bool) -> (IfIndex, bool) {
    packet.next_hop = packet.destination;
    let query = Query::of(packet);
    let answer = look_up(walk.world, &query);
    let Answer::Route(route, hops) = &answer else {
        stopped(walk, &answer);
        return (wanted, false);
    };
    let text = format!("{}: {}", table_name(route.table), route_text(walk.world, route));
    let site = Site::Route { table: Some(route.table), text: route_text(walk.world, route) };
    if route.kind != RouteKind::Unicast {
        stopped(walk, &answer);
        return (wanted, route.kind == RouteKind::Local);
    }
    walk.ways = walk.ways.max(hops.len());
    let Some(hop) = hops.get(walk.pick % hops.len().max(1)) else {
        stopped(walk, &answer);
        return (wanted, false);
    };
    let Some(device) = hop.device else {
        stopped(walk, &Answer::Unknown(text));
        return (wanted, false);
    };
    let back = packet.input.as_ref().is_some_and(|input| input.index == device);
    if device == wanted || (anywhere && !back) {
        packet.next_hop = hop.gateway.or(packet.destination);
        walk.step("route", site, Decision::Pass, text);
        return (device, false);
    }
    walk.step("route", site, Decision::Drop, format!("{text}: not to {}", walk.world.name(wanted)));
    (wanted, true)
}

/// Routing does not send the packet on.
fn stopped(walk: &mut Walk<'_>, answer: &Answer<'_>) {
    match answer {
        Answer::Route(route, _) => {
            let text = route_text(walk.world, route);
            let decision = match route.kind {
                RouteKind::Unreachable | RouteKind::Prohibit => Decision::Reject,
                _ => Decision::Drop,
            };
            let words = format!("{}: {text}", table_name(route.table));
            walk.step("route", Site::Route { table: Some(route.table), text }, decision, words);
        }
        Answer::Rule(rule) => {
            let text = rule_text(rule);
            let decision = match rule.action {
                RuleAction::Unreachable | RuleAction::Prohibit => Decision::Reject,
                _ => Decision::Drop,
            };
            walk.step("route", Site::Rule { priority: rule.priority, text: text.clone() }, decision, text);
        }
        Answer::Nothing => {
            let text = "no route leads there".to_owned();
            walk.step("route", Site::Route { table: None, text: text.clone() }, Decision::Reject, text);
        }
        Answer::Unknown(_) if walk.world.snapshot.routes.known().is_none() => walk.missing("route", "routes"),
        Answer::Unknown(_) if walk.world.snapshot.rules.known().is_none() => walk.missing("route", "rules"),
        Answer::Unknown(what) => walk.opaque("route", what.clone()),
    }
}

/// Reverse path and martian checks of IPv4 (`fib_validate_source`).
fn source_is_valid(walk: &mut Walk<'_>, packet: &Packet, device: &str, out: Option<IfIndex>) {
    if packet.ipv6 {
        return;
    }
    let value = |walk: &mut Walk<'_>, key: &str| {
        let (all, own) = (sysctl(walk, false, "all", key)?, sysctl(walk, false, device, key)?);
        Some(if all > own { (all, "all".to_owned()) } else { (own, device.to_owned()) })
    };
    let Some(address) = packet.source else { return };
    let Some((strictness, place)) = value(walk, "rp_filter") else { return };
    let marked = value(walk, "src_valid_mark").is_some_and(|(value, _)| value != 0);
    let name = format!("net/ipv4/conf/{place}/rp_filter");
    let answer = match way_back(walk.world, packet, marked, out) {
        Answer::Route(route, _)
            if matches!(route.kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) =>
        {
            Answer::Nothing
        }
        answer => answer,
    };
    match answer {
        Answer::Unknown(what) if strictness != 0 => walk.opaque(device, format!("{name}: {what}")),
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
                    walk.step(device, Site::Sysctl { name, value: "1".to_owned() }, Decision::Drop, text);
                }
            }
            RouteKind::Local if value(walk, "accept_local").is_some_and(|(value, _)| value != 0) => {}
            _ => {
                let text = route_text(walk.world, route);
                let words = format!("martian source {address}: {text}");
                walk.step(device, Site::Route { table: Some(route.table), text }, Decision::Drop, words);
            }
        },
        Answer::Rule(_) | Answer::Nothing if strictness != 0 => {
            let text = format!("{name} = {strictness}: no route leads back to {address}");
            walk.step(device, Site::Sysctl { name, value: strictness.to_string() }, Decision::Drop, text);
        }
        Answer::Rule(_) | Answer::Nothing | Answer::Unknown(_) => {}
    }
}

/// The host forwards what comes in by the device. IPv4 asks the device, IPv6 asks `all`.
fn is_forwarding(walk: &mut Walk<'_>, ipv6: bool, device: &str) {
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

fn refuse_by(walk: &mut Walk<'_>, place: &str, name: String, value: i64) {
    let text = format!("{name} = {value}");
    walk.step(place, Site::Sysctl { name, value: value.to_string() }, Decision::Drop, text);
}

/// A sysctl that decides; without it the way is unknown.
fn sysctl(walk: &mut Walk<'_>, ipv6: bool, device: &str, key: &str) -> Option<i64> {
    let Some(sysctls) = walk.world.sysctls() else {
        walk.missing(device, "sysctls");
        return None;
    };
    let value = sysctls.per_device(ipv6, device, key);
    // A device that is gone has none, and that is told already.
    if value.is_none() && (device == "all" || walk.world.snapshot.link_named(device).is_some()) {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        walk.opaque(device, format!("net/{family}/conf/{device}/{key}, which was not read"));
    }
    value
}

/// The host answers for `address`, which is asked for on `device`: it has it, and `arp_ignore` lets it.
pub(super) fn answers(walk: &mut Walk<'_>, address: Option<IpAddr>, device: IfIndex) {
    let name = walk.world.name(device);
    let place = name.as_str();
    let Some(address) = address else {
        walk.opaque(place, "which address is asked for");
        return;
    };
    let Some(addresses) = walk.world.snapshot.addresses.known() else {
        walk.missing(place, "addresses");
        return;
    };
    let usable = |own: &&Address| {
        own.net.addr() == address && !own.flags.iter().any(|flag| flag == "tentative" || flag == "dadfailed")
    };
    let here = addresses.iter().filter(usable).any(|own| own.device == device);
    let somewhere = addresses.iter().any(|own| usable(&own));
    if !here && (address.is_ipv6() || !somewhere) {
        let site = Site::NoAddress { device: name.clone(), address };
        walk.step(place, site, Decision::Drop, format!("{address} is not an address of {name}"));
    } else if address.is_ipv4() {
        let all = sysctl(walk, false, "all", "arp_ignore").unwrap_or(0);
        let own = sysctl(walk, false, place, "arp_ignore").unwrap_or(0);
        let (value, at) = if all > own { (all, "all") } else { (own, place) };
        if value >= 8 || (value >= 1 && !here) {
            refuse_by(walk, place, format!("net/ipv4/conf/{at}/arp_ignore"), value);
        }
    }
}

/// The device has the server's address: a DHCP server leaves questions from a device without one
/// unanswered (dnsmasq, `src/dhcp.c`: "DHCP packet received on %s which has no address").
pub(super) fn holds(walk: &mut Walk<'_>, server: Option<IpAddr>, device: IfIndex) {
    let name = walk.world.name(device);
    match walk.world.snapshot.addresses.known() {
        None => walk.missing(name.as_str(), "addresses"),
        Some(addresses) => {
            let held = addresses.iter().any(|own| own.device == device && Some(own.net.addr()) == server);
            if let (false, Some(address)) = (held, server) {
                let text = format!("{address} is not an address of {name}");
                walk.step(
                    name.as_str(),
                    Site::NoAddress { device: name.clone(), address },
                    Decision::Drop,
                    text,
                );
            }
        }
    }
}

/// The host answers echo requests.
pub(super) fn echoes(walk: &mut Walk<'_>, ipv6: bool) {
    let name = if ipv6 { "net/ipv6/icmp/echo_ignore_all" } else { "net/ipv4/icmp_echo_ignore_all" };
    match walk.world.sysctls().map(|sysctls| sysctls.number(name)) {
        None => walk.missing("input", "sysctls"),
        Some(Some(value)) if value != 0 => refuse_by(walk, "input", name.to_owned(), value),
        Some(_) => {}
    }
}

/// Someone on the host listens for what is asked.
pub(super) fn listens(walk: &mut Walk<'_>, packet: &Packet, bridge: IfIndex, service: &str, port: u16) {
    let device = walk.world.name(bridge);
    let Some(listeners) = walk.world.snapshot.listeners.known() else {
        walk.missing(device.as_str(), "listeners");
        return;
    };
    let group = |address: IpAddr| address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]);
    let hears = |address: IpAddr| match packet.destination {
        _ if address.is_unspecified() => address.is_ipv6() || !packet.ipv6,
        Some(destination) => address == destination || group(destination) && address.is_ipv6() == packet.ipv6,
        None => address.is_ipv6() == packet.ipv6,
    };
    let heard = listeners.iter().any(|listener| {
        listener.protocol == "udp"
            && listener.port == port
            && hears(listener.address)
            && listener.device.is_none_or(|bound| bound == bridge)
    });
    if !heard {
        let text = format!("nobody listens on UDP port {port} ({service})");
        let site = Site::NoService { service: service.to_owned(), device: device.clone() };
        walk.step(device.as_str(), site, Decision::Drop, text);
    }
}
