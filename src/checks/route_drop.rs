//! A route or policy rule sends a wanted packet nowhere, or the wrong way.

use kvmnet_probes::facts::RouteKind;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use super::wrong_way::wrong_way;
use crate::engine::{Site, route_at};

pub(super) const CHECK: Check = Check {
    id: "route-drop",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "a route or policy rule stops a wanted packet",
    explanation: "The routing decision ends the packet: no route leads to the destination, a route or rule says \
                  blackhole, unreachable or prohibit, or sends the packet where it does not belong. `ip route get DESTINATION from SOURCE iif BRIDGE` shows the \
                  kernel's own answer.",
    needs: &["routes", "rules"],
    basis: "net/ipv4/fib_rules.c, net/ipv4/fib_trie.c; measured with blackhole rules and overlapping routes",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    if scene.lacks_default_route(gap) || wrong_way(scene, gap).is_some() {
        return None;
    }
    let ip = if gap.claim.ipv6 { "ip -6" } else { "ip" };
    let (key, text, commands) = match gap.site()? {
        site @ Site::Route { table, text } => {
            let route = route_at(scene.snapshot, site).filter(|route| refuses(route.kind));
            let command = route.map(|route| format!("{ip} route del {text} table {}", route.table));
            (format!("route {table:?} {text}"), text, command.into_iter().collect())
        }
        Site::Rule { priority, text } => {
            (format!("rule {priority} {text}"), text, vec![format!("{ip} rule del pref {priority}")])
        }
        _ => return None,
    };
    Some(Diagnosis {
        key,
        subjects: vec!["host".to_owned()],
        title: format!("routing stops it: {text}"),
        cause: format!("the routing decision stops the packet: {text}."),
        evidence: vec![fact("routes", text.clone())],
        fix: fix(
            commands,
            &format!(
                "compare `{ip} rule` and `{ip} route show table all` with what should be: a route of the same \
                      subnet by another device, a VPN's table, a blackhole"
            ),
        ),
    })
}

fn refuses(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit)
}
