//! Frames in a bridge: its ports, its MAC table, its hooks, and the IP hooks that it lends them to.

use std::ops::RangeInclusive;

use kvmnet_probes::facts::{BridgePort, Family, Hook, IfIndex, Mac, PortState};

use super::packet_set::{Decided, Truth};
use super::packets::{Device, Packets};
use super::walk::Walk;
use super::{Decision, Site, device, hooks};

/// Priorities of what sees a bridged frame before the IP hooks do, and after them: those have `NF_BR_PRI_BRNF`
/// there (`net/bridge/br_netfilter_hooks.c`), and what has the same is taken to have been registered later.
const BEFORE_IP: RangeInclusive<i32> = i32::MIN..=0;
const AFTER_IP: RangeInclusive<i32> = 1..=i32::MAX;

/// A frame inside a bridge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside {
    pub(super) bridge: IfIndex,
    /// The port that it came in by; `None`: from this host.
    pub(super) port: Option<IfIndex>,
    /// The VLAN that it belongs to, if the bridge filters by VLAN.
    vlan: Option<u16>,
    /// It has passed PREROUTING of IP already.
    pub(super) prerouted: bool,
}

/// A frame comes in by a port: state, VLAN, lock, then the hooks.
pub(super) fn enter(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    port: IfIndex,
    bridge: IfIndex,
) -> Decided<Inside> {
    packets.framed = true;
    let mut inside = Inside { bridge, port: Some(port), vlan: None, prerouted: false };
    is_up(walk, bridge);
    if let Some(settings) = settings(walk, port, bridge) {
        forwards(walk, port, bridge, settings);
        if walk.world.bridge(bridge).is_some_and(|bridge| bridge.vlan_filtering) {
            inside.vlan = settings.pvid.map(|vlan| vlan.0);
            let allowed = settings.pvid.is_some_and(|pvid| settings.vlans.iter().any(|vlan| vlan.id == pvid));
            if !allowed {
                port_drops(walk, port, bridge, "vlan: untagged frames belong to no VLAN of the port");
            }
        }
        match packets.source_mac {
            _ if !settings.locked => {}
            None => {
                let name = walk.world.name(port);
                walk.opaque(name.as_str(), "locked: whether the MAC table holds the sender's MAC here");
            }
            Some(mac) => {
                let entry = walk.world.fdb(bridge, mac, inside.vlan);
                if entry.is_none_or(|entry| entry.port != port || entry.permanent) {
                    port_drops(
                        walk,
                        port,
                        bridge,
                        &format!("locked: the MAC table does not hold {mac} here"),
                    );
                }
            }
        }
    }
    let input = walk.world.device(port);
    packets.input = Some(input.clone());
    let mac = walk.world.mac(bridge);
    let own = packets.is_for(walk.sets(), mac)?;
    packets.to_other = walk.sets().both(packets.to_other, own.negate(true))?;
    hooks::pass(walk, packets, Family::Bridge, Hook::Brouting)?;
    hooks::pass_within(walk, packets, (Family::Bridge, Hook::Prerouting), BEFORE_IP)?;
    if calls_ip(walk, packets.family, bridge) {
        packets.port_in = Some(input.clone());
        packets.input = Some(walk.world.device(bridge));
        let to_other = std::mem::replace(&mut packets.to_other, Truth::NO);
        hooks::pass(walk, packets, packets.family, Hook::Prerouting)?;
        packets.to_other = to_other;
        packets.input = Some(input);
        inside.prerouted = true;
    }
    hooks::pass_within(walk, packets, (Family::Bridge, Hook::Prerouting), AFTER_IP)?;
    Ok(inside)
}

/// The frame goes up to the host.
pub(super) fn up(walk: &mut Walk<'_, '_>, packets: &mut Packets, inside: Inside) -> Decided<()> {
    let Inside { bridge, port, vlan, .. } = inside;
    packets.input = port.map(|port| walk.world.device(port));
    if let (Some(vlan), Some(settings)) = (vlan, walk.world.bridge(bridge))
        && settings.vlans.iter().all(|own| own.id.0 != vlan)
    {
        port_drops(walk, bridge, bridge, &format!("vlan: the host takes no part in VLAN {vlan}"));
    }
    hooks::pass(walk, packets, Family::Bridge, Hook::Input)?;
    device::enter(walk, packets, bridge)
}

