//! libvirt's networks, domains and daemons, DHCP and DNS.

use crate::fault::{Cure, FAULT, Fault};
use crate::host::Backend::{Iptables, Nftables};

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "network-inactive",
        what: "the network was stopped: its bridge is gone, and the guest's tap is left behind",
        breaks: "virsh -q net-destroy iso",
        findings: &[("network-inactive", &["network:iso"])],
        gaps: &[("vm:db1", "gateway:iso")],
        ..FAULT
    },
    Fault {
        id: "network-not-autostarted",
        what: "the network is not started at boot",
        breaks: "virsh -q net-autostart iso --disable",
        findings: &[("network-not-autostarted", &["network:iso"])],
        ..FAULT
    },
    Fault {
        id: "dnsmasq-not-running",
        what: "the network's dnsmasq was killed",
        breaks: "kill $(cat /run/libvirt/network/default.pid); \
                 timeout 10 sh -c 'while ss -Hlun \"sport = 67\" | grep -q virbr0; do sleep 0.05; done'",
        findings: &[("dnsmasq-dead", &["network:default"])],
        gaps: &[("vm:web1", "gateway:default")],
        ..FAULT
    },
    Fault {
        id: "dnsmasq-not-running-with-ipv6",
        what: "the same in a network with IPv6: nobody advertises the router, either",
        breaks: "iso6 add; kill $(cat /run/libvirt/network/iso.pid); \
                 timeout 10 sh -c 'while ss -Hlun \"sport = 67\" | grep -q virbr1; do sleep 0.05; done'",
        findings: &[("dnsmasq-dead", &["network:iso"])],
        gaps: &[("vm:db1", "gateway:iso")],
        afterwards: "iso6 del",
        ..FAULT
    },
    Fault {
        id: "network-undefined",
        what: "the network runs without a saved configuration",
        breaks: "virsh -q net-undefine iso",
        findings: &[("network-not-autostarted", &["network:iso"])],
        ..FAULT
    },
    Fault {
        id: "subnet-already-used-at-start",
        what: "a network that starts with the host has a subnet that is taken",
        breaks: "taken_subnet",
        only_on: Some(Nftables),
        findings: &[("network-inactive", &["network:nat2"])],
        cure: Cure::ByHand("virsh -q net-undefine nat2"),
        ..FAULT
    },
    Fault {
        id: "subnet-already-used-at-start-iptables",
        what: "the same with the iptables backend, where the failed start takes the other network's NAT rules along",
        breaks: "taken_subnet",
        only_on: Some(Iptables),
        findings: &[("masquerade-missing", &["network:default"]), ("network-inactive", &["network:nat2"])],
        gaps: &[("vm:web1", "internet"), ("vm:web2", "internet")],
        cure: Cure::ByHand("virsh -q net-undefine nat2; systemctl restart libvirtd"),
        ..FAULT
    },
    Fault {
        id: "nic-link-down-in-the-domain",
        what: "the guest's cable is pulled by `virsh domif-setlink`",
        breaks: "virsh -q domif-setlink web1 vnet0 down",
        findings: &[("domain-config-differs", &["vm:web1"])],
        cure: Cure::ByHand("virsh -q domif-setlink web1 vnet0 up"),
        ..FAULT
    },
    Fault {
        id: "nic-detached",
        what: "the guest's NIC was taken out of the running VM",
        recorded: Some(|host| {
            let domains = host["libvirt"]["value"]["domains"].as_array_mut().expect("domains");
            for domain in domains.iter_mut().filter(|domain| domain["name"] == "web1") {
                domain["saved_interfaces"] = domain["interfaces"].take();
                domain["interfaces"] = serde_json::json!([]);
            }
        }),
        findings: &[("domain-config-differs", &["vm:web1"])],
        ..FAULT
    },
    Fault {
        id: "modular-daemon-not-running",
        what: "libvirt's daemon does not run; the networks and guests do",
        breaks: "systemctl stop libvirtd",
        findings: &[("missing-source", &[])],
        code: Some(3),
        cure: Cure::ByHand("systemctl start libvirtd"),
        ..FAULT
    },
    Fault {
        id: "domain-live-config-drift",
        what: "a NIC was added to the saved domain, and the VM runs without it",
        breaks: "virsh -q attach-interface web1 network iso --mac 52:54:00:aa:09:01 --model virtio --config",
        findings: &[("domain-config-differs", &["vm:web1"])],
        cure: Cure::ByHand("virsh -q detach-interface web1 network --mac 52:54:00:aa:09:01 --config"),
        ..FAULT
    },
    Fault {
        id: "network-config-drift",
        what: "the network was edited and not started anew",
        breaks: "virsh net-dumpxml --inactive iso | sed 's/192.168.150.200/192.168.150.120/' | virsh -q net-define /dev/stdin",
        findings: &[("network-config-differs", &["network:iso"])],
        ..FAULT
    },
    Fault {
        id: "dhcp-range-used-up",
        what: "nearly all addresses of the network's DHCP range are leased",
        recorded: Some(|host| {
            let networks = host["libvirt"]["value"]["networks"].as_array_mut().expect("networks");
            for network in networks.iter_mut().filter(|network| network["name"] == "default") {
                let leases = (100..198).map(|last| {
                    serde_json::json!({
                        "mac": format!("52:54:00:bb:00:{last:02x}"),
                        "address": format!("192.168.122.{last}"),
                        "prefix_length": 24,
                        "hostname": null,
                        "expires_s": 2_000_000_000,
                    })
                });
                network["leases"] = leases.collect();
            }
        }),
        findings: &[("dhcp-range-full", &["network:default"])],
        ..FAULT
    },
    Fault {
        id: "dhcp-port-67-conflict",
        what: "another DHCP server, started first, holds port 67 of all addresses: the networks do not start",
        breaks: "squat --port=0 --dhcp-range=10.99.0.10,10.99.0.20",
        findings: NOT_STARTED,
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:db1", "gateway:iso")],
        cure: Cure::ByHand(NO_SQUATTER),
        ..FAULT
    },
    Fault {
        id: "dnsmasq-port-53-conflict",
        what: "another DNS server, started first, holds port 53 of all addresses: the networks do not start",
        breaks: "squat --port=53",
        findings: NOT_STARTED,
        gaps: &[("vm:web1", "gateway:default"), ("vm:web1", "internet"), ("vm:db1", "gateway:iso")],
        cure: Cure::ByHand(NO_SQUATTER),
        ..FAULT
    },
    Fault {
        id: "same-machine-id-same-lease",
        what: "two guests are clones of one image: they ask for leases as the same machine, and get the same",
        breaks: "true",
        in_guests: &[("web1", ASK_AS_A_CLONE), ("web2", ASK_AS_A_CLONE)],
        findings: &[("duplicate-ip", &["vm:web1", "vm:web2"])],
        // Whose MAC the host has for the address is chance.
        beyond_facts: true,
        cure: Cure::ByHand("true"),
        guests_do: &[("web1", ASK_BY_MAC), ("web2", ASK_BY_MAC)],
        ..FAULT
    },
    Fault {
        id: "same-machine-id",
        what: "guests of different networks are clones of one image",
        breaks: "true",
        in_guests: &[("web1", ASK_AS_A_CLONE), ("db1", ASK_AS_A_CLONE)],
        findings: &[("duplicate-machine-id", &["vm:db1", "vm:web1"])],
        cure: Cure::ByHand("true"),
        guests_do: &[("web1", ASK_BY_MAC), ("db1", ASK_BY_MAC)],
        ..FAULT
    },
];

const NOT_STARTED: &[(&str, &[&str])] =
    &[("network-inactive", &["network:default"]), ("network-inactive", &["network:iso"])];

/// What the note of the finding asks for, and then what it prints.
const NO_SQUATTER: &str = "kill $(cat /run/lab/squatter.pid); sh /run/lab/fix.sh";

/// systemd-networkd's client identifier, made from the machine id.
const ASK_AS_A_CLONE: &str = "killall udhcpc; udhcpc -q -n -i eth0 -C -x 0x3d:ffb55e67ff00020000ab118b591df07d2e270c \
                              -s /bin/dhcp-event >/dev/null 2>&1";

const ASK_BY_MAC: &str = "udhcpc -q -n -i eth0 -s /bin/dhcp-event >/dev/null 2>&1; \
                          udhcpc -i eth0 -b -s /bin/dhcp-event >/dev/null 2>&1 &";
