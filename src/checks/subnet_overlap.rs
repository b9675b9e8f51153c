//! Another route takes the addresses of a network.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use super::wrong_way::{Why, wrong_way};
use crate::engine::Site;

pub(super) const CHECK: Check = Check {
    id: "subnet-overlap",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "a route elsewhere takes the addresses of a network",
    explanation: "The host has a route for the same addresses, or for a part of them, by another device: a VPN, a \
                  second network card, or a LAN that happens to use the same private subnet. The more specific \
                  route wins, among equal ones that with the lower metric, so that answers to the guests leave \
                  by the wrong device. libvirt looks for such a clash only when it starts a network, and only \
                  for the very same subnet. Delete the route if nobody needs it. If both are needed one of the \
                  two has to be renumbered, most easily the network.",
    needs: &["routes", "rules"],
    basis: "net/ipv4/fib_trie.c fib_table_lookup; libvirt src/network/bridge_driver_linux.c \
            networkCheckRouteCollision; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let way = wrong_way(scene, gap)?;
    let (Why::Overlap, Some(Site::Route { text, .. })) = (way.why, gap.site()) else { return None };
    let (name, ip, subnet) = (&way.network.name, way.ip(), way.gateway.trunc());
    let mut commands = vec![format!("{ip} route del {text}")];
    if !way.is_connected(scene.snapshot) {
        commands.push(way.connect());
    }
    Some(Diagnosis {
        key: text.clone(),
        subjects: vec![network(name)],
        title: format!("{name}: the route {text} takes its addresses"),
        cause: format!("{subnet} lies on {}, but the host has the route {text}.", way.bridge),
        evidence: vec![fact("routes", text.clone())],
        fix: fix(
            commands,
            &format!(
                "if that route is needed, renumber the network in place of it: `virsh net-edit {name}`, give it a \
                 free subnet, start it anew and let the guests renew their leases"
            ),
        ),
    })
}
