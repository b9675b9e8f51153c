//! A private host with two guests, and an internet behind it.
//!
//! ```text
//!  guest1 [eth0 10.9.0.11, fd00:9::11] ── tap1 ┐
//!  guest2 [eth0 10.9.0.12, fd00:9::12] ── tap2 ┤
//!                              br0 10.9.0.1, fd00:9::1
//!                              host: forwards, masquerades
//!                              wan0 203.0.113.2, 2001:db8:1::2
//!                                               │
//!  inet [wan1 203.0.113.1, 2001:db8:1::1; lo 198.51.100.10, 2001:db8:2::10]
//! ```
//!
//! Everything lives in namespaces that end with their processes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use kvmnet_probes::facts::{IfIndex, IfName, Mac};
use kvmnet_probes::wire::{Attempt, Device, EchoForm, NextHopMac, Probe, Sender};
use nix::sched::{CloneFlags, setns, unshare};

pub(crate) const GUEST1: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
pub(crate) const GUEST2: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
pub(crate) const BRIDGE: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xfe]);
pub(crate) const WAN: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xff]);

/// Whether the test can run here: namespaces and packet sockets need root.
fn possible(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(root || std::env::var_os("KVMNET_LAB").is_none_or(|lab| lab != "require"), "root is required");
    if !root {
        eprintln!("{test}: skipped, needs root");
    }
    root
}

/// A network namespace that lives as long as a process in it.
pub(crate) struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self(child)
    }

    /// Runs a shell script in it.
    pub(crate) fn sh(&self, script: &str) -> String {
        let pid = self.0.id().to_string();
        output(Command::new("nsenter").args(["-t", &pid, "-n", "--", "sh", "-ec", script]))
    }

    /// Listens on a TCP port of all its addresses.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        let namespace = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            TcpListener::bind(("::", port)).unwrap()
        })
        .join()
        .unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a shell script in the namespace of the calling thread.
