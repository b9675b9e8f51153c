//! The host does not forward packets at all.

use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::Site;
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "ip-forward-off",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the host does not forward packets",
    explanation: "libvirt switches net.ipv4.ip_forward on when it starts a NAT or routed network and never looks \
                  again. Whatever switches it off later wins: a hardening script, `sysctl --system`, another \
                  program that stops. Guests then reach the host and nothing beyond.",
    needs: &["sysctls", "libvirt"],
    basis: "net/ipv4/route.c ip_route_input_slow; measured with both of libvirt 11.3's backends",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

const SWITCHES: [(bool, &str); 2] = [(false, "net/ipv4/ip_forward"), (true, "net/ipv6/conf/all/forwarding")];

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Sysctl { name, .. } = gap.site()? else { return None };
    let all = ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"];
    all.contains(&name.as_str()).then(|| diagnose(name.starts_with("net/ipv6")))
}

/// Networks that need forwarding, also while no VM runs in them.
fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let Some(sysctls) = scene.snapshot.sysctls.known() else { return Vec::new() };
    let needs = |zone: &&NetworkZone, ipv6: bool| {
        zone.active
            && matches!(zone.mode, ForwardMode::Nat | ForwardMode::Route)
            && zone.gateway(ipv6).is_some()
    };
    SWITCHES
        .iter()
        .filter(|(ipv6, name)| {
            sysctls.number(name) == Some(0) && scene.topology.networks.iter().any(|zone| needs(&zone, *ipv6))
        })
        .map(|(ipv6, _)| diagnose(*ipv6))
        .collect()
}

fn diagnose(ipv6: bool) -> Diagnosis {
    let (name, family) =
        if ipv6 { ("net.ipv6.conf.all.forwarding", "IPv6") } else { ("net.ipv4.ip_forward", "IPv4") };
    Diagnosis {
        key: name.to_owned(),
        subjects: vec!["host".to_owned()],
        title: format!("the host does not forward {family}"),
        cause: format!("{name} is 0: the host forwards no {family} packet."),
        evidence: vec![fact("sysctls", format!("{name} = 0"))],
        fix: fix(
            [format!("sysctl -w {name}=1")],
            &format!(
                "to make it last: `echo '{name} = 1' > /etc/sysctl.d/90-kvm.conf`, and find what switched it off \
                 (`grep -r {} /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d`)",
                name.rsplit('.').next().unwrap_or(name)
            ),
        ),
    }
}
