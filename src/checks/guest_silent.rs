//! Packets are delivered to a guest's tap, and the guest does not answer them.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, fact, fix, vm};
use crate::model::Nic;

pub(super) const CHECK: Check = Check {
    id: "guest-silent",
    severity: Severity::Info,
    category: Category::Wire,
    summary: "packets come to a guest's tap and the guest does not answer",
    explanation: "The host has done its share: the packet was seen leaving by the tap, with the guest's own MAC. What \
                  the guest does with it is beyond what the host can see. Most often it is the guest's own firewall, \
                  which drops pings (Windows does by default); the guest may also have crashed, or lack a route back. \
                  This breaks no claim: the network is as it should be.",
    needs: &[],
    basis: "what the wire showed; measured with a guest that ignores echo requests",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

pub(super) fn diagnose(nic: &Nic) -> Diagnosis {
    let name = nic.label();
    let tap = nic.tap.as_ref().map_or("its tap", |tap| tap.as_str());
    Diagnosis {
        key: name.clone(),
        subjects: vec![vm(&nic.vm)],
        title: format!("{name} does not answer what it gets"),
        cause: format!(
            "packets for {name} leave by {tap}, and the guest does not answer: its own firewall, most likely."
        ),
        evidence: vec![fact("wire", format!("delivered to {tap}, no answer"))],
        fix: fix(
            None::<String>,
            "if it should answer, look into the guest: its firewall, its routes, whether it hangs",
        ),
    }
}
