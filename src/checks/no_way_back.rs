//! A guest's packets leave the host and are not answered, while the host itself is answered by the same target.

use std::net::IpAddr;

use kvmnet_probes::facts::Hook;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, network};
use crate::engine::admit::remove;
use crate::engine::libvirt::is_libvirts;
use crate::engine::{Decision, Site, Step};
use crate::model::Claim;

pub(super) const CHECK: Check = Check {
    id: "no-way-back",
    severity: Severity::Error,
    category: Category::Wire,
    summary: "guests' packets leave the host, and answers do not come back, though the host is answered itself",
    explanation: "The host forwards the packet, and the target is alive: it answers the host. What differs is the \
                  source. A rule may translate it to an address that is not this host's, or of another link; then \
                  the answer goes elsewhere. A routed network keeps its own addresses: the router behind the host \
                  needs a route to them by this host. Or somebody behind the host filters by source. It can be wrong \
                  where the target answers only some of the pings that come from one address. Where the target answers \
                  neither, packets that expire at the first router tell the two apart; that can be wrong where the router \
                  limits how many errors it sends.",
    needs: &[],
    basis: "what the wire showed; measured with a wrong snat and with a routed network that the router does not know",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

/// `source`: with which the packet was seen to leave. `router`: who answers the host's packets that expire there and not
/// the guest's, where the target itself answers neither.
pub(super) fn diagnose(
    scene: &Scene<'_>,
    claim: &Claim,
    steps: &[Step],
    source: Option<IpAddr>,
    router: Option<IpAddr>,
) -> Diagnosis {
    let zone = scene.networks_of(claim).next();
    let name = zone.map_or("", |zone| zone.name.as_str());
    let is_ours =
        |address: &IpAddr| scene.snapshot.addresses.items().iter().any(|own| own.net.addr() == *address);
    let foreign = source.filter(|address| !is_ours(address));
    let rule = steps.iter().find(|step| translates(step));
    let words = source.map_or_else(String::new, |source| format!(" from {source}"));
    let (why, fix) = match (foreign, rule) {
        (Some(source), Some(step)) => (
            format!("{source} is not an address of this host: {step}."),
            fix(
                remove(&step.site),
                &format!(
                    "delete the rule where it is loaded from, too; or, if the host is meant to have {source} (a \
                     failover address), give it back"
                ),
            ),
        ),
        (Some(source), None) => {
            let subnet = zone
                .and_then(|zone| zone.gateway(claim.ipv6))
                .map_or_else(|| source.to_string(), |net| net.trunc().to_string());
            let note = format!(
                "nothing rewrites the source: the router behind the host needs a route to {subnet} by this host"
            );
            (format!("{source} is not an address of this host."), fix(None::<String>, &note))
        }
        (None, _) => (
            String::from("somebody behind the host takes the one and not the other."),
            fix(None::<String>, "look for a filter by source address behind the host"),
        ),
    };
    let whom = router.map_or_else(String::new, |router| format!(" by the router {router}"));
    let evidence = rule.map(|step| fact("nf-tables", step.to_string()));
    Diagnosis {
        key: format!("{name} {} {foreign:?}", claim.ipv6),
        subjects: if name.is_empty() { Vec::new() } else { vec![network(name)] },
        title: format!("{name}: answers do not come back"),
        cause: format!(
            "the packets leave the host{words} and are not answered, while the host itself is answered{whom}: {why}"
        ),
        evidence: evidence.into_iter().collect(),
        fix,
    }
}

/// A rule of somebody else's than libvirt has changed the packet's source.
fn translates(step: &Step) -> bool {
    match &step.site {
        Site::Netfilter { table, chain, hook, .. } => {
            let out = *hook == Hook::Postrouting;
            out && !step.reply && step.decision == Decision::Rewrite && !is_libvirts(table, chain)
        }
        _ => false,
    }
}
