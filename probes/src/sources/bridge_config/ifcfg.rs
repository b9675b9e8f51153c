//! Red Hat's ifcfg files (sysconfig.txt of initscripts).

use super::super::files::is_backup;
use super::read::Host;
use crate::facts::{BridgeConfigFile, BridgeConfigFormat};

const DIRECTORY: &str = "/etc/sysconfig/network-scripts";

pub(super) fn read(host: &mut Host<'_>) -> Vec<BridgeConfigFile> {
    let mut found = Vec::new();
    for name in host.files.list(DIRECTORY) {
        if !name.starts_with("ifcfg-") || is_backup(&name) {
            continue;
        }
        let path = format!("{DIRECTORY}/{name}");
        let Some(text) = host.files.read(&path) else { continue };
        let at_boot = !variable(&text, "ONBOOT").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let mut declare = |bridge: &str, ports| {
            let (format, path) = (BridgeConfigFormat::Ifcfg, path.clone());
            found.push(BridgeConfigFile { format, path, bridge: bridge.into(), ports, at_boot });
        };
        let device = variable(&text, "DEVICE");
        if variable(&text, "TYPE").is_some_and(|value| value.eq_ignore_ascii_case("bridge")) {
            match &device {
                Some(bridge) => declare(bridge, Vec::new()),
                None => host.files.caveat(format!("{path}: a bridge without DEVICE=")),
            }
        }
        if let Some(bridge) = variable(&text, "BRIDGE") {
            let mac = variable(&text, "HWADDR").and_then(|mac| mac.parse().ok());
            let ports = match (device, mac) {
                (Some(device), _) => vec![device.as_str().into()],
                (None, Some(mac)) => host.devices.with_mac(mac, &bridge.as_str().into()),
                (None, None) => Vec::new(),
            };
            if ports.is_empty() {
                host.files.caveat(format!("{path}: the port of {bridge} is no device of this host"));
            }
            declare(&bridge, ports);
        }
    }
    found
}

/// The last value of a shell variable, without quotes; none if it is empty.
fn variable(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().rev().map(str::trim);
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split([' ', '\t', '#']).next().unwrap_or_default(),
    };
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Tree, check};
    use super::read;

    #[test]
    fn bridges_and_ports_are_found() {
        for (text, expected) in [
            ("DEVICE=br0\nTYPE=Bridge\nONBOOT=yes\n", &["br0:"][..]),
            ("DEVICE=\"br0\"\nTYPE='Bridge'\nONBOOT=\"no\"\n", &["br0: off"]),
            ("DEVICE=eth1\nBRIDGE=br0 # the LAN\n", &["br0: eth1"]),
            ("HWADDR=52:54:00:00:00:01\nBRIDGE=br0\nONBOOT=yes\n", &["br0: eth1"]),
            ("DEVICE=eth1\nTYPE=Ethernet\n#BRIDGE=br0\n", &[]),
        ] {
            check(read, &[("etc/sysconfig/network-scripts/ifcfg-a", text)], expected);
        }
        let text = "DEVICE=br0\nTYPE=Bridge\n";
        check(read, &[("etc/sysconfig/network-scripts/ifcfg-br0.bak", text)], &[]);
        check(read, &[("etc/sysconfig/network-scripts/route-br0", text)], &[]);
    }

    #[test]
    fn what_cannot_be_told_is_a_caveat() {
        for text in ["TYPE=Bridge\n", "BRIDGE=br0\n", "BRIDGE=br0\nHWADDR=52:54:00:00:00:99\n"] {
            let (_, caveats) = Tree::new(&[("etc/sysconfig/network-scripts/ifcfg-a", text)]).read(read);
            assert_eq!(caveats.len(), 1, "{text}: {caveats:?}");
        }
    }
}
