//! The host's end of a NIC has the guest's own MAC.

use kvmnet_probes::facts::Snapshot;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, vm};
use crate::engine::{Site, quoted};
use crate::model::Nic;

pub(super) const CHECK: Check = Check {
    id: "tap-has-guest-mac",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "a tap has the MAC of the guest behind it",
    explanation: "A bridge takes frames for the MAC of one of its ports for the host's own. If a tap has the guest's \
                  MAC, what other guests send to that guest goes up to the host, which may route it back or \
                  drop it. libvirt therefore gives a tap the guest's MAC with the first octet fe.",
    needs: &["libvirt", "links"],
    basis: "net/bridge/br_input.c br_handle_frame_finish (BR_FDB_LOCAL), libvirt src/util/virnetdevtap.c; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

/// Whether the device has the guest's MAC.
pub(super) fn has_mac_of(snapshot: &Snapshot, device: &str, nic: &Nic) -> bool {
    snapshot.link_named(device).is_some_and(|link| link.mac == Some(nic.mac))
}

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Fdb { port, .. } = gap.site()? else { return None };
    let nic = scene.meant_for(gap)?;
    has_mac_of(scene.snapshot, port.as_str(), nic).then(|| diagnose(nic, port.as_str()))
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let taps = scene.topology.nics.iter().filter_map(|nic| Some((nic, nic.tap.as_ref()?.as_str())));
    let same = taps.filter(|(nic, tap)| nic.bridge.is_some() && has_mac_of(scene.snapshot, tap, nic));
    same.map(|(nic, tap)| diagnose(nic, tap)).collect()
}

fn diagnose(nic: &Nic, tap: &str) -> Diagnosis {
    let mut own = nic.mac;
    own.0[0] = 0xfe;
    Diagnosis {
        key: tap.to_owned(),
        subjects: vec![link(tap), vm(&nic.vm)],
        title: format!("{tap} has the MAC of {}", nic.label()),
        cause: format!("{tap}, the tap of {}, has the guest's own MAC {}.", nic.label(), nic.mac),
        evidence: vec![fact("links", format!("{tap} link/ether {}", nic.mac))],
        fix: fix([format!("ip link set {} address {own}", quoted(tap))], ""),
    }
}
