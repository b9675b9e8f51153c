//! A guest sends from another MAC than its domain's XML says.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::engine::quoted;
use crate::model::{Attachment, Nic};

pub(super) const CHECK: Check = Check {
    id: "mac-differs",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "a guest uses another MAC than its XML says",
    explanation: "The bridge has heard other MACs behind the tap, and never the NIC's own. Reservations, filters \
                  and switch ports that go by the MAC in the XML do not fit the guest. A guest that bridges for \
                  guests of its own is heard with its own MAC too and is not meant here.",
    needs: &["fdb", "libvirt"],
    basis: "net/bridge/br_fdb.c br_fdb_update: a MAC is learned where it was heard last",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

/// A guest can fill the table: no more than these are shown.
const SHOWN: usize = 4;

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.nics.iter().filter_map(diagnose).collect()
}

fn diagnose(nic: &Nic) -> Option<Diagnosis> {
    let tap = nic.tap.as_ref()?;
    if nic.attachment != Attachment::Tap || nic.learned_macs.is_empty() || nic.learned_macs.contains(&nic.mac)
    {
        return None;
    }
    let heard = nic.learned_macs.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let more = nic.learned_macs.len().saturating_sub(SHOWN);
    let heard = if more > 0 { format!("{heard} and {more} more") } else { heard };
    Some(Diagnosis {
        key: tap.to_string(),
        subjects: vec![vm(&nic.vm)],
        title: format!("{}: sends from {heard}, its XML says {}", nic.label(), nic.mac),
        cause: format!("behind {tap} the bridge has heard {heard} and not {}, the MAC in the XML.", nic.mac),
        evidence: vec![
            fact("fdb", format!("{tap}: {heard}")),
            fact("libvirt", format!("{}: {}", nic.label(), nic.mac)),
        ],
        fix: fix(
            [format!("virsh edit {}", quoted(&nic.vm))],
            "write the MAC that the guest uses into <mac address=…/> and power the VM off and on, or set the guest's \
             NIC back",
        ),
    })
}
