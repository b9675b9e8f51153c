//! The host forwards in general, but not what comes in by one device.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "device-forwarding-off",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "the host does not forward what comes in by one device",
    explanation: "net.ipv4.ip_forward switches forwarding on for all devices at once, but every device has a \
                  switch of its own that can be changed afterwards. Packets that come in by a device whose \
                  switch is off are dropped.",
    needs: &["sysctls"],
    basis: "net/ipv4/route.c ip_mkroute_input, IN_DEV_FORWARD; Documentation/networking/ip-sysctl.rst",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Sysctl { name, value } = gap.site()? else { return None };
    let device = name
        .strip_prefix("net/ipv4/conf/")
        .or_else(|| name.strip_prefix("net/ipv6/conf/"))?
        .strip_suffix("/forwarding")
        .filter(|device| *device != "all")?;
    Some(Diagnosis {
        key: name.clone(),
        subjects: vec![link(device)],
        title: format!("{device}: not forwarded from"),
        cause: format!("the host drops what comes in by {device} for others: {name} is {value}."),
        evidence: vec![fact("sysctls", format!("{name} = {value}"))],
        fix: fix(
            [format!("sysctl -w {}=1", quoted(name))],
            "find what sets it to 0: a file in /etc/sysctl.d, or a network manager",
        ),
    })
}
