//! A libvirt network that VMs belong to is not started.

use kvmnet_probes::facts::{IfName, Listener};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::engine::{Site, libvirt, quoted};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "network-inactive",
    severity: Severity::Error,
    category: Category::Libvirt,
    summary: "a network that VMs belong to is not started",
    explanation: "Without its network started a VM does not start, and one that runs already is cut off: \
                  stopping the network took its bridge away. After the network is started again the taps of \
                  running VMs have to be plugged into the new bridge by hand, or the VMs powered off and on.",
    needs: &["libvirt"],
    basis: "measured with libvirt 11.3: net-start leaves the taps of running VMs without a bridge",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    match gap.site()? {
        route @ Site::Route { .. } if !route.is_last_resort() => None,
        Site::NoMaster { .. }
        | Site::Link { .. }
        | Site::NoAddress { .. }
        | Site::Route { .. }
        | Site::NoService { .. }
        | Site::OtherBridge { .. }
        | Site::Netfilter { .. } => {
            scene.networks_of(gap.claim).find(|zone| !zone.active).map(|zone| diagnose(scene, zone))
        }
        _ => None,
    }
}

/// Networks that a running VM needs, or that start with the daemon and yet do not run.
fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let wanted = |zone: &&NetworkZone| {
        let listed = scene.snapshot.libvirt.known().and_then(|libvirt| {
            libvirt.networks.iter().find(|network| zone.in_libvirt && network.name == zone.name)
        });
        scene.members(zone).next().is_some() || listed.is_some_and(|network| network.autostart)
    };
    let inactive = scene.topology.networks.iter().filter(|zone| !zone.active);
    inactive.filter(wanted).map(|zone| diagnose(scene, zone)).collect()
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Diagnosis {
    let name = quoted(&zone.name);
    let mut commands = Vec::new();
    if !zone.is_lan() && !libvirt::chains_exist(scene.snapshot) {
        commands.push(format!("systemctl restart {}", libvirt::network_service(scene.snapshot)));
    }
    commands.push(format!("virsh net-start {name}"));
    let stranded: Vec<&str> = scene
        .members(zone)
        .filter(|nic| nic.bridge.is_none())
        .filter_map(|nic| nic.tap.as_ref().map(IfName::as_str))
        .collect();
    let bridge = zone.bridge.as_ref().map(|bridge| quoted(bridge.as_str()));
    if let Some(bridge) = bridge {
        commands.extend(stranded.iter().map(|tap| format!("ip link set {} master {bridge} up", quoted(tap))));
    }
    let plugged = if stranded.is_empty() { "" } else { "net-start does not plug running VMs in again. " };
    let mut evidence = vec![fact("libvirt", format!("network {}: inactive", zone.name))];
    let mut why = String::new();
    let mut first = "";
    let mut squatters: Vec<String> = squatters(scene, zone).map(holder).collect();
    squatters.dedup();
    if !squatters.is_empty() {
        let names = squatters.join(" and ");
        why = format!(
            "; {names} of all addresses, where its dnsmasq has to listen, and may keep it from starting"
        );
        first = "before the commands stop that server, or bind it to its own devices (dnsmasq: `bind-interfaces` \
                 with `interface=`). ";
        evidence.extend(squatters.into_iter().map(|squatter| fact("listeners", squatter)));
    }
    Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: the network is not started", zone.name),
        cause: format!("network {} is not running{why}.", zone.name),
        evidence,
        fix: fix(
            commands,
            &format!("{first}{plugged}if it should start with the host: `virsh net-autostart {name}`"),
        ),
    }
}

/// Who holds a port, on all addresses, that the network's dnsmasq needs. libvirt's own servers bind to their device
/// (DHCP) or address (DNS).
fn squatters<'a>(scene: &Scene<'a>, zone: &NetworkZone) -> impl Iterator<Item = &'a Listener> {
    let networks = scene.snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.networks);
    let config = networks.iter().find(|network| network.name == zone.name).map(|network| &network.config);
    let dhcp = config.is_some_and(|config| config.ips.iter().any(|ip| ip.dhcp && ip.net.addr().is_ipv4()));
    let dns = config.is_some_and(|config| config.dns);
    scene.snapshot.listeners.items().iter().filter(move |listener| {
        let wanted = match listener.port {
            67 => dhcp,
            53 => dns,
            _ => false,
        };
        wanted && listener.address.is_unspecified() && listener.device.is_none()
    })
}

/// `named (pid 7) listens on port 53`.
fn holder(listener: &Listener) -> String {
    let who = match &listener.process {
        Some(process) => format!("{} (pid {})", process.name, process.pid),
        None => "a server that cannot be seen from here".to_owned(),
    };
    format!("{who} listens on port {}", listener.port)
}
