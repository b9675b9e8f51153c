//! A guest's tap is in its bridge, but the bridge does not forward on it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix, link};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "bridge-port-state",
    severity: Severity::Error,
    category: Category::Link,
    summary: "a bridge does not forward on a port",
    explanation: "A port that is disabled or blocking takes part in nothing, although the device is up and in \
                  the bridge. Somebody switched it off by hand, spanning tree blocks it because of a loop, or \
                  it was plugged in seconds ago and spanning tree still listens: then it heals by itself after \
                  twice the forward delay.",
    needs: &["links"],
    basis: "net/bridge/br_input.c br_handle_frame; measured: a hand-set state 0 stays, state 4 does not",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::BridgePort { device, bridge, what } = gap.site()? else { return None };
    let state = what.strip_prefix("state")?.trim();
    let fix = match state {
        "listening" | "learning" => fix(
            None::<String>,
            "wait: spanning tree opens the port after twice the bridge's forward delay, then ask again",
        ),
        "blocking" => fix(
            [format!("bridge link set dev {} state 3", quoted(device.as_str()))],
            "if spanning tree blocks it again, there is a loop: find the second way between the two bridges",
        ),
        _ => fix([format!("bridge link set dev {} state 3", quoted(device.as_str()))], ""),
    };
    Some(Diagnosis {
        key: device.to_string(),
        subjects: vec![link(device)],
        title: format!("{device}: the bridge does not forward on it"),
        cause: format!(
            "port {device} of {bridge} is in state {state}: the bridge drops what comes in by it."
        ),
        evidence: Vec::new(),
        fix,
    })
}
