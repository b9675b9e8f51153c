//! Something passes that the model forbids, and no more specific check knows why.

use kvmnet_probes::facts::Hook;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix, network};
use super::ipv6_open::unguarded;
use crate::engine::admit::{base_chain, remove};
use crate::engine::owner::{Owner, owner};
use crate::engine::{Decision, Site, Step, libvirt};
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
        || !scene.mode_denies(gap.claim)
        || unguarded(scene, gap).is_some()
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
    if let Some(step) = gap.steps.iter().find(|step| lets_pass(scene, step)) {
        return Some(Diagnosis {
            key: format!("{:?}", step.site),
            subjects: zones.iter().map(|zone| network(&zone.name)).collect(),
            title: words,
            cause: format!(
                "a rule accepts, in front of libvirt's own, what libvirt rejects for the networks' modes: {step}, \
                 written by {}",
                match owner(scene.snapshot, &step.site) {
                    Owner::Libvirt => "somebody else into libvirt's chain".to_owned(),
                    other => other.to_string(),
                }
            ),
            evidence: Vec::new(),
            fix: fix(
                remove(&step.site),
                "delete the rule where it is loaded from, too. If the traffic is wanted, the network's mode is the \
                 wrong one",
            ),
        });
    }
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

/// A rule that is not libvirt's accepts where libvirt's would reject: in front of libvirt's jumps, or in one of its
/// chains. What is forbidden is accepted by no rule of libvirt's own.
fn lets_pass(scene: &Scene<'_>, step: &Step) -> bool {
    let Site::Netfilter { table, chain, hook: Hook::Forward, handle: Some(_), .. } = &step.site else {
        return false;
    };
    let in_front =
        || base_chain(scene.snapshot, &step.site).is_some_and(|base| !libvirt::jumps(base).0.is_empty());
    !step.reply && step.decision == Decision::Pass && (libvirt::is_libvirts(table, chain) || in_front())
}
