//! A network manager's files take a bridge or tap that is libvirt's.

use kvmnet_probes::facts::{IfName, Manager, TakenDevice};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "manager-takes-device",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "systemd-networkd takes libvirt's bridges or taps",
    explanation: "systemd-networkd configures each device by the first .network file that matches it, and takes away \
                  addresses that are not in that file. A file for all devices (`Name=*`) means libvirt's bridges and \
                  the taps of guests too: when networkd is restarted or reloaded, or the device appears anew, the \
                  bridge loses the gateway's address, or the tap is put elsewhere.",
    needs: &["managers", "libvirt"],
    basis: "systemd.network(5); systemd src/network/networkd-address.c link_drop_foreign_addresses",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let managers = scene.snapshot.managers.items().iter();
    managers.filter_map(|manager| diagnose(scene, manager)).collect()
}

/// Whether libvirt made the device: the bridge of a network that it routes, or a guest's tap.
fn is_libvirts(scene: &Scene<'_>, device: &IfName) -> bool {
    scene.network_on(device.as_str()).is_some_and(|zone| zone.in_libvirt && !zone.is_lan())
        || scene.nic_behind(device.as_str()).is_some_and(|nic| nic.active)
}

fn diagnose(scene: &Scene<'_>, manager: &Manager) -> Option<Diagnosis> {
    let taken: Vec<&TakenDevice> =
        manager.takes.iter().filter(|taken| is_libvirts(scene, &taken.device)).collect();
    let mut files: Vec<String> = taken.iter().map(|taken| format!("{} ({})", taken.path, taken.by)).collect();
    files.dedup();
    if files.is_empty() {
        return None;
    }
    let files = files.join(" and ");
    let names: Vec<&str> = taken.iter().map(|taken| taken.device.as_str()).collect();
    let names = names.join(", ");
    let pattern = |name: &str| if name.starts_with("vnet") { "vnet*".to_owned() } else { name.to_owned() };
    let mut patterns: Vec<String> = taken.iter().map(|taken| pattern(taken.device.as_str())).collect();
    patterns.sort_unstable();
    patterns.dedup();
    Some(Diagnosis {
        key: manager.evidence.clone(),
        subjects: taken.iter().map(|taken| link(&taken.device)).collect(),
        title: format!("systemd-networkd takes {names}"),
        cause: format!(
            "by a pattern {files} takes {names} too, which are libvirt's: when networkd is restarted it takes their \
             addresses away."
        ),
        evidence: vec![fact("managers", format!("{}; {files}", manager.evidence))],
        fix: fix(
            [format!(
                "printf '[Match]\\nName=%s\\n[Link]\\nUnmanaged=yes\\n' {} > /etc/systemd/network/00-libvirt.network",
                quoted(&patterns.join(" "))
            )],
            "networkd takes the first file that matches, and leaves these devices alone then, from its next start or \
             `networkctl reload` on",
        ),
    })
}
