//! A bridge that guests use will not be there, or not lead to the LAN, after a reboot.

use kvmnet_probes::facts::{BridgeConfigFile, Daemon, Fact, ForwardMode, IfName};
use kvmnet_reports::{Evidence, Severity};

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, link, network};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "bridge-not-persistent",
    severity: Severity::Warning,
    category: Category::Link,
    summary: "a bridge in use does not come back after a reboot",
    explanation: "Nothing is broken now. libvirt makes the bridges of its NAT, routed and isolated networks, but \
                  a bridge to the LAN is the host's own affair: one that was made by hand with `ip link` or \
                  `brctl` is gone after the next reboot, and so is a card that was put into it by hand. Files of \
                  NetworkManager, systemd-networkd, netplan, ifupdown and ifcfg are read; if something else \
                  makes the bridge (a script, a configuration tool of another kind), all is well.",
    needs: &["bridge-config", "links", "libvirt"],
    basis: "nm-settings-keyfile(5), systemd.netdev(5), netplan(5), bridge-utils-interfaces(5)",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    // What the test driver serves ends with the connection anyhow.
    if scene.snapshot.libvirt.known().is_none_or(|libvirt| libvirt.daemon == Daemon::TestDriver) {
        return Vec::new();
    }
    let Fact::Read { value: files, caveats, .. } = &scene.snapshot.bridge_config else { return Vec::new() };
    let ours = |zone: &&NetworkZone| zone.mode == ForwardMode::Bridge && scene.members(zone).next().is_some();
    let zones = scene.topology.networks.iter().filter(ours).filter(|zone| scene.bridge(zone).is_some());
    zones.filter_map(|zone| diagnose(zone, files, caveats.is_empty())).collect()
}

/// `whole`: every file was understood, so that what none says is said nowhere.
fn diagnose(zone: &NetworkZone, files: &[BridgeConfigFile], whole: bool) -> Option<Diagnosis> {
    let bridge = zone.bridge.as_ref()?;
    let declaring: Vec<&BridgeConfigFile> = files.iter().filter(|file| file.bridge == *bridge).collect();
    let at_boot: Vec<&BridgeConfigFile> = declaring.iter().copied().filter(|file| file.at_boot).collect();
    let port = zone.uplink.as_ref().map(|(_, name)| name);
    let evidence = |file: &&BridgeConfigFile| fact("bridge-config", said(file));
    match port {
        _ if declaring.is_empty() && whole => Some(finding(
            zone,
            bridge,
            format!("no configuration file makes {bridge}: after a reboot it is gone."),
            vec![fact("bridge-config", format!("no file that kvmnet reads declares {bridge}"))],
            &format!("declare {bridge} and its port in the host's network configuration"),
        )),
        _ if !declaring.is_empty() && at_boot.is_empty() => Some(finding(
            zone,
            bridge,
            format!("{bridge} is configured, but not to come up at boot."),
            declaring.iter().map(evidence).collect(),
            "let it come up at boot: autoconnect=true (NetworkManager), `auto` (ifupdown), ONBOOT=yes (ifcfg)",
        )),
        Some(port)
            if whole && !at_boot.is_empty() && !at_boot.iter().any(|file| file.ports.contains(port)) =>
        {
            Some(finding(
                zone,
                bridge,
                format!("{port} is in {bridge} now, but no configuration file puts it there."),
                at_boot.iter().map(evidence).collect(),
                &format!("name {port} as a port of {bridge} in the host's network configuration"),
            ))
        }
        _ => None,
    }
}

fn said(file: &BridgeConfigFile) -> String {
    let ports: Vec<&str> = file.ports.iter().map(IfName::as_str).collect();
    let ports = if ports.is_empty() { "no port".to_owned() } else { ports.join(", ") };
    let off = if file.at_boot { "" } else { ", not at boot" };
    format!("{}: {} with {ports}{off}", file.path, file.bridge)
}

fn finding(
    zone: &NetworkZone,
    bridge: &IfName,
    cause: String,
    evidence: Vec<Evidence>,
    note: &str,
) -> Diagnosis {
    Diagnosis {
        key: bridge.to_string(),
        subjects: vec![network(&zone.name), link(bridge)],
        title: format!("{}: {bridge} does not come back as it is after a reboot", zone.name),
        cause,
        evidence,
        fix: fix(None::<String>, note),
    }
}

#[cfg(test)]
mod tests {
    use kvmnet_probes::facts::BridgeConfigFormat;

    use super::*;
    use crate::model::Topology;
    use crate::testing::{known, snapshot};

    /// What is said of the LAN's bridge if these files declare it: path, ports, at boot.
    fn check(files: &[(&str, &[&str], bool)], expected: Option<&str>) {
        let mut snapshot = snapshot();
        known(&mut snapshot.libvirt).daemon = Daemon::Libvirtd;
        *known(&mut snapshot.bridge_config) = files
            .iter()
            .map(|(path, ports, at_boot)| BridgeConfigFile {
                format: BridgeConfigFormat::SystemdNetworkd,
                path: (*path).to_owned(),
                bridge: "br0".into(),
                ports: ports.iter().map(|port| IfName::from(*port)).collect(),
                at_boot: *at_boot,
            })
            .collect();
        let topology = Topology::from_snapshot(&snapshot);
        let found = facts(&Scene { snapshot: &snapshot, topology: &topology });
        let causes: Vec<&str> = found.iter().map(|diagnosis| diagnosis.cause.as_str()).collect();
        assert_eq!(causes, expected.into_iter().collect::<Vec<_>>(), "{files:?}");
    }

    #[test]
    fn a_bridge_is_there_after_a_reboot_if_files_say_so() {
        check(&[], Some("no configuration file makes br0: after a reboot it is gone."));
        check(&[("br0.netdev", &[], true), ("eth1.network", &["eth1"], true)], None);
        check(
            &[("br0.netdev", &[], true)],
            Some("eth1 is in br0 now, but no configuration file puts it there."),
        );
        check(&[("br0", &["eth1"], false)], Some("br0 is configured, but not to come up at boot."));
    }

    #[test]
    fn a_file_that_was_not_understood_may_declare_it() {
        let mut snapshot = snapshot();
        known(&mut snapshot.libvirt).daemon = Daemon::Libvirtd;
        snapshot.bridge_config =
            Fact::Read { at_ms: 0, caveats: vec!["netplan".to_owned()], value: Vec::new() };
        let topology = Topology::from_snapshot(&snapshot);
        assert_eq!(facts(&Scene { snapshot: &snapshot, topology: &topology }), []);
    }
}
