//! systemd-networkd's .netdev and .network files (systemd.netdev(5), systemd.network(5)).

use super::devices::{is_pattern, matches};
use super::super::files::has_extension;
use super::ini::Ini;
use super::read::Host;
use crate::facts::{BridgeConfigFile, BridgeConfigFormat, IfName, TakenDevice};

/// A file hides those of the same name in the directories after its own.
const DIRECTORIES: [&str; 4] =
    ["/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network"];

pub(super) fn read(host: &mut Host<'_>) -> Vec<BridgeConfigFile> {
    let mut found = Vec::new();
    let mut declare = |path: String, bridge: &str, ports, at_boot| {
        let format = BridgeConfigFormat::SystemdNetworkd;
        found.push(BridgeConfigFile { format, path, bridge: bridge.into(), ports, at_boot });
    };
    let networks = units(host, "network");
    for (path, unit) in units(host, "netdev") {
        if unit.last("NetDev", &["Kind"]).is_some_and(|kind| kind.eq_ignore_ascii_case("bridge")) {
            match unit.last("NetDev", &["Name"]) {
                Some(bridge) => {
                    let own = networks.iter().find(|(_, unit)| unit.words("Match", "Name").contains(&bridge));
                    declare(path, bridge, Vec::new(), own.is_none_or(|(_, unit)| comes_up(unit)));
                }
                None => host.files.caveat(format!("{path}: a bridge without Name=")),
            }
        }
    }
    for (path, unit) in &networks {
        if let Some(bridge) = unit.last("Network", &["Bridge"]) {
            let ports = ports(unit, bridge, host);
            if ports.is_empty() {
                host.files.caveat(format!("{path}: the ports of {bridge} are no devices of this host"));
            }
            declare(path.clone(), bridge, ports, comes_up(unit));
        }
    }
    found
}

/// The devices that a pattern takes. For each the first file that matches counts; where one before it may match by
/// what is not read here (`Type=`, `Driver=`, …), nothing is said.
pub(super) fn taken(host: &mut Host<'_>) -> Vec<TakenDevice> {
    let networks = units(host, "network");
    let devices = host.devices.named("*");
    devices.into_iter().filter_map(|device| taker(&networks, device)).collect()
}

fn taker(networks: &[(String, Ini)], device: IfName) -> Option<TakenDevice> {
    let (path, unit) = networks.iter().find(|(_, unit)| may_take(unit, device.as_str()))?;
    let names = unit.words("Match", "Name");
    let by = if names.is_empty() { "no [Match]".to_owned() } else { format!("Name={}", names.join(" ")) };
    let certain = unit.keys("Match").all(|key| key == "Name");
    let deliberate = !is_managed(unit) || names.contains(&device.as_str());
    (certain && !deliberate).then(|| TakenDevice { device, path: path.clone(), by })
}

/// Whether a file may match a bridge or tap of this name: all that stands in its `[Match]` has to.
fn may_take(unit: &Ini, device: &str) -> bool {
    let other = |key, ours: [&str; 2]| {
        let words = unit.words("Match", key);
        !words.is_empty() && !words.iter().any(|word| ours.contains(word) || word.starts_with('!') || is_pattern(word))
    };
    let wireless = unit.keys("Match").any(|key| matches!(key, "WLANInterfaceType" | "SSID" | "BSSID"));
    takes(&unit.words("Match", "Name"), device)
        && !other("Type", ["ether", "bridge"])
        && !other("Kind", ["bridge", "tun"])
        && !wireless
}

/// Whether `Name=` means the device. A `!` in front turns the whole list round; without any all devices are meant but
/// the loopback device.
fn takes(names: &[&str], device: &str) -> bool {
    let negated = names.first().is_some_and(|first| first.starts_with('!'));
    let found = names.iter().any(|name| matches(name.trim_start_matches('!'), device));
    if names.is_empty() { device != "lo" } else { found != negated }
}

fn is_managed(unit: &Ini) -> bool {
    !unit.last("Link", &["Unmanaged"]).is_some_and(|value| matches!(value, "yes" | "true" | "1" | "on"))
}

/// All units of one kind with their drop-ins, in the order in which systemd takes them.
fn units(host: &mut Host<'_>, extension: &str) -> Vec<(String, Ini)> {
    let files = &mut host.files;
    let mut units = Vec::new();
    for (name, path) in files.layered(&DIRECTORIES, |name| has_extension(name, extension)) {
        let Some(mut text) = files.read(&path) else { continue };
        let directories = DIRECTORIES.map(|directory| format!("{directory}/{name}.d"));
        let directories = directories.each_ref().map(String::as_str);
        for path in files.layered(&directories, |name| has_extension(name, "conf")).into_values() {
            text.push('\n');
            text.push_str(&files.read(&path).unwrap_or_default());
        }
        units.push((path, Ini::from(text.as_str())));
    }
    units
}

