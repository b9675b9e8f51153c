//! A private host in namespaces of its own: three networks, four guests, an internet.
//!
//! ```text
//!   web1  web2         db1           lan1               (guests: one network namespace each)
//!    |     |            |             |
//!   virbr0 (nat)   virbr1 (iso)   br0 (lan) -- eth1 -- 10.20.0.1      LAN router
//!   192.168.122.1  192.168.150.1  10.20.0.2                 |
//!    |                                                      |
//!   eth0 203.0.113.2 ----------------------------- 203.0.113.1 -- 198.51.100.10   internet
//! ```
//!
//! The guests' and the internet's namespaces have no name: each is held by a descriptor of this
//! process, and with the process they end. libvirt's test driver serves networks and domains from
//! an XML file in memory.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, unshare};

use crate::cli::private::{Namespace, ip_batch, namespace, nft, sysctl, without_bridge_netfilter};

/// The links, addresses and routes of the host, as `ip -batch` reads them.
const LINKS: &str = "
link set lo up
link add virbr0 address 52:54:00:bb:00:00 type bridge stp_state 0
link add virbr1 address 52:54:00:bb:00:01 type bridge stp_state 0
link add br0 address 52:54:00:bb:00:02 type bridge stp_state 0
address add 192.168.122.1/24 dev virbr0
address add 192.168.150.1/24 dev virbr1
address add 10.20.0.2/24 dev br0
link set virbr0 up
link set virbr1 up
link set br0 up
";

/// What joins the host to the guests and the internet, once those have made the cables.
const CABLES: &str = "
address add 203.0.113.2/24 dev eth0
link set eth0 up
route add default via 203.0.113.1
link set eth1 master br0 up
link set tap-web1 master virbr0 up
link set tap-web2 master virbr0 up
link set tap-db1 master virbr1 up
link set tap-lan1 master br0 up
";

/// The internet and the LAN's router. `HOST` is the process in the host's namespace.
const INTERNET: &str = "
link set lo up
link add up0 type veth peer name eth0 netns HOST
link add up1 type veth peer name eth1 netns HOST
address add 203.0.113.1/24 dev up0
address add 10.20.0.1/24 dev up1
address add 198.51.100.10/32 dev lo
link set up0 up
link set up1 up
";

/// The guests: name, MAC, address, gateway.
const GUESTS: [(&str, &str, &str, &str); 4] = [
    ("web1", "52:54:00:aa:00:01", "192.168.122.11", "192.168.122.1"),
    ("web2", "52:54:00:aa:00:02", "192.168.122.12", "192.168.122.1"),
    ("db1", "52:54:00:aa:01:01", "192.168.150.11", "192.168.150.1"),
    ("lan1", "52:54:00:aa:02:01", "10.20.0.11", "10.20.0.1"),
];

/// The rules that libvirt's nftables backend writes for a NAT and an isolated network.
const RULES: &str = r#"
table ip libvirt_network {
  chain forward { type filter hook forward priority filter; policy accept
    jump guest_cross
    jump guest_input
    jump guest_output
  }
  chain guest_cross {
    iif "virbr0" oif "virbr0" accept
    iif "virbr1" oif "virbr1" accept
  }
  chain guest_input {
    oif "virbr0" ip daddr 192.168.122.0/24 ct state established,related accept
    oif "virbr0" reject
    oif "virbr1" reject
  }
  chain guest_output {
    ip saddr 192.168.122.0/24 iif "virbr0" accept
    iif "virbr0" reject
    iif "virbr1" reject
  }
  chain guest_nat { type nat hook postrouting priority srcnat; policy accept
    ip saddr 192.168.122.0/24 ip daddr 224.0.0.0/24 return
    ip saddr 192.168.122.0/24 ip daddr 255.255.255.255 return
    ip protocol tcp ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade to :1024-65535
    ip protocol udp ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade to :1024-65535
    ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade
  }
}
"#;

/// What libvirt's test driver serves. The taps have names of their own, because the driver replaces
/// names that begin with `vnet`.
const LIBVIRT: &str = "<node>
<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>
    <range start='192.168.122.100' end='192.168.122.200'/>
    <host mac='52:54:00:aa:00:01' ip='192.168.122.11'/>
    <host mac='52:54:00:aa:00:02' ip='192.168.122.12'/>
  </dhcp></ip></network>
<network><name>iso</name><bridge name='virbr1'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'><dhcp>
    <range start='192.168.150.100' end='192.168.150.200'/>
    <host mac='52:54:00:aa:01:01' ip='192.168.150.11'/>
  </dhcp></ip></network>
<network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network>
DOMAINS</node>
";

/// The running demonstration host. It ends when this is dropped, or the process ends.
pub(crate) struct Host {
    /// libvirt's URI for it.
    pub(crate) uri: String,
    servers: Vec<Child>,
    _libvirt: File,
    _namespaces: Vec<Namespace>,
}

