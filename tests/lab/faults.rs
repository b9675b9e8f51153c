//! The faults of the first issue: each is made on a healthy host with real guests, must be named with
//! its cause, and must be healed by the commands that the doctor prints.

use crate::host::Backend::{Iptables, Nftables};
use crate::scenario::{Scenario, assert_healthy, on_shared_host};

/// A scenario, as one test per backend.
macro_rules! scenario {
    (
        $(#[$doc:meta])* $name:ident,
        breaks: $breaks:expr,
        $(harmless_on: $harmless:expr,)?
        findings: $findings:expr,
        gaps: $gaps:expr,
    ) => {
        $(#[$doc])*
        mod $name {
            use super::*;
            const SCENARIO: Scenario = Scenario {
                breaks: $breaks,
                harmless_on: &[$($harmless)?],
                findings: $findings,
                gaps: $gaps,
            };
            #[test]
            fn nftables() {
                SCENARIO.run(Nftables);
            }
            #[test]
            fn iptables() {
                SCENARIO.run(Iptables);
            }
        }
    };
}

mod healthy {
    use super::{Iptables, Nftables, assert_healthy, on_shared_host};

    #[test]
    fn nftables() {
        on_shared_host(Nftables, assert_healthy);
    }

    #[test]
    fn iptables() {
        on_shared_host(Iptables, assert_healthy);
    }
}

scenario! {
    /// `brctl delif virbr0 vnet0`.
    tap_out_of_its_bridge,
    breaks: "ip link set vnet0 nomaster",
    findings: &[("vnet-not-in-bridge", &["vm:web1"])],
    gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1"), ("vm:web1", "vm:web2")],
}

scenario! {
    forwarding_off,
    breaks: "sysctl -qw net.ipv4.ip_forward=0",
    findings: &[("ip-forward-off", &["vm:web1", "vm:web2"])],
    gaps: &[("vm:web1", "internet"), ("vm:web2", "internet")],
}

scenario! {
    /// The kernel forwards, but the source stays private: the internet has no way back.
    masquerade_gone,
    breaks: "if nft list table ip libvirt_network >/dev/null 2>&1; then nft flush chain ip libvirt_network guest_nat; \
         else iptables -t nat -F LIBVIRT_PRT; fi",
    findings: &[("masquerade-missing", &["network:default"])],
    gaps: &[("vm:web1", "internet"), ("vm:web2", "internet")],
}

scenario! {
    uplink_out_of_the_lan_bridge,
    breaks: "ip link set eth1 nomaster",
    findings: &[("uplink-not-in-bridge", &["network:lan"])],
    gaps: &[("vm:lan1", "gateway:lan"), ("vm:lan1", "internet")],
}

scenario! {
    bridge_down,
    breaks: "ip link set virbr0 down",
    findings: &[("bridge-down", &["network:default"])],
    gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("host", "vm:web1")],
}

scenario! {
    /// The bridge goes away with the network, and db1's tap is left behind without one.
    network_inactive,
    breaks: "virsh -q net-destroy iso",
    findings: &[("network-inactive", &["network:iso"])],
    gaps: &[("vm:db1", "gateway:iso")],
}

scenario! {
    /// It ends a moment after it was told to: what the doctor reads before is another host.
    dnsmasq_dead,
    breaks: "kill $(cat /run/libvirt/network/default.pid); \
         timeout 10 sh -c 'while ss -Hlun \"sport = 67\" | grep -q virbr0; do sleep 0.05; done'",
    findings: &[("dnsmasq-dead", &["network:default"])],
    gaps: &[("vm:web1", "gateway:default")],
}

scenario! {
    /// libvirt's own table accepts with the nftables backend, but a drop in any table is final; with the
    /// iptables backend its accepts stand in the very chain whose policy drops.
    forward_policy_drop,
    breaks: "iptables -P FORWARD DROP",
    harmless_on: Iptables,
    findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
    gaps: &[("vm:web1", "internet"), ("vm:web2", "internet")],
}

scenario! {
    /// What Docker does when it starts.
    docker_forward_policy_drop,
    breaks: "iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -N DOCKER-FORWARD; \
         iptables -I FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD; iptables -P FORWARD DROP",
    harmless_on: Iptables,
    findings: &[("forward-policy-drop", &["vm:web1", "vm:web2"])],
    gaps: &[("vm:web1", "internet"), ("vm:web2", "internet")],
}

scenario! {
    /// Frames that only cross br0 are dropped by a rule for routed packets.
    bridged_frames_in_the_ip_rules,
    breaks: "iptables -I FORWARD -i br0 -o br0 -j DROP; sysctl -qw net.bridge.bridge-nf-call-iptables=1",
    findings: &[("bridge-netfilter-drop", &["vm:lan1"])],
    gaps: &[("vm:lan1", "internet"), ("outside", "vm:lan1")],
}

scenario! {
    /// db1, which belongs to the isolated network, is in the NAT network's bridge.
    vm_in_the_wrong_bridge,
    breaks: "ip link set vnet2 master virbr0",
    findings: &[("vm-in-wrong-bridge", &["vm:db1"])],
    gaps: &[("vm:db1", "gateway:iso")],
}
