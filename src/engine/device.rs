//! What a device itself does with a packet: whether it is up, and the programs and rules attached to it.

use kvmnet_probes::facts::{Family, Hook, IfIndex, IfName, TcHook};

use super::hooks;
use super::packet_set::{Decided, Truth};
use super::packets::Packets;
use super::walk::Walk;
use super::{Decision, Site};

/// tc actions that neither drop a packet nor send it elsewhere.
const HARMLESS_ACTIONS: [&str; 8] = [
    "csum",
    "gact pass",
    "gact continue",
    "gact pipe",
    "gact reclassify",
    "mirred egress mirror",
    "mirred ingress mirror",
    "sample",
];

/// Disciplines that delay packets and drop them only when their queue is full.
const SHAPERS: [&str; 8] = ["htb", "hfsc", "tbf", "red", "qfq", "hhf", "choke", "sfb"];

/// Classifiers that sort packets by what they carry; without an action they do nothing else.
const CLASSIFIERS: [&str; 8] = ["u32", "fw", "basic", "flow", "flower", "matchall", "cgroup", "route"];

/// The packet comes in by the device.
pub(super) fn enter(walk: &mut Walk<'_, '_>, packets: &mut Packets, device: IfIndex) -> Decided<()> {
    packets.input = Some(walk.world.device(device));
    packets.output = None;
    packets.to_other = if packets.framed {
        packets.is_for(&mut walk.host.sets, walk.world.mac(device))?.negate(true)
    } else {
        Truth::NO
    };
    if !is_there(walk, device) {
        return Ok(());
    }
    let name = walk.world.name(device);
    for program in walk.world.link(device).map_or(&[][..], |link| &link.xdp) {
        walk.program(
            name.as_str(),
            format!("XDP program {} ({}) on {name}", program.program_id, program.mode),
        );
    }
    traffic_control(walk, device, &name, true);
    hooks::pass(walk, packets, Family::Netdev, Hook::Ingress)
}

/// The packet leaves by the device.
pub(super) fn leave(walk: &mut Walk<'_, '_>, packets: &mut Packets, device: IfIndex) -> Decided<()> {
    packets.output = Some(walk.world.device(device));
    if !is_there(walk, device) {
        return Ok(());
    }
    let name = walk.world.name(device);
    hooks::pass(walk, packets, Family::Netdev, Hook::Egress)?;
    traffic_control(walk, device, &name, false);
    Ok(())
}

/// The device exists, is switched on, and has a carrier. A bridge has one if a port has; whichever
/// port the packet takes is looked at for itself.
pub(super) fn is_there(walk: &mut Walk<'_, '_>, device: IfIndex) -> bool {
    if walk.world.snapshot.links.known().is_none() {
        walk.missing("device", "links");
        return false;
    }
    let name = walk.world.name(device);
    let is_bridge = walk.world.bridge(device).is_some();
    let state = match walk.world.link(device) {
        None => "absent",
        Some(link) if !link.up => "down",
        Some(link) if !link.carrier && !is_bridge => "no-carrier",
        Some(_) => return true,
    };
    refuse(walk, name, state);
    state != "absent"
}

/// The device takes no packet.
pub(super) fn refuse(walk: &mut Walk<'_, '_>, device: IfName, state: &str) {
    let text = match state {
        "absent" => "there is no such device".to_owned(),
        "no-carrier" => "no carrier".to_owned(),
        state => state.to_owned(),
    };
    let place = device.0.clone();
    walk.step(&place, Site::Link { device, state: state.to_owned() }, Decision::Drop, text);
}

fn traffic_control(walk: &mut Walk<'_, '_>, device: IfIndex, name: &IfName, ingress: bool) {
    let Some(hooks) = walk.world.snapshot.traffic_control.known() else {
        walk.missing(name.as_str(), "traffic-control");
        return;
    };
    let side = if ingress { "ingress" } else { "egress" };
    for hook in hooks.iter().filter(|hook| hook.device == device && (hook.parent == "ingress") == ingress) {
        let detail = hook.detail.as_deref().map_or_else(String::new, |detail| format!(", {detail}"));
        let what = format!("tc {} on {side} of {name}{detail}", hook.kind);
        match effect(hook) {
            Effect::None => {}
            Effect::MayDrop => walk.opaque(name.as_str(), what),
            Effect::MayDivert => walk.program(name.as_str(), what),
        }
    }
}

enum Effect {
    None,
    MayDrop,
    MayDivert,
}

fn effect(hook: &TcHook) -> Effect {
    let kind = hook.kind.as_str();
    let Some(detail) = hook.detail.as_deref().filter(|_| CLASSIFIERS.contains(&kind)) else {
        return match kind {
            kind if CLASSIFIERS.contains(&kind) || SHAPERS.contains(&kind) => Effect::None,
            "netem" | "taprio" | "etf" | "cbs" | "gred" | "blackhole" | "plug" => Effect::MayDrop,
            _ => Effect::MayDivert,
        };
    };
    let harmless = |action: &str| HARMLESS_ACTIONS.iter().any(|harmless| action.starts_with(harmless));
    let drops = |action: &str| action == "police" || action == "gact drop";
    let rest: Vec<&str> = detail.split(", ").filter(|action| !harmless(action)).collect();
    match rest.as_slice() {
        [] => Effect::None,
        rest if rest.iter().all(|action| drops(action)) => Effect::MayDrop,
        _ => Effect::MayDivert,
    }
}
