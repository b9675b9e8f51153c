//! The sysctls that decide a packet's fate.
//!
//! Those of single devices come from rtnetlink in one dump: a thousand devices have tens of thousands
//! of files. `/proc/sys/net` shows the network namespace of the thread that reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::netlink::{Attribute, Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{AF_INET, AF_INET6, Context, Meta, Reading, link};
use crate::facts::Sysctls;

pub(crate) const META: Meta = Meta {
    id: "sysctls",
    summary: "The sysctls that decide a packet's fate",
    basis: "/proc/sys/net, IFLA_INET_CONF and IFLA_INET6_CONF; Documentation/networking/ip-sysctl.rst",
    since: "0.1.0",
};

const ROOT: &str = "/proc/sys";
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_CONF: u16 = 2;

/// Sysctls of the whole network namespace.
const GLOBAL: &[&str] = &[
    "net/bridge/bridge-nf-call-arptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-filter-pppoe-tagged",
    "net/bridge/bridge-nf-filter-vlan-tagged",
    "net/bridge/bridge-nf-pass-vlan-input-dev",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/icmp_echo_ignore_all",
    "net/ipv4/icmp_echo_ignore_broadcasts",
    "net/ipv4/ip_default_ttl",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_forward_use_pmtu",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv4/nexthop_compat_mode",
    "net/ipv4/tcp_l3mdev_accept",
    "net/ipv4/udp_l3mdev_accept",
    "net/ipv6/fib_multipath_hash_policy",
    "net/ipv6/icmp/echo_ignore_all",
    "net/ipv6/neigh/default/gc_thresh1",
    "net/ipv6/neigh/default/gc_thresh2",
    "net/ipv6/neigh/default/gc_thresh3",
    "net/ipv6/route/max_size",
    "net/netfilter/nf_conntrack_buckets",
    "net/netfilter/nf_conntrack_checksum",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_expect_max",
    "net/netfilter/nf_conntrack_generic_timeout",
    "net/netfilter/nf_conntrack_helper",
    "net/netfilter/nf_conntrack_icmp_timeout",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_loose",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_udp_timeout",
    "net/netfilter/nf_conntrack_udp_timeout_stream",
];

/// Sysctls below `net/ipv4/conf/` for each device, `all` and `default`, with their place in
/// `IFLA_INET_CONF` (`IPV4_DEVCONF_*` less one, `include/uapi/linux/ip.h`).
const IPV4: &[(&str, usize)] = &[
    ("forwarding", 0),
    ("mc_forwarding", 1),
    ("proxy_arp", 2),
    ("accept_redirects", 3),
    ("send_redirects", 5),
    ("shared_media", 6),
    ("rp_filter", 7),
    ("accept_source_route", 8),
    ("log_martians", 10),
    ("arp_filter", 12),
    ("arp_announce", 17),
    ("arp_ignore", 18),
    ("arp_accept", 20),
    ("accept_local", 22),
    ("src_valid_mark", 23),
    ("proxy_arp_pvlan", 24),
    ("route_localnet", 25),
    ("ignore_routes_with_linkdown", 28),
    ("drop_unicast_in_l2_multicast", 29),
    ("bc_forwarding", 31),
];

/// Sysctls below `net/ipv6/conf/` for each device, `all` and `default`, with their place in
/// `IFLA_INET6_CONF` (`DEVCONF_*`, `include/uapi/linux/ipv6.h`).
const IPV6: &[(&str, usize)] = &[
    ("forwarding", 0),
    ("accept_ra", 3),
    ("accept_redirects", 4),
    ("autoconf", 5),
    ("proxy_ndp", 22),
    ("disable_ipv6", 26),
    ("accept_dad", 27),
    ("ignore_routes_with_linkdown", 39),
    ("drop_unicast_in_l2_multicast", 40),
    ("force_forwarding", 59),
];

/// Why there are no sysctls.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SysctlError {
    /// There is no procfs, or it is closed.
    #[error("list {ROOT}/net")]
    Procfs(#[source] io::Error),
    /// Those of single devices cannot be read.
    #[error("read the sysctls of devices")]
    Devices(#[source] NetlinkError),
}

pub(crate) async fn read(_context: &Context) -> Result<Reading<Sysctls>, SysctlError> {
    fs::read_dir(Path::new(ROOT).join("net")).map_err(SysctlError::Procfs)?;
    let mut reading = devices().await.map_err(SysctlError::Devices)?;
    for name in GLOBAL {
        take((*name).to_owned(), &mut reading);
    }
    for (family, keys) in [("ipv4", IPV4), ("ipv6", IPV6)] {
        for (key, _) in keys {
            for which in ["all", "default"] {
                take(format!("net/{family}/conf/{which}/{key}"), &mut reading);
            }
        }
    }
    Ok(reading)
}

/// Adds one sysctl from its file, or a caveat. One that does not exist is left out.
fn take(name: String, reading: &mut Reading<Sysctls>) {
    match fs::read_to_string(Path::new(ROOT).join(&name)) {
        Ok(text) => {
            reading.value.0.insert(name, text.trim().to_owned());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => reading.caveats.push(format!("read {name}: {error}")),
    }
}

/// The sysctls of every device.
async fn devices() -> Result<Reading<Sysctls>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let request = link::request(link::AF_UNSPEC, link::SKIP_STATS);
    let dump = socket.dump("sysctls of network devices", libc::RTM_GETLINK, &request).await?;
    let mut sysctls = BTreeMap::new();
    let Reading { caveats, .. } = decode(&dump, libc::RTM_NEWLINK, |message| device(message, &mut sysctls).map(Some));
    Ok(Reading { value: Sysctls(sysctls), caveats })
}

/// Decodes what `struct ifinfomsg` says of a device's sysctls.
fn device(message: &[u8], sysctls: &mut BTreeMap<String, String>) -> Result<(), Malformed> {
    let (_, rest) = body::<16>(message)?;
    let (mut name, mut families) = (None, None);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::IFLA_IFNAME => name = Some(attribute.text()),
            libc::IFLA_AF_SPEC => families = Some(attribute),
            _ => {}
        }
    }
    let name = name.ok_or(Malformed::Absent { kind: libc::IFLA_IFNAME })?;
    for family in families.iter().flat_map(Attribute::nested) {
        let family = family?;
        let (directory, array, keys) = match family.kind {
            kind if kind == u16::from(AF_INET) => ("ipv4", IFLA_INET_CONF, IPV4),
            kind if kind == u16::from(AF_INET6) => ("ipv6", IFLA_INET6_CONF, IPV6),
            _ => continue,
        };
        for attribute in family.nested() {
            let attribute = attribute?;
            if attribute.kind == array {
                for (key, value) in values(attribute.value, keys) {
                    sysctls.insert(format!("net/{directory}/conf/{name}/{key}"), value.to_string());
                }
            }
        }
    }
    Ok(())
}

/// The values of the sysctls that are wanted. An older kernel's array ends earlier.
fn values(array: &[u8], keys: &'static [(&'static str, usize)]) -> impl Iterator<Item = (&'static str, i32)> {
    keys.iter().filter_map(|&(key, place)| {
        let bytes = array.get(place * 4..)?.first_chunk()?;
        Some((key, i32::from_ne_bytes(*bytes)))
    })
}
