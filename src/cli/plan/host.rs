//! The planned host, built in the private namespaces of this process.
//!
//! ```text
//!   guests' namespace    g0     g1              g2
//!                        |      |               |
//!   host                vnet0  vnet1           vnet2
//!                        |      |               |
//!                       virbr0 (by libvirt)    br0 ── eth0      (or eth0 with the host's addresses alone)
//!                                                      |
//!   outside's namespace                               out0
//! ```
//!
//! Nothing is behind the cables: they give the devices a carrier. MACs that libvirt or the kernel would draw are counted,
//! so that two plans differ in what their files say alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use kvmnet_probes::facts::{
    Domain, DomainState, Fact, ForwardMode, IfName, Interface, InterfaceSource, Lease, Mac, NetworkConfig,
    Portgroup, Snapshot,
};
use kvmnet_probes::sources::{self, Context};
use nix::mount::{MsFlags, mount};

use super::Unbuilt;
use super::files::{self, Loader, NETWORK_CONF, Network, Plan};
use crate::cli::facts::DEADLINE;
use crate::cli::private::{Namespace, feed, ip_batch, namespace, sysctl, without_bridge_netfilter};

/// Directories of the machine that are covered by empty ones.
const OWN: [&str; 5] = ["/run", "/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt"];

/// Below it lie the configuration files of the planned host.
const ROOT: &str = "/run/planned-host";
const LOG: &str = "/run/libvirt.log";

/// The daemons that have libvirt's networks: the modular one and the single one.
const DAEMONS: [&str; 2] = ["virtnetworkd", "libvirtd"];
const URI: &str = "network:///system";

/// How long libvirt's daemon and spanning tree are waited for, in tenths of a second.
const PATIENCE: u32 = 300;

/// The host's own addresses, and who it sends to what it does not know a way to.
const ADDRESSES: [(&str, &str); 2] =
    [("203.0.113.2/24", "203.0.113.1"), ("2001:db8:ffff::2/64", "2001:db8:ffff::1")];

/// The host stands. It ends with the process's namespaces.
pub(super) struct Host {
    domains: Vec<Domain>,
    libvirt: Option<Child>,
    _namespaces: Vec<Namespace>,
}

impl Host {
    /// Builds it as it would come up at boot: devices, rules, libvirt's networks, guests.
    pub(super) fn build(plan: &Plan, directory: &Path, uplink: &IfName) -> Result<Self, Unbuilt> {
        let conf = plan.network_conf.clone().or_else(|| fs::read_to_string("/etc/libvirt/network.conf").ok());
        std::env::set_current_dir(directory)
            .with_context(|| format!("cannot enter {}", directory.display()))
            .map_err(Unbuilt::Plan)?;
        cover().map_err(Unbuilt::Machine)?;
        configure(plan, uplink, conf.as_deref()).map_err(Unbuilt::Machine)?;
        let outside = outside(plan, uplink).map_err(Unbuilt::Machine)?;
        load(plan, false).map_err(Unbuilt::Plan)?;
        let libvirt =
            if plan.networks.is_empty() { None } else { Some(start_libvirt().map_err(Unbuilt::Machine)?) };
        let mut bridges = BTreeMap::new();
        for (number, network) in plan.networks.iter().enumerate() {
            let config = define(network, number).map_err(Unbuilt::Plan)?;
            bridges.insert(network.name.as_str(), config);
        }
        load(plan, true).map_err(Unbuilt::Plan)?;
        let mut guests = Guests { plan, networks: bridges, taken: taken(plan) };
        let (domains, namespace) = guests.plug().map_err(Unbuilt::Plan)?;
        settle().map_err(Unbuilt::Machine)?;
        Ok(Self { domains, libvirt, _namespaces: vec![outside, namespace] })
    }

    /// What the kernel and libvirt say of it now, and what its domains would be if they ran.
    pub(super) async fn observe(self) -> Snapshot {
        let context = Context {
            libvirt_uri: Some(if self.libvirt.is_some() { URI } else { "test:///default" }.to_owned()),
            libvirt_deadline: DEADLINE,
            root: ROOT.into(),
        };
        let mut snapshot = sources::observe(&context).await;
        if let Fact::Read { value, .. } = &mut snapshot.libvirt {
            if self.libvirt.is_none() {
                // The test driver has a network of its own.
                value.networks.clear();
            }
            value.domains = self.domains;
            lease(value, i64::try_from(snapshot.taken_ms / 1000).unwrap_or(i64::MAX));
        }
        snapshot
    }
}

