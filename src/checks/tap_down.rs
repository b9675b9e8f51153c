//! A VM's tap is switched off, or no process serves it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, vm};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "tap-down",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a VM's tap is down",
    explanation: "A tap that is administratively down, or that no process has open, carries nothing: the bridge \
                  disables its port. The guest still sees its NIC as connected.",
    needs: &["links", "libvirt"],
    basis: "net/bridge/br_if.c br_port_carrier_check; drivers/net/tun.c",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Link { device, state } = gap.site()? else { return None };
    let nic = scene.nic_behind(device.as_str())?;
    let (what, fix) = if state.contains("carrier") {
        (
            "no process has it open",
            fix(None::<String>, "QEMU does not serve the tap: look at the VM's log in /var/log/libvirt/qemu"),
        )
    } else {
        ("it is administratively down", fix([format!("ip link set {} up", quoted(device.as_str()))], ""))
    };
    Some(Diagnosis {
        key: device.to_string(),
        subjects: vec![vm(&nic.vm), link(device)],
        title: format!("{}: its tap {device} is down", nic.label()),
        cause: format!("{device}, the tap of {}, carries nothing: {what}.", nic.label()),
        evidence: vec![fact("links", format!("{device}: {state}"))],
        fix,
    })
}
