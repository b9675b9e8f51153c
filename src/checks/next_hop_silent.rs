//! The router that the host's route names does not answer for its address.

use std::net::IpAddr;

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};
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

pub(super) fn diagnose(scene: &Scene<'_>, claim: &Claim) -> Diagnosis {
    let uplinks = scene.topology.uplinks.iter();
    let uplink = uplinks.clone().find(|uplink| uplink.ipv6 == claim.ipv6);
    let hop = uplink.and_then(|uplink| uplink.gateway);
    let name = uplink.map_or_else(|| "the uplink".to_owned(), |uplink| uplink.name.to_string());
    let router = hop.map_or_else(|| "the next hop".to_owned(), |hop: IpAddr| format!("router {hop}"));
    let ip = if claim.ipv6 { "ip -6" } else { "ip" };
    Diagnosis {
        key: format!("{hop:?} {}", claim.ipv6),
        subjects: vec!["host".to_owned()],
        title: format!("{router} does not answer"),
        cause: format!(
            "{router} does not answer on {name}: the host tells the guests that their target is unreachable."
        ),
        evidence: hop
            .map(|hop| fact("routes", format!("default via {hop} dev {name}")))
            .into_iter()
            .collect(),
        fix: fix(
            None::<String>,
            &format!(
                "see `{ip} route` and `{ip} neigh show dev {name}`: if the address is wrong, `{ip} route replace \
                 default via ROUTER`; if it is right, look at the router and the link to it"
            ),
        ),
    }
}
