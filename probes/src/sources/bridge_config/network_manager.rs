//! `NetworkManager`'s keyfiles (nm-settings-keyfile(5)).

use std::collections::BTreeMap;

use super::super::files::{has_extension, is_backup};
use super::ini::Ini;
use super::read::Host;
use crate::facts::{BridgeConfigFile, BridgeConfigFormat, IfName};

/// A file hides those of the same name in the directories after its own.
const DIRECTORIES: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];

pub(super) fn read(host: &mut Host<'_>) -> Vec<BridgeConfigFile> {
    let paths = host.files.layered(&DIRECTORIES, |name| !is_backup(name));
    let profiles: Vec<_> = paths
        .into_values()
        .filter(|path| path.starts_with(DIRECTORIES[0]) || has_extension(path, "nmconnection"))
        .filter_map(|path| Some((Ini::from(host.files.read(&path)?.as_str()), path)))
        .collect();
    // A port names its bridge by device, or by the UUID of the bridge's profile.
    let mut bridges = BTreeMap::new();
    for (profile, _) in &profiles {
        if let (true, Some(name)) = (is_bridge(profile), device(profile)) {
            bridges.insert(name, name);
            bridges.extend(connection(profile, &["uuid"]).map(|uuid| (uuid, name)));
        }
    }
    let mut found = Vec::new();
    for (profile, path) in &profiles {
        let at_boot = !matches!(connection(profile, &["autoconnect"]), Some("false" | "no" | "0"));
        let mut declare = |bridge: &str, ports| {
            let format = BridgeConfigFormat::NetworkManager;
            found.push(BridgeConfigFile { format, path: path.clone(), bridge: bridge.into(), ports, at_boot });
        };
        if is_bridge(profile) {
            match device(profile) {
                Some(bridge) => declare(bridge, Vec::new()),
                None => host.files.caveat(format!("{path}: a bridge without interface-name")),
            }
        }
        let of_bridge = connection(profile, &["port-type", "slave-type"]) == Some("bridge");
        let Some(controller) = connection(profile, &["controller", "master"]).filter(|_| of_bridge) else {
            continue;
        };
        let bridge = bridges.get(controller).copied().unwrap_or(controller);
        // A UUID of no profile: too long for a device.
        if bridge.len() > 15 {
            host.files.caveat(format!("{path}: port of the profile {controller}, which was not found"));
            continue;
        }
        let ports = ports(profile, bridge, host);
        if ports.is_empty() {
            host.files.caveat(format!("{path}: the port of {bridge} is no device of this host"));
        }
        declare(bridge, ports);
    }
    found
}

fn connection<'a>(profile: &'a Ini, keys: &[&str]) -> Option<&'a str> {
    profile.last("connection", keys)
}

fn is_bridge(profile: &Ini) -> bool {
    connection(profile, &["type"]) == Some("bridge")
}

fn device(profile: &Ini) -> Option<&str> {
    connection(profile, &["interface-name"]).or_else(|| profile.last("bridge", &["interface-name"]))
}

fn ports(profile: &Ini, bridge: &str, host: &Host<'_>) -> Vec<IfName> {
    if let Some(name) = device(profile) {
        return vec![name.into()];
    }
    let names = profile.last("match", &["interface-name"]).unwrap_or_default();
    let mac = profile.last("ethernet", &["mac-address"]).or_else(|| profile.last("802-3-ethernet", &["mac-address"]));
    match mac.and_then(|mac| mac.parse().ok()) {
        Some(mac) => host.devices.with_mac(mac, &bridge.into()),
        None => names.split([';', ' ']).filter(|name| !name.is_empty()).flat_map(|name| host.devices.named(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Tree, check};
    use super::read;

    const BRIDGE: &str = "[connection]\nid=lan\nuuid=6f0e4a1c-0000-4000-8000-000000000001\ntype=bridge\n\
                          interface-name=br0\n[bridge]\nstp=false\n";

    #[test]
    fn bridges_and_ports_are_found_by_every_way_of_naming_them() {
        let file = |name: &'static str, text| (name, text);
        let bridge = file("etc/NetworkManager/system-connections/lan.nmconnection", BRIDGE);
        for port in [
            "[connection]\ntype=ethernet\ninterface-name=eth1\nmaster=br0\nslave-type=bridge\n",
            "[connection]\ntype=ethernet\ninterface-name=eth1\ncontroller=br0\nport-type=bridge\n",
            "[connection]\ninterface-name=eth1\nmaster=6f0e4a1c-0000-4000-8000-000000000001\nslave-type=bridge\n",
            "[connection]\nmaster=br0\nslave-type=bridge\n[ethernet]\nmac-address=52:54:00:00:00:01\n",
            "[connection]\nmaster=br0\nslave-type=bridge\n[match]\ninterface-name=eth[1-9];\n",
        ] {
            let port = file("run/NetworkManager/system-connections/port.nmconnection", port);
            check(read, &[bridge, port], &["br0:", "br0: eth1"]);
        }
    }

    #[test]
    fn what_stays_down_or_is_none_is_said() {
        let off = BRIDGE.replace("type=bridge", "type=bridge\nautoconnect=false");
        check(read, &[("etc/NetworkManager/system-connections/lan.nmconnection", &off)], &["br0: off"]);
        check(read, &[("etc/NetworkManager/system-connections/lan.nmconnection~", BRIDGE)], &[]);
        check(read, &[("usr/lib/NetworkManager/system-connections/lan", BRIDGE)], &[]);
        check(read, &[("etc/NetworkManager/system-connections/lan", BRIDGE)], &["br0:"]);
        // The file in /etc hides the other.
        let hidden = ("usr/lib/NetworkManager/system-connections/lan.nmconnection", BRIDGE);
        check(read, &[("etc/NetworkManager/system-connections/lan.nmconnection", ""), hidden], &[]);
        // A bond's port is no bridge's.
        let bond = "[connection]\ninterface-name=eth1\nmaster=bond0\nslave-type=bond\n";
        check(read, &[("etc/NetworkManager/system-connections/port", bond)], &[]);
    }

    #[test]
    fn what_cannot_be_told_is_a_caveat() {
        for (text, expected) in [
            ("[connection]\ntype=bridge\n", "without interface-name"),
            ("[connection]\ninterface-name=eth1\nmaster=6f0e4a1c-0000-4000-8000-00000000000f\nslave-type=bridge\n", "not found"),
            ("[connection]\nmaster=br0\nslave-type=bridge\n[ethernet]\nmac-address=52:54:00:00:00:99\n", "no device"),
        ] {
            let (_, caveats) = Tree::new(&[("etc/NetworkManager/system-connections/a", text)]).read(read);
            assert!(caveats.len() == 1 && caveats[0].contains(expected), "{caveats:?}");
        }
    }
}
