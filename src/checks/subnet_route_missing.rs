//! The host has no route to a network's subnet.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use super::wrong_way::{Why, wrong_way};

pub(super) const CHECK: Check = Check {
    id: "subnet-route-missing",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the route to a network's own subnet is missing",
    explanation: "The kernel makes the route to a subnet when the bridge gets its address. Something has deleted or \
                  replaced it since, so that packets for the guests leave by the default route, or by none. The \
                  address is still there; only the route has to come back.",
    needs: &["routes", "rules"],
    basis: "net/ipv4/fib_frontend.c fib_add_ifaddr; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let way = wrong_way(scene, gap)?;
    let Why::NoRoute = way.why else { return None };
    let (name, bridge, subnet, address) =
        (&way.network.name, way.bridge, way.gateway.trunc(), way.gateway.addr());
    Some(Diagnosis {
        key: name.clone(),
        subjects: vec![network(name)],
        title: format!("{name}: no route leads to {subnet}"),
        cause: format!("{bridge} has {address}, but the route to {subnet} by it is gone."),
        evidence: vec![fact("routes", format!("no route to {subnet} dev {bridge}"))],
        fix: fix([way.connect()], "find what removed it: a network manager, a VPN client, a script"),
    })
}
