//! The private host: built once, put back to how it was built before each trial.
//!
//! Every neighbour is known by a permanent entry, so that a rule which stops ARP or NDP does not also
//! stop all that would have followed; ARP and NDP are tried for themselves.

use std::fmt::Write as _;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

use crate::config::Item;
use crate::places::{
    BRIDGE_PORTS, GUESTS, Guest, INTERNET, LAN_PORT_MAC, LAN_ROUTER, LAN_ROUTER_MAC, NETS, Net, PORTS,
    ROUTER, ROUTER_MAC, UPLINK, UPLINK_MAC,
};
use crate::run::{feed, inside, ip, must, namespace, sysctl, thread};

/// What a namespace has from the start: nothing is filtered, asked for or learned by itself.
const PLAIN: [(&str, &str); 8] = [
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
];

/// Errors are sent whenever they are due, and an unfinished connection sends nothing later on.
const ANSWERS: [(&str, &str); 5] = [
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_msgs_per_sec", "100000"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv4/tcp_synack_retries", "0"),
    // No half-open connection is remembered, which the next trial might meet by its port.
    ("net/ipv4/tcp_syncookies", "2"),
];

/// The host's own settings.
const HOST: [(&str, &str); 5] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/bridge/bridge-nf-call-iptables", "0"),
    ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ("net/bridge/bridge-nf-call-arptables", "0"),
];

/// The private host. The thread that builds it is in its namespace from then on.
pub(crate) struct Host {
    /// Guests and internet, and who listens there.
    peers: Vec<(File, Vec<TcpListener>)>,
    _listeners: Vec<TcpListener>,
    undo: Vec<Item>,
}

impl Host {
    /// Builds it.
    pub(crate) fn build() -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make the host's network namespace")?;
        plain()?;
        let mut script = String::from("link set lo up\n");
        for net in &NETS {
            let Net { bridge, mac, addresses: [v4, v6], .. } = net;
            writeln!(
                script,
                "link add {bridge} address {mac} type bridge stp_state 0 mcast_snooping 0
                 address add {v4} dev {bridge}
                 address add {v6} dev {bridge} nodad
                 link set {bridge} up"
            )?;
        }
        ip(&script)?;
        let host = thread();
        let mut peers = vec![namespace(|| internet(&host))?];
        for guest in &GUESTS {
            peers.push(namespace(|| self::guest(guest, &host))?);
        }
        ip(&cables())?;
        for (name, value) in HOST {
            sysctl(name, value)?;
        }
        Ok(Self { peers, _listeners: listeners()?, undo: Vec::new() })
    }

    /// Does something as a guest, by its place among [`GUESTS`].
    pub(crate) fn as_guest<T: Send>(
        &self,
        guest: usize,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        // The first peer is the internet.
        inside(&self.peers[1 + guest].0, work)
    }

    /// Remembers what a trial changed beyond what [`Self::reset`] clears anyway.
    pub(crate) fn changed(&mut self, items: Vec<Item>) {
        self.undo.extend(items);
    }

    /// Puts everything back that a trial may have changed.
    pub(crate) fn reset(&mut self) -> anyhow::Result<()> {
        must("nft", &["-f", "-"], "flush ruleset\n")?;
        for family in ["-4", "-6"] {
            // What a trial added has this protocol; where it added nothing there is no such table.
            for command in ["route flush table all proto 77\n", "rule flush\n"] {
                feed("ip", &[family, "-force", "-batch", "-"], command)?;
            }
            let default = if family == "-4" { "rule add pref 32767 lookup default\n" } else { "" };
            must("ip", &[family, "-batch", "-"], &format!("rule add pref 32766 lookup main\n{default}"))?;
        }
        let mut bridge = String::new();
        for item in self.undo.drain(..).rev() {
            match item {
                Item::Sysctl { name, value } => sysctl(&name, &value)?,
                Item::Bridge(line) => writeln!(bridge, "{line}")?,
                Item::Ip { .. } | Item::Nft(_) | Item::Xtables { .. } => {}
            }
        }
        // An entry that was refused, or that a frame has replaced since, is not there to be deleted.
        feed("bridge", &["-force", "-batch", "-"], &bridge)?;
        let flush = NETS.map(|net| format!("link set {} type bridge fdb_flush\n", net.bridge));
        ip(&flush.concat())?;
        flush_conntrack()
    }
}

/// Flags of a bridge port, as they are without a trial.
pub(crate) const PORT_FLAGS: [(&str, &str); 8] = [
    ("isolated", "off"),
    ("hairpin", "off"),
    ("learning", "on"),
    ("flood", "on"),
    ("mcast_flood", "on"),
    ("bcast_flood", "on"),
    ("locked", "off"),
    ("neigh_suppress", "off"),
];

fn plain() -> anyhow::Result<()> {
    PLAIN.iter().chain(&ANSWERS).try_for_each(|(name, value)| sysctl(name, value))
}

/// Everybody listens on all ports that packets are sent to.
fn listeners() -> anyhow::Result<Vec<TcpListener>> {
    PORTS.iter().map(|port| TcpListener::bind(("::", *port)).context("cannot listen")).collect()
}

