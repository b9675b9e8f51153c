//! What a host takes in itself of all that it receives.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use kvmnet_probes::facts::{Hook, RouteKind};

use super::host::{are_martian, ask, source_is_valid, stopped};
use super::packet_set::{Bdd, Decided, Field, PacketSet};
use super::packets::Packets;
use super::route::{Answer, in_prefix};
use super::walk::Walk;
use super::{Decision, Site, hooks};

/// All packets that the host has received are routed, each its own way, to be taken in by the host itself. Which
/// of its groups somebody here listens to is not known.
pub(super) fn take_in(walk: &mut Walk<'_, '_>, packets: &mut Packets) -> Decided<()> {
    let Some(input) = packets.input.clone().filter(|_| !packets.is_arp()) else { return Ok(()) };
    let name = input.name.as_str();
    let groups = if packets.is_ipv6() { "ff00::/8" } else { "224.0.0.0/4" };
    let groups = destined(walk, packets, groups)?;
    let everybody =
        if packets.is_ipv6() { Bdd::NONE } else { destined(walk, packets, "255.255.255.255/32")? };
    let on_link = walk.sets().or(groups, everybody)?;
    let mut elsewhere = Vec::new();
    for (answer, some) in ask(walk, packets)? {
        let some = walk.sets().minus(some, on_link)?;
        match &answer {
            Answer::Route(route, _)
                if matches!(
                    route.kind,
                    RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast | RouteKind::Multicast
                ) => {}
            Answer::Unknown(_) => stopped(walk, some, &answer),
            Answer::Route(..) | Answer::Rule(_) | Answer::Nothing => elsewhere.push(some),
        }
    }
    let elsewhere = walk.sets().any_of(&elsewhere)?;
    let text = "not for this host".to_owned();
    let site = Site::Route { table: None, text: text.clone() };
    walk.step_of(elsewhere, "route", site, Decision::Drop, text);
    walk.opaque_to(groups, name, "who listens to groups");
    // Who has no address yet may ask all (`ip_route_input_slow`, `ip_mc_validate_source`).
    let from_nobody = in_prefix(&mut walk.host.sets, &packets.headers, Field::Source, unspecified())?;
    let spared = walk.sets().and(on_link, from_nobody.yes)?;
    let asked = walk.asked;
    walk.asked = walk.sets().minus(asked, spared)?;
    are_martian(walk, packets, name, false)?;
    source_is_valid(walk, packets, name, None)?;
    walk.asked = asked;
    hooks::pass(walk, packets, packets.family, Hook::Input)
}

/// The packets that are for the network.
fn destined(walk: &mut Walk<'_, '_>, packets: &Packets, net: &str) -> Decided<PacketSet> {
    let net = net.parse().expect("a literal network");
    let holds = in_prefix(&mut walk.host.sets, &packets.headers, Field::Destination, net)?;
    Ok(walk.parted(holds)?.1)
}

/// `0.0.0.0/8`.
fn unspecified() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8))
}
