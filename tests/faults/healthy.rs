//! Odd hosts on which nothing is wrong: the doctor must say so.

use crate::fault::{Cure, FAULT, Fault};

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "guest-paused",
        what: "a guest is paused: it answers nothing, and that is no fault of the network's",
        breaks: "virsh -q suspend web2",
        afterwards: "virsh -q resume web2",
        ..FAULT
    },
    Fault {
        id: "docker-without-containers",
        what: "Docker's bridge, addresses and rules, with the policy of FORWARD left alone",
        breaks: "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; \
                 iptables -N DOCKER; iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD; \
                 iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD; \
                 iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
                 iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT; iptables -A DOCKER-FORWARD -o docker0 -j DOCKER; \
                 iptables -A DOCKER ! -i docker0 -o docker0 -j DROP; \
                 iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        afterwards: "ip link del docker0",
        ..FAULT
    },
    Fault {
        id: "kube-proxy-chains",
        what: "kube-proxy's chains, which mark and masquerade what they marked",
        breaks: "iptables -N KUBE-FORWARD; iptables -I FORWARD -j KUBE-FORWARD; \
                 iptables -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP; \
                 iptables -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT; \
                 iptables -t nat -N KUBE-POSTROUTING; iptables -t nat -A POSTROUTING -j KUBE-POSTROUTING; \
                 iptables -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN; \
                 iptables -t nat -A KUBE-POSTROUTING -j MASQUERADE",
        ..FAULT
    },
    Fault {
        id: "tailscale-without-exit-node",
        what: "Tailscale's policy rule and table, with routes of its own network alone",
        breaks: "ip tuntap add tailscale0 mode tun; ip link set tailscale0 up; \
                 ip route add 100.64.0.0/10 dev tailscale0 table 52; ip rule add pref 5270 lookup 52",
        afterwards: "ip rule del pref 5270; ip tuntap del tailscale0 mode tun",
        ..FAULT
    },
    Fault {
        id: "policy-rule-for-another-subnet",
        what: "a policy rule for a subnet that is nobody's here",
        breaks: "ip route add default via 203.0.113.77 table 99; ip rule add from 10.99.0.0/16 lookup 99 pref 90",
        afterwards: "ip rule del pref 90; ip route flush table 99",
        ..FAULT
    },
    Fault {
        id: "several-addresses-on-the-uplink",
        what: "the uplink has several addresses",
        breaks: "ip addr add 203.0.113.50/24 dev eth0; ip addr add 203.0.113.51/32 dev eth0",
        afterwards: "ip addr del 203.0.113.50/24 dev eth0; ip addr del 203.0.113.51/32 dev eth0",
        ..FAULT
    },
    Fault {
        id: "narrow-internet",
        what: "the way behind the router carries less than the guests send, and the router says so",
        breaks: "narrow add",
        afterwards: "narrow del",
        ..FAULT
    },
    Fault {
        id: "rp-filter-strict",
        what: "reverse path filtering is strict everywhere, and all paths are symmetric",
        breaks: "sysctl -qw net.ipv4.conf.all.rp_filter=1",
        afterwards: "sysctl -qw net.ipv4.conf.all.rp_filter=0",
        ..FAULT
    },
    Fault {
        id: "hairpin-port",
        what: "a port may send frames back where they came from",
        breaks: "bridge link set dev vnet0 hairpin on",
        afterwards: "bridge link set dev vnet0 hairpin off",
        ..FAULT
    },
    Fault {
        id: "anti-spoofing-in-the-bridge-family",
        what: "a rule of the bridge family that holds a guest to its own MAC",
        breaks: "nft add table bridge f; nft 'add chain bridge f pre { type filter hook prerouting priority -300; }'; \
                 nft add rule bridge f pre iifname vnet0 ether saddr != 52:54:00:aa:00:01 drop",
        afterwards: "nft delete table bridge f",
        ..FAULT
    },
    Fault {
        id: "user-table-that-accepts",
        what: "the administrator's own forward chain drops by policy and lets the guests pass",
        breaks: "nft add table inet userfw; \
                 nft 'add chain inet userfw forward { type filter hook forward priority 0; policy drop; }'; \
                 nft add rule inet userfw forward ct state vmap '{ established : accept, related : accept, invalid : drop }'; \
                 nft add rule inet userfw forward iifname '{ \"virbr0\", \"br0\" }' accept",
        afterwards: "nft delete table inet userfw",
        ..FAULT
    },
    Fault {
        id: "host-with-ipv6",
        what: "the host has IPv6 and forwards it; the networks have IPv4 alone, and IPv6 is off at their bridges",
        breaks: "sysctl -qw net.ipv6.conf.virbr0.disable_ipv6=1 net.ipv6.conf.virbr1.disable_ipv6=1; ipv6 add",
        targets: &["2001:db8:2::10"],
        afterwards: "ipv6 del",
        ..FAULT
    },
    Fault {
        id: "isolated-network-with-ipv6",
        what: "the isolated network has a subnet of IPv6 as well, which its server advertises without a way out",
        breaks: "iso6 add",
        afterwards: "iso6 del",
        ..FAULT
    },
    Fault {
        id: "guest-with-its-own-firewall",
        what: "a guest ignores pings, as Windows does by default",
        breaks: "true",
        in_guests: &[("web1", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all")],
        findings: &[("guest-silent", &["vm:web1"])],
        cure: Cure::ByHand("true"),
        guests_do: &[("web1", "echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_all")],
        ..FAULT
    },
];
