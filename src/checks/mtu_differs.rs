//! The ports of a bridge to the LAN carry packets of different size.

use kvmnet_probes::facts::Link;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link, network};
use crate::engine::quoted;
use crate::model::{NetworkZone, Nic};

pub(super) const CHECK: Check = Check {
    id: "mtu-differs",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "a bridge's uplink carries smaller packets than its guests send",
    explanation: "A bridge does not fragment and tells nobody: a frame that is too large for the port by which it has \
                  to leave is dropped in silence. Small packets pass, so that a ping works and a download hangs. \
                  All ports of a bridge, and the guests behind them, need the same MTU.",
    needs: &["libvirt", "links"],
    basis: "net/bridge/br_forward.c br_dev_queue_push_xmit, is_skb_forwardable; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let lans = scene.topology.networks.iter().filter(|zone| zone.is_lan());
    lans.filter_map(|zone| of_lan(scene, zone)).collect()
}

/// What is to be said of one LAN.
pub(super) fn of_lan(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    let uplink = scene.snapshot.link(zone.uplink.as_ref()?.0)?;
    let tap = |nic: &Nic| scene.snapshot.link(nic.tap_index?).filter(|tap| tap.mtu > uplink.mtu);
    scene.members(zone).find_map(tap).map(|tap| diagnose(zone, uplink, tap))
}

fn diagnose(zone: &NetworkZone, uplink: &Link, tap: &Link) -> Diagnosis {
    Diagnosis {
        key: uplink.name.to_string(),
        subjects: vec![network(&zone.name), link(&uplink.name)],
        title: format!(
            "{}: packets of more than {} bytes do not leave by {}",
            zone.name, uplink.mtu, uplink.name
        ),
        cause: format!(
            "{} carries packets of {} bytes, its guests' taps of {}: larger ones are lost in silence.",
            uplink.name, uplink.mtu, tap.mtu
        ),
        evidence: vec![fact(
            "links",
            format!("{} mtu {}, {} mtu {}", uplink.name, uplink.mtu, tap.name, tap.mtu),
        )],
        fix: fix(
            [format!("ip link set {} mtu {}", quoted(uplink.name.as_str()), tap.mtu)],
            &format!(
                "if the LAN does not carry that much, set the guests' MTU to {} in place of it: `<mtu size='{0}'/>` \
                 in the network or the domain",
                uplink.mtu
            ),
        ),
    }
}
