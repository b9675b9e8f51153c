//! Paths that the model forbids and that are open.

use crate::fault::{Cure, FAULT, Fault};
use crate::host::Backend::{Iptables, Nftables};

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "leak-accept-before-libvirt",
        what: "accepts for an isolated bridge stand in front of libvirt's jumps, and its sources are masqueraded",
        breaks: "iptables -t nat -A POSTROUTING -s 192.168.150.0/24 ! -d 192.168.150.0/24 -j MASQUERADE; \
                 iptables -I FORWARD -i virbr1 -j ACCEPT; iptables -I FORWARD -o virbr1 -j ACCEPT",
        harmless_on: Some(Nftables),
        findings: &[("isolation-leak", &["network:iso"])],
        gaps: &[("vm:db1", "internet"), ("outside", "vm:db1")],
        ..FAULT
    },
    Fault {
        id: "leak-accept-all-first",
        what: "an accept of all stands first in FORWARD",
        breaks: "iptables -I FORWARD -j ACCEPT",
        harmless_on: Some(Nftables),
        findings: &[("isolation-leak", &["network:iso"])],
        gaps: &[("vm:db1", "internet"), ("outside", "vm:web1"), ("vm:web1", "vm:db1")],
        ..FAULT
    },
    Fault {
        id: "leak-libvirt-rejects-missing",
        what: "libvirt's chains are there and empty",
        breaks: "if [ $(backend) = nftables ]; then nft flush chain ip libvirt_network guest_output; \
                 nft flush chain ip libvirt_network guest_input; \
                 else iptables -F LIBVIRT_FWO; iptables -F LIBVIRT_FWI; fi",
        findings: &[("libvirt-rules-missing", &["network:iso"])],
        gaps: &[("outside", "vm:web1"), ("vm:db1", "internet")],
        ..FAULT
    },
    Fault {
        id: "leak-port-forward-undeclared",
        what: "somebody opened a guest to the outside in libvirt's own chain",
        breaks: "if [ $(backend) = nftables ]; then nft insert rule ip libvirt_network guest_input oifname virbr0 accept; \
                 else iptables -I LIBVIRT_FWI -o virbr0 -j ACCEPT; fi",
        findings: &[("isolation-leak", &["network:default"])],
        gaps: &[("outside", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "foreign-port-in-isolated-bridge",
        what: "a device of nobody's is in the isolated bridge",
        breaks: "ip link add port0 type veth peer name port1; ip link set port1 up; ip link set port0 master virbr1 up",
        findings: &[("foreign-port", &["network:iso"])],
        gaps: &[],
        cure: Cure::Printed,
        afterwards: "ip link del port0",
        ..FAULT
    },
    Fault {
        id: "docker-user-accepts-only",
        what: "accepts in DOCKER-USER, behind libvirt's jumps",
        breaks: "iptables -N DOCKER-USER; iptables -A DOCKER-USER -i virbr1 -j ACCEPT; iptables -A FORWARD -j DOCKER-USER",
        ..FAULT
    },
    Fault {
        id: "leak-second-address-on-the-bridge",
        what: "the host serves a second subnet on the isolated bridge",
        breaks: "ip addr add 192.168.151.1/24 dev virbr1",
        only_on: Some(Iptables),
        afterwards: "ip addr del 192.168.151.1/24 dev virbr1",
        ..FAULT
    },
    Fault {
        id: "leak-ipv6-on-v4-only-network",
        what: "IPv6 is on at an isolated network's bridge and the host forwards it, while libvirt guards IPv4 alone",
        breaks: "ipv6 add; sysctl -qw net.ipv6.conf.virbr0.disable_ipv6=1 net.ipv6.conf.virbr1.disable_ipv6=0; \
                 ip addr add fd10::1/64 dev virbr1 nodad",
        targets: &["2001:db8:2::10"],
        findings: &[("ipv6-open", &["network:iso"])],
        gaps: &[("vm:db1", "internet")],
        afterwards: "ipv6 del",
        ..FAULT
    },
    Fault {
        id: "leak-isolated-guest-to-host",
        what: "an isolated guest reaches every address of the host, as libvirt never filters what is for it",
        breaks: "true",
        in_guests: &[("db1", "ip route replace 203.0.113.2 via 192.168.150.1; ping -c 1 -W 2 203.0.113.2")],
        ..FAULT
    },
    Fault {
        id: "leak-nat-guest-to-lan",
        what: "a guest of the NAT network reaches the host's LAN, as the mode lets it",
        breaks: "true",
        in_guests: &[("web1", "ping -c 1 -W 2 10.20.0.1")],
        ..FAULT
    },
];