/// The MAC table takes `mac` for the host's own: the frame goes up.
pub(super) fn takes(walk: &Walk<'_, '_>, inside: Inside, mac: Option<Mac>) -> bool {
    let entry = mac.and_then(|mac| walk.world.fdb(inside.bridge, mac, inside.vlan));
    entry.is_some_and(|entry| entry.permanent)
}

/// The host sends a frame into the bridge.
pub(super) fn from_host(walk: &mut Walk<'_, '_>, packets: &mut Packets, bridge: IfIndex) -> Inside {
    packets.framed = true;
    packets.port_in = None;
    let settings = walk.world.bridge(bridge).filter(|settings| settings.vlan_filtering);
    let vlan = settings.and_then(|settings| settings.pvid).map(|vlan| vlan.0);
    Inside { bridge, port: None, vlan, prerouted: false }
}

/// The frame leaves by a port: MAC table, flags, then the hooks. `tagged`: whoever is behind the port
/// takes tagged frames.
pub(super) fn leave(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    inside: Inside,
    port: IfIndex,
    tagged: bool,
) -> Decided<()> {
    let Inside { bridge, port: from, vlan, .. } = inside;
    is_up(walk, bridge);
    if let Some(settings) = settings(walk, port, bridge) {
        forwards(walk, port, bridge, settings);
        if let Some(vlan) = vlan {
            match settings.vlans.iter().find(|allowed| allowed.id.0 == vlan) {
                None => port_drops(walk, port, bridge, &format!("vlan: VLAN {vlan} does not pass here")),
                Some(allowed) if !allowed.untagged && !tagged => {
                    port_drops(walk, port, bridge, &format!("vlan: VLAN {vlan} leaves with a tag"));
                }
                Some(_) => {}
            }
        }
        let isolated = |port: IfIndex| {
            walk.world.link(port).and_then(|link| link.port.as_ref()).is_some_and(|port| port.isolated)
        };
        if settings.isolated && from.is_some_and(isolated) {
            port_drops(walk, port, bridge, "isolated, as is the port that the frame came in by");
        }
        if from == Some(port) && !settings.hairpin {
            port_drops(
                walk,
                port,
                bridge,
                "hairpin off: a frame does not leave by the port that it came in by",
            );
        }
        let asks = packets.asks_for_mac(walk.sets())?;
        if settings.neigh_suppress && walk.is(asks)? != Some(false) {
            walk.program(
                walk.world.name(port).as_str(),
                "neigh_suppress: the bridge answers in place of whom it knows",
            );
        }
        match packets.destination_mac {
            // What the host itself sends to all goes to all (`br_flood`).
            Some(mac) if mac.is_group() && from.is_none() => {}
            Some(Mac::BROADCAST) if !settings.broadcast_flood => {
                port_drops(walk, port, bridge, "broadcast flood off");
            }
            Some(mac) if mac != Mac::BROADCAST && mac.is_group() && !settings.multicast_flood => {
                walk.opaque(
                    walk.world.name(port).as_str(),
                    "multicast flood off: whether the group was joined",
                );
            }
            Some(mac) if !mac.is_group() => table(walk, inside, port, settings, mac),
            None if !settings.unicast_flood => {
                walk.opaque(
                    walk.world.name(port).as_str(),
                    "unicast flood off towards a MAC that is not known",
                );
            }
            Some(_) | None => {}
        }
    }
    let (input, output) = (from.map(|from| walk.world.device(from)), walk.world.device(port));
    packets.output = Some(output.clone());
    let bridged = input.is_some();
    if bridged {
        packets.input.clone_from(&input);
        hooks::pass_within(walk, packets, (Family::Bridge, Hook::Forward), BEFORE_IP)?;
        if packets.is_arp() {
            if calls(walk, bridge, "bridge-nf-call-arptables", |bridge| bridge.nf_call_arptables) {
                hooks::pass(walk, packets, Family::Arp, Hook::Forward)?;
            }
        } else if calls_ip(walk, packets.family, bridge) {
            through_ip(walk, packets, bridge, Hook::Forward, (input.clone(), output.clone()))?;
        }
        (packets.input, packets.output) = (input.clone(), Some(output.clone()));
        hooks::pass_within(walk, packets, (Family::Bridge, Hook::Forward), AFTER_IP)?;
    } else {
        packets.input = None;
        hooks::pass(walk, packets, Family::Bridge, Hook::Output)?;
    }
    // By then the bridge no longer says where it came in (`br_forward_finish`).
    (packets.input, packets.output) = (None, Some(output.clone()));
    hooks::pass(walk, packets, Family::Bridge, Hook::Postrouting)?;
    if bridged && calls_ip(walk, packets.family, bridge) {
        through_ip(walk, packets, bridge, Hook::Postrouting, (input, output))?;
    }
    device::leave(walk, packets, port)
}

