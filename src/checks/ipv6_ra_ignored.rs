//! The host's IPv6 default route was learned from advertisements that it takes no more.

use kvmnet_probes::facts::{IfName, Route};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "ipv6-ra-ignored",
    severity: Severity::Warning,
    category: Category::Routing,
    summary: "the host's IPv6 default route is not renewed",
    explanation: "A host that forwards IPv6 is a router, and a router takes no router advertisements unless accept_ra \
                  is 2. A default route that was learned from one stays until its lifetime ends, half an hour as a \
                  rule; then the host and its guests are without IPv6. libvirt switches forwarding on for a network with \
                  IPv6, and refuses to start it in this state.",
    needs: &["sysctls", "routes"],
    basis: "net/ipv6/ndisc.c ndisc_router_discovery, include/net/ipv6.h ipv6_accept_ra; libvirt \
            src/util/virnetdevip.c virNetDevIPCheckIPv6Forwarding",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

/// `RTPROT_RA`.
const RA: u8 = 9;

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let learned = |route: &&Route| {
        route.protocol == RA && route.destination.addr().is_ipv6() && route.destination.prefix_len() == 0
    };
    let routes = scene.snapshot.routes.items().iter().filter(learned);
    let mut devices: Vec<&IfName> = routes
        .flat_map(|route| &route.next_hops)
        .filter_map(|hop| Some(&scene.snapshot.link(hop.device?)?.name))
        .filter(|device| ignores(scene, device.as_str()))
        .collect();
    devices.sort_unstable();
    devices.dedup();
    devices.into_iter().map(diagnose).collect()
}

/// The kernel listens to advertisements at the device as long as it does not forward. At 0 it is not the kernel that
/// learned the route: a network manager listens in its place.
fn ignores(scene: &Scene<'_>, device: &str) -> bool {
    let sysctl =
        |key| scene.snapshot.sysctls.known().and_then(|sysctls| sysctls.per_device(true, device, key));
    sysctl("accept_ra") == Some(1) && sysctl("forwarding") == Some(1)
}

fn diagnose(device: &IfName) -> Diagnosis {
    let name = format!("net/ipv6/conf/{device}/accept_ra");
    Diagnosis {
        key: device.to_string(),
        subjects: vec![link(device)],
        title: format!("{device}: the IPv6 default route is not renewed"),
        cause: format!(
            "the host forwards IPv6 and takes no router advertisements at {device} (accept_ra is 1): its default route, \
             which it learned from one, ends with its lifetime."
        ),
        evidence: vec![
            fact("sysctls", format!("{name} = 1, net/ipv6/conf/{device}/forwarding = 1")),
            fact("routes", format!("default dev {device} proto ra")),
        ],
        fix: fix(
            [format!("sysctl -w {}=2", quoted(&name))],
            &format!("to make it last, write `{name} = 2` into /etc/sysctl.d/90-kvm-ra.conf"),
        ),
    }
}
