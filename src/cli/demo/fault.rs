//! What can be broken on the demonstration host.

use super::host::Host;
use crate::cli::private;

/// One way to break the host, named as the finding that it leads to.
pub(crate) struct Fault {
    /// The name, for `--fault`: the id of the finding.
    pub(crate) name: &'static str,
    /// What is done, in a line for `--help`.
    pub(crate) summary: &'static str,
    /// How, one after the other.
    changes: &'static [Change],
}

/// How a fault is made.
enum Change {
    /// An `ip` command.
    Ip(&'static str),
    /// An `nft` command.
    Nft(&'static str),
    /// A sysctl, by its name with slashes, and its value.
    Sysctl(&'static str, &'static str),
    /// The DHCP and DNS servers end.
    NoServers,
}

impl Fault {
    /// Breaks the host.
    pub(crate) fn apply(&self, host: &mut Host) -> anyhow::Result<()> {
        for change in self.changes {
            match *change {
                Change::Ip(command) => super::host::ip(command)?,
                Change::Nft(command) => private::nft(command)?,
                Change::Sysctl(name, value) => private::sysctl(name, value)?,
                Change::NoServers => host.stop_servers(),
            }
        }
        Ok(())
    }
}

/// Every fault, by name.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "bridge-down",
        summary: "the bridge of network `default` is switched off",
        changes: &[Change::Ip("link set virbr0 down")],
    },
    Fault {
        name: "bridge-netfilter-drop",
        summary: "bridged frames pass the IP rules, and one of them drops those of the LAN",
        changes: &[
            Change::Nft(
                "add table ip filter; \
                 add chain ip filter FORWARD { type filter hook forward priority filter; policy accept; }; \
                 add rule ip filter FORWARD iifname br0 oifname br0 drop",
            ),
            Change::Sysctl("net/bridge/bridge-nf-call-iptables", "1"),
        ],
    },
    Fault {
        name: "bridge-no-address",
        summary: "the bridge of network `default` loses the gateway's address",
        changes: &[Change::Ip("address flush dev virbr0")],
    },
    Fault { name: "dnsmasq-dead", summary: "the DHCP and DNS servers end", changes: &[Change::NoServers] },
    Fault {
        name: "forward-policy-drop",
        summary: "another program's FORWARD chain drops by policy, as Docker's does",
        changes: &[Change::Nft(
            "add table ip filter; add chain ip filter DOCKER-USER; \
             add chain ip filter FORWARD { type filter hook forward priority filter; policy drop; }; \
             add rule ip filter FORWARD jump DOCKER-USER",
        )],
    },
    Fault {
        name: "ip-forward-off",
        summary: "the kernel does not forward IPv4",
        changes: &[Change::Sysctl("net/ipv4/ip_forward", "0")],
    },
    Fault {
        name: "isolation-leak",
        summary: "a rule in libvirt's chains lets TCP port 8080 through between all networks",
        changes: &[
            Change::Nft("insert rule ip libvirt_network guest_input tcp dport 8080 accept"),
            Change::Nft("insert rule ip libvirt_network guest_output meta l4proto tcp th dport 8080 accept"),
            Change::Nft("insert rule ip libvirt_network guest_output tcp sport 8080 accept"),
        ],
    },
    Fault {
        name: "masquerade-missing",
        summary: "the rules that rewrite the guests' source address are gone",
        changes: &[Change::Nft("flush chain ip libvirt_network guest_nat")],
    },
    Fault {
        name: "no-default-route",
        summary: "the host has no default route",
        changes: &[Change::Ip("route del default")],
    },
    Fault {
        name: "uplink-not-in-bridge",
        summary: "the LAN's network card left the bridge",
        changes: &[Change::Ip("link set eth1 nomaster")],
    },
    Fault {
        name: "vm-in-wrong-bridge",
        summary: "db1, of the isolated network, is plugged into the NAT network's bridge",
        changes: &[Change::Ip("link set tap-db1 master virbr0")],
    },
    Fault {
        name: "vnet-not-in-bridge",
        summary: "web1's tap left its bridge",
        changes: &[Change::Ip("link set tap-web1 nomaster")],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_sorted_and_unique() {
        assert!(FAULTS.is_sorted_by(|a, b| a.name < b.name));
    }
}
