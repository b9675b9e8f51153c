//! A routing table that is asked before the main one takes packets for guests.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use super::wrong_way::{Why, wrong_way};
use crate::engine::Site;

pub(super) const CHECK: Check = Check {
    id: "policy-table-first",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "a VPN's routing table takes packets for guests",
    explanation: "A policy rule sends packets to a table of its own before the main one is asked, as VPNs do \
                  (Tailscale's exit node, WireGuard's wg-quick, OpenVPN). That table knows the tunnel but not \
                  the subnets of the guests, so that answers to them go into the tunnel. A throw route for the \
                  subnet makes the kernel leave that table and ask on.",
    needs: &["routes", "rules"],
    basis: "net/core/fib_rules.c fib_rules_lookup, ip-route(8) throw; measured with table 52",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let way = wrong_way(scene, gap)?;
    let (Why::OtherTable(route), Some(Site::Route { text, .. })) = (way.why, gap.site()) else { return None };
    let table = route.table;
    let subnet = way.gateway.trunc();
    Some(Diagnosis {
        key: table.to_string(),
        subjects: vec![network(&way.network.name)],
        title: format!("routing table {table} takes packets for guests"),
        cause: format!(
            "a policy rule asks table {table} before the main one, and its route {text} takes what is meant for \
             {}.",
            way.bridge
        ),
        evidence: vec![fact("routes", format!("table {table}: {text}"))],
        fix: fix(
            [format!("{} route replace throw {subnet} table {table}", way.ip())],
            "to make it last, tell the program that fills the table: `tailscale set \
             --exit-node-allow-lan-access=true`, or PostUp in wg-quick's configuration",
        ),
    })
}
