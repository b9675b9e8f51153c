//! A network may leave by one device only, and its packets leave by another.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::engine::{Site, libvirt, quoted};

pub(super) const CHECK: Check = Check {
    id: "forward-dev-pinned",
    severity: Severity::Error,
    category: Category::Libvirt,
    summary: "a network is bound to a device that the default route does not use",
    explanation: "<forward dev='…'/> writes that device into every rule of the network. When the default route \
                  goes by another device (Wi-Fi instead of cable, a VPN), none of the accepting rules matches \
                  and libvirt's own last rule rejects the packet. Without the attribute libvirt takes whatever \
                  device the route chooses.",
    needs: &["libvirt", "routes", "nf-tables"],
    basis: "libvirt src/network/network_nftables.c (oifname from the forward device); measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let explains = match gap.site()? {
        Site::Netfilter { table, chain, .. } => libvirt::is_libvirts(table, chain),
        Site::NoNat { .. } => true,
        _ => false,
    };
    let zone = scene.networks_of(gap.claim).next().filter(|_| explains)?;
    let (only, used) = scene.bound_elsewhere(zone, gap.claim.ipv6)?;
    let name = quoted(&zone.name);
    Some(Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: bound to {only}", zone.name),
        cause: format!(
            "network {} may leave by {only} only, but the default route goes by {}: libvirt's own rules \
             reject the packets.",
            zone.name, used
        ),
        evidence: vec![
            fact("libvirt", format!("<forward dev='{only}'/> in network {}", zone.name)),
            fact("routes", format!("default dev {used}")),
        ],
        fix: fix(
            [format!("virsh net-edit {name}")],
            "delete the dev attribute and the <interface> line from <forward>; it takes effect when the network is \
             stopped and started, after which running VMs have to be plugged in again",
        ),
    })
}
