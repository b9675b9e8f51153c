//! `kvmnet diff` on changes that matter to packets, and on changes that do not.

use kvmnet_reports::ZoneKind;
use kvmnet_reports::diff::{Diff, Direction};

use crate::host::{Backend, Host};
use crate::shared_host::on_shared_host;

/// A change, what takes it back, and what it gains or loses for whom.
struct Change {
    what: &'static str,
    make: &'static str,
    undo: &'static str,
    /// Nothing: no packet notices.
    matters: &'static [(Direction, &'static str, &'static str)],
}

use Direction::{Gained, Lost};

const CHANGES: &[Change] = &[
    Change {
        what: "the host forwards no more",
        make: "sysctl -qw net.ipv4.ip_forward=0",
        undo: "sysctl -qw net.ipv4.ip_forward=1",
        matters: &[(Lost, "web1", "internet")],
    },
    Change {
        what: "somebody's table drops what is forwarded",
        make: "nft add table ip x; nft add chain ip x f '{ type filter hook forward priority 0; policy drop; }'",
        undo: "nft delete table ip x",
        matters: &[(Lost, "web1", "internet")],
    },
    Change {
        what: "the host takes in no SSH from a network",
        make: "nft add table inet x; nft add chain inet x f '{ type filter hook input priority 0; }'
               nft add rule inet x f iifname virbr0 tcp dport 22 drop",
        undo: "nft delete table inet x",
        matters: &[(Lost, "web1", "host")],
    },
    Change {
        what: "an accept in front of libvirt's rejects",
        make: "nft insert rule ip libvirt_network guest_input oif virbr1 accept",
        undo: "nft delete rule ip libvirt_network guest_input handle $(nft -a list chain ip libvirt_network guest_input \
               | awk '/oif \"virbr1\" accept/ { print $NF; exit }')",
        matters: &[(Gained, "web1", "db1")],
    },
    Change {
        what: "nothing is translated any more",
        make: "nft list table ip libvirt_network >/run/lab/table; nft flush chain ip libvirt_network guest_nat",
        undo: "nft delete table ip libvirt_network; nft -f /run/lab/table",
        matters: &[(Lost, "web1", "internet")],
    },
    Change {
        what: "two ports are isolated from one another",
        make: "bridge link set dev vnet0 isolated on; bridge link set dev vnet1 isolated on",
        undo: "bridge link set dev vnet0 isolated off; bridge link set dev vnet1 isolated off",
        matters: &[(Lost, "web1", "web2")],
    },
    Change {
        what: "the default route is gone",
        make: "ip route del default",
        undo: "ip route add default via 203.0.113.1",
        matters: &[(Lost, "web1", "internet")],
    },
    Change {
        what: "a packet filter in the bridge stops one port",
        make: "nft add table bridge x; nft add chain bridge x f '{ type filter hook forward priority 0; }'
               nft add rule bridge x f iifname vnet0 tcp dport 80 drop",
        undo: "nft delete table bridge x",
        matters: &[(Lost, "web1", "web2")],
    },
    Change {
        what: "one more port is forwarded",
        make: "nft add table ip x; nft add chain ip x p '{ type nat hook prerouting priority -100; }'
               nft add rule ip x p iifname eth0 tcp dport 2222 dnat to 192.168.122.102:22
               nft insert rule ip libvirt_network guest_input oif virbr0 tcp dport 22 accept",
        undo: "nft delete table ip x
               nft delete rule ip libvirt_network guest_input handle $(nft -a list chain ip libvirt_network guest_input \
               | awk '/tcp dport 22 accept/ { print $NF; exit }')",
        matters: &[(Gained, "outside", "web1"), (Lost, "outside", "host")],
    },
    Change {
        what: "the LAN's port is down",
        make: "ip link set eth1 down",
        undo: "ip link set eth1 up",
        matters: &[(Lost, "lan1", "internet")],
    },
    Change { what: "nothing", make: ":", undo: ":", matters: &[] },
    Change {
        what: "a table that accepts and counts",
        make: "nft add table ip x; nft add chain ip x f '{ type filter hook forward priority 0; policy accept; }'
               nft add rule ip x f tcp dport 80 counter accept",
        undo: "nft delete table ip x",
        matters: &[],
    },
    Change {
        what: "the same rules, loaded anew",
        make: "nft list table ip libvirt_network >/run/lab/table; nft delete table ip libvirt_network
               nft -f /run/lab/table",
        undo: ":",
        matters: &[],
    },
    Change {
        what: "a route that leads where the default route does",
        make: "ip route add 198.51.100.0/24 via 203.0.113.1",
        undo: "ip route del 198.51.100.0/24",
        matters: &[],
    },
    Change {
        what: "a second default route behind the first",
        make: "ip route add default via 203.0.113.1 metric 500",
        undo: "ip route del default metric 500",
        matters: &[],
    },
    Change {
        what: "a policy rule that asks what would be asked",
        make: "ip rule add priority 100 lookup main",
        undo: "ip rule del priority 100",
        matters: &[],
    },
    Change {
        what: "a device of no use",
        make: "ip link add spare0 type bridge; ip link set spare0 up",
        undo: "ip link del spare0",
        matters: &[],
    },
    Change {
        what: "a chain that only returns",
        make: "iptables -N X; iptables -A X -j RETURN; iptables -I FORWARD -j X",
        undo: "iptables -D FORWARD -j X; iptables -F X; iptables -X X",
        matters: &[],
    },
    Change {
        what: "a drop of what libvirt rejects anyway",
        make: "nft add table ip x; nft add chain ip x f '{ type filter hook forward priority 10; }'
               nft add rule ip x f iifname virbr1 oifname eth0 drop",
        undo: "nft delete table ip x",
        matters: &[],
    },
    Change {
        what: "an address of a link by which nothing comes up, as ports get them once they are up",
        make: "ip addr add fe80::99/64 dev eth1 nodad",
        undo: "ip addr del fe80::99/64 dev eth1",
        matters: &[],
    },
    Change {
        what: "a sysctl that no packet of these asks",
        make: "sysctl -qw net.ipv4.conf.eth0.send_redirects=0",
        undo: "sysctl -qw net.ipv4.conf.eth0.send_redirects=1",
        matters: &[],
    },
];

