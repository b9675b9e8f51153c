//! The device behind which the LAN or the internet lies is down.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "uplink-down",
    severity: Severity::Error,
    category: Category::Link,
    summary: "the uplink is down or has no carrier",
    explanation: "Nothing leaves the host: the device is switched off, or there is no carrier (cable, switch \
                  port, the other end). VMs still reach one another and the host.",
    needs: &["links"],
    basis: "measured with a veth's other end down",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Link { device, state } = gap.site()? else { return None };
    let name = device.as_str();
    if scene.nic_behind(name).is_some() || scene.network_on(name).is_some() {
        return None;
    }
    let (what, fix) = if state.contains("carrier") {
        (
            "has no carrier",
            fix(None::<String>, "look at the cable, the switch port, or the other end of the link"),
        )
    } else {
        ("is administratively down", fix([format!("ip link set {} up", quoted(name))], ""))
    };
    Some(Diagnosis {
        key: name.to_owned(),
        subjects: vec![link(name)],
        title: format!("the uplink {name} {what}"),
        cause: format!("{name}, by which the packets leave, {what}."),
        evidence: vec![fact("links", format!("{name}: {state}"))],
        fix,
    })
}