type Ports = (Option<Device>, Device);

/// A bridged frame in the IP hooks: the devices are the bridge, the ports are told apart.
fn through_ip(
    walk: &mut Walk<'_, '_>,
    packets: &mut Packets,
    bridge: IfIndex,
    hook: Hook,
    (from, to): Ports,
) -> Decided<()> {
    let device = walk.world.device(bridge);
    packets.input = (hook == Hook::Forward).then(|| device.clone());
    packets.output = Some(device);
    (packets.port_in, packets.port_out) = (from, Some(to));
    // While they are in these hooks the kernel says of all frames that they are for this host.
    let to_other = std::mem::replace(&mut packets.to_other, Truth::NO);
    hooks::pass(walk, packets, packets.family, hook)?;
    packets.to_other = to_other;
    Ok(())
}

/// Whether bridged packets of this family pass the IP hooks.
fn calls_ip(walk: &mut Walk<'_, '_>, family: Family, bridge: IfIndex) -> bool {
    match family {
        Family::Ip => calls(walk, bridge, "bridge-nf-call-iptables", |bridge| bridge.nf_call_iptables),
        Family::Ip6 => calls(walk, bridge, "bridge-nf-call-ip6tables", |bridge| bridge.nf_call_ip6tables),
        Family::Inet | Family::Arp | Family::Netdev | Family::Bridge => false,
    }
}

/// The sysctl, which is absent where `br_netfilter` is not loaded, or the bridge's own attribute.
fn calls(
    walk: &mut Walk<'_, '_>,
    bridge: IfIndex,
    sysctl: &str,
    own: impl FnOnce(&kvmnet_probes::facts::Bridge) -> bool,
) -> bool {
    let Some(sysctls) = walk.world.sysctls() else {
        walk.missing("bridge", "sysctls");
        return false;
    };
    let value = sysctls.number(&format!("net/bridge/{sysctl}"));
    value.is_some_and(|value| value != 0 || walk.world.bridge(bridge).is_some_and(own))
}

