//! IPv6 is on at the bridge of a network that libvirt protects for IPv4 alone.

use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, network};
use crate::engine::quoted;
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "ipv6-open",
    severity: Severity::Warning,
    category: Category::Isolation,
    summary: "IPv6 is on where libvirt has no rules for it",
    explanation: "For a network without an IPv6 address libvirt writes no IPv6 rules: it switches IPv6 off at the \
                  bridge instead, and that is all that keeps the network closed. If something switches it on \
                  again (a network manager, a sysctl for all devices) and the host forwards IPv6, guests of an \
                  isolated network reach others as soon as they have addresses.",
    needs: &["libvirt", "sysctls"],
    basis: "libvirt src/network/bridge_driver.c networkSetIPv6Sysctls; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.networks.iter().filter_map(|zone| open(scene, zone)).collect()
}

fn open(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let closed =
        matches!(zone.mode, ForwardMode::Nat | ForwardMode::Isolated) && zone.in_libvirt && zone.active;
    if !closed || zone.gateways.iter().any(|net| net.addr().is_ipv6()) {
        return None;
    }
    let bridge = &scene.bridge(zone)?.name;
    let sysctls = scene.snapshot.sysctls.known()?;
    let name = format!("net/ipv6/conf/{bridge}/disable_ipv6");
    let number = |name: &str| sysctls.number(name);
    if number(&name) != Some(0) || number("net/ipv6/conf/all/forwarding") != Some(1) {
        return None;
    }
    Some(Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: IPv6 is on at {bridge}, without rules of libvirt's for it", zone.name),
        cause: format!(
            "{name} is 0 although network {} has no IPv6 address, and the host forwards IPv6: libvirt's rules do \
             not keep the network closed for it.",
            zone.name
        ),
        evidence: vec![fact("sysctls", format!("{name} = 0"))],
        fix: fix(
            [format!("sysctl -w {}=1", quoted(&name))],
            "if the network is to have IPv6, give it an IPv6 address in its XML: then libvirt writes its rules",
        ),
    })
}
