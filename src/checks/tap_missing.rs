//! A VM runs, and the tap that libvirt names for it does not exist.

use kvmnet_reports::{Fix, Severity};

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, link, vm};
use crate::engine::{Site, quoted};
use crate::model::Nic;

pub(super) const CHECK: Check = Check {
    id: "tap-missing",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a running VM's tap does not exist",
    explanation: "The device between the VM and its bridge is gone: somebody deleted it, or moved it into \
                  another network namespace. QEMU cannot be given a new one while it runs; the VM has to be \
                  powered off and started again.",
    needs: &["links", "libvirt"],
    basis: "drivers/net/tun.c tun_net_uninit; libvirt makes taps when a domain starts",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let mut nics = scene.nics_of(gap.claim);
    let nic = match gap.site()? {
        Site::NoTap { .. } => nics.find(|nic| nic.active && nic.tap_index.is_none()),
        Site::Link { device, .. } => {
            nics.find(|nic| nic.tap_index.is_none() && nic.tap.as_ref() == Some(device))
        }
        _ => None,
    }?;
    Some(diagnose(nic))
}

fn diagnose(nic: &Nic) -> Diagnosis {
    let vm_name = quoted(&nic.vm);
    let (what, subject) = match &nic.tap {
        Some(tap) => (format!("{tap}, the tap of {}, does not exist", nic.label()), Some(link(tap))),
        None => (format!("no tap of {} was found", nic.label()), None),
    };
    Diagnosis {
        key: nic.label(),
        subjects: std::iter::once(vm(&nic.vm)).chain(subject).collect(),
        title: format!("{}: its tap is gone", nic.label()),
        cause: format!("{what}, although the VM runs."),
        evidence: vec![fact("links", what)],
        fix: Fix {
            commands: vec![format!("virsh shutdown {vm_name} --mode acpi"), format!("virsh start {vm_name}")],
            note: Some("wait between the two until the VM is off".to_owned()),
            disruptive: true,
        },
    }
}
