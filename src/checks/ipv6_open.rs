//! Guests of a network without IPv6 get out by IPv6: the host routes it, and libvirt guards IPv4 alone.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "ipv6-open",
    severity: Severity::Error,
    category: Category::Isolation,
    summary: "guests of a network without IPv6 pass by IPv6",
    explanation: "For a network without an IPv6 address libvirt writes no IPv6 rules at all. It relies on IPv6 being \
                  off on the bridge (net.ipv6.conf.BRIDGE.disable_ipv6 is 1). If somebody switches it on there, and \
                  the host forwards IPv6, guests need but an address, which they can give themselves, to pass where \
                  over IPv4 everything is closed to them. Nothing shows it: all that is usually looked at is IPv4.",
    needs: &["sysctls", "nf-tables", "routes", "libvirt"],
    basis: "libvirt src/network/bridge_driver.c networkSetIPv6Sysctls; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let zone = unguarded(scene, gap)?;
    let bridge = zone.bridge.as_ref()?;
    Some(Diagnosis {
        key: bridge.to_string(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: open by IPv6", zone.name),
        cause: format!(
            "network {} has no IPv6, so that libvirt guards it over IPv4 alone; but IPv6 is on at {bridge}, and the \
             host forwards it: what is closed over IPv4 is open over IPv6.",
            zone.name
        ),
        evidence: vec![fact("sysctls", format!("net.ipv6.conf.{bridge}.disable_ipv6 = 0"))],
        fix: fix(
            [format!("sysctl -w net/ipv6/conf/{bridge}/disable_ipv6=1")],
            "libvirt sets this whenever it starts the network: find who resets it, in /etc/sysctl.d or in a network \
             manager. If the guests are meant to have IPv6, give the network an IPv6 subnet: then libvirt writes its \
             rules",
        ),
    })
}

/// The network that the packets come from, if libvirt has no rules for them.
pub(super) fn unguarded<'a>(scene: &Scene<'a>, gap: &Gap<'_>) -> Option<&'a NetworkZone> {
    let zone = scene.networks_of(gap.claim).next()?;
    let denied = scene.mode_denies(gap.claim);
    (denied && gap.step.is_none() && gap.claim.ipv6 && zone.in_libvirt && zone.gateway(true).is_none())
        .then_some(zone)
}
