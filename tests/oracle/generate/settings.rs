//! Sysctls, flags of bridge ports and entries of MAC tables.

use super::tests::mac;
use crate::config::Item;
use crate::host::PORT_FLAGS;
use crate::places::{BRIDGE_PORTS, IP_DEVICES};
use crate::random::Random;

/// Sysctls of a device or of `all`, and their values.
const OF_DEVICES: [(&str, &[&str]); 8] = [
    ("ipv4/conf/DEVICE/rp_filter", &["1", "2"]),
    ("ipv4/conf/DEVICE/rp_filter", &["0", "1", "2"]),
    ("ipv4/conf/DEVICE/arp_ignore", &["1", "2", "8"]),
    ("ipv4/conf/DEVICE/accept_local", &["1"]),
    ("ipv4/conf/DEVICE/route_localnet", &["1"]),
    ("ipv4/conf/DEVICE/forwarding", &["0"]),
    ("ipv4/conf/DEVICE/src_valid_mark", &["1"]),
    ("ipv6/conf/DEVICE/forwarding", &["0"]),
];

const OF_HOST: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "0"),
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv4/icmp_echo_ignore_all", "1"),
    ("ipv6/icmp/echo_ignore_all", "1"),
    ("ipv4/conf/all/forwarding", "0"),
];

pub(super) fn sysctls(random: &mut Random, items: &mut Vec<Item>) {
    for _ in 0..random.between(1, 4) {
        let (name, value) = if random.percent(20) {
            let (name, value) = OF_HOST[random.below(OF_HOST.len())];
            (name.to_owned(), value)
        } else {
            let (name, values) = OF_DEVICES[random.below(OF_DEVICES.len())];
            // For `all` some are copied to every device, which nothing here puts back.
            let everywhere = !name.contains("forwarding") && random.percent(25);
            let device = if everywhere { "all" } else { random.pick(&IP_DEVICES) };
            (name.replace("DEVICE", device), random.pick(values))
        };
        items.push(Item::Sysctl { name: format!("net/{name}"), value: value.to_owned() });
    }
}

pub(super) fn bridge_netfilter(random: &mut Random, items: &mut Vec<Item>) {
    for name in ["iptables", "ip6tables", "arptables"] {
        if random.percent(70) {
            let name = format!("net/bridge/bridge-nf-call-{name}");
            items.push(Item::Sysctl { name, value: "1".to_owned() });
        }
    }
}

pub(super) fn ports(random: &mut Random, items: &mut Vec<Item>) {
    for _ in 0..random.between(1, 5) {
        let port = random.pick(&BRIDGE_PORTS);
        let line = if random.percent(70) {
            let (flag, usual) = PORT_FLAGS[random.below(PORT_FLAGS.len())];
            let value = if usual == "on" { "off" } else { "on" };
            format!("link set dev {port} {flag} {value}")
        } else {
            let kind = random.pick(&["static", "local", "static sticky", "dynamic", "static extern_learn"]);
            format!("fdb add {} dev {port} master {kind}", mac(random))
        };
        items.push(Item::Bridge(line));
    }
}
