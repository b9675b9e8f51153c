//! The addresses that a network's DHCP server may give are used up, or nearly so.

use std::net::IpAddr;

use kvmnet_probes::facts::{Network, NetworkIp};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, network};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "dhcp-range-full",
    severity: Severity::Warning,
    category: Category::Libvirt,
    summary: "a network's DHCP range is nearly used up",
    explanation: "dnsmasq gives addresses of the range in <dhcp> and no others. Leases of VMs that are long gone stay \
                  until they expire, an hour by default. When the range is used up, further VMs get no address, while \
                  everything else works.",
    needs: &["libvirt"],
    basis: "libvirt src/network/bridge_driver.c (dhcp-range); dnsmasq src/rfc2131.c (address_allocate); measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

/// From this share on it is said, in percent.
const NEARLY_PERCENT: u128 = 90;

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let networks = scene.snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.networks);
    let active = networks.iter().filter(|network| network.active);
    active.flat_map(|zone| zone.config.ips.iter().filter_map(|ip| diagnose(zone, ip))).collect()
}

fn diagnose(zone: &Network, ip: &NetworkIp) -> Option<Diagnosis> {
    let size: u128 =
        ip.ranges.iter().map(|&(first, last)| number(last).saturating_sub(number(first)) + 1).sum();
    let in_range = |address: IpAddr| {
        let mut ranges = ip.ranges.iter();
        ranges
            .any(|&(first, last)| first.is_ipv4() == address.is_ipv4() && first <= address && address <= last)
    };
    let leased: Vec<IpAddr> =
        zone.leases.iter().map(|lease| lease.address).filter(|address| in_range(*address)).collect();
    let used = leased.len() as u128;
    if size == 0 || used * 100 < size * NEARLY_PERCENT {
        return None;
    }
    let ranges: Vec<String> = ip.ranges.iter().map(|(first, last)| format!("{first}–{last}")).collect();
    let name = quoted(&zone.name);
    Some(Diagnosis {
        key: format!("{} {}", zone.name, ip.net),
        subjects: vec![network(&zone.name)],
        title: format!("{}: {used} of {size} addresses are leased", zone.name),
        cause: format!(
            "network {} may give {size} addresses ({}), and {used} are leased: further VMs will get none.",
            zone.name,
            ranges.join(", ")
        ),
        evidence: vec![fact(
            "libvirt",
            format!("network {}: {used} leases in {}", zone.name, ranges.join(", ")),
        )],
        fix: fix(
            [format!("virsh net-edit {name}")],
            "widen <range> in <dhcp>; it takes effect when the network is started anew. `virsh net-update` cannot \
             change a range that is in use",
        ),
    })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}