fn comes_up(unit: &Ini) -> bool {
    is_managed(unit) && !matches!(unit.last("Link", &["ActivationPolicy"]), Some("manual" | "always-down" | "down"))
}

fn ports(unit: &Ini, bridge: &str, host: &Host<'_>) -> Vec<IfName> {
    let macs = ["MACAddress", "PermanentMACAddress"].map(|key| unit.words("Match", key)).concat();
    let (negated, names): (Vec<_>, Vec<_>) =
        unit.words("Match", "Name").into_iter().partition(|name| name.starts_with('!'));
    if names.is_empty() && negated.is_empty() {
        let macs = macs.iter().filter_map(|mac| mac.parse().ok());
        return macs.flat_map(|mac| host.devices.with_mac(mac, &bridge.into())).collect();
    }
    if !negated.is_empty() {
        // All devices but some: which ones is not settled by the names alone.
        return Vec::new();
    }
    let mut ports: Vec<_> = names.iter().flat_map(|name| host.devices.named(name)).collect();
    if names.iter().any(|name| is_pattern(name)) {
        ports.retain(|port| port.as_str() != bridge);
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Tree, check};
    use super::{read, taken};

    const NETDEV: (&str, &str) = ("etc/systemd/network/br0.netdev", "[NetDev]\nName=br0\nKind=bridge\n");

    #[test]
    fn bridges_and_ports_are_found_by_every_way_of_naming_them() {
        for (port, expected) in [
            ("[Match]\nName=eth1\n[Network]\nBridge=br0\n", "br0: eth1"),
            ("[Match]\nName=eth7 eth8\n[Network]\nBridge=br0\n", "br0: eth7 eth8"),
            ("[Match]\nName=eth*\n[Network]\nBridge=br0\n", "br0: eth0 eth1"),
            ("[Match]\nName=*1 br*\n[Network]\nBridge=br0\n", "br0: eth1"),
            ("[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nBridge=br0\n", "br0: eth1"),
            ("[Match]\nName=eth1\n[Link]\nActivationPolicy=manual\n[Network]\nBridge=br0\n", "br0: eth1 off"),
        ] {
            check(read, &[NETDEV, ("run/systemd/network/port.network", port)], &["br0:", expected]);
        }
    }

    #[test]
    fn files_hide_and_complete_one_another() {
        let port = ("usr/lib/systemd/network/port.network", "[Match]\nName=eth1\n");
        let drop_in = ("etc/systemd/network/port.network.d/bridge.conf", "[Network]\nBridge=br0\n");
        check(read, &[port, drop_in], &["br0: eth1"]);
        let hidden = ("usr/lib/systemd/network/br0.netdev", NETDEV.1);
        check(read, &[("etc/systemd/network/br0.netdev", ""), hidden], &[]);
        let down = ("etc/systemd/network/br0.network", "[Match]\nName=br0\n[Link]\nActivationPolicy=down\n");
        check(read, &[NETDEV, down], &["br0: off"]);
        check(read, &[("etc/systemd/network/bond0.netdev", "[NetDev]\nName=bond0\nKind=bond\n")], &[]);
    }

    #[test]
    fn the_first_file_that_matches_takes_a_device() {
        let file = |name: &str, text: &str| (format!("etc/systemd/network/{name}.network"), text.to_owned());
        let all = file("90-all", "[Match]\nName=*\n[Network]\nDHCP=yes\n");
        for (before, expected) in [
            (None, "br0 eth0 eth1 lo"),
            (Some("[Match]\nName=eth0\n"), "br0 eth1 lo"),
            (Some("[Match]\nName=br*\n[Link]\nUnmanaged=yes\n"), "eth0 eth1 lo"),
            (Some("[Match]\nName=!eth*\n[Link]\nUnmanaged=yes\n"), "eth0 eth1"),
            (Some("[Match]\nType=ether\n"), "lo"),
            (Some("[Match]\nType=wlan\n"), "br0 eth0 eth1 lo"),
            (Some("[Match]\nKind=veth\nName=host0\n"), "br0 eth0 eth1 lo"),
            (Some("[Network]\nDHCP=yes\n"), "br0 eth0 eth1 lo"),
        ] {
            let mut files = vec![all.clone()];
            files.extend(before.map(|text| file("10-first", text)));
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let found = Tree::new(&files).with_host(taken);
            let names: Vec<_> = found.iter().map(|taken| taken.device.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{before:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_a_caveat() {
        for names in ["Name=wl*", "Name=!eth0", "Driver=virtio_net", "MACAddress=52:54:00:00:00:99"] {
            let text = format!("[Match]\n{names}\n[Network]\nBridge=br0\n");
            let (_, caveats) = Tree::new(&[("etc/systemd/network/port.network", &text)]).read(read);
            assert_eq!(caveats.len(), 1, "{names}: {caveats:?}");
        }
    }
}
