//! Addresses, routes, policy rules, sysctls.

use crate::fault::{Cure, FAULT, Fault};

const NO_INTERNET: &[(&str, &str)] = &[("vm:web1", "internet"), ("vm:web2", "internet")];

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "ip-forward-disabled",
        what: "the host does not forward",
        breaks: "sysctl -qw net.ipv4.ip_forward=0",
        findings: &[("ip-forward-off", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "forwarding-off-on-the-bridge",
        what: "the host does not forward what comes in by the guests' bridge",
        breaks: "sysctl -qw net.ipv4.conf.virbr0.forwarding=0",
        findings: &[("device-forwarding-off", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "forwarding-off-on-the-uplink",
        what: "the host does not forward what comes in by its uplink: no reply comes back",
        breaks: "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
        findings: &[("device-forwarding-off", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "host-no-default-route",
        what: "the host has no default route",
        breaks: "ip route del default",
        findings: &[("no-default-route", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        cure: Cure::ByHand("ip route add default via 203.0.113.1"),
        ..FAULT
    },
    Fault {
        id: "host-offline",
        what: "the uplink's cable is out",
        breaks: "nsenter --net=/run/lab/inet ip link set up0 down",
        findings: &[("uplink-down", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        cure: Cure::ByHand(
            "nsenter --net=/run/lab/inet ip link set up0 up; ip route replace default via 203.0.113.1",
        ),
        ..FAULT
    },
    Fault {
        id: "bridge-address-missing",
        what: "the bridge lost its address",
        breaks: "ip addr flush dev virbr0",
        findings: &[("bridge-no-address", &["network:default"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "subnet-overlap-later",
        what: "a VPN brought a route for half of the guests' subnet",
        breaks: "ip tuntap add tun0 mode tap; ip link set tun0 up; ip route add 192.168.122.0/25 dev tun0; \
                 ip route add 192.168.122.128/25 dev tun0",
        findings: &[("subnet-overlap", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1")],
        afterwards: "ip tuntap del tun0 mode tap",
        ..FAULT
    },
    Fault {
        id: "lan-subnet-equals-vm-subnet",
        what: "the host's LAN has the guests' subnet, with a better metric",
        breaks: "ip link add lan2 type bridge; ip tuntap add tap7 mode tap; ip link set tap7 master lan2 up; ip link set lan2 up; \
                 ip addr add 192.168.122.77/24 dev lan2 noprefixroute; ip route del 192.168.122.0/24 dev virbr0; \
                 ip route add 192.168.122.0/24 dev lan2 metric 5; ip route add 192.168.122.0/24 dev virbr0 src 192.168.122.1 metric 100",
        findings: &[("subnet-overlap", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "internet"), ("host", "vm:web1")],
        cure: Cure::ByHand(
            "ip link del lan2; ip tuntap del tap7 mode tap; ip route replace 192.168.122.0/24 dev virbr0 proto kernel src 192.168.122.1; \
                            ip route del 192.168.122.0/24 dev virbr0 metric 100 2>/dev/null || true",
        ),
        ..FAULT
    },
    Fault {
        id: "vpn-exit-node-policy-table",
        what: "a VPN's policy table has a default route and is asked first: answers to guests go into the tunnel",
        breaks: "nsenter --net=/run/lab/inet ip link add tun1 type veth peer name tun0 netns 1; ip link set tun0 up; \
                 nsenter --net=/run/lab/inet ip link set tun1 up; ip addr add 203.0.113.130/30 dev tun0; \
                 nsenter --net=/run/lab/inet ip addr add 203.0.113.129/30 dev tun1; \
                 ip route add default via 203.0.113.129 dev tun0 table 52; \
                 ip route add throw 10.20.0.0/24 table 52; ip rule add pref 5270 lookup 52",
        findings: &[("policy-table-first", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("host", "vm:web1")],
        afterwards: "ip rule del pref 5270; ip route flush table 52; ip link del tun0",
        ..FAULT
    },
    Fault {
        id: "policy-rule-blackhole",
        what: "a policy rule drops what the guests' subnet sends",
        breaks: "ip rule add from 192.168.122.0/24 pref 100 blackhole",
        findings: &[("route-drop", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "policy-rule-prohibit-one-guest",
        what: "a policy rule refuses one guest",
        breaks: "ip rule add from $(address web1) pref 100 prohibit",
        findings: &[("route-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "policy-table-unreachable",
        what: "a policy table says that the guests' subnet is unreachable",
        breaks: "ip route add unreachable 192.168.122.0/24 table 201; ip rule add to 192.168.122.0/24 lookup 201 pref 100",
        findings: &[("policy-table-first", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "internet"), ("host", "vm:web1")],
        afterwards: "ip rule del pref 100; ip route flush table 201",
        ..FAULT
    },
    Fault {
        id: "route-blackhole",
        what: "a blackhole route covers the internet target",
        breaks: "ip route add blackhole 198.51.100.0/24",
        findings: &[("route-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "route-prohibit",
        what: "a prohibit route covers the internet target",
        breaks: "ip route add prohibit 198.51.100.10",
        findings: &[("route-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "subnet-route-missing",
        what: "the connected route of the guests' subnet was deleted",
        breaks: "ip route del 192.168.122.0/24 dev virbr0",
        findings: &[("subnet-route-missing", &["network:default"])],
        gaps: &[("vm:web1", "gateway:default"), ("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "rp-filter-strict-asymmetric",
        what: "the way back to one guest leads elsewhere, and strict reverse path filtering drops what it sends",
        breaks: "sysctl -qw net.ipv4.conf.virbr0.rp_filter=1; ip route add $(address web1) dev virbr1",
        findings: &[("rp-filter", &["vm:web1"]), ("subnet-overlap", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        afterwards: "sysctl -qw net.ipv4.conf.virbr0.rp_filter=0",
        ..FAULT
    },
    Fault {
        id: "host-has-vm-address",
        what: "the host itself has a guest's address, and answers in its place",
        breaks: "ip addr add $(address web1)/32 dev lo",
        findings: &[("host-has-vm-address", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "default-route-of-another-metric",
        what: "a second default route that is asked later",
        breaks: "ip route add default via 203.0.113.77 metric 500",
        afterwards: "ip route del default via 203.0.113.77 metric 500",
        ..FAULT
    },
    Fault {
        id: "gateway-does-not-answer",
        what: "the default route names a router that is not there",
        breaks: "ip route replace default via 203.0.113.77",
        findings: &[("next-hop-silent", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        beyond_facts: true,
        cure: Cure::ByHand("ip route replace default via 203.0.113.1"),
        ..FAULT
    },
    Fault {
        id: "routed-network-no-return-route",
        what: "a routed network whose router knows no way back",
        breaks: "redefine iso 's|<bridge name|<forward mode=\"route\"/><bridge name|' vnet2",
        // An isolated network told the guest of no router.
        in_guests: &[("db1", "ip route replace default via 192.168.150.1")],
        findings: &[("no-way-back", &["vm:db1"])],
        gaps: &[("vm:db1", "internet")],
        beyond_facts: true,
        cure: Cure::ByHand("nsenter --net=/run/lab/inet ip route add 192.168.150.0/24 via 203.0.113.2"),
        afterwards: "nsenter --net=/run/lab/inet ip route del 192.168.150.0/24; redefine iso '/<forward/d' vnet2",
        ..FAULT
    },
    Fault {
        id: "leak-route-mode-inbound",
        what: "a routed network that the router knows: the outside may come in, as the mode says",
        breaks: "nsenter --net=/run/lab/inet ip route add 192.168.150.0/24 via 203.0.113.2; \
                 redefine iso 's|<bridge name|<forward mode=\"route\"/><bridge name|' vnet2",
        afterwards: "nsenter --net=/run/lab/inet ip route del 192.168.150.0/24; redefine iso '/<forward/d' vnet2",
        ..FAULT
    },
    Fault {
        id: "leak-open-forward-mode",
        what: "a network in open mode, for which libvirt writes no rules, as the mode says",
        breaks: "nsenter --net=/run/lab/inet ip route add 192.168.150.0/24 via 203.0.113.2; \
                 redefine iso 's|<bridge name|<forward mode=\"open\"/><bridge name|' vnet2",
        afterwards: "nsenter --net=/run/lab/inet ip route del 192.168.150.0/24; redefine iso '/<forward/d' vnet2",
        ..FAULT
    },
    Fault {
        id: "proxy-arp-unwanted",
        what: "the host answers ARP on the LAN for an address that it has a route to elsewhere",
        breaks: "sysctl -qw net.ipv4.conf.br0.proxy_arp=1; ip route add 10.20.0.77/32 dev eth0",
        afterwards: "sysctl -qw net.ipv4.conf.br0.proxy_arp=0; ip route del 10.20.0.77/32 dev eth0",
        ..FAULT
    },
    Fault {
        id: "ipv6-accept-ra-with-forwarding",
        what: "the host learned its IPv6 default route from an advertisement, and forwards now",
        breaks: "ipv6 add; ip -6 route replace default via 2001:db8:1::1 dev eth0 proto ra expires 1800",
        findings: &[("ipv6-ra-ignored", &["link:eth0"])],
        afterwards: "ip -6 route del default; ipv6 del; sysctl -qw net.ipv6.conf.eth0.accept_ra=1",
        ..FAULT
    },
    Fault {
        id: "sysctl-file-differs",
        what: "a file switches forwarding off, and was not applied yet",
        breaks: "echo 'net.ipv4.ip_forward=0' >/etc/sysctl.d/99-hardening.conf",
        findings: &[("sysctl-file-differs", &["host"])],
        afterwards: "rm /etc/sysctl.d/*",
        ..FAULT
    },
    Fault {
        id: "pmtu-blackhole",
        what: "the way behind the router carries less than the guests send, and the host drops what the router says to it",
        breaks: "narrow add; iptables -I FORWARD -o virbr0 -p icmp --icmp-type fragmentation-needed -j DROP",
        findings: &[("pmtu-blackhole", &["network:default"])],
        gaps: &[("vm:web1", "internet")],
        beyond_facts: true,
        afterwards: "narrow del",
        ..FAULT
    },
    Fault {
        id: "pmtu-blackhole-behind-the-host",
        what: "the way behind the router carries less than the guests send, and the router does not say so",
        breaks: "narrow add; inet nft 'add table ip mute; add chain ip mute out { type filter hook output priority 0; }; \
                 add rule ip mute out icmp type destination-unreachable drop'",
        // The host's own are lost there too.
        findings: &[("pmtu-blackhole", &["network:default"])],
        code: Some(3),
        beyond_facts: true,
        cure: Cure::ByHand("inet nft delete table ip mute"),
        afterwards: "narrow del",
        ..FAULT
    },
    Fault {
        id: "internet-target-silent",
        what: "what stands for the internet is silent, and the router before it is not",
        breaks: "narrow add; far nft 'add table ip mute; add chain ip mute in { type filter hook input priority 0; policy drop; }'",
        findings: &[("upstream-silent", &[])],
        code: Some(3),
        beyond_facts: true,
        cure: Cure::ByHand("far nft delete table ip mute"),
        afterwards: "narrow del",
        ..FAULT
    },
];