impl Host {
    /// Moves this process into namespaces of its own and builds the host there. To be called before
    /// any thread is started.
    pub(crate) fn start() -> anyhow::Result<Self> {
        enter_private_namespaces()?;
        ip_batch(LINKS)?;
        let mut namespaces = vec![namespace(INTERNET)?];
        for (name, mac, address, gateway) in GUESTS {
            // libvirt gives a tap the guest's MAC with the first octet raised, so that a bridge never
            // takes it for its own.
            let tap_mac = mac.replacen("52", "fe", 1);
            namespaces.push(namespace(&format!(
                "link set lo up
                 link add eth0 address {mac} type veth peer name tap-{name} address {tap_mac} netns HOST
                 address add {address}/24 dev eth0
                 link set eth0 up
                 route add default via {gateway}\n"
            ))?);
        }
        ip_batch(CABLES)?;
        nft(RULES)?;
        sysctl("net/ipv4/ip_forward", "1")?;
        without_bridge_netfilter()?;
        let servers = vec![
            dnsmasq("virbr0", "192.168.122.1", "192.168.122.100,192.168.122.200")?,
            dnsmasq("virbr1", "192.168.150.1", "192.168.150.100,192.168.150.200")?,
        ];
        let libvirt = libvirt_file()?;
        let uri = format!("test:///proc/self/fd/{}", libvirt.as_raw_fd());
        Ok(Self { uri, servers, _libvirt: libvirt, _namespaces: namespaces })
    }

    /// Ends the DHCP and DNS servers.
    pub(crate) fn stop_servers(&mut self) {
        for mut server in self.servers.drain(..) {
            // A server that has ended already is what is wanted.
            drop(server.kill());
            drop(server.wait());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop_servers();
    }
}

/// Leaves the machine's network behind; an ordinary user becomes root of a new user
/// namespace first.
fn enter_private_namespaces() -> anyhow::Result<()> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let user = if uid.is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(user | CloneFlags::CLONE_NEWNET).context(
        "cannot make a private network namespace: run as root, or allow unprivileged user namespaces",
    )?;
    if !uid.is_root() {
        std::fs::write("/proc/self/setgroups", "deny").context("cannot write /proc/self/setgroups")?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("cannot map the user id")?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("cannot map the group id")?;
    }
    Ok(())
}

/// The test driver's XML in a file that exists in memory only. Its descriptor is inherited by the
/// programs that are started, so that each can open it as its own.
fn libvirt_file() -> anyhow::Result<File> {
    use std::fmt::Write as _;
    let mut domains = String::new();
    for (name, mac, _, gateway) in GUESTS {
        let network = match gateway {
            "192.168.122.1" => "default",
            "192.168.150.1" => "iso",
            _ => "lan",
        };
        writeln!(
            domains,
            "<domain type='test'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os><devices>\
             <interface type='network'><mac address='{mac}'/><source network='{network}'/>\
             <target dev='tap-{name}'/></interface></devices></domain>"
        )?;
    }
    let descriptor = nix::sys::memfd::memfd_create(c"kvmnet-demo.xml", nix::sys::memfd::MFdFlags::empty())
        .context("cannot make a file in memory for libvirt's test driver")?;
    let mut file = File::from(descriptor);
    file.write_all(LIBVIRT.replace("DOMAINS", &domains).as_bytes())
        .context("cannot write the file for libvirt's test driver")?;
    Ok(file)
}

/// A DHCP and DNS server as libvirt starts it. It ends with this process.
fn dnsmasq(bridge: &str, address: &str, range: &str) -> anyhow::Result<Child> {
    let mut child = Command::new("setpriv")
        // --no-daemon also keeps it from changing its user, which a user namespace forbids.
        .args(["--pdeathsig", "KILL", "dnsmasq", "--no-daemon", "--conf-file=/dev/null"])
        .args(["--leasefile-ro", "--no-resolv", "--no-hosts", "--no-ping", "--dhcp-authoritative"])
        .args(["--bind-interfaces", "--except-interface=lo"])
        .arg(format!("--listen-address={address}"))
        .arg(format!("--interface={bridge}"))
        .arg(format!("--dhcp-range={range}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start dnsmasq (packages util-linux and dnsmasq-base)")?;
    // It is ready when its DNS socket answers; a question that it refuses is an answer, too.
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
    let socket = std::net::UdpSocket::bind((address, 0)).context("cannot bind to the gateway's address")?;
    socket.connect((address, 53))?;
    socket.set_read_timeout(Some(std::time::Duration::from_millis(20)))?;
    for _ in 0..250 {
        if let Some(status) = child.try_wait()? {
            bail!("dnsmasq for {bridge} ended at once ({status})");
        }
        // Refused until it listens, and then answered.
        if socket.send(question).is_ok() && socket.recv(&mut [0; 512]).is_ok() {
            return Ok(child);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    drop(child.kill());
    drop(child.wait());
    bail!("dnsmasq for {bridge} does not answer")
}

/// Runs one `ip` command.
pub(crate) fn ip(command: &str) -> anyhow::Result<()> {
    ip_batch(&format!("{command}\n"))
}
