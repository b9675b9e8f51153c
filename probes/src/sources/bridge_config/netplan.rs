//! netplan's YAML (<https://netplan.readthedocs.io/en/stable/netplan-yaml/>).

use std::collections::BTreeMap;


use saphyr::{LoadableYamlNode, Yaml};

use super::super::files::has_extension;
use super::read::Host;
use crate::facts::{BridgeConfigFile, BridgeConfigFormat, IfName};

/// A file hides those of the same name in the directories after its own.
const DIRECTORIES: [&str; 4] = ["/run/netplan", "/etc/netplan", "/usr/lib/netplan", "/lib/netplan"];

/// The kinds of definitions that have an id that a bridge can name as its port.
const KINDS: [&str; 8] =
    ["ethernets", "modems", "wifis", "bonds", "vlans", "tunnels", "dummy-devices", "virtual-ethernets"];

pub(super) fn read(host: &mut Host<'_>) -> Vec<BridgeConfigFile> {
    let paths = host.files.layered(&DIRECTORIES, |name| has_extension(name, "yaml"));
    let mut texts = Vec::new();
    for path in paths.into_values() {
        texts.extend(host.files.read(&path).map(|text| (path, text)));
    }
    let mut networks = Vec::new();
    for (path, text) in &texts {
        match Yaml::load_from_str(text) {
            Ok(documents) => {
                let network = documents.first().and_then(|document| document.as_mapping_get("network")).cloned();
                networks.extend(network.map(|network| (path, network)));
            }
            Err(error) => host.files.caveat(format!("{path}: {error}")),
        }
    }
    // A definition can stand in another file than the bridge that names it.
    let definitions: BTreeMap<_, _> = networks
        .iter()
        .flat_map(|(_, network)| KINDS.iter().filter_map(|kind| network.as_mapping_get(kind)))
        .flat_map(entries)
        .collect();
    let mut found = Vec::new();
    for (path, network) in &networks {
        for (bridge, settings) in network.as_mapping_get("bridges").into_iter().flat_map(entries) {
            // Open vSwitch's bridges are none of the kernel's.
            if settings.as_mapping_get("openvswitch").is_some() {
                continue;
            }
            let at_boot = !matches!(text(settings, "activation-mode"), Some("manual" | "off"));
            let mut ports = Vec::new();
            for id in settings.as_mapping_get("interfaces").and_then(Yaml::as_vec).into_iter().flatten() {
                let names = id.as_str().map(|id| devices(id, &definitions, bridge, host)).unwrap_or_default();
                if names.is_empty() {
                    host.files.caveat(format!("{path}: a port of {bridge} is no device of this host"));
                }
                ports.extend(names);
            }
            let (format, path) = (BridgeConfigFormat::Netplan, (*path).clone());
            found.push(BridgeConfigFile { format, path, bridge: bridge.into(), ports, at_boot });
        }
    }
    found
}

/// The entries of a mapping whose keys are text.
fn entries<'a>(mapping: &'a Yaml<'a>) -> impl Iterator<Item = (&'a str, &'a Yaml<'a>)> {
    mapping.as_mapping().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str()?, value)))
}

fn text<'a>(mapping: &'a Yaml<'a>, key: &str) -> Option<&'a str> {
    mapping.as_mapping_get(key).and_then(Yaml::as_str)
}

/// The devices that an id means: its definition may select them, or give them another name.
fn devices(id: &str, definitions: &BTreeMap<&str, &Yaml<'_>>, bridge: &str, host: &Host<'_>) -> Vec<IfName> {
    let definition = definitions.get(id).copied();
    if let Some(name) = definition.and_then(|definition| text(definition, "set-name")) {
        return vec![name.into()];
    }
    let Some(selection) = definition.and_then(|definition| definition.as_mapping_get("match")) else {
        return vec![id.into()];
    };
    if let Some(mac) = text(selection, "macaddress").and_then(|mac| mac.parse().ok()) {
        return host.devices.with_mac(mac, &bridge.into());
    }
    text(selection, "name").map(|pattern| host.devices.named(pattern)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Tree, check};
    use super::read;

    #[test]
    fn bridges_and_ports_are_found_by_every_way_of_naming_them() {
        for (ethernets, port, expected) in [
            ("", "eth1", "br0: eth1"),
            ("    eth1: {dhcp4: false}\n", "eth1", "br0: eth1"),
            ("    lan: {match: {macaddress: '52:54:00:00:00:09'}, set-name: lan0}\n", "lan", "br0: lan0"),
            ("    lan: {match: {macaddress: '52:54:00:00:00:01'}}\n", "lan", "br0: eth1"),
            ("    lan:\n      match:\n        name: eth*\n", "lan", "br0: eth0 eth1"),
        ] {
            let ethernets = format!("network:\n  version: 2\n  ethernets:\n{ethernets}");
            let bridges = format!("network:\n  bridges:\n    br0:\n      interfaces: [{port}]\n      dhcp4: true\n");
            check(read, &[("etc/netplan/01.yaml", &ethernets), ("etc/netplan/02.yaml", &bridges)], &[expected]);
        }
    }

    #[test]
    fn files_hide_one_another_and_modes_count() {
        let one = "network: {bridges: {br0: {interfaces: [eth1], activation-mode: manual}}}";
        check(read, &[("lib/netplan/a.yaml", one)], &["br0: eth1 off"]);
        check(read, &[("lib/netplan/a.yaml", one), ("etc/netplan/a.yaml", "network: {}")], &[]);
        check(read, &[("etc/netplan/a.yaml", "network:\n  bridges:\n    br0: {}\n")], &["br0:"]);
        check(read, &[("etc/netplan/a.yaml", "network: {bridges: {br0: {openvswitch: {}}}}")], &[]);
        check(read, &[("etc/netplan/a.yaml", "")], &[]);
        check(read, &[("etc/netplan/a.yml", one)], &[]);
    }

    #[test]
    fn what_cannot_be_told_is_a_caveat() {
        for text in [
            "network: [",
            "network: {bridges: {br0: {interfaces: [1]}}}",
            "network: {bridges: {br0: {interfaces: [a]}}, ethernets: {a: {match: {driver: virtio}}}}",
        ] {
            let (_, caveats) = Tree::new(&[("etc/netplan/a.yaml", text)]).read(read);
            assert_eq!(caveats.len(), 1, "{text}: {caveats:?}");
        }
    }
}