/// What the MAC table says of a unicast frame that should leave by `port`.
fn table(
    walk: &mut Walk<'_, '_>,
    Inside { bridge, port: from, vlan, .. }: Inside,
    port: IfIndex,
    settings: &BridgePort,
    mac: Mac,
) {
    if walk.world.snapshot.fdb.known().is_none() {
        walk.missing("bridge", "fdb");
        return;
    }
    let name = walk.world.name(bridge);
    match walk.world.fdb(bridge, mac, vlan) {
        // Whoever sends to the MAC has asked for it, and the answer is learned.
        None if !settings.unicast_flood && settings.learning => {
            walk.opaque(
                walk.world.name(port).as_str(),
                format!("unicast flood off: whether the MAC table has learned {mac} by then"),
            );
        }
        None if !settings.unicast_flood => {
            port_drops(
                walk,
                port,
                bridge,
                &format!("unicast flood off, and the MAC table does not hold {mac}"),
            );
        }
        // The host's own frames go to the port of a permanent entry (`br_dev_xmit`), others to the host.
        Some(entry)
            if (entry.permanent && from.is_some())
                || entry.port != port
                    && (entry.permanent || entry.sticky || settings.locked || !settings.learning) =>
        {
            let at = walk.world.name(entry.port);
            let text = if entry.permanent {
                format!("{mac} is the host's own by the MAC table (permanent at {at})")
            } else {
                format!("the MAC table has {mac} at {at}")
            };
            walk.step(name.clone().as_str(), Site::Fdb { bridge: name, port: at }, Decision::Drop, text);
        }
        // An entry at another port moves here with the first frame from here that comes so far.
        Some(entry) if entry.port != port && may_stop_early(walk, bridge, port) => {
            let at = walk.world.name(entry.port);
            walk.opaque(
                walk.world.name(port).as_str(),
                format!("whether the MAC table, which has {mac} at {at}, learns that it is here"),
            );
        }
        None | Some(_) => {}
    }
}

/// Whether rules may stop frames that come in by the port before the bridge learns from them.
fn may_stop_early(walk: &mut Walk<'_, '_>, bridge: IfIndex, port: IfIndex) -> bool {
    let device = walk.world.device(port);
    let mut early: Vec<(Family, Hook)> = vec![
        (Family::Netdev, Hook::Ingress),
        (Family::Bridge, Hook::Brouting),
        (Family::Bridge, Hook::Prerouting),
    ];
    for family in [Family::Ip, Family::Ip6] {
        if calls_ip(walk, family, bridge) {
            early.push((family, Hook::Prerouting));
        }
    }
    early.into_iter().any(|(family, hook)| hooks::may_stop(walk.world, &device, family, hook))
}

/// What the bridge says of the port, if it is one of its.
fn settings<'a>(walk: &mut Walk<'_, 'a>, port: IfIndex, bridge: IfIndex) -> Option<&'a BridgePort> {
    let link = walk.world.link(port).filter(|link| link.master == Some(bridge))?;
    if link.port.is_none() {
        walk.opaque(link.name.as_str(), format!("state of bridge port {}, which was not read", link.name));
    }
    link.port.as_ref()
}

fn is_up(walk: &mut Walk<'_, '_>, bridge: IfIndex) {
    if walk.world.link(bridge).is_some_and(|link| !link.up) {
        device::refuse(walk, walk.world.name(bridge), "down");
    }
}

/// The port is in forwarding state. Where it or the bridge is down that is told already.
fn forwards(walk: &mut Walk<'_, '_>, port: IfIndex, bridge: IfIndex, settings: &BridgePort) {
    let runs = |index| walk.world.link(index).is_some_and(|link| link.up);
    let carrier = walk.world.link(port).is_some_and(|link| link.carrier);
    match settings.state {
        PortState::Forwarding => {}
        PortState::Disabled if !runs(port) || !runs(bridge) || !carrier => {}
        PortState::Disabled => port_drops(walk, port, bridge, "state disabled"),
        PortState::Listening => port_drops(walk, port, bridge, "state listening"),
        PortState::Learning => port_drops(walk, port, bridge, "state learning"),
        PortState::Blocking => port_drops(walk, port, bridge, "state blocking"),
        PortState::Unknown(state) => {
            walk.opaque(walk.world.name(port).as_str(), format!("bridge port state {state}"));
        }
    }
}

/// The port drops the frame.
pub(super) fn port_drops(walk: &mut Walk<'_, '_>, port: IfIndex, bridge: IfIndex, what: &str) {
    let (device, bridge) = (walk.world.name(port), walk.world.name(bridge));
    let place = device.0.clone();
    let text = if device == bridge { what.to_owned() } else { format!("port of {bridge}: {what}") };
    walk.step(&place, Site::BridgePort { device, bridge, what: what.to_owned() }, Decision::Drop, text);
}
