//! Rules of other programs and of the administrator, and libvirt's own.

use crate::fault::{Cure, FAULT, Fault};
use crate::host::Backend::{Iptables, Nftables};

const NO_INTERNET: &[(&str, &str)] = &[("vm:web1", "internet"), ("vm:web2", "internet")];

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "docker-forward-drop",
        what: "the policy of FORWARD is DROP; libvirt's accepts stand in a table of their own",
        breaks: "iptables -P FORWARD DROP",
        harmless_on: Some(Iptables),
        findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "docker-user-forward-drop",
        what: "Docker's chains, and the policy of FORWARD that it sets",
        breaks: "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -N DOCKER-FORWARD; \
                 iptables -I FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD; iptables -P FORWARD DROP",
        harmless_on: Some(Iptables),
        findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "docker28-raw-drop-to-container",
        what: "Docker 28 drops what is for its containers from other devices, before routing",
        breaks: "iptables -t raw -A PREROUTING -d 172.18.0.0/16 ! -i docker0 -j DROP",
        ..FAULT
    },
    Fault {
        id: "nft-user-table-forward-drop",
        what: "the administrator's own nftables chain drops by policy what is forwarded",
        breaks: "nft add table inet userfw; \
                 nft 'add chain inet userfw forward { type filter hook forward priority 10; policy drop; }'",
        findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table inet userfw",
        ..FAULT
    },
    Fault {
        id: "nft-user-table-forward-reject",
        what: "the last rule of the administrator's own forward chain rejects the rest",
        breaks: "nft add table inet userfw; \
                 nft 'add chain inet userfw forward { type filter hook forward priority 0; }'; \
                 nft add rule inet userfw forward ct state established,related accept; \
                 nft add rule inet userfw forward reject with icmpx admin-prohibited",
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table inet userfw",
        ..FAULT
    },
    Fault {
        id: "forward-reject-rule-order",
        what: "a REJECT of all stands first in FORWARD",
        breaks: "iptables -I FORWARD -j REJECT",
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "forward-reject-rule-order-last",
        what: "a REJECT of all stands last in FORWARD, behind libvirt's jumps if there are any",
        breaks: "iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
        harmless_on: Some(Iptables),
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "ufw-blocks-nat-network",
        what: "ufw was enabled with its defaults: DHCP, DNS and what is forwarded are denied",
        breaks: "ufw default deny incoming; ufw default deny routed; ufw --force enable",
        harmless_on: Some(Iptables),
        findings: &[("input-drop", &["vm:web1", "vm:db1"]), ("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: &[
            ("vm:web1", "gateway:default"),
            ("vm:db1", "gateway:iso"),
            ("vm:web1", "internet"),
            ("vm:web2", "internet"),
        ],
        afterwards: "ufw --force disable; ufw --force reset >/dev/null; iptables -F; iptables -X; \
                     iptables-restore </run/lab/iptables",
        ..FAULT
    },
    Fault {
        id: "firewalld-beside-libvirt",
        what: "firewalld runs, reloaded, with libvirt's bridges in libvirt's zone",
        breaks: "firewalld start; firewall-cmd -q --reload; sleep 1",
        afterwards: "firewalld stop",
        ..FAULT
    },
    Fault {
        id: "firewalld-bridge-wrong-zone",
        what: "the bridge is in firewalld's zone public",
        breaks: "firewalld start; firewall-cmd -q --zone=public --change-interface=virbr0",
        findings: &[("firewalld-zone", &["link:virbr0", "vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:web2", "internet")],
        afterwards: "firewalld stop",
        ..FAULT
    },
    Fault {
        id: "forward-invalid-drop",
        what: "a rule drops invalid packets, as most rule sets do",
        breaks: "iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP",
        ..FAULT
    },
    Fault {
        id: "forward-drop-of-one-guest",
        what: "a forgotten rule drops what one guest sends",
        breaks: "iptables -I FORWARD -s $(address web1) -j DROP",
        findings: &[("forward-rule-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "forward-replies-dropped",
        what: "a rule lets new flows out and drops what comes back",
        breaks: "nft add table ip userfw; \
                 nft 'add chain ip userfw forward { type filter hook forward priority 0; }'; \
                 nft add rule ip userfw forward iifname eth0 oifname virbr0 drop",
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table ip userfw",
        ..FAULT
    },
    Fault {
        id: "forward-https-dropped",
        what: "a rule drops HTTPS of guests, and nothing else",
        breaks: "iptables -I FORWARD -i virbr0 -p tcp --dport 443 -j DROP",
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "iptables-legacy-drop",
        what: "the policy of FORWARD is DROP in the legacy table, which no current tool shows",
        breaks: "iptables-legacy -P FORWARD DROP",
        findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        stays: &["firewall-generations"],
        afterwards: "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F FORWARD",
        ..FAULT
    },
    Fault {
        id: "iptables-legacy-reject",
        what: "a REJECT stands in FORWARD of the legacy table",
        breaks: "iptables-legacy -A FORWARD -i virbr0 -j REJECT",
        findings: &[("forward-rule-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        stays: &["firewall-generations"],
        afterwards: "iptables-legacy -F FORWARD",
        ..FAULT
    },
    Fault {
        id: "host-input-drop-no-dhcp-dns",
        what: "the administrator's input chain drops by policy; DHCP and DNS of guests are forgotten",
        breaks: "nft add table inet userfw; \
                 nft 'add chain inet userfw input { type filter hook input priority 0; policy drop; }'; \
                 nft add rule inet userfw input ct state established,related accept; \
                 nft add rule inet userfw input iif lo accept; \
                 nft add rule inet userfw input meta l4proto icmp accept",
        findings: &[("input-drop", &["vm:web1", "vm:db1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:db1", "gateway:iso")],
        afterwards: "nft delete table inet userfw",
        ..FAULT
    },
    Fault {
        id: "input-policy-drop",
        what: "the policy of INPUT is DROP, ICMP and replies are accepted; only libvirt's iptables rules let DHCP and DNS in",
        breaks: "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A INPUT -i lo -j ACCEPT; \
                 iptables -A INPUT -p icmp -j ACCEPT; iptables -P INPUT DROP",
        harmless_on: Some(Iptables),
        findings: &[("input-drop", &["vm:web1", "vm:db1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:db1", "gateway:iso")],
        ..FAULT
    },
    Fault {
        id: "libvirt-inp-missing",
        what: "the jump to LIBVIRT_INP is gone and the policy of INPUT is DROP",
        breaks: "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A INPUT -i lo -j ACCEPT; \
                 iptables -A INPUT -p icmp -j ACCEPT; iptables -P INPUT DROP; iptables -D INPUT -j LIBVIRT_INP",
        only_on: Some(Iptables),
        findings: &[("input-drop", &["vm:web1", "vm:db1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:db1", "gateway:iso")],
        ..FAULT
    },
    Fault {
        id: "input-drop-icmp",
        what: "a rule drops pings to the host",
        breaks: "iptables -I INPUT -p icmp --icmp-type echo-request -j DROP",
        findings: &[("input-drop", &["vm:web1", "vm:db1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:db1", "gateway:iso")],
        ..FAULT
    },
    Fault {
        id: "output-drop",
        what: "a rule drops what the host itself sends to guests",
        breaks: "iptables -I OUTPUT -o virbr0 -j DROP",
        findings: &[("netfilter-drop", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "raw-prerouting-drop",
        what: "a rule in the raw table drops a guest's packets before anything else sees them",
        breaks: "iptables -t raw -I PREROUTING -i virbr0 -p icmp -j DROP",
        findings: &[("netfilter-drop", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "mangle-postrouting-drop",
        what: "a rule in the mangle table drops what leaves for guests",
        breaks: "iptables -t mangle -A POSTROUTING -o virbr0 -p icmp -j DROP",
        findings: &[("netfilter-drop", &["vm:web1", "vm:web2"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "netdev-ingress-drop",
        what: "an ingress chain at the uplink drops what comes back",
        breaks: "nft add table netdev userfw; \
                 nft 'add chain netdev userfw in { type filter hook ingress device eth0 priority 0; }'; \
                 nft add rule netdev userfw in ip saddr 198.51.100.0/24 drop",
        findings: &[("netfilter-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table netdev userfw",
        ..FAULT
    },
    Fault {
        id: "netdev-ingress-drop-at-the-tap",
        what: "an ingress chain at a guest's tap drops all that it sends",
        breaks: "nft add table netdev userfw; \
                 nft 'add chain netdev userfw in { type filter hook ingress device vnet0 priority 0; }'; \
                 nft add rule netdev userfw in drop",
        findings: &[("netfilter-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:web1", "vm:web2")],
        afterwards: "nft delete table netdev userfw",
        ..FAULT
    },
    Fault {
        id: "nft-ruleset-flushed",
        what: "`nft flush ruleset` at the start of somebody's configuration took libvirt's rules away",
        breaks: "nft flush ruleset",
        findings: &[("libvirt-rules-missing", &["network:default", "network:iso"])],
        gaps: &[("outside", "vm:web1")],
        ..FAULT
    },
    Fault {
        id: "iptables-filter-flushed",
        what: "`iptables -F` took libvirt's rules away",
        breaks: "iptables -F",
        harmless_on: Some(Nftables),
        findings: &[("libvirt-rules-missing", &["network:default", "network:iso"])],
        gaps: &[("outside", "vm:web1"), ("vm:db1", "internet")],
        ..FAULT
    },
    Fault {
        id: "masquerade-missing",
        what: "the rules that rewrite sources are gone: packets leave with private ones",
        breaks: "if [ $(backend) = nftables ]; then nft flush chain ip libvirt_network guest_nat; \
                 else iptables -t nat -F LIBVIRT_PRT; fi",
        findings: &[("masquerade-missing", &["network:default"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "nat-table-flushed",
        what: "`iptables -t nat -F` took libvirt's jump and all other rules of the nat table away",
        breaks: "iptables -t nat -F",
        harmless_on: Some(Nftables),
        findings: &[("masquerade-missing", &["network:default"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "snat-to-foreign-address",
        what: "a source translation to an address that the host does not have, in front of libvirt's",
        breaks: "nft add table ip usernat; \
                 nft 'add chain ip usernat postrouting { type nat hook postrouting priority 90; }'; \
                 nft add rule ip usernat postrouting oifname eth0 ip saddr 192.168.122.0/24 snat to 203.0.113.77",
        findings: &[("no-way-back", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table ip usernat",
        ..FAULT
    },
    Fault {
        id: "notrack",
        what: "a notrack rule for speed: nothing is translated, and replies are no replies",
        breaks: "iptables -t raw -A PREROUTING -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j NOTRACK",
        findings: &[("notrack", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        ..FAULT
    },
    Fault {
        id: "forward-log-limited",
        what: "a rule logs some of the new flows of guests",
        breaks: "iptables -I FORWARD -i virbr0 -m conntrack --ctstate NEW -m limit --limit 5/s -j LOG",
        ..FAULT
    },
    Fault {
        id: "firewalld-started-after-libvirt",
        what: "firewalld, or another firewall, was started after libvirt: it empties iptables' tables first",
        breaks: "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X",
        harmless_on: Some(Nftables),
        findings: &[("libvirt-rules-missing", &["network:default", "network:iso"])],
        gaps: &[("outside", "vm:web1"), ("vm:db1", "internet"), ("vm:web1", "internet")],
        ..FAULT
    },
    Fault {
        id: "lxd-docker-incus-neighbours",
        what: "a container manager's own table drops what is forwarded and not its own",
        breaks: "nft add table inet incus; \
                 nft 'add chain inet incus fwd.incusbr0 { type filter hook forward priority 0; policy drop; }'; \
                 nft add rule inet incus fwd.incusbr0 iifname incusbr0 accept; \
                 nft add rule inet incus fwd.incusbr0 oifname incusbr0 accept",
        findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
        gaps: NO_INTERNET,
        afterwards: "nft delete table inet incus",
        ..FAULT
    },
    Fault {
        id: "iptables-table-tainted-by-nft",
        what: "somebody wrote a rule into iptables' nat table with nft, which iptables cannot show",
        breaks: "nft add table ip nat; \
                 nft 'add chain ip nat POSTROUTING { type nat hook postrouting priority 100; policy accept; }'; \
                 nft 'add rule ip nat POSTROUTING ip saddr { 10.0.0.0/8, 172.16.0.0/12 } oifname eth0 masquerade'",
        afterwards: "nft -a list chain ip nat POSTROUTING | grep -o '172.16.*handle [0-9]*' | grep -o '[0-9]*$' | \
                     xargs -r nft delete rule ip nat POSTROUTING handle || true",
        ..FAULT
    },
    Fault {
        id: "k8s-cilium-bypasses-netfilter",
        what: "an eBPF program at a tap takes the packets, as those of Kubernetes' networks do",
        breaks: "tc qdisc add dev vnet0 clsact; tc filter add dev vnet0 ingress bpf da bytecode '1,6 0 0 2,'",
        findings: &[("opaque-drop", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:web1", "vm:web2")],
        cure: Cure::ByHand("tc qdisc del dev vnet0 clsact"),
        ..FAULT
    },
    Fault {
        id: "dnat-not-for-local-or-guest",
        what: "a port forward by DNAT alone: libvirt's own rules go on to reject it",
        breaks: "iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 2222 -j DNAT --to $(address web1):22",
        ..FAULT
    },
    Fault {
        id: "forward-dev-pinned",
        what: "the network may leave by a device only that the default route does not use",
        breaks: "redefine default 's|<forward mode=.nat.|& dev=\"eth7\"|' vnet0 vnet1",
        findings: &[("forward-dev-pinned", &["network:default"])],
        gaps: NO_INTERNET,
        cure: Cure::ByHand("redefine default '/<interface dev/d; s/ dev=.eth7.//' vnet0 vnet1"),
        ..FAULT
    },
    Fault {
        id: "conntrack-table-full",
        what: "as many connections are tracked as may be",
        recorded: Some(|host| {
            let sysctls = &mut host["sysctls"]["value"];
            sysctls["net/netfilter/nf_conntrack_max"] = "65536".into();
            sysctls["net/netfilter/nf_conntrack_count"] = "65530".into();
        }),
        findings: &[("conntrack-full", &["host"])],
        ..FAULT
    },
    Fault {
        id: "network-start-race-at-boot",
        what: "the host's own nftables rules are loaded after libvirt has started, and begin with a flush",
        breaks: "printf '%s\\n' 'flush ruleset' 'table inet filter {' \
                 'chain forward { type filter hook forward priority 0; }' '}' | nft -f -",
        findings: &[("libvirt-rules-missing", &["network:default", "network:iso"])],
        gaps: &[("outside", "vm:web1"), ("vm:db1", "internet")],
        afterwards: "nft delete table inet filter",
        ..FAULT
    },
    Fault {
        id: "firewalld-restart-wipes-rules",
        what: "firewalld was reloaded as a whole: libvirt notices and writes its rules again",
        breaks: "firewalld start; firewall-cmd -q --complete-reload; sleep 2",
        afterwards: "firewalld stop",
        ..FAULT
    },
    Fault {
        id: "firewalld-libvirt-zone-blocks-host-services",
        what: "libvirt's zone lets guests reach DHCP, DNS and ssh of the host, and no other service: by design",
        breaks: "firewalld start; (busybox httpd -f -p 192.168.122.1:8080 -h /run/lab/www >/dev/null 2>&1 & \
                 echo $! >/run/lab/httpd.pid)",
        afterwards: "kill $(cat /run/lab/httpd.pid); firewalld stop",
        ..FAULT
    },
    Fault {
        id: "firewall-generations",
        what: "a rule of iptables-legacy stands beside those of nf_tables, and does no harm yet",
        breaks: "iptables-legacy -A FORWARD -p tcp --dport 25 -j DROP",
        findings: &[("firewall-generations", &["host"])],
        cure: Cure::ByHand("iptables-legacy -F"),
        ..FAULT
    },
    Fault {
        id: "forward-drop-spared",
        what: "the policy of FORWARD is DROP, and libvirt's rules in it come first (iptables backend)",
        breaks: "iptables -P FORWARD DROP",
        only_on: Some(Iptables),
        findings: &[("forward-drop-spared", &["host"])],
        cure: Cure::ByHand("iptables -P FORWARD ACCEPT"),
        ..FAULT
    },
    Fault {
        id: "docker-ip6-forward-drop",
        what: "Docker drops forwarded IPv6, and bridged frames pass the host's rules",
        breaks:
            "ip -6 addr add 2001:db8:3::2/64 dev br0 nodad; inet ip -6 addr add 2001:db8:3::1/64 dev up1 nodad
                 sysctl -qw net.bridge.bridge-nf-call-ip6tables=1; ip6tables -P FORWARD DROP",
        in_guests: &[(
            "lan1",
            "echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; \
             ip addr add 2001:db8:3::11/64 dev eth0; ping -c 1 -W 2 2001:db8:3::2 >/dev/null",
        )],
        findings: &[("bridge-netfilter-drop", &["vm:lan1"])],
        gaps: &[("vm:lan1", "gateway:lan")],
        // The guest keeps its address: once the host has none of that subnet nothing is claimed of it.
        afterwards: "ip -6 addr del 2001:db8:3::2/64 dev br0; inet ip -6 addr del 2001:db8:3::1/64 dev up1; \
                     sysctl -qw net.bridge.bridge-nf-call-ip6tables=0; ip6tables -P FORWARD ACCEPT",
        // The policy is Docker's affair, and libvirt's own rules of the iptables backend come before it.
        stays: &["forward-drop-spared"],
        ..FAULT
    },
    Fault {
        id: "ipv6-router-advertisement-dropped",
        what: "a rule on the host's output drops router advertisements: guests find no IPv6 router",
        breaks: "iso6 add; ip6tables -P OUTPUT ACCEPT; ip6tables-save >/run/lab/ip6tables
                 ip6tables -A OUTPUT -p ipv6-icmp --icmpv6-type router-advertisement -j DROP",
        findings: &[("netfilter-drop", &["host", "vm:db1"])],
        gaps: &[("vm:db1", "gateway:iso")],
        afterwards: "ip6tables-restore </run/lab/ip6tables; iso6 del",
        ..FAULT
    },
    Fault {
        id: "ipv6-router-solicitation-dropped",
        what: "the host's input accepts echo requests and neighbour discovery of ICMPv6, and not router discovery",
        breaks: "iso6 add; ip6tables -P INPUT ACCEPT; ip6tables-save >/run/lab/ip6tables
                 for type in echo-request neighbour-solicitation neighbour-advertisement; do
                   ip6tables -A INPUT -p ipv6-icmp --icmpv6-type $type -j ACCEPT
                 done
                 ip6tables -A INPUT -p ipv6-icmp -j DROP",
        findings: &[("input-drop", &["host", "vm:db1"])],
        gaps: &[("vm:db1", "gateway:iso")],
        afterwards: "ip6tables-restore </run/lab/ip6tables; iso6 del",
        ..FAULT
    },
];
