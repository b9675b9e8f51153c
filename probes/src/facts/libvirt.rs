//! What libvirt says: networks, domains and filters.
//!
//! The helper program `kvmnet-libvirt` prints exactly this type as JSON. Names and texts that a
//! guest can influence (hostnames of leases, addresses from the agent) are kept as they came;
//! whoever shows them escapes them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{IfName, Mac, VlanId};

/// Everything that one libvirt connection says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Libvirt {
    /// The connection's URI, as libvirt reports it.
    pub uri: String,
    /// Which daemon answered.
    pub daemon: Daemon,
    /// The library's version on the daemon's side.
    pub version: String,
    /// `nftables` or `iptables`; `None` if it cannot be told (before libvirt 10.4: iptables).
    pub firewall_backend: Option<String>,
    /// Networks, by name.
    pub networks: Vec<Network>,
    /// Domains, by name.
    pub domains: Vec<Domain>,
    /// Network filters, by name.
    pub filters: Vec<NwFilter>,
    /// Filters that are bound to a tap now.
    pub filter_bindings: Vec<FilterBinding>,
    /// Parts that libvirt refused to tell, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Libvirt {
    /// The leases of all networks.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.networks.iter().flat_map(|network| &network.leases)
    }
}

/// Which daemon answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// The single daemon, `libvirtd`.
    Libvirtd,
    /// The modular ones: `virtqemud`, `virtnetworkd`, …
    Modular,
    /// No daemon: libvirt's own test driver.
    TestDriver,
    /// Cannot be told.
    Unknown,
}

/// A libvirt network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// It is started, as far as libvirt knows.
    pub active: bool,
    /// It starts with the daemon.
    pub autostart: bool,
    /// It has a configuration that outlives a stop.
    pub persistent: bool,
    /// The configuration that runs, or the saved one if it does not run.
    pub config: NetworkConfig,
    /// The saved configuration, if it differs from the one that runs.
    pub saved: Option<NetworkConfig>,
    /// DHCP leases that libvirt's server gave.
    pub leases: Vec<Lease>,
    /// Ports that libvirt accounts for; `None` if it does not tell.
    pub ports: Option<Vec<NetworkPort>>,
}

/// `<forward mode=…>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardMode {
    /// No `<forward>` element.
    Isolated,
    /// `nat`.
    Nat,
    /// `route`.
    Route,
    /// `open`: routed, and libvirt writes no rules.
    Open,
    /// `bridge`: an existing bridge, a macvtap pool or an OVS bridge.
    Bridge,
    /// `private`: macvtap.
    Private,
    /// `vepa`: macvtap.
    Vepa,
    /// `passthrough`: macvtap.
    Passthrough,
    /// `hostdev`: PCI devices.
    Hostdev,
    /// A mode that this version does not know.
    Unknown,
}

impl ForwardMode {
    /// libvirt makes the bridge, its addresses and its rules, and serves it.
    pub fn has_bridge_of_libvirt(self) -> bool {
        match self {
            Self::Isolated | Self::Nat | Self::Route | Self::Open => true,
            Self::Bridge | Self::Private | Self::Vepa | Self::Passthrough | Self::Hostdev | Self::Unknown => {
                false
            }
        }
    }

    /// libvirt's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Nat => "nat",
            Self::Route => "route",
            Self::Open => "open",
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthrough => "passthrough",
            Self::Hostdev => "hostdev",
            Self::Unknown => "unknown",
        }
    }
}

/// A network's configuration (<https://libvirt.org/formatnetwork.html>).
#[expect(clippy::struct_excessive_bools, reason = "libvirt's own switches, one each")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// How it is joined to the rest.
    pub mode: ForwardMode,
    /// `<forward dev>` and `<interface dev>`: the devices that it may leave by.
    pub forward_devices: Vec<IfName>,
    /// `<nat ipv6='yes'>`.
    pub nat_ipv6: bool,
    /// `<nat><address start end>`.
    pub nat_addresses: Option<(IpAddr, IpAddr)>,
    /// `<nat><port start end>`.
    pub nat_ports: Option<(u16, u16)>,
    /// The bridge device.
    pub bridge: Option<IfName>,
    /// `<bridge stp>`.
    pub stp: bool,
    /// `<bridge macTableManager='libvirt'>`: flooding and learning are off.
    pub mac_table_by_libvirt: bool,
    /// `<bridge zone>`: the firewalld zone.
    pub zone: Option<String>,
    /// The bridge's MAC.
    pub mac: Option<Mac>,
    /// `<mtu size>`.
    pub mtu: Option<u32>,
    /// `<domain name>`.
    pub domain: Option<String>,
    /// libvirt runs a DNS server: there is an address, and `<dns enable='no'/>` is absent.
    pub dns: bool,
    /// Attribute `ipv6='yes'`: IPv6 between guests without an address of the network.
    pub ipv6: bool,
    /// The host's addresses on the bridge.
    pub ips: Vec<NetworkIp>,
    /// Static routes through guests.
    pub routes: Vec<NetworkRoute>,
    /// `<port isolated='yes'/>`.
    pub port_isolated: bool,
    /// `<virtualport type>`: `openvswitch`, `802.1Qbh`, ….
    pub virtualport: Option<String>,
    /// `<vlan>` tags of the whole network.
    pub vlans: Vec<VlanId>,
    /// Port groups.
    pub portgroups: Vec<Portgroup>,
}