/// Covers what libvirt writes to and reads from, and shows it the devices of this namespace.
fn cover() -> anyhow::Result<()> {
    let none = None::<&str>;
    // libvirt looks its devices up in /sys, which shows those of the namespace in which it was mounted.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("cannot mount /sys")?;
    for directory in OWN.iter().filter(|directory| Path::new(directory).is_dir()) {
        mount(Some("tmpfs"), *directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .with_context(|| format!("cannot cover {directory}"))?;
    }
    Ok(())
}

/// Writes the host's configuration, and makes the namespace what a freshly booted host is.
fn configure(plan: &Plan, uplink: &IfName, network_conf: Option<&str>) -> anyhow::Result<()> {
    let write = |path: &str, text: &str| -> anyhow::Result<()> {
        let parent = Path::new(path).parent().context("a file lies in a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(path, text).with_context(|| format!("cannot write {path}"))
    };
    for root in ["", ROOT] {
        if let Some(text) = network_conf.filter(|_| root == ROOT || Path::new("/etc/libvirt").is_dir()) {
            write(&format!("{root}/etc/libvirt/{NETWORK_CONF}"), text)?;
        }
    }
    // The bridges that the plan counts on come back after a reboot.
    let networkd = |file: &str, text: &str| write(&format!("{ROOT}/etc/systemd/network/{file}"), text);
    for (number, bridge) in plan.foreign_bridges().iter().enumerate() {
        networkd(&format!("{bridge}.netdev"), &format!("[NetDev]\nName={bridge}\nKind=bridge\n"))?;
        let port = if number == 0 { uplink.to_string() } else { lan_card(number) };
        networkd(&format!("{port}.network"), &format!("[Match]\nName={port}\n[Network]\nBridge={bridge}\n"))?;
        if number == 0 {
            let own = ADDRESSES.map(|(address, _)| format!("Address={address}\n")).concat();
            networkd(&format!("{bridge}.network"), &format!("[Match]\nName={bridge}\n[Network]\n{own}"))?;
        }
    }
    sysctl("kernel/hostname", "planned-host")?;
    without_bridge_netfilter()?;
    // A new namespace has the IPv4 settings of the machine's own.
    sysctl("net/ipv4/ip_forward", "0")?;
    for device in ["all", "default"] {
        sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "2")?;
    }
    if Path::new("/proc/sys/net/ipv6").is_dir() {
        // Nobody else is there to have the same address.
        sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    }
    Ok(())
}

/// Makes the bridges of others, and the devices that lead out. The first such bridge has the uplink and the host's
/// addresses.
fn outside(plan: &Plan, uplink: &IfName) -> anyhow::Result<Namespace> {
    let bridges = plan.foreign_bridges();
    let mut devices = plan.outer_devices();
    devices.insert(uplink.clone());
    devices.retain(|device| !bridges.contains(device));
    let mut host = String::from("link set lo up\n");
    for bridge in &bridges {
        let number = host.lines().count();
        writeln!(
            host,
            "link add {bridge} address 02:00:00:00:00:{number:02x} type bridge stp_state 0\nlink set {bridge} up"
        )?;
    }
    ip_batch(&host).context("cannot make the bridges that the plan counts on")?;
    let mut cables = String::from("link set lo up\n");
    let mut ends = String::new();
    let mut join = |device: &str, bridge: Option<&IfName>| -> std::fmt::Result {
        let number = cables.lines().count();
        writeln!(
            cables,
            "link add out{number} type veth peer name {device} netns HOST\nlink set out{number} up"
        )?;
        match bridge {
            Some(bridge) => writeln!(ends, "link set {device} master {bridge} up"),
            None => writeln!(ends, "link set {device} up"),
        }
    };
    for device in &devices {
        join(device.as_str(), bridges.first().filter(|_| device == uplink))?;
    }
    for (number, bridge) in bridges.iter().enumerate().skip(1) {
        join(&lan_card(number), Some(bridge))?;
    }
    let namespace = namespace(&cables).context("cannot make the devices that lead out")?;
    let own = bridges.first().unwrap_or(uplink);
    for (address, router) in ADDRESSES {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        writeln!(ends, "address add {address} dev {own}{nodad}\nroute add default via {router}")?;
    }
    ip_batch(&ends).context("cannot give the host its addresses")?;
    Ok(namespace)
}

/// The card of another bridge than the first.
fn lan_card(number: usize) -> String {
    format!("lan{number}")
}

/// Loads the rules of others that come before libvirt's networks, or after them.
fn load(plan: &Plan, late: bool) -> anyhow::Result<()> {
    for rules in plan.rules.iter().filter(|rules| rules.late == late) {
        match rules.loader {
            Loader::Nft => feed("nft", &["-f", &rules.file], ""),
            Loader::Restore(program) => feed(program, &[], &rules.text),
        }
        .with_context(|| rules.file.clone())?;
    }
    Ok(())
}

/// Starts the daemon that has libvirt's networks, and waits until it answers.
fn start_libvirt() -> anyhow::Result<Child> {
    let log = fs::File::create(LOG).with_context(|| format!("cannot write {LOG}"))?;
    let mut daemon = DAEMONS
        .iter()
        .find_map(|program| {
            Command::new(program)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log.try_clone().ok()?)
                .spawn()
                .ok()
        })
        .with_context(|| {
            format!("neither {} can be started: install libvirt's daemon", DAEMONS.join(" nor "))
        })?;
    for _ in 0..PATIENCE {
        if feed("virsh", &["-q", "-c", URI, "net-list"], "").is_ok() {
            return Ok(daemon);
        }
        if let Some(status) = daemon.try_wait()? {
            bail!("libvirt's daemon ended ({status}): {}", last_line(LOG));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let why = feed("virsh", &["-q", "-c", URI, "net-list"], "").err();
    Err(why.unwrap_or_else(|| anyhow!("{}", last_line(LOG))).context("libvirt's daemon does not answer"))
}

fn last_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().last().unwrap_or("it left no word").to_owned()
}

/// Lets libvirt start a network, and gives it as libvirt understood it.
fn define(network: &Network, number: usize) -> anyhow::Result<NetworkConfig> {
    let virsh = |arguments: &[&str], input: &str| {
        feed("virsh", &[&["-q", "-c", URI], arguments].concat(), input).with_context(|| network.file.clone())
    };
    let mut xml = network.xml.clone();
    let own = network.config.mode.has_bridge_of_libvirt() && network.config.mac.is_none();
    if let Some(end) = xml.rfind("</").filter(|_| own) {
        let mac = counted(0xfe, number);
        xml.insert_str(end, &format!("<mac address='{mac}'/>"));
    }
    virsh(&["net-define", "/dev/stdin"], &xml)?;
    virsh(&["net-autostart", &network.name], "")?;
    virsh(&["net-start", &network.name], "")?;
    let output = Command::new("virsh")
        .args(["-q", "-c", URI, "net-dumpxml", &network.name])
        .output()
        .context("cannot start virsh")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.parse().with_context(|| format!("{}: what libvirt made of it", network.file))
}

/// Names of taps that the plan gives itself.
fn taken(plan: &Plan) -> BTreeSet<IfName> {
    plan.interfaces().filter_map(|interface| interface.target.clone()).collect()
}

/// The guests that are plugged in.
struct Guests<'a> {
    plan: &'a Plan,
    /// The networks as libvirt runs them, by name.
    networks: BTreeMap<&'a str, NetworkConfig>,
    taken: BTreeSet<IfName>,
}

