//! The host has the address of a guest.

use kvmnet_probes::facts::Address;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, vm};
use super::wrong_way::{Why, wrong_way};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "host-has-vm-address",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the host has a guest's address itself",
    explanation: "What is sent to an address of the host stays in the host. If a guest has the same address, the \
                  host answers in its place, pings itself and calls it success, and drops what the guest sends, as \
                  it seems to come from the host itself. It comes from an address that was added by hand or by \
                  a load balancer, or from a guest that was given one of the host's.",
    needs: &["routes", "addresses"],
    basis: "net/ipv4/fib_frontend.c fib_validate_source; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let way = wrong_way(scene, gap)?;
    let Why::OwnAddress(route) = way.why else { return None };
    let address = route.destination.addr();
    let holder = |held: &&Address| held.net.addr() == address;
    let held = scene.snapshot.addresses.items().iter().find(holder)?;
    let device = &scene.snapshot.link(held.device)?.name;
    let label = way.nic.label();
    Some(Diagnosis {
        key: address.to_string(),
        subjects: vec![vm(&way.nic.vm)],
        title: format!("the host has {address}, as {label} does"),
        cause: format!("{address} is the address of {label}, and also the host's own, on {device}."),
        evidence: vec![fact("addresses", format!("{} dev {device}", held.net))],
        fix: fix(
            [format!("{} addr del {} dev {}", way.ip(), held.net, quoted(device.as_str()))],
            "if the host is to keep it, give the guest another one",
        ),
    })
}
