//! The router that the host's route names does not answer for its address.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, fact, fix};
use crate::engine::{Site, Step};
use crate::model::Claim;

pub(super) const CHECK: Check = Check {
    id: "next-hop-silent",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the router that the route names does not answer ARP or neighbour discovery",
    explanation: "The route says by which router packets go on, and nobody on that link answers for the router's \
                  address: the host tells the sender \"host unreachable\". Either the route names the wrong address (a \
                  mistyped or old gateway, a VLAN that is not the router's), or the router is off, or the link does \
                  not lead to it.",
    needs: &["routes"],
    basis: "net/ipv4/arp.c arp_error_report; measured with a default route by an address that nobody has",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

/// `steps`: the packet's path, which says by which device and to whom it would have gone on.
pub(super) fn diagnose(claim: &Claim, steps: &[Step]) -> Diagnosis {
    let last = steps.iter().rfind(|step| !step.reply && matches!(step.site, Site::Link { .. }));
    let (device, hop) = last.map_or(("the uplink", "the next hop"), |step| {
        (step.place.as_str(), step.text.strip_prefix("to ").unwrap_or(&step.text))
    });
    let ip = if claim.ipv6 { "ip -6" } else { "ip" };
    Diagnosis {
        key: format!("{device} {hop}"),
        subjects: vec!["host".to_owned()],
        title: format!("{hop} does not answer on {device}"),
        cause: format!(
            "the route leads by {hop} on {device}, where nobody answers for that address: the host tells the guests \
             that their target is unreachable."
        ),
        evidence: last.map(|step| fact("routes", step.to_string())).into_iter().collect(),
        fix: fix(
            None::<String>,
            &format!(
                "see `{ip} route` and `{ip} neigh show`: if the address is wrong, `{ip} route replace default via \
                 ROUTER`; if it is right, look at the router and the link to it"
            ),
        ),
    }
}
