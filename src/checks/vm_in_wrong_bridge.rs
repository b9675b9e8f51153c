//! A VM's tap is in another bridge than its XML says.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, vm};
use crate::engine::{Site, quoted};
use crate::model::Nic;

pub(super) const CHECK: Check = Check {
    id: "vm-in-wrong-bridge",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a VM's tap is in another bridge than its XML says",
    explanation: "The guest talks to another network than the one that it was given to: it has the wrong \
                  gateway, may get a lease of the other network, and is on the same wire as guests that it \
                  should not reach. Somebody moved the tap by hand, or a hook or network manager did. Moving it \
                  back is enough.",
    needs: &["links", "libvirt"],
    basis: "measured with `ip link set vnet0 master virbr1`",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    if let Some(Site::OtherBridge { device, .. }) = gap.site() {
        return diagnose(scene, scene.nic_behind(device.as_str())?);
    }
    // What passes that should not, because a VM of the claim is on a foreign wire.
    if gap.step.is_none() { scene.nics_of(gap.claim).find_map(|nic| diagnose(scene, nic)) } else { None }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.nics.iter().filter_map(|nic| diagnose(scene, nic)).collect()
}

fn diagnose(scene: &Scene<'_>, nic: &Nic) -> Option<Diagnosis> {
    let (tap, expected, (_, now)) = (nic.tap.as_ref()?, nic.expected_bridge.as_ref()?, nic.bridge.as_ref()?);
    if !scene.is_astray(nic) {
        return None;
    }
    Some(Diagnosis {
        key: tap.to_string(),
        subjects: vec![vm(&nic.vm), link(tap)],
        title: format!("{}: in {now} instead of {expected}", nic.label()),
        cause: format!(
            "{tap}, the tap of {}, is in {now}; {} belongs to {expected}.",
            nic.label(),
            nic.plugged_into
        ),
        evidence: vec![
            fact("links", format!("{tap}: master {now}")),
            fact("libvirt", format!("{}: {}", nic.label(), nic.plugged_into)),
        ],
        fix: fix(
            [format!("ip link set {} master {}", quoted(tap.as_str()), quoted(expected.as_str()))],
            "the guest may hold a lease of the wrong network: let it ask for a new one",
        ),
    })
}
