//! A flag of a bridge port keeps frames from a guest or to it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix, link};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "bridge-port-filter",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a flag of a bridge port stops wanted frames",
    explanation: "A bridge port can be isolated from others, belong to other VLANs than the rest, refuse MACs \
                  that are not in the table (locked), or not be flooded to. Somebody set this flag, and \
                  libvirt was not asked for it: the domain's and network's XML do not want it.",
    needs: &["links"],
    basis: "net/bridge/br_forward.c should_deliver, br_vlan.c, br_input.c; ip-link(8), bridge(8)",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

/// What the engine says of a port, and the setting of `bridge link` that undoes it.
const SETTINGS: &[(&str, &str)] = &[
    ("isolated", "isolated off"),
    ("locked", "locked off"),
    ("unicast flood", "flood on"),
    ("broadcast flood", "bcast_flood on"),
    ("multicast flood", "mcast_flood on"),
    ("learning", "learning on"),
];

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::BridgePort { device, bridge, what } = gap.site()? else { return None };
    if what.starts_with("state") {
        return None;
    }
    let setting = SETTINGS.iter().find(|(word, _)| what.starts_with(word)).map(|(_, setting)| *setting);
    let command = setting.map(|setting| format!("bridge link set dev {} {setting}", quoted(device.as_str())));
    let note =
        if command.is_some() { "" } else { "compare `bridge vlan show` with what the guests should be in" };
    Some(Diagnosis {
        key: format!("{device} {what}"),
        subjects: vec![link(device)],
        title: format!("{device}: {what}"),
        cause: format!("port {device} of {bridge} stops the frames: {what}."),
        evidence: Vec::new(),
        fix: fix(command, note),
    })
}
