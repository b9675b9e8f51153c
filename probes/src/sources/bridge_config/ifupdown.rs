//! Debian's /etc/network/interfaces (interfaces(5), bridge-utils-interfaces(5)).

use std::collections::BTreeSet;

use super::devices::{is_pattern, matches};
use super::read::Host;
use crate::facts::{BridgeConfigFile, BridgeConfigFormat};

const FILE: &str = "/etc/network/interfaces";

pub(super) fn read(host: &mut Host<'_>) -> Vec<BridgeConfigFile> {
    let mut parser = Parser { host, seen: BTreeSet::new(), automatic: BTreeSet::new(), bridges: Vec::new() };
    parser.file(FILE);
    let Parser { automatic, mut bridges, .. } = parser;
    for bridge in &mut bridges {
        // `allow-hotplug` waits for a device to appear, which a bridge never does by itself.
        bridge.at_boot = automatic.iter().any(|name| {
            let pattern = name.strip_prefix('/').unwrap_or(name);
            matches(pattern, bridge.bridge.as_str())
        });
    }
    bridges
}

struct Parser<'a, 'b> {
    host: &'a mut Host<'b>,
    /// The files that were read: one that names itself must end.
    seen: BTreeSet<String>,
    /// The names after `auto`, in all files.
    automatic: BTreeSet<String>,
    bridges: Vec<BridgeConfigFile>,
}

impl Parser<'_, '_> {
    fn file(&mut self, path: &str) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        let Some(text) = self.host.files.read(path) else { return };
        // A line that ends in a backslash goes on.
        let text = text.replace("\\\n", " ");
        let mut interface = None;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let Some(keyword) = words.next() else { continue };
            match keyword {
                "iface" => interface = words.next().map(str::to_owned),
                "auto" | "allow-auto" => self.automatic.extend(words.map(str::to_owned)),
                "source" => words.for_each(|pattern| self.source(path, pattern)),
                "source-directory" => words.for_each(|directory| self.directory(directory)),
                // ifupdown2, and Proxmox with it, writes a hyphen.
                "bridge_ports" | "bridge-ports" => {
                    if let Some(bridge) = &interface {
                        self.bridge(path, bridge, words.collect());
                    }
                }
                _ => {}
            }
        }
    }

    fn bridge(&mut self, path: &str, bridge: &str, words: Vec<&str>) {
        let mut ports = Vec::new();
        for word in words {
            match word {
                "none" | "glob" => {}
                "all" | "regex" => {
                    let text = format!("{path}: the ports of {bridge} are given by `{word}`, which is not followed");
                    self.host.files.caveat(text);
                    break;
                }
                name => ports.extend(self.host.devices.named(name)),
            }
        }
        let (format, path) = (BridgeConfigFormat::Ifupdown, path.to_owned());
        self.bridges.push(BridgeConfigFile { format, path, bridge: bridge.into(), ports, at_boot: false });
    }

    /// `source PATTERN`; a path that is not absolute counts from the file's directory.
    fn source(&mut self, from: &str, pattern: &str) {
        let base = from.rsplit_once('/').map_or("", |(directory, _)| directory);
        let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("{base}/{pattern}") };
        let Some((directory, name)) = pattern.rsplit_once('/') else { return };
        if is_pattern(directory) {
            self.host.files.caveat(format!("{from}: source {pattern}: patterns for directories are not followed"));
        } else if is_pattern(name) {
            for found in self.host.files.list(directory) {
                if matches(name, &found) && !found.starts_with('.') {
                    self.file(&format!("{directory}/{found}"));
                }
            }
        } else {
            self.file(&pattern);
        }
    }

    /// `source-directory DIRECTORY`: files with plain names only.
    fn directory(&mut self, directory: &str) {
        let plain = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '_' | '-'));
        for name in self.host.files.list(directory).into_iter().filter(|name| plain(name)) {
            self.file(&format!("{directory}/{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{Tree, check};
    use super::read;

    const FILE: &str = "etc/network/interfaces";

    #[test]
    fn bridges_are_found_with_their_ports() {
        for (text, expected) in [
            ("auto br0\niface br0 inet dhcp\n  bridge_ports eth1\n", &["br0: eth1"][..]),
            ("auto lo br0\n\niface br0 inet static\n\taddress 192.0.2.1/24\n\tbridge-ports eth1 eth7\n", &["br0: eth1 eth7"]),
            ("auto br0\niface br0 inet manual\n bridge_ports none\n bridge_stp off\n", &["br0:"]),
            ("auto br0\niface br0 inet manual\n bridge_ports \\\n  eth0 \\\n  eth1\n", &["br0: eth0 eth1"]),
            ("auto /br*\niface br0 inet manual\n bridge-ports glob eth*\n", &["br0: eth0 eth1"]),
            ("iface br0 inet manual\n bridge_ports eth1\n", &["br0: eth1 off"]),
            ("allow-hotplug br0\niface br0 inet manual\n bridge_ports eth1\n", &["br0: eth1 off"]),
            ("#auto br0\n#iface br0 inet manual\n# bridge_ports eth1\n", &[]),
            ("bridge_ports eth1\nauto eth1\niface eth1 inet dhcp\n", &[]),
            ("iface br0 inet manual\n bridge_ports eth0\niface br1 inet manual\n bridge_ports eth1\n", &["br0: eth0 off", "br1: eth1 off"]),
        ] {
            check(read, &[(FILE, text)], expected);
        }
    }

    #[test]
    fn other_files_are_followed() {
        let bridge = "iface br0 inet manual\n bridge_ports eth1\n";
        for source in ["source /etc/network/interfaces.d/*", "source interfaces.d/lan", "source-directory /etc/network/interfaces.d"] {
            let text = format!("auto br0\n{source}\n");
            check(read, &[(FILE, &text), ("etc/network/interfaces.d/lan", bridge)], &["br0: eth1"]);
        }
        let itself = format!("{bridge}source /etc/network/interfaces\n");
        check(read, &[(FILE, &itself)], &["br0: eth1 off"]);
        check(read, &[(FILE, "source /etc/network/missing\n")], &[]);
        check(read, &[("etc/network/interfaces.d/lan", bridge)], &[]);
    }

    #[test]
    fn what_cannot_be_told_is_a_caveat() {
        for text in [
            "iface br0 inet manual\n bridge_ports all\n",
            "iface br0 inet manual\n bridge_ports regex en.*\n",
            "source /etc/*/lan\n",
        ] {
            let (_, caveats) = Tree::new(&[(FILE, text)]).read(read);
            assert_eq!(caveats.len(), 1, "{text}: {caveats:?}");
        }
    }
}
