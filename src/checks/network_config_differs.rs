//! A network runs with another configuration than the one that is saved.

use kvmnet_probes::facts::{Network, NetworkConfig};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, network};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "network-config-differs",
    severity: Severity::Warning,
    category: Category::Libvirt,
    summary: "a network runs with another configuration than is saved",
    explanation: "Nothing is broken now. `virsh net-edit` and `net-define` change what is saved, `net-update --live` \
                  what runs. What is saved takes effect when the network is started anew, at the latest after the next \
                  reboot: the mode, the subnet or the DHCP range may then be another one, unexpectedly. Look at both \
                  (`virsh net-dumpxml NAME` and `virsh net-dumpxml --inactive NAME`) and decide which one is meant.",
    needs: &["libvirt"],
    basis: "libvirt's VIR_NETWORK_XML_INACTIVE; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let networks = scene.snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.networks);
    networks.iter().filter(|network| network.active).filter_map(diagnose).collect()
}

fn diagnose(zone: &Network) -> Option<Diagnosis> {
    let differences = differences(&zone.config, zone.saved.as_ref()?);
    if differences.is_empty() {
        return None;
    }
    let name = quoted(&zone.name);
    Some(Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: will be another one after the next start", zone.name),
        cause: format!("network {} runs with one configuration and is saved with another.", zone.name),
        evidence: differences.into_iter().map(|words| fact("libvirt", words)).collect(),
        fix: fix(
            [format!("virsh net-dumpxml {name} | virsh net-define /dev/stdin")],
            "this saves what runs. If what is saved is meant, the network has to be stopped and started, which unplugs \
             running VMs",
        ),
    })
}

/// What is another one, in words.
fn differences(now: &NetworkConfig, saved: &NetworkConfig) -> Vec<String> {
    let subnets = |config: &NetworkConfig| {
        config.ips.iter().map(|ip| ip.net.to_string()).collect::<Vec<_>>().join(", ")
    };
    let ranges = |config: &NetworkConfig| {
        let ranges = config.ips.iter().flat_map(|ip| &ip.ranges);
        ranges.map(|(first, last)| format!("{first}–{last}")).collect::<Vec<_>>().join(", ")
    };
    let devices = |config: &NetworkConfig| {
        config.forward_devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let words = |what: &str, now: String, saved: String| {
        let named = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        (now != saved).then(|| format!("{what}: {} now, {} saved", named(now), named(saved)))
    };
    [
        words("mode", now.mode.word().to_owned(), saved.mode.word().to_owned()),
        words("addresses", subnets(now), subnets(saved)),
        words("DHCP ranges", ranges(now), ranges(saved)),
        words("forward device", devices(now), devices(saved)),
        words("bridge", bridge(now), bridge(saved)),
        words("DNS server", switch(now.dns), switch(saved.dns)),
        words("isolated ports", switch(now.port_isolated), switch(saved.port_isolated)),
        words("MTU", mtu(now), mtu(saved)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bridge(config: &NetworkConfig) -> String {
    config.bridge.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn mtu(config: &NetworkConfig) -> String {
    config.mtu.map_or_else(String::new, |mtu| mtu.to_string())
}
