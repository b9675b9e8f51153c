//! Two NICs have one MAC, or a bridge has a NIC's MAC behind another port.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::engine::quoted;
use crate::model::{Attachment, Nic};

pub(super) const CHECK: Check = Check {
    id: "duplicate-mac",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "a MAC is in use twice",
    explanation: "A bridge sends frames for a MAC to the port from which that MAC was heard last. Two NICs \
                  with one MAC on one bridge take each other's frames: both work by turns, get the same lease, \
                  and never reach one another. It comes from a copied domain XML, from a MAC that was set in a \
                  guest by hand, or from a loop that brings the guest's own frames back.",
    needs: &["libvirt", "fdb"],
    basis: "net/bridge/br_fdb.c br_fdb_update; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let nics = &scene.topology.nics;
    let mut found = Vec::new();
    for (at, nic) in nics.iter().enumerate() {
        let twins: Vec<&Nic> = nics[at + 1..].iter().filter(|other| clash(nic, other)).collect();
        if !twins.is_empty() && !nics[..at].iter().any(|before| clash(before, nic)) {
            found.push(same_mac(nic, &twins));
        }
    }
    found.extend(nics.iter().filter_map(|nic| seen_elsewhere(scene, nic)));
    found
}

/// Two NICs in one network, or plugged into one bridge, with one MAC. Between networks it is harmless.
fn clash(a: &Nic, b: &Nic) -> bool {
    let together = a.network.is_some() && a.network == b.network
        || a.expected_bridge.is_some() && a.expected_bridge == b.expected_bridge;
    a.mac == b.mac && together
}

fn same_mac(nic: &Nic, twins: &[&Nic]) -> Diagnosis {
    let all: Vec<&Nic> = std::iter::once(nic).chain(twins.iter().copied()).collect();
    let names = all.iter().map(|nic| nic.label()).collect::<Vec<_>>().join(", ");
    let when =
        if all.iter().filter(|nic| nic.active).count() > 1 { "" } else { " as soon as they run together" };
    let last = twins.last().copied().unwrap_or(nic);
    Diagnosis {
        key: nic.mac.to_string(),
        subjects: all.iter().map(|nic| vm(&nic.vm)).collect(),
        title: format!("{names}: the same MAC {}", nic.mac),
        cause: format!(
            "{names} have the MAC {} on one network: they take each other's frames{when}.",
            nic.mac
        ),
        evidence: all.iter().map(|nic| fact("libvirt", format!("{}: {}", nic.label(), nic.mac))).collect(),
        fix: fix(
            [format!("virsh edit {}", quoted(&last.vm))],
            "delete the line <mac address=…/> in the interface: libvirt chooses a new one; then shut the VM down \
             and start it",
        ),
    }
}

fn seen_elsewhere(scene: &Scene<'_>, nic: &Nic) -> Option<Diagnosis> {
    let (bridge, name) = nic.bridge.as_ref()?;
    let in_same = |port: &&kvmnet_probes::facts::IfName| {
        scene.snapshot.link_named(port.as_str()).is_some_and(|link| link.master == Some(*bridge))
    };
    let port = nic.mac_seen_at.iter().find(in_same)?;
    if nic.attachment != Attachment::Tap || !nic.active {
        return None;
    }
    let tap = nic.tap.as_ref()?;
    Some(Diagnosis {
        key: format!("{} at {port}", nic.mac),
        subjects: vec![vm(&nic.vm)],
        title: format!("{}: {name} has its MAC {} behind {port}", nic.label(), nic.mac),
        cause: format!(
            "{name} sends frames for {} to {port}, but the NIC is behind {tap}: another device uses the MAC, or \
             a loop brings its frames back.",
            nic.mac
        ),
        evidence: vec![fact("fdb", format!("{} dev {port} master {name}", nic.mac))],
        fix: fix(
            [format!("bridge fdb del {} dev {} master", nic.mac, quoted(port.as_str()))],
            "it comes back as long as the other device sends: find it",
        ),
    })
}