/// Where a NIC is plugged in.
enum Socket {
    Bridge {
        bridge: IfName,
        isolated: bool,
        mac_table_by_libvirt: bool,
    },
    Macvtap {
        lower: IfName,
        mode: String,
    },
    /// Somewhere that is no device of the host.
    Beyond,
}

impl Guests<'_> {
    /// Makes a cable for every NIC, as libvirt makes a tap.
    fn plug(&mut self) -> anyhow::Result<(Vec<Domain>, Namespace)> {
        let (mut cables, mut ports, mut fdb) =
            (String::from("link set lo up\n"), String::new(), String::new());
        let mut domains = Vec::new();
        for (number, planned) in self.plan.domains.iter().enumerate() {
            let mut interfaces = planned.interfaces.clone();
            for interface in &mut interfaces {
                let socket = self.socket(interface);
                self.refuse_unmade(planned, interface)?;
                match socket {
                    Socket::Bridge { bridge, isolated, mac_table_by_libvirt } => {
                        let tap = self.target(interface, "vnet");
                        let (mac, number) = (interface.mac, cables.lines().count());
                        writeln!(
                            cables,
                            "link add g{number} address {mac} type veth peer name {tap} address {} netns HOST\n\
                             link set g{number} up",
                            of_tap(mac)
                        )?;
                        writeln!(ports, "link set {tap} master {bridge} up")?;
                        if let Some(mtu) = interface.mtu {
                            writeln!(ports, "link set {tap} mtu {mtu}")?;
                        }
                        if isolated {
                            writeln!(fdb, "link set dev {tap} isolated on")?;
                        }
                        if mac_table_by_libvirt {
                            writeln!(fdb, "link set dev {tap} learning off flood off")?;
                            writeln!(fdb, "fdb replace {mac} dev {tap} master static")?;
                        }
                        if let InterfaceSource::Network { bridge: plugged, .. } = &mut interface.source {
                            *plugged = Some(bridge);
                        }
                        interface.isolated |= isolated;
                    }
                    Socket::Macvtap { lower, mode } => {
                        let tap = self.target(interface, "macvtap");
                        writeln!(
                            ports,
                            "link add link {lower} name {tap} address {} type macvtap mode {mode}",
                            interface.mac
                        )?;
                        writeln!(ports, "link set {tap} up")?;
                    }
                    Socket::Beyond => {}
                }
            }
            domains.push(Domain {
                name: planned.name.clone(),
                uuid: format!("00000000-0000-4000-8000-{number:012}"),
                state: DomainState::Running,
                autostart: true,
                persistent: true,
                interfaces,
                saved_interfaces: None,
                tags: planned.tags.clone(),
                agent_addresses: None,
            });
        }
        domains.sort_by(|one, other| one.name.cmp(&other.name));
        let namespace = namespace(&cables).context("cannot make the guests' devices")?;
        ip_batch(&ports).context("cannot plug the guests in")?;
        feed("bridge", &["-batch", "-"], &fdb).context("cannot set the guests' ports")?;
        Ok((domains, namespace))
    }

    /// The network that a NIC is in, and its group of ports there.
    fn network(&self, interface: &Interface) -> Option<(&NetworkConfig, Option<&Portgroup>)> {
        let InterfaceSource::Network { network, portgroup, .. } = &interface.source else { return None };
        let config = self.networks.get(network.as_str())?;
        let group = config.portgroups.iter().find(|group| match portgroup {
            Some(name) => group.name == *name,
            None => group.default,
        });
        Some((config, group))
    }

    fn socket(&self, interface: &Interface) -> Socket {
        match &interface.source {
            InterfaceSource::Network { .. } => {
                let Some((config, group)) = self.network(interface) else { return Socket::Beyond };
                let isolated = interface.isolated
                    || config.port_isolated
                    || group.is_some_and(|group| group.port_isolated);
                match (&config.bridge, config.forward_devices.first(), config.mode) {
                    (Some(bridge), _, _) => Socket::Bridge {
                        bridge: bridge.clone(),
                        isolated,
                        mac_table_by_libvirt: config.mac_table_by_libvirt,
                    },
                    (
                        None,
                        Some(lower),
                        ForwardMode::Bridge
                        | ForwardMode::Private
                        | ForwardMode::Vepa
                        | ForwardMode::Passthrough,
                    ) => Socket::Macvtap { lower: lower.clone(), mode: macvtap_mode(config.mode.word()) },
                    _ => Socket::Beyond,
                }
            }
            InterfaceSource::Bridge { bridge } => Socket::Bridge {
                bridge: bridge.clone(),
                isolated: interface.isolated,
                mac_table_by_libvirt: false,
            },
            InterfaceSource::Direct { device: Some(lower), mode } => {
                Socket::Macvtap { lower: lower.clone(), mode: macvtap_mode(mode) }
            }
            InterfaceSource::Direct { device: None, .. }
            | InterfaceSource::Hostdev
            | InterfaceSource::Ethernet
            | InterfaceSource::User
            | InterfaceSource::VhostUser
            | InterfaceSource::Other { .. } => Socket::Beyond,
        }
    }

    /// The name of the NIC's device: the one that the plan gives, or the next free one, as libvirt counts.
    fn target(&mut self, interface: &mut Interface, kind: &str) -> IfName {
        if let Some(name) = &interface.target {
            return name.clone();
        }
        let mut free = (0..).map(|number| IfName::from(format!("{kind}{number}").as_str()));
        let name = free
            .find(|name| !self.taken.contains(name))
            .unwrap_or_else(|| unreachable!("numbers do not end"));
        self.taken.insert(name.clone());
        interface.target = Some(name.clone());
        name
    }

    /// What a NIC asks for and nothing here makes must not be taken for done.
    fn refuse_unmade(&self, domain: &files::Domain, interface: &Interface) -> anyhow::Result<()> {
        if let Some(filter) = &interface.filter {
            bail!("{}: a plan cannot show what the filter {} drops", domain.file, filter.filter);
        }
        let inherited = self.network(interface).is_some_and(|(config, group)| {
            !config.vlans.is_empty() || group.is_some_and(|group| !group.vlans.is_empty())
        });
        ensure!(!inherited && interface.vlans.is_empty(), "{}: a plan cannot show VLAN tags", domain.file);
        Ok(())
    }
}

