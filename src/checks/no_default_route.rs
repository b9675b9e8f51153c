//! The host itself has no way to the internet.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::Site;

pub(super) const CHECK: Check = Check {
    id: "no-default-route",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the host has no default route",
    explanation: "Guests of NAT and routed networks go where the host goes. Without a default route the host \
                  has no way to the internet, and neither have they. Mend the host first: bring its uplink up \
                  and let its network manager or DHCP client set the route.",
    needs: &["routes", "rules"],
    basis: "net/ipv4/route.c ip_route_input_slow; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Route { text, .. } = gap.site()? else { return None };
    if !scene.lacks_default_route(gap) {
        return None;
    }
    let (family, ip) = if gap.claim.ipv6 { ("IPv6", "ip -6") } else { ("IPv4", "ip") };
    let down: Vec<String> = scene
        .snapshot
        .links
        .items()
        .iter()
        .filter(|link| link.master.is_none() && !(link.up && link.carrier))
        .filter(|link| matches!(link.kind, kvmnet_probes::facts::LinkKind::Physical))
        .map(|link| link.name.to_string())
        .collect();
    let note = if down.is_empty() {
        format!(
            "let the host's network manager or DHCP client set it anew, or type `{ip} route add default via` and \
             the address of your router"
        )
    } else {
        format!("these devices are down or have no carrier: {}. Is one of them the uplink?", down.join(", "))
    };
    Some(Diagnosis {
        key: family.to_owned(),
        subjects: vec!["host".to_owned()],
        title: format!("the host has no {family} default route"),
        cause: format!(
            "the host has no {family} default route: it does not know a way to the internet itself."
        ),
        evidence: vec![fact("routes", text.clone())],
        fix: fix(None::<String>, &note),
    })
}
