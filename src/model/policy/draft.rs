//! A policy to begin with: what the modes of a host's networks mean, as assertions.

use std::fmt::Write as _;

use kvmnet_probes::facts::ForwardMode;

use crate::model::{Attachment, NetworkZone, Topology};

const HEAD: &str = "\
version: 1

# Addresses that stand for the internet (default: 1.1.1.1 and its IPv6 twin):
# internet: [198.51.100.10]

# Networks that are meant to be of another mode than libvirt says:
# networks:
#   - {name: lab, mode: isolated}

# Ports of VMs that are meant to be reached from outside:
# forwards:
#   - {to: vm:web1, traffic: tcp/443}

# Findings that are known and accepted:
# accept:
#   - {finding: network-not-autostarted, on: network:lab, reason: started by hand, until: 2030-01-31}

# from, to: vm:NAME, network:NAME (with * and ?), an address or a subnet, host, gateway, internet, outside;
# one or a list, !… takes out; none: every zone. allow: icmp, tcp/PORT, udp/PORT; deny: also tcp, udp, any.
";

/// Writes it down. Each line holds on a host that does what libvirt promises.
pub fn draft(topology: &Topology, host: &str) -> String {
    let mut text =
        format!("# What is meant on {}, by the modes of its networks: trim it.\n{HEAD}", one_line(host));
    let mut assertions = String::new();
    let with_vms: Vec<&NetworkZone> = topology
        .networks
        .iter()
        .enumerate()
        .filter(|(at, _)| {
            let plugged = |nic: &&crate::model::Nic| nic.network == Some(*at);
            topology.nics.iter().filter(plugged).any(|nic| nic.attachment == Attachment::Tap)
        })
        .map(|(_, network)| network)
        .collect();
    for network in &with_vms {
        let name = quoted(&format!("network:{}", network.name));
        let mut add = |what: &str, from: &str, to: &str, verdict: &str| {
            let title = quoted(&format!("{} {what}", network.name));
            let _ = writeln!(assertions, "  - name: {title}\n    from: {from}\n    to: {to}\n    {verdict}");
        };
        match network.mode {
            ForwardMode::Nat => {
                add("reaches the internet", &name, "internet", "allow: [icmp, tcp/443]");
                add("is closed to the outside", "outside", &name, "deny: any");
            }
            ForwardMode::Isolated => {
                add("does not reach the internet", &name, "internet", "deny: any");
                add("is closed to the outside", "outside", &name, "deny: any");
            }
            ForwardMode::Route | ForwardMode::Bridge => {
                add("reaches the internet", &name, "internet", "allow: [icmp, tcp/443]");
            }
            ForwardMode::Open
            | ForwardMode::Private
            | ForwardMode::Vepa
            | ForwardMode::Passthrough
            | ForwardMode::Hostdev
            | ForwardMode::Unknown => {}
        }
        let closed = matches!(network.mode, ForwardMode::Nat | ForwardMode::Isolated);
        let others: Vec<String> = with_vms
            .iter()
            .filter(|other| other.name != network.name && !other.is_lan())
            .map(|other| quoted(&format!("network:{}", other.name)))
            .collect();
        if closed && !others.is_empty() {
            let from = format!("[{}]", others.join(", "));
            add("is closed to other networks", &from, &name, "deny: any");
        }
    }
    text.push_str(if assertions.is_empty() { "assertions: []\n" } else { "assertions:\n" });
    text.push_str(&assertions);
    text
}

/// A string as YAML reads it back: as JSON writes it, which is YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