fn diff(host: &Host) -> (i32, Diff) {
    let ran = host.kvmnet(&["diff", "/run/lab/before.json", "--format", "json"]);
    let diff =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
    (ran.code.expect("it is not killed"), diff)
}

#[test]
fn a_change_is_told_if_a_packet_notices_it() {
    on_shared_host(Backend::Nftables, |host| {
        let mut wrong = Vec::new();
        for Change { what, make, undo, matters } in CHANGES {
            host.settle();
            let before = host.kvmnet(&["snapshot", "-o", "/run/lab/before.json"]);
            assert_eq!(before.code, Some(0), "{}", before.stderr);
            host.sh(make);
            let (code, diff) = diff(host);
            host.sh(undo);
            let name = |zone: &kvmnet_reports::Zone| match zone.zone {
                ZoneKind::Vm => zone.vm.clone().unwrap_or_default(),
                ZoneKind::Gateway => "gateway".to_owned(),
                ZoneKind::Host => "host".to_owned(),
                ZoneKind::Internet => "internet".to_owned(),
                ZoneKind::Outside => "outside".to_owned(),
            };
            // Of guests that no rule tells apart one is named.
            let same = |end: &str, wanted: &str| end == wanted || end == "web2" && wanted == "web1";
            let told = |(direction, from, to): &(Direction, &str, &str)| {
                let of = diff.changes.iter().filter(|change| change.direction == *direction);
                let mut pairs = of.flat_map(|change| &change.pairs);
                pairs.any(|pair| same(&name(&pair.from), from) && same(&name(&pair.to), to))
            };
            let only =
                diff.changes.iter().all(|change| matters.iter().any(|(way, ..)| *way == change.direction));
            let right = code == i32::from(!matters.is_empty()) && only && matters.iter().all(told);
            if !right {
                wrong.push(format!("{what}: exit code {code}, {diff:#?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    });
}
