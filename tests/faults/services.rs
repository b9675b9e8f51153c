//! libvirt's networks, domains and daemons, DHCP and DNS.

use crate::fault::{Cure, FAULT, Fault};

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
        id: "nic-link-down-in-the-domain",
        what: "the guest's cable is pulled by `virsh domif-setlink`",
        breaks: "virsh -q domif-setlink web1 vnet0 down",
        findings: &[("tap-down", &["vm:web1"])],
        gaps: &[("vm:web1", "gateway:default")],
        cure: Cure::ByHand("virsh -q domif-setlink web1 vnet0 up"),
        ..FAULT
    },
];