/// libvirt's word for a macvtap's mode as `ip` has it.
fn macvtap_mode(word: &str) -> String {
    if word == "passthrough" { "passthru".to_owned() } else { word.to_owned() }
}

/// A MAC of libvirt's range.
pub(super) fn counted(kind: u8, number: usize) -> Mac {
    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    Mac([0x52, 0x54, 0x00, kind, high, low])
}

/// libvirt gives a tap the guest's MAC with the first octet raised, so that a bridge never takes it for its own.
fn of_tap(mut mac: Mac) -> Mac {
    mac.0[0] = 0xfe;
    mac
}

/// Waits until no port is on its way to forwarding any more.
fn settle() -> anyhow::Result<()> {
    const LISTENING_OR_LEARNING: [&str; 2] = ["1", "2"];
    for _ in 0..PATIENCE {
        let devices = fs::read_dir("/sys/class/net").context("cannot list /sys/class/net")?;
        let waiting = devices.flatten().any(|device| {
            let state = fs::read_to_string(device.path().join("brport/state")).unwrap_or_default();
            LISTENING_OR_LEARNING.contains(&state.trim())
        });
        if !waiting {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("a bridge's port does not begin to forward")
}

/// Gives every NIC the address that the network's server would give it: the one that is kept for it, or the first
/// free one.
fn lease(libvirt: &mut kvmnet_probes::facts::Libvirt, now_s: i64) {
    let guests: Vec<_> = libvirt
        .domains
        .iter()
        .flat_map(|domain| domain.interfaces.iter().map(move |interface| (domain.name.clone(), interface)))
        .filter_map(|(name, interface)| match &interface.source {
            InterfaceSource::Network { network, .. } => Some((network.clone(), name, interface.mac)),
            _ => None,
        })
        .collect();
    for network in &mut libvirt.networks {
        for ip in network.config.ips.iter().filter(|ip| ip.dhcp) {
            let mut used: BTreeSet<IpAddr> = ip.hosts.iter().map(|host| host.address).collect();
            for (_, name, mac) in guests.iter().filter(|(of, ..)| *of == network.name) {
                let kept = ip.hosts.iter().find(|host| match host.mac {
                    Some(kept) => kept == *mac,
                    None => host.name.as_ref() == Some(name),
                });
                let free =
                    || ip.ranges.iter().flat_map(|range| addresses(*range)).find(|free| !used.contains(free));
                let Some(address) = kept.map(|host| host.address).or_else(free) else { continue };
                used.insert(address);
                network.leases.push(Lease {
                    mac: Some(*mac),
                    address,
                    prefix_length: ip.net.prefix_len(),
                    hostname: None,
                    client_id: None,
                    expires_s: now_s.saturating_add(3600),
                });
            }
        }
        network.leases.sort_by_key(|lease| (lease.address, lease.mac));
    }
}

/// Every address of a range.
fn addresses(range: (IpAddr, IpAddr)) -> Box<dyn Iterator<Item = IpAddr>> {
    match range {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((u32::from(first)..=u32::from(last)).map(|address| IpAddr::V4(address.into())))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((u128::from(first)..=u128::from(last)).map(|address| IpAddr::V6(address.into())))
        }
        _ => Box::new(std::iter::empty()),
    }
}
