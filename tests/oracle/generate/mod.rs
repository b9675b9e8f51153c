//! A configuration from a seed.
//!
//! Each trial has a few themes, so that most packets meet something and not everything is stopped by
//! the first rule. Nothing here tells the engine's source port (49152) from those that are sent from
//! (61000 and above), and no chain has a priority at which the order of registration decides.

mod iptables;
mod nft;
mod routing;
mod settings;
mod tests;

use crate::config::Item;
use crate::random::Random;
use crate::trial::{Trial, claims};

/// Packets of one trial.
const PACKETS: usize = 64;

/// What libvirt's nftables backend writes for the two networks, line by line.
const LIBVIRT: &str = r#"add table ip libvirt_network
add chain ip libvirt_network guest_cross
add chain ip libvirt_network guest_input
add chain ip libvirt_network guest_output
add chain ip libvirt_network forward { type filter hook forward priority filter; policy accept; }
add chain ip libvirt_network guest_nat { type nat hook postrouting priority srcnat; policy accept; }
add rule ip libvirt_network forward jump guest_cross
add rule ip libvirt_network forward jump guest_input
add rule ip libvirt_network forward jump guest_output
add rule ip libvirt_network guest_cross iif "virbr0" oif "virbr0" accept
add rule ip libvirt_network guest_cross iif "virbr1" oif "virbr1" accept
add rule ip libvirt_network guest_input oif "virbr0" ip daddr 192.168.122.0/24 ct state established,related accept
add rule ip libvirt_network guest_input oif "virbr0" reject
add rule ip libvirt_network guest_input oif "virbr1" reject
add rule ip libvirt_network guest_output ip saddr 192.168.122.0/24 iif "virbr0" accept
add rule ip libvirt_network guest_output iif "virbr0" reject
add rule ip libvirt_network guest_output iif "virbr1" reject
add rule ip libvirt_network guest_nat ip saddr 192.168.122.0/24 ip daddr 224.0.0.0/24 return
add rule ip libvirt_network guest_nat ip protocol tcp ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade to :1024-65535
add rule ip libvirt_network guest_nat ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade"#;

/// Lets the NAT network out, and nothing else.
const TRANSLATION: [(&str, &str); 2] = [("ip", "192.168.122.0/24"), ("ip6", "fd00:122::/64")];

/// The trial of a seed.
pub(crate) fn trial(seed: u64) -> Trial {
    let mut random = Random::new(seed);
    let random = &mut random;
    let mut items = Vec::new();
    if random.percent(25) {
        items.extend(LIBVIRT.lines().map(|line| Item::Nft(line.to_owned())));
    } else if random.percent(75) {
        for (family, net) in TRANSLATION {
            items.extend(
                [
                    format!("add table {family} out"),
                    format!("add chain {family} out post {{ type nat hook postrouting priority srcnat; }}"),
                    format!("add rule {family} out post {family} saddr {net} oifname \"eth0\" masquerade"),
                ]
                .map(Item::Nft),
            );
        }
    }
    if random.percent(35) {
        settings::sysctls(random, &mut items);
    }
    if random.percent(25) {
        settings::bridge_netfilter(random, &mut items);
    }
    if random.percent(30) {
        settings::ports(random, &mut items);
    }
    if random.percent(35) {
        routing::routing(random, &mut items);
    }
    if random.percent(75) {
        for number in 0..random.between(1, 3) {
            nft::table(random, number, &mut items);
        }
    }
    if random.percent(30) {
        iptables::rules(random, &mut items);
    }
    if random.percent(15) {
        iptables::link_rules(random, &mut items);
    }
    let lan_ipv6 = random.percent(50);
    Trial { items, claims: claims(random, PACKETS, lan_ipv6), lan_ipv6 }
}
