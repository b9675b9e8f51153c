//! Taps, bridges, their ports, MAC tables and neighbours.

use serde_json::Value;

use crate::fault::{Cure, FAULT, Fault};

const WEB1_CUT_OFF: &[(&str, &str)] =
    &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1"), ("vm:web1", "vm:web2")];

/// Makes the LAN's bridge filter VLANs, with every port in VLAN 1, as the kernel does when it is turned on.
fn vlan_filtering(host: &mut Value) {
    for link in host["links"]["value"].as_array_mut().expect("links") {
        if link["name"] == "br0" {
            link["kind"]["vlan_filtering"] = true.into();
        }
        if ["eth1", "vnet3"].iter().any(|port| link["name"] == *port) {
            link["port"]["pvid"] = 1.into();
            link["port"]["vlans"] = serde_json::json!([{ "id": 1, "untagged": true }]);
        }
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "vnet-not-in-bridge",
        what: "a tap was taken out of its bridge",
        breaks: "ip link set vnet0 nomaster",
        findings: &[("vnet-not-in-bridge", &["vm:web1"])],
        gaps: WEB1_CUT_OFF,
        ..FAULT
    },
    Fault {
        id: "vnet-in-wrong-bridge",
        what: "an isolated guest's tap is in the NAT network's bridge",
        breaks: "ip link set vnet2 master virbr0",
        findings: &[("vm-in-wrong-bridge", &["vm:db1"])],
        gaps: &[("vm:db1", "gateway:iso")],
        ..FAULT
    },
    Fault {
        id: "vnet-down",
        what: "a tap is down",
        breaks: "ip link set vnet0 down",
        findings: &[("tap-down", &["vm:web1"])],
        gaps: WEB1_CUT_OFF,
        ..FAULT
    },
    Fault {
        id: "bridge-admin-down",
        what: "the bridge of a network is down",
        breaks: "ip link set virbr0 down",
        findings: &[("bridge-down", &["network:default"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "lan-bridge-down",
        what: "the LAN's bridge is down",
        breaks: "ip link set br0 down",
        findings: &[("bridge-down", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet"), ("host", "vm:lan1")],
        ..FAULT
    },
    Fault {
        id: "bridge-port-not-forwarding",
        what: "a tap's bridge port is disabled",
        breaks: "ip link set virbr0 type bridge stp_state 0; bridge link set dev vnet0 state 0",
        findings: &[("bridge-port-state", &["vm:web1"])],
        gaps: WEB1_CUT_OFF,
        afterwards: "ip link set virbr0 type bridge stp_state 1",
        ..FAULT
    },
    Fault {
        id: "port-isolation-flag",
        what: "two guests' ports are isolated that the domain does not ask to be",
        breaks: "bridge link set dev vnet0 isolated on; bridge link set dev vnet1 isolated on",
        findings: &[("bridge-port-filter", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "vm:web2")],
        ..FAULT
    },
    Fault {
        id: "port-locked",
        what: "a port is locked: the bridge takes nothing from MACs that nobody entered",
        breaks: "bridge link set dev vnet0 learning off; bridge fdb del 52:54:00:aa:00:01 dev vnet0 master 2>/dev/null; \
                 bridge link set dev vnet0 locked on",
        findings: &[("bridge-port-filter", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        afterwards: "bridge link set dev vnet0 locked off learning on",
        ..FAULT
    },
    Fault {
        id: "uplink-not-in-bridge",
        what: "the LAN's card is no port of the bridge",
        breaks: "ip link set eth1 nomaster",
        findings: &[("uplink-not-in-bridge", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        ..FAULT
    },
    Fault {
        id: "uplink-in-another-bridge",
        what: "the LAN's card is a port of another bridge",
        breaks: "ip link add br7 type bridge; ip link set br7 up; ip link set eth1 master br7",
        findings: &[("uplink-not-in-bridge", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        afterwards: "ip link del br7",
        ..FAULT
    },
    Fault {
        id: "bridge-uplink-down",
        what: "the LAN's card is down",
        breaks: "ip link set eth1 down",
        findings: &[("uplink-down", &["link:eth1", "vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        ..FAULT
    },
    Fault {
        id: "uplink-no-carrier",
        what: "the LAN's cable is out",
        breaks: "nsenter --net=/run/lab/inet ip link set up1 down",
        findings: &[("uplink-down", &["link:eth1", "vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        cure: Cure::ByHand("nsenter --net=/run/lab/inet ip link set up1 up"),
        ..FAULT
    },
    Fault {
        id: "bridge-deleted-under-libvirt",
        what: "somebody deleted the network's bridge; libvirt says that the network is active",
        breaks: "ip link del virbr0",
        findings: &[("bridge-missing", &["network:default"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "bridge-recreated-stale-ifindex",
        what: "the bridge was deleted and made again: libvirt's rules name the number of the old one",
        breaks: "ip link del virbr0; ip link add virbr0 type bridge; ip link set virbr0 up; \
                 ip addr add 192.168.122.1/24 dev virbr0; ip link set vnet0 master virbr0; ip link set vnet1 master virbr0",
        only_on: Some(crate::host::Backend::Nftables),
        findings: &[("libvirt-rules-stale", &["network:default"])],
        gaps: &[("outside", "vm:web1")],
        // libvirt's own bridge has the MAC of its network.
        afterwards: "redefine default '' vnet0 vnet1",
        ..FAULT
    },
    Fault {
        id: "bridge-nf-forward-drop",
        what: "bridged frames go through the rules for routed packets, which drop them",
        breaks: "iptables -I FORWARD -i br0 -o br0 -j DROP; sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        findings: &[("bridge-netfilter-drop", &["vm:lan1"])],
        gaps: &[("vm:lan1", "internet"), ("outside", "vm:lan1")],
        ..FAULT
    },
    Fault {
        id: "bridge-nf-docker-policy-drop",
        what: "bridged frames go through FORWARD, whose policy Docker set to DROP",
        breaks: "iptables -P FORWARD DROP; sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        stays: &["forward-drop-spared"],
        findings: &[("bridge-netfilter-drop", &["vm:lan1"])],
        gaps: &[("vm:lan1", "internet"), ("outside", "vm:lan1")],
        only_on: Some(crate::host::Backend::Iptables),
        ..FAULT
    },
    Fault {
        id: "bridge-nf-alone",
        what: "bridged frames go through the rules for routed packets, and nothing there drops them",
        breaks: "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        afterwards: "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        ..FAULT
    },
    Fault {
        id: "ebtables-drop",
        what: "ebtables drops what a guest sends",
        breaks: "ebtables -A INPUT -i vnet0 -j DROP; ebtables -A FORWARD -i vnet0 -j DROP",
        findings: &[("netfilter-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:web1", "vm:web2")],
        afterwards: "ebtables -F",
        ..FAULT
    },
    Fault {
        id: "nft-bridge-family-filter",
        what: "an anti-spoofing rule in the bridge family has the wrong MAC for a guest",
        breaks: "nft add table bridge f; nft 'add chain bridge f pre { type filter hook prerouting priority -300; }'; \
                 nft add rule bridge f pre iifname vnet0 ether saddr != 52:54:00:aa:aa:aa drop",
        findings: &[("netfilter-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:web1", "vm:web2")],
        afterwards: "nft delete table bridge f",
        ..FAULT
    },
    Fault {
        id: "arp-family-drop",
        what: "an arp rule drops the guests' questions for their gateway",
        breaks: "nft add table arp f; nft 'add chain arp f in { type filter hook input priority 0; }'; \
                 nft add rule arp f in iifname virbr0 drop",
        findings: &[("netfilter-drop", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default")],
        afterwards: "nft delete table arp f",
        ..FAULT
    },
    Fault {
        id: "arp-ignored",
        what: "the host answers no ARP on the guests' bridge",
        breaks: "sysctl -qw net.ipv4.conf.virbr0.arp_ignore=8",
        findings: &[("sysctl-refuses", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default")],
        ..FAULT
    },
    Fault {
        id: "upstream-hypervisor-mac-filter",
        what: "the card lets only frames with its own MAC out, as clouds and nested hosts do",
        breaks: "nft add table netdev f; nft 'add chain netdev f e { type filter hook egress device eth1 priority 0; }'; \
                 nft add rule netdev f e ether saddr != $(cat /sys/class/net/eth1/address) ether saddr != $(cat /sys/class/net/br0/address) drop",
        findings: &[("netfilter-drop", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        afterwards: "nft delete table netdev f",
        ..FAULT
    },
    Fault {
        id: "fdb-static-wrong-port",
        what: "the MAC table holds a guest's MAC at another guest's port",
        breaks: "bridge fdb replace 52:54:00:aa:00:01 dev vnet1 master static sticky",
        findings: &[("static-entry", &["vm:web1"])],
        gaps: &[("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "fdb-permanent-guest-mac",
        what: "the MAC table takes a guest's MAC for the bridge's own",
        breaks: "bridge fdb replace 52:54:00:aa:00:01 dev vnet1 master permanent",
        findings: &[("static-entry", &["vm:web1"])],
        gaps: &[("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "neighbour-permanent-wrong",
        what: "a neighbour entry set by hand has the MAC of a guest that is no more",
        breaks: "ip neigh replace $(address web1) lladdr 52:54:00:ff:ff:ff dev virbr0 nud permanent",
        findings: &[("static-entry", &["vm:web1"])],
        gaps: &[("host", "vm:web1"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "vnet-mac-equals-guest-mac",
        what: "the tap has the guest's own MAC: the host takes what is for the guest",
        breaks: "ip link set vnet0 address 52:54:00:aa:00:01",
        findings: &[("tap-has-guest-mac", &["vm:web1"])],
        gaps: &[("vm:web2", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "ip-left-on-physical-nic",
        what: "the LAN's address is on the card and not on its bridge",
        breaks: "ip addr del 10.20.0.2/24 dev br0; ip addr add 10.20.0.2/24 dev eth1",
        findings: &[("address-on-port", &[])],
        gaps: &[],
        ..FAULT
    },
    Fault {
        id: "mtu-uplink-smaller-than-guest",
        what: "the MTU of the LAN's card is smaller than its bridge's other ports'",
        breaks: "ip link set eth1 mtu 1400",
        findings: &[("mtu-differs", &["network:lan"])],
        gaps: &[],
        ..FAULT
    },
    Fault {
        id: "nixos-style-rebuild-drops-ports",
        what: "a unit made the LAN's bridge anew, with its card and without the guests' taps",
        breaks: "ip link del br0; ip link add br0 type bridge; ip link set br0 up; ip addr add 10.20.0.2/24 dev br0; \
                 ip link set eth1 master br0",
        findings: &[("vnet-not-in-bridge", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet"), ("host", "vm:lan1")],
        ..FAULT
    },
    Fault {
        id: "networkmanager-takes-tap-or-bridge",
        what: "NetworkManager disconnected a tap: it is down and in no bridge",
        breaks: "ip link set vnet0 nomaster; ip link set vnet0 down",
        findings: &[("vnet-not-in-bridge", &["vm:web1"])],
        gaps: WEB1_CUT_OFF,
        ..FAULT
    },
    Fault {
        id: "networkd-or-netplan-reconfigures-bridge",
        what: "a network manager took the LAN's bridge down and its card out of it",
        breaks: "ip link set eth1 nomaster; ip link set br0 down",
        findings: &[("bridge-down", &["network:lan"]), ("uplink-not-in-bridge", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet"), ("host", "vm:lan1")],
        ..FAULT
    },
    Fault {
        id: "bridge-missing",
        what: "the LAN's bridge is gone",
        breaks: "ip link del br0",
        findings: &[("bridge-missing", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        afterwards: "ip addr add 10.20.0.2/24 dev br0",
        ..FAULT
    },
    Fault {
        id: "uplink-renamed",
        what: "the LAN's card has another name since a reboot, and the bridge's configuration names the old one",
        breaks: "ip link set eth1 down; ip link set eth1 nomaster; ip link set eth1 name enp3s0; ip link set enp3s0 up",
        findings: &[("uplink-not-in-bridge", &["network:lan"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        // What is printed brings the LAN back; that the configuration names the old card is warned of then.
        cure: Cure::ByHand(
            "ip link set enp3s0 down; ip link set enp3s0 name eth1; ip link set eth1 master br0 up; \
             until grep -q up /sys/class/net/eth1/operstate; do sleep 0.1; done",
        ),
        ..FAULT
    },
    Fault {
        id: "stp-forward-delay",
        what: "a port was just plugged into a bridge with spanning tree, which listens and learns first",
        breaks: "ip link set br0 type bridge stp_state 1 forward_delay 1500; ip link set vnet3 down; ip link set vnet3 up; \
                 until bridge link show dev vnet3 | grep -q listening; do sleep 0.1; done",
        settles: false,
        findings: &[("bridge-port-state", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        cure: Cure::ByHand("ip link set br0 type bridge stp_state 0 forward_delay 200"),
        ..FAULT
    },
    Fault {
        id: "duplicate-mac",
        what: "a domain was copied with the MAC kept",
        recorded: Some(|host| {
            let domains = host["libvirt"]["value"]["domains"].as_array_mut().expect("domains");
            for domain in domains.iter_mut().filter(|domain| domain["name"] == "web2") {
                domain["interfaces"][0]["mac"] = "52:54:00:aa:00:01".into();
            }
        }),
        findings: &[("duplicate-mac", &["vm:web1", "vm:web2"])],
        ..FAULT
    },
    Fault {
        id: "bridge-mac-changes",
        what: "the LAN bridge's MAC changed, as it does when a port with a lower one comes",
        breaks: "ip link set br0 address 02:00:00:00:00:99",
        afterwards: "ip link set br0 address $(cat /sys/class/net/eth1/address); \
                     ip neigh flush dev br0; ping -q -c 1 -W 2 10.20.0.11",
        ..FAULT
    },
    Fault {
        id: "vlan-filtering-pvid-mismatch",
        what: "the bridge filters VLANs, and a guest's port is in another one than the card",
        recorded: Some(|host| {
            vlan_filtering(host);
            for link in host["links"]["value"].as_array_mut().expect("links") {
                if link["name"] == "vnet3" {
                    link["port"]["pvid"] = 20.into();
                    link["port"]["vlans"] = serde_json::json!([{ "id": 20, "untagged": true }]);
                }
            }
        }),
        findings: &[("bridge-port-filter", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        ..FAULT
    },
    Fault {
        id: "vlan-settings-lost-on-vm-restart",
        what: "the bridge filters VLANs, and the guest's port lost its own at the last start",
        recorded: Some(|host| {
            vlan_filtering(host);
            for link in host["links"]["value"].as_array_mut().expect("links") {
                if link["name"] == "vnet3" {
                    link["port"]["pvid"] = serde_json::Value::Null;
                    link["port"]["vlans"] = serde_json::json!([]);
                }
            }
        }),
        findings: &[("bridge-port-filter", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        ..FAULT
    },
    Fault {
        id: "guest-mac-differs-from-xml",
        what: "a guest set itself another MAC",
        recorded: Some(|host| {
            for entry in host["fdb"]["value"].as_array_mut().expect("entries") {
                if entry["mac"] == "52:54:00:aa:00:01" {
                    entry["mac"] = "02:00:00:00:00:01".into();
                }
            }
        }),
        findings: &[("mac-differs", &["vm:web1"])],
        ..FAULT
    },
    Fault {
        id: "bridge-nf-sysctl-not-applied",
        what: "br_netfilter was loaded after the sysctls were set: bridged frames meet the policy that Docker set",
        breaks: "iptables -P FORWARD DROP; sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        only_on: Some(crate::host::Backend::Nftables),
        findings: &[
            ("bridge-netfilter-drop", &["vm:lan1"]),
            ("forward-policy-drop", &["vm:web1", "vm:web2"]),
        ],
        gaps: &[("vm:lan1", "internet"), ("outside", "vm:lan1"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "cloud-provider-mac-filter",
        what: "the provider lets only the card's own MAC out, and neither the bridge nor its guests have it",
        breaks: "ip link set br0 address 02:00:00:00:00:01; nft add table netdev f; \
                 nft 'add chain netdev f e { type filter hook egress device eth1 priority 0; }'; \
                 nft add rule netdev f e ether saddr != $(cat /sys/class/net/eth1/address) drop",
        findings: &[("netfilter-drop", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
        afterwards: "nft delete table netdev f; ip link set br0 address $(cat /sys/class/net/eth1/address); \
                     ip neigh flush dev br0; ping -q -c 1 -W 2 10.20.0.11",
        ..FAULT
    },
    Fault {
        id: "duplicate-ip",
        what: "a guest was given another guest's address by hand",
        breaks: "true",
        in_guests: &[("web2", "ip addr add $(address web1)/24 dev eth0")],
        findings: &[("duplicate-ip", &["vm:web1", "vm:web2"])],
        // Whose MAC the host has for the address is chance.
        beyond_facts: true,
        cure: Cure::ByHand("true"),
        guests_do: &[("web2", "ip addr del $(address web1)/24 dev eth0")],
        ..FAULT
    },
    Fault {
        id: "manager-takes-device",
        what: "systemd-networkd runs, and a file of its own means all devices",
        breaks: "mkdir -p /run/systemd/netif/links /run/systemd/netif/leases; chown -R systemd-network: /run/systemd/netif
                 /lib/systemd/systemd-networkd >/run/lab/networkd.log 2>&1 & echo $! >/run/lab/networkd.pid
                 timeout 10 sh -c 'until [ -e /run/systemd/netif/links/1 ]; do sleep 0.05; done'
                 printf '[Match]\nName=*\n[Network]\nDHCP=yes\n' >/etc/systemd/network/80-all.network",
        findings: &[("manager-takes-device", &["link:virbr0", "link:virbr1", "link:vnet0"])],
        afterwards: "kill $(cat /run/lab/networkd.pid); rm /etc/systemd/network/*",
        ..FAULT
    },
];