/// The host's ends of the cables, its routes, and whom it knows.
fn cables() -> String {
    let mut script = String::new();
    for (device, mac) in [("eth0", UPLINK_MAC), ("eth1", LAN_PORT_MAC)] {
        let _ = writeln!(script, "link set {device} address {mac}\nlink set {device} up");
    }
    let [v4, v6] = UPLINK;
    let _ = writeln!(script, "address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad");
    for router in ROUTER {
        let _ = writeln!(script, "route add default via {router} dev eth0");
        let _ = writeln!(script, "neigh add {router} lladdr {ROUTER_MAC} dev eth0");
    }
    for router in LAN_ROUTER {
        let _ = writeln!(script, "neigh add {router} lladdr {LAN_ROUTER_MAC} dev br0");
    }
    for guest in &GUESTS {
        let bridge = net(guest).bridge;
        let _ = writeln!(script, "link set {} master {bridge} up", guest.tap);
        for address in guest.addresses {
            let _ = writeln!(script, "neigh add {address} lladdr {} dev {bridge}", guest.mac);
        }
    }
    script + "link set eth1 master br0 up\n"
}

/// The network of a guest.
pub(crate) fn net(guest: &Guest) -> &'static Net {
    NETS.iter().find(|net| net.name == guest.network).expect("every guest is in a network")
}

fn internet(host: &str) -> anyhow::Result<Vec<TcpListener>> {
    plain()?;
    let mut script = format!(
        "link set lo up
         link add up0 address {ROUTER_MAC} type veth peer name eth0 netns {host}
         link add up1 address {LAN_ROUTER_MAC} type veth peer name eth1 netns {host}
         link set up0 up
         link set up1 up\n"
    );
    for (device, [v4, v6]) in [("up0", ROUTER), ("up1", LAN_ROUTER)] {
        writeln!(script, "address add {v4}/24 dev {device}\naddress add {v6}/64 dev {device} nodad")?;
    }
    let [v4, v6] = INTERNET;
    writeln!(script, "address add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad")?;
    for (net, via) in [("192.168.150.0/24", UPLINK[0]), ("fd00:150::/64", UPLINK[1])] {
        writeln!(script, "route add {net} via {via} dev up0")?;
    }
    for via in UPLINK {
        writeln!(script, "neigh add {via} lladdr {UPLINK_MAC} dev up0")?;
    }
    let lan = &NETS[1];
    for ipv6 in [false, true] {
        writeln!(script, "neigh add {} lladdr {} dev up1", lan.gateway(ipv6), lan.mac)?;
    }
    for guest in GUESTS.iter().filter(|guest| guest.network == lan.name) {
        for address in guest.addresses {
            writeln!(script, "neigh add {address} lladdr {} dev up1", guest.mac)?;
        }
    }
    ip(&script)?;
    listeners()
}

fn guest(guest: &Guest, host: &str) -> anyhow::Result<Vec<TcpListener>> {
    plain()?;
    let net = net(guest);
    let mut tap_mac = guest.mac;
    // As libvirt does, so that the bridge never takes the tap's for its own.
    tap_mac.0[0] = 0xfe;
    let [v4, v6] = guest.addresses;
    let mut script = format!(
        "link set lo up
         link add eth0 address {} type veth peer name {} address {tap_mac} netns {host}
         address add {v4}/24 dev eth0
         address add {v6}/64 dev eth0 nodad
         link set eth0 up\n",
        guest.mac, guest.tap
    );
    let on_lan = guest.network == "lan";
    for (at, router) in LAN_ROUTER.iter().enumerate() {
        let host = net.gateway(at == 1);
        writeln!(script, "neigh add {host} lladdr {} dev eth0", net.mac)?;
        if on_lan {
            writeln!(script, "neigh add {router} lladdr {LAN_ROUTER_MAC} dev eth0")?;
            writeln!(script, "route add {} via {router} dev eth0", INTERNET[at])?;
        }
        // What is not the LAN's own lies behind the host.
        writeln!(script, "route add default via {host} dev eth0")?;
    }
    for other in GUESTS.iter().filter(|other| other.network == guest.network && other.name != guest.name) {
        for address in other.addresses {
            writeln!(script, "neigh add {address} lladdr {} dev eth0", other.mac)?;
        }
    }
    ip(&script)?;
    listeners()
}

/// Forgets all connections of the host.
fn flush_conntrack() -> anyhow::Result<()> {
    let socket: OwnedFd = nix::sys::socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .context("cannot open a netlink socket")?;
    // struct nlmsghdr with IPCTNL_MSG_CT_DELETE of NFNL_SUBSYS_CTNETLINK, NLM_F_REQUEST | NLM_F_ACK, and
    // struct nfgenmsg: without a tuple all entries go.
    let mut request = Vec::new();
    request.extend(20_u32.to_ne_bytes());
    request.extend(0x0102_u16.to_ne_bytes());
    request.extend(5_u16.to_ne_bytes());
    request.extend([0; 12]);
    let fd = socket.as_raw_fd();
    nix::sys::socket::sendto(fd, &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .context("cannot ask to flush conntrack")?;
    let mut answer = [0; 64];
    let length =
        nix::sys::socket::recv(fd, &mut answer, MsgFlags::empty()).context("no answer to flush conntrack")?;
    // NLMSG_ERROR with code 0 says that it is done.
    anyhow::ensure!(length >= 20 && answer[16..20] == [0; 4], "conntrack was not flushed: {answer:?}");
    Ok(())
}

/// How a bridge port's flag is put back.
pub(crate) fn port_default(port: &str, flag: &str) -> Item {
    let value = PORT_FLAGS.iter().find(|(name, _)| *name == flag).map_or("off", |(_, value)| value);
    debug_assert!(BRIDGE_PORTS.contains(&port));
    Item::Bridge(format!("link set dev {port} {flag} {value}"))
}
