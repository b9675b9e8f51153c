//! Programs that manage the network besides libvirt.
//!
//! A manager counts if its process lives in this network namespace: a socket file or a unit outlives
//! its daemon, and a daemon in a container manages another network. ufw has no process.

use std::fs;
use std::io;
use std::path::Path;

use super::{Context, Meta, Reading, bridge_config, process};
use crate::facts::{Manager, ManagerKind};

pub(crate) const META: Meta = Meta {
    id: "managers",
    summary: "Programs that manage the network besides libvirt",
    basis: "/proc/PID/comm, /proc/PID/ns/net, /etc/ufw/ufw.conf, systemd.network(5)",
    since: "0.1.0",
};

/// Names of processes, as the kernel cuts them to 15 bytes.
const PROCESSES: [(&str, ManagerKind); 11] = [
    ("dockerd", ManagerKind::Docker),
    ("firewalld", ManagerKind::Firewalld),
    ("NetworkManager", ManagerKind::NetworkManager),
    ("systemd-network", ManagerKind::SystemdNetworkd),
    ("kubelet", ManagerKind::Kubernetes),
    ("kube-proxy", ManagerKind::Kubernetes),
    ("kubelite", ManagerKind::Kubernetes),
    ("k3s-server", ManagerKind::Kubernetes),
    ("k3s-agent", ManagerKind::Kubernetes),
    ("rke2", ManagerKind::Kubernetes),
    ("tailscaled", ManagerKind::Tailscale),
];

/// Why the managers are not known.
#[derive(Debug, thiserror::Error)]
#[error("read /proc")]
pub(crate) struct Error(#[source] io::Error);

/// Reads the source.
#[expect(clippy::unused_async, reason = "the registry awaits every source; this one only reads files")]
pub(crate) async fn read(context: &Context) -> Result<Reading<Vec<Manager>>, Error> {
    let processes = process::all().map_err(Error)?;
    let mut reading = Reading::from(Vec::new());
    for (process, kind) in processes.iter().filter_map(|process| Some((process, kind(&process.name)?))) {
        if process.shares_network() != Some(false) {
            let evidence = format!("process {} ({})", process.name, process.pid);
            let mut takes = Vec::new();
            if kind == ManagerKind::SystemdNetworkd {
                let mut files = bridge_config::taken_by_networkd(context);
                takes = files.value;
                reading.caveats.append(&mut files.caveats);
            }
            reading.value.push(Manager { kind, evidence, takes });
        }
    }
    match ufw(&context.root) {
        Ok(manager) => reading.value.extend(manager),
        Err(error) => reading.caveats.push(format!("read /etc/ufw/ufw.conf: {error}")),
    }
    reading.value.sort_by(|one, other| (one.kind, &one.evidence).cmp(&(other.kind, &other.evidence)));
    Ok(reading)
}

fn kind(name: &str) -> Option<ManagerKind> {
    PROCESSES.iter().find(|(process, _)| *process == name).map(|(_, kind)| *kind)
}

fn ufw(root: &Path) -> io::Result<Option<Manager>> {
    let text = match fs::read_to_string(root.join("etc/ufw/ufw.conf")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let enabled = text.lines().filter_map(|line| line.trim().strip_prefix("ENABLED=")).next_back();
    let enabled = enabled.is_some_and(|value| value.trim_matches(['"', '\'']).eq_ignore_ascii_case("yes"));
    let evidence = "ENABLED=yes in /etc/ufw/ufw.conf".to_owned();
    Ok(enabled.then_some(Manager { kind: ManagerKind::Ufw, evidence, takes: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_kernel_cuts_them() {
        for (name, _) in PROCESSES {
            assert!(name.len() <= 15, "{name}");
        }
        assert_eq!(kind("systemd-network"), Some(ManagerKind::SystemdNetworkd));
        assert_eq!(kind("dockerd-rootles"), None);
    }

    #[test]
    fn ufw_is_what_its_file_says() {
        let root = std::env::temp_dir().join(format!("kvmnet-manager-{}", std::process::id()));
        assert_eq!(ufw(&root).unwrap(), None);
        fs::create_dir_all(root.join("etc/ufw")).unwrap();
        for (text, present) in [
            ("# /etc/ufw/ufw.conf\n#ENABLED=yes\nENABLED=no\n", false),
            ("ENABLED=yes\nLOGLEVEL=low\n", true),
            ("ENABLED=no\nENABLED=\"YES\"\n", true),
            ("", false),
        ] {
            fs::write(root.join("etc/ufw/ufw.conf"), text).unwrap();
            assert_eq!(ufw(&root).unwrap().is_some(), present, "{text}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
