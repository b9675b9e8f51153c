//! Who serves the guests, and who else manages the network.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A socket that listens on a DHCP or DNS port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// The address that it is bound to; the zero address for any.
    pub address: IpAddr,
    /// The port: 53, 67 or 547.
    pub port: u16,
    /// The device that it is bound to (`SO_BINDTODEVICE`), if any.
    pub device: Option<super::IfIndex>,
    /// The process, if it can be seen from here.
    pub process: Option<Process>,
}

/// A process, as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// Its command line, split at the separators.
    pub command: Vec<String>,
}

/// A program that manages rules, bridges or routes on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manager {
    /// Which one.
    pub kind: ManagerKind,
    /// What shows that it is there: its process, its socket.
    pub evidence: String,
    /// Devices that its files give to it by a pattern, not by their name.
    #[serde(default)]
    pub takes: Vec<TakenDevice>,
}

/// A device that a manager's file gives to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenDevice {
    /// The device.
    pub device: super::IfName,
    /// The file.
    pub path: String,
    /// What in the file means it: `Name=*`.
    pub by: String,
}

/// The managers that kvmnet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagerKind {
    /// Docker's daemon.
    Docker,
    /// firewalld.
    Firewalld,
    /// Ubuntu's uncomplicated firewall.
    Ufw,
    /// NetworkManager.
    NetworkManager,
    /// systemd-networkd.
    SystemdNetworkd,
    /// Kubernetes' kubelet or kube-proxy.
    Kubernetes,
    /// Tailscale.
    Tailscale,
}
