//! Packets of a NAT network leave the host with the guest's own source.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use super::notrack::untracked_by;
use crate::engine::{Site, libvirt};

pub(super) const CHECK: Check = Check {
    id: "masquerade-missing",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "the sources of a NAT network are not rewritten",
    explanation: "The rule that rewrites the guests' source to the uplink's address is gone: its table or chain \
                  was flushed. Packets leave with a private source, and no answer finds its way back. \
                  Restarting the network daemon writes all of libvirt's rules again and leaves the guests alone.",
    needs: &["nf-tables", "xtables-legacy", "libvirt"],
    basis: "measured with both of libvirt 11.3's backends",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::NoNat { source, device } = gap.site()? else { return None };
    if untracked_by(scene, gap).is_some() {
        return None;
    }
    let zone = scene.networks_of(gap.claim).next()?;
    // Where more of libvirt's rules are gone than these, that is the finding.
    let bound_elsewhere = scene.bound_elsewhere(zone, gap.claim.ipv6).is_some();
    if bound_elsewhere || libvirt::rules_are_gone(scene.snapshot, zone, gap.claim.ipv6) {
        return None;
    }
    let subnet =
        zone.gateway(gap.claim.ipv6).map_or_else(|| source.to_string(), |net| net.trunc().to_string());
    Some(Diagnosis {
        key: format!("{} {}", zone.name, gap.claim.ipv6),
        subjects: vec![network(&zone.name)],
        title: format!("{}: sources are not rewritten", zone.name),
        cause: format!("no rule masquerades {subnet}: packets leave {device} with their private source."),
        evidence: vec![fact("nf-tables", format!("no source translation for {subnet}"))],
        fix: fix(
            [format!("systemctl restart {}", libvirt::network_service(scene.snapshot))],
            "guests are not interrupted. Find what removed the rule: `nft flush ruleset`, `iptables -t nat -F`",
        ),
    })
}
