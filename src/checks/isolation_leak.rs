//! Something passes that the model forbids, and no more specific check knows why.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix, network};
use crate::engine::libvirt;
use crate::model::{NetworkZone, Zone};

pub(super) const CHECK: Check = Check {
    id: "isolation-leak",
    severity: Severity::Error,
    category: Category::Isolation,
    summary: "packets pass that the network's mode forbids",
    explanation: "Nothing on the way of the packet drops it, although the mode of the network promises that it \
                  is dropped. With libvirt's iptables backend an accept in front of libvirt's jumps in FORWARD \
                  does that; on any backend a guest that is plugged into a second network, or a network that \
                  somebody else routes.",
    needs: &["nf-tables", "xtables-legacy", "routes"],
    basis: "measured: accepts in front of LIBVIRT_FWI and LIBVIRT_FWO open every isolated network",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let rules_are_gone = |zone| libvirt::rules_are_gone(scene.snapshot, zone, gap.claim.ipv6);
    if gap.step.is_some()
        || scene.nics_of(gap.claim).any(|nic| scene.is_astray(nic))
        || scene.networks_of(gap.claim).any(rules_are_gone)
    {
        return None;
    }
    let zones: Vec<&NetworkZone> = scene.networks_of(gap.claim).collect();
    let first = zones.first()?;
    let words = match (gap.claim.from, gap.claim.to) {
        (Zone::Outside, _) => format!("the outside reaches network {} ({})", first.name, first.mode.word()),
        (_, Zone::Internet) => format!("network {} ({}) reaches the internet", first.name, first.mode.word()),
        (Zone::Host, _) => format!("the host reaches network {}", first.name),
        (_, Zone::Nic(_)) => {
            let other = zones.get(1).unwrap_or(first);
            format!("network {} reaches network {} ({})", first.name, other.name, other.mode.word())
        }
        (_, Zone::Gateway(_) | Zone::Host | Zone::Outside) => {
            format!("network {} reaches further", first.name)
        }
    };
    Some(Diagnosis {
        key: words.clone(),
        subjects: zones.iter().map(|zone| network(&zone.name)).collect(),
        title: words.clone(),
        cause: format!("{words}, which the mode forbids: nothing on the way drops the packet."),
        evidence: Vec::new(),
        fix: fix(
            [format!("systemctl restart {}", libvirt::network_service(scene.snapshot))],
            "this puts libvirt's rules in front again (iptables backend); then find who adds accepts for the \
             bridge: the trace names the rule that accepts",
        ),
    })
}