/// `<ip>` of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkIp {
    /// The host's address with the subnet's prefix length.
    pub net: IpNet,
    /// `<dhcp>` is present: libvirt's server gives addresses.
    pub dhcp: bool,
    /// Dynamic ranges, first and last.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Fixed assignments.
    pub hosts: Vec<DhcpHost>,
}

/// A fixed DHCP assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhcpHost {
    /// For whom, by MAC.
    pub mac: Option<Mac>,
    /// The name it is told.
    pub name: Option<String>,
    /// Its address.
    pub address: IpAddr,
}

/// `<route>` of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRoute {
    /// Where to.
    pub destination: IpNet,
    /// Through whom.
    pub gateway: IpAddr,
}

/// `<portgroup>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portgroup {
    /// Its name.
    pub name: String,
    /// NICs that name none are in this one.
    pub default: bool,
    /// `<port isolated='yes'/>`.
    pub port_isolated: bool,
    /// `<vlan>` tags.
    pub vlans: Vec<VlanId>,
}

/// A DHCP lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// To whom.
    pub mac: Option<Mac>,
    /// Which address.
    pub address: IpAddr,
    /// The subnet's prefix length.
    pub prefix_length: u8,
    /// The name that the guest gave: hostile.
    pub hostname: Option<String>,
    /// The client identifier that the guest gave (RFC 2132, 9.14), or its DUID over IPv6, in hexadecimal: hostile.
    #[serde(default)]
    pub client_id: Option<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_s: i64,
}

/// A port that libvirt accounts for (`virNetworkPort`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPort {
    /// Its UUID.
    pub uuid: String,
    /// The domain's name.
    pub domain: Option<String>,
    /// The NIC's MAC.
    pub mac: Option<Mac>,
    /// The bridge or device that it is plugged into.
    pub device: Option<IfName>,
}

/// `virDomainState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainState {
    /// Runs.
    Running,
    /// Waits for a resource.
    Blocked,
    /// Paused by the administrator or by an error.
    Paused,
    /// Is shutting down.
    ShuttingDown,
    /// Off.
    ShutOff,
    /// Crashed.
    Crashed,
    /// Suspended by the guest's power management.
    Suspended,
    /// A state that this version does not know.
    Unknown,
}

impl DomainState {
    /// Whether the domain's taps exist.
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Blocked | Self::Paused | Self::ShuttingDown | Self::Suspended => true,
            Self::ShutOff | Self::Crashed | Self::Unknown => false,
        }
    }
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// What it does now.
    pub state: DomainState,
    /// It starts with the daemon.
    pub autostart: bool,
    /// It has a configuration that outlives a stop.
    pub persistent: bool,
    /// Its NICs as they run, or as saved if it does not run.
    pub interfaces: Vec<Interface>,
    /// Its NICs as saved, if they differ from those that run.
    pub saved_interfaces: Option<Vec<Interface>>,
    /// Words that the administrator gave it in its metadata.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Addresses that the guest's agent reports; `None` without an agent. Hostile.
    pub agent_addresses: Option<Vec<AgentAddress>>,
}

/// What a NIC is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InterfaceSource {
    /// A libvirt network.
    Network {
        /// Its name.
        network: String,
        /// The port group that it asks for.
        portgroup: Option<String>,
        /// The bridge that libvirt plugged it into, if it runs.
        bridge: Option<IfName>,
    },
    /// A bridge, without a libvirt network.
    Bridge {
        /// The bridge.
        bridge: IfName,
    },
    /// macvtap on a device.
    Direct {
        /// The lower device.
        device: Option<IfName>,
        /// `bridge`, `private`, `vepa` or `passthrough`.
        mode: String,
    },
    /// A PCI device of the host: beyond what the host can see.
    Hostdev,
    /// A tap that libvirt makes but plugs into nothing.
    Ethernet,
    /// QEMU's user networking, or passt.
    User,
    /// vhost-user: a process carries the packets.
    VhostUser,
    /// Another type, by libvirt's name for it.
    Other {
        /// `<interface type>`.
        kind: String,
    },
}

/// `<interface>` of a domain (<https://libvirt.org/formatdomain.html#network-interfaces>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// What it is plugged into.
    pub source: InterfaceSource,
    /// Its MAC.
    pub mac: Mac,
    /// The tap or macvtap on the host; `None` if it does not run or has none.
    pub target: Option<IfName>,
    /// The device model: `virtio`, `e1000e`, ….
    pub model: Option<String>,
    /// `<link state>`: `false` if it is set to down.
    pub link_up: bool,
    /// `<filterref>`.
    pub filter: Option<FilterRef>,
    /// `<vlan>` tags.
    pub vlans: Vec<VlanId>,
    /// `<virtualport type>`.
    pub virtualport: Option<String>,
    /// `<port isolated='yes'/>`.
    pub isolated: bool,
    /// `<mtu size>`.
    pub mtu: Option<u32>,
    /// `<ip>`: addresses that the administrator wrote down.
    pub addresses: Vec<IpNet>,
    /// `<alias name>`: `net0`, ….
    pub alias: Option<String>,
}

/// `<filterref>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterRef {
    /// The filter's name.
    pub filter: String,
    /// Its parameters.
    pub parameters: Vec<(String, String)>,
}

/// An address that the guest's agent reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentAddress {
    /// The NIC's MAC.
    pub mac: Option<Mac>,
    /// The address.
    pub net: IpNet,
}

/// A network filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NwFilter {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Filters that it includes.
    pub includes: Vec<String>,
}

/// A filter bound to a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterBinding {
    /// The tap.
    pub port: IfName,
    /// The filter's name.
    pub filter: String,
    /// The domain's name.
    pub domain: Option<String>,
}
