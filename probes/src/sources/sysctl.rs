//! The sysctls that decide a packet's fate.
//!
//! `/proc/sys/net` shows the network namespace of the thread that reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Context, Meta, Reading};
use crate::facts::Sysctls;

pub(crate) const META: Meta = Meta {
    id: "sysctls",
    summary: "The sysctls that decide a packet's fate",
    basis: "/proc/sys/net, Documentation/networking/ip-sysctl.rst and nf_conntrack-sysctl.rst",
    since: "0.1.0",
};

const ROOT: &str = "/proc/sys";

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
    "net/ipv6/conf/all/disable_ipv6",
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

/// Sysctls below `net/ipv4/conf/` for each device, `all` and `default`.
const PER_DEVICE_IPV4: &[&str] = &[
    "accept_local",
    "accept_redirects",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "forwarding",
    "log_martians",
    "mc_forwarding",
    "proxy_arp",
    "proxy_arp_pvlan",
    "route_localnet",
    "rp_filter",
    "send_redirects",
    "shared_media",
    "src_valid_mark",
];

/// Sysctls below `net/ipv6/conf/` for each device, `all` and `default`.
const PER_DEVICE_IPV6: &[&str] = &[
    "accept_dad",
    "accept_ra",
    "accept_redirects",
    "autoconf",
    "disable_ipv6",
    "force_forwarding",
    "forwarding",
    "proxy_ndp",
];

/// Why there are no sysctls.
#[derive(Debug, thiserror::Error)]
#[error("list {}", path.display())]
pub(crate) struct SysctlError {
    path: PathBuf,
    source: io::Error,
}

#[expect(clippy::unused_async, reason = "every source is awaited alike; these files never wait")]
pub(crate) async fn read(_context: &Context) -> Result<Reading<Sysctls>, SysctlError> {
    let mut reading = Reading::from(Sysctls(BTreeMap::new()));
    for name in GLOBAL {
        take((*name).to_owned(), &mut reading);
    }
    for (family, keys) in [("ipv4", PER_DEVICE_IPV4), ("ipv6", PER_DEVICE_IPV6)] {
        let directory = format!("net/{family}/conf");
        for device in devices(&Path::new(ROOT).join(&directory))? {
            for key in keys {
                take(format!("{directory}/{device}/{key}"), &mut reading);
            }
        }
    }
    Ok(reading)
}

/// Adds one sysctl, or a caveat. One that does not exist is left out.
fn take(name: String, reading: &mut Reading<Sysctls>) {
    match fs::read_to_string(Path::new(ROOT).join(&name)) {
        Ok(text) => {
            reading.value.0.insert(name, text.trim().to_owned());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => reading.caveats.push(format!("read {name}: {error}")),
    }
}

/// The devices that have sysctls of a family; none if the kernel lacks the family.
fn devices(path: &Path) -> Result<Vec<String>, SysctlError> {
    let failed = |source| SysctlError { path: path.to_owned(), source };
    let directory = match fs::read_dir(path) {
        Ok(directory) => directory,
        // Without the parent directory it is procfs that is missing, not the family.
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(ROOT).join("net").exists() => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    directory
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(failed)
}
