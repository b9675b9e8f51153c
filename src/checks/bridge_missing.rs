//! The bridge of a network that libvirt believes to be active does not exist.
//!
//! libvirt does not notice when somebody deletes a bridge. For a bridge that libvirt does not make
//! itself the administrator's configuration did not make it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::engine::{Site, libvirt, quoted};
use crate::model::{NetworkZone, lost_uplinks};

pub(super) const CHECK: Check = Check {
    id: "bridge-missing",
    severity: Severity::Error,
    category: Category::Link,
    summary: "the bridge of an active network does not exist",
    explanation: "Somebody deleted the bridge, or what should have made it at boot did not. libvirt goes on \
                  calling the network active. The taps of running VMs are left without a bridge, and libvirt's \
                  nftables rules keep naming the number of a device that is gone. A bridge of libvirt's own \
                  comes back by stopping and starting the network; the taps then have to be plugged in again.",
    needs: &["links", "libvirt"],
    basis: "measured with libvirt 11.3: virsh net-list says active after `ip link del virbr0`",
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
        | Site::OtherBridge { .. } => scene
            .networks_of(gap.claim)
            .find(|zone| is_missing(scene, zone))
            .map(|zone| diagnose(scene, zone)),
        Site::Netfilter { table, chain, .. } if libvirt::is_libvirts(table, chain) => scene
            .networks_of(gap.claim)
            .find(|zone| is_missing(scene, zone))
            .map(|zone| diagnose(scene, zone)),
        _ => None,
    }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let missing = |zone: &&NetworkZone| is_missing(scene, zone);
    scene.topology.networks.iter().filter(missing).map(|zone| diagnose(scene, zone)).collect()
}

fn is_missing(scene: &Scene<'_>, zone: &NetworkZone) -> bool {
    scene.snapshot.links.known().is_some()
        && zone.active
        && zone.bridge.is_some()
        && zone.bridge_index.is_none()
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Diagnosis {
    let bridge = zone.bridge.as_ref().map_or_else(String::new, ToString::to_string);
    let device = quoted(&bridge);
    let name = quoted(&zone.name);
    let mut commands: Vec<String> = Vec::new();
    let note = if zone.is_lan() {
        commands.push(format!("ip link add {device} type bridge"));
        commands.push(format!("ip link set {device} up"));
        if let Some([port]) =
            zone.bridge.as_ref().map(|bridge| lost_uplinks(scene.snapshot, bridge)).as_deref()
        {
            commands.push(format!("ip link set {} master {device}", quoted(port.as_str())));
        }
        "the bridge is not libvirt's: declare it in the host's network configuration, with its port to the LAN \
         and its addresses, or it is gone again after a reboot"
    } else {
        if !libvirt::chains_exist(scene.snapshot) {
            commands.push(format!("systemctl restart {}", libvirt::network_service(scene.snapshot)));
        }
        commands.push(format!("virsh net-destroy {name}"));
        commands.push(format!("virsh net-start {name}"));
        "net-destroy is refused if the daemon has found out by itself that the network is inactive: then \
         net-start alone is enough"
    };
    let taps = scene.members(zone).filter_map(|nic| nic.tap.as_ref());
    commands.extend(taps.map(|tap| format!("ip link set {} master {device} up", quoted(tap.as_str()))));
    Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: its bridge {bridge} does not exist", zone.name),
        cause: format!("network {} is active, but its bridge {bridge} does not exist.", zone.name),
        evidence: vec![fact("links", format!("no device {bridge}"))],
        fix: fix(commands, note),
    }
}
