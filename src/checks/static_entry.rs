//! An entry of a MAC or neighbour table, set by hand, sends frames to the wrong place.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link};
use super::tap_has_guest_mac::has_mac_of;
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "static-entry",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a table entry set by hand sends frames to the wrong place",
    explanation: "An entry that somebody set by hand does not follow the guest. A sticky or permanent entry of a \
                  bridge's MAC table goes on sending the guest's frames to a port where it is not; a permanent \
                  neighbour entry makes the host send to a MAC that the guest does not have.",
    needs: &["fdb", "neighbours"],
    basis: "net/bridge/br_fdb.c; measured: a plain static entry heals itself, sticky and permanent do not",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    match gap.site()? {
        Site::Fdb { bridge, port } => {
            let nic = scene.meant_for(gap)?;
            if has_mac_of(scene.snapshot, port.as_str(), nic) {
                return None;
            }
            Some(Diagnosis {
                key: format!("{port} {}", nic.mac),
                subjects: vec![link(bridge)],
                title: format!("{bridge}: {} is pinned to {port}", nic.mac),
                cause: format!("{bridge} has a fixed entry that sends frames for {} to {port}.", nic.mac),
                evidence: vec![fact("fdb", format!("{} dev {port} master {bridge}", nic.mac))],
                fix: fix([format!("bridge fdb del {} dev {} master", nic.mac, quoted(port.as_str()))], ""),
            })
        }
        Site::Neighbour { device, address, mac } => Some(Diagnosis {
            key: format!("{device} {address}"),
            subjects: vec![link(device)],
            title: format!("{address} is pinned to {mac} on {device}"),
            cause: format!(
                "the host has a fixed neighbour entry for {address} on {device}: {mac}, not the NIC's MAC."
            ),
            evidence: vec![fact("neighbours", format!("{address} dev {device} lladdr {mac} PERMANENT"))],
            fix: fix([format!("ip neigh del {address} dev {}", quoted(device.as_str()))], ""),
        }),
        _ => None,
    }
}