pub(crate) fn sh(script: &str) -> String {
    output(Command::new("sh").args(["-ec", script]))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The private host. The thread that makes it is in the host's namespace from then on.
pub(crate) struct Host {
    pub(crate) guest1: Namespace,
    pub(crate) guest2: Namespace,
    pub(crate) inet: Namespace,
}

/// The DHCP and DNS server of the bridge, which ends with this.
pub(crate) struct Server {
    dnsmasq: Child,
    leases: PathBuf,
}

impl Server {
    /// The file that it writes leases to.
    pub(crate) fn path(&self) -> &Path {
        &self.leases
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
        let _ = std::fs::remove_file(&self.leases);
    }
}

impl Host {
    /// Builds the host for this test; `None` if it cannot run here.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !possible(test) {
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let host = Self { guest1: Namespace::new(), guest2: Namespace::new(), inet: Namespace::new() };
        let [pid1, pid2, inet] = [&host.guest1, &host.guest2, &host.inet].map(|ns| ns.0.id());
        sh(&format!(
            "ip link set lo up
             ip link add br0 address {BRIDGE} type bridge mcast_snooping 0
             ip link set br0 up
             ip addr add 10.9.0.1/24 dev br0; ip addr add fd00:9::1/64 dev br0 nodad
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip link add wan0 address {WAN} type veth peer name wan1 netns {inet}
             ip link set wan0 up
             ip addr add 203.0.113.2/24 dev wan0; ip addr add 2001:db8:1::2/64 dev wan0 nodad
             ip link add tap1 type veth peer name eth0 address {GUEST1} netns {pid1}
             ip link add tap2 type veth peer name eth0 address {GUEST2} netns {pid2}
             ip link set tap1 master br0 up; ip link set tap2 master br0 up
             nft 'add table ip nat; add chain ip nat post {{ type nat hook postrouting priority 100; }}'
             nft 'add rule ip nat post ip saddr 10.9.0.0/24 oifname wan0 masquerade'
             nft 'add table ip6 nat; add chain ip6 nat post {{ type nat hook postrouting priority 100; }}'
             nft 'add rule ip6 nat post ip6 saddr fd00:9::/64 oifname wan0 masquerade'"
        ));
        for (guest, number) in [(&host.guest1, 11), (&host.guest2, 12)] {
            guest.sh(&format!(
                "ip link set eth0 up
                 ip addr add 10.9.0.{number}/24 dev eth0; ip addr add fd00:9::{number}/64 dev eth0 nodad
                 ip route add default via 10.9.0.1; ip route add default via fd00:9::1"
            ));
        }
        host.inet.sh("ip link set wan1 up
             ip addr add 203.0.113.1/24 dev wan1; ip addr add 2001:db8:1::1/64 dev wan1 nodad
             ip addr add 198.51.100.10/32 dev lo; ip addr add 2001:db8:2::10/128 dev lo nodad");
        sh("ip route add default via 203.0.113.1; ip route add default via 2001:db8:1::1");
        Some(host)
    }

    /// Serves DHCP and DNS on the bridge of the host that this thread is in, and advertises it as a router, as libvirt
    /// does.
    pub(crate) fn serve() -> Server {
        /// Tests run side by side, and each has a server of its own.
        static SERVERS: AtomicUsize = AtomicUsize::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("kvmnet-wire-{}-{number}.leases", std::process::id());
        let leases = std::env::temp_dir().join(name);
        std::fs::write(&leases, "").unwrap();
        let dnsmasq = Command::new("dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--bind-interfaces", "--no-ping"])
            .args(["--interface=br0", "--except-interface=lo", "--dhcp-range=10.9.0.100,10.9.0.150"])
            .args(["--dhcp-authoritative", "--user=root", "--dhcp-range=fd00:9::1,ra-only"])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It listens once both of its sockets are there.
        sh("for i in $(seq 100); do
              if ss -Hlun | grep -q ':67 ' && ss -Hlun | grep -q ':53 '; then exit 0; fi; sleep 0.05
            done; echo 'dnsmasq does not listen' >&2; exit 1");
        Server { dnsmasq, leases }
    }
}

/// A device of the calling thread's namespace.
pub(crate) fn device(name: &str) -> Device {
    let index = nix::net::if_::if_nametoindex(name).unwrap();
    Device { index: IfIndex(index), name: IfName::from(name) }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Nobody stands in for a guest.
pub(crate) fn nobody<T>() -> Result<T, String> {
    Err("nobody does in this test".to_owned())
}

/// As guest 1, with this address.
pub(crate) fn as_guest1(address: &str) -> Sender {
    Sender::AsVm {
        tap: device("tap1"),
        xdp: None,
        mac: GUEST1,
        address: Some(ip(address)),
        vlan: None,
        instead: nobody(),
    }
}

/// The link-local address of a device of the calling thread's namespace.
pub(crate) fn link_local(name: &str) -> Ipv6Addr {
    let shown = sh(&format!(
        "for i in $(seq 100); do
           if ip -6 -o addr show dev {name} scope link -tentative | grep -o 'fe80[^/]*'; then exit 0; fi; sleep 0.05
         done; exit 1"
    ));
    shown.trim().parse().unwrap()
}

/// As the host, by its bridge.
pub(crate) fn as_host(address: &str) -> Sender {
    Sender::AsHost { device: device("br0"), mac: BRIDGE, address: Some(ip(address)) }
}

/// An attempt that wants an answer and is watched everywhere.
pub(crate) fn wanted(sender: Sender, probe: Probe) -> Attempt {
    let watch = ["tap1", "br0", "wan0", "tap2"].map(device).to_vec();
    Attempt { sender, probe, watch, arrival: None, wants_answer: true }
}

/// An attempt that is to come nowhere: it must not be seen at the device.
pub(crate) fn unwanted(sender: Sender, probe: Probe, arrival: &str) -> Attempt {
    Attempt { arrival: Some(device(arrival)), wants_answer: false, ..wanted(sender, probe) }
}

/// An echo request by way of a next hop that is resolved first.
pub(crate) fn echo(target: &str, hop: &str) -> Probe {
    echo_as(EchoForm::Plain, target, hop)
}

/// The same in another form.
pub(crate) fn echo_as(form: EchoForm, target: &str, hop: &str) -> Probe {
    Probe::Echo { target: ip(target), via: NextHopMac::Resolve(ip(hop)), form }
}
