//! A VM's tap is in no bridge.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, vm};
use crate::engine::{Site, quoted};
use crate::model::{Attachment, Nic};

pub(super) const CHECK: Check = Check {
    id: "vnet-not-in-bridge",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a VM's tap is in no bridge",
    explanation: "The VM runs and its NIC looks connected, but its tap is plugged into nothing, so that the guest \
                  is cut off altogether. A network manager or a restart of the host's network rebuilt the bridge \
                  with the configured ports only, or somebody took the tap out by hand. Plugging it in again is \
                  enough.",
    needs: &["links", "libvirt"],
    basis: "measured with `brctl delif virbr0 vnet0` and libvirt 11.3",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::NoMaster { device } = gap.site()? else { return None };
    diagnose(scene, scene.nic_behind(device.as_str())?)
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.nics.iter().filter_map(|nic| diagnose(scene, nic)).collect()
}

/// The bridge is there and the tap is not in it. Without the bridge that is the finding.
fn diagnose(scene: &Scene<'_>, nic: &Nic) -> Option<Diagnosis> {
    let (tap, expected) = (nic.tap.as_ref()?, nic.expected_bridge.as_ref()?);
    let stranded = nic.active && nic.tap_index.is_some() && nic.bridge.is_none();
    let exists = scene.snapshot.link_named(expected.as_str()).is_some();
    let started = scene.topology.network_of(nic).is_none_or(|zone| zone.active);
    if !stranded || !exists || !started || nic.attachment != Attachment::Tap {
        return None;
    }
    let down = scene.snapshot.link_named(tap.as_str()).is_some_and(|link| !link.up);
    let up = if down { " up" } else { "" };
    Some(Diagnosis {
        key: tap.to_string(),
        subjects: vec![vm(&nic.vm), link(tap)],
        title: format!("{}: its tap {tap} is in no bridge", nic.label()),
        cause: format!("{tap}, the tap of {}, is in no bridge; it belongs to {expected}.", nic.label()),
        evidence: vec![
            fact("links", format!("{tap}: no master")),
            fact("libvirt", format!("{}: {}", nic.label(), nic.plugged_into)),
        ],
        fix: fix(
            [format!("ip link set {} master {}{up}", quoted(tap.as_str()), quoted(expected.as_str()))],
            "if it happens again: keep the network manager off it (NetworkManager: \
             unmanaged-devices=interface-name:vnet*)",
        ),
    })
}
