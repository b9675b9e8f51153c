//! Two guests of one network hold the same address.

use std::net::IpAddr;

use kvmnet_probes::facts::Lease;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::engine::quoted;
use crate::model::{AddressSource, Claim, Nic};

pub(super) const CHECK: Check = Check {
    id: "duplicate-ip",
    severity: Severity::Error,
    category: Category::Link,
    summary: "two guests hold one address",
    explanation: "Who asks for the address is answered by both, and talks to the one whose answer came last: connections \
                  end up at the wrong guest, break, or work by turns, and nothing on the host shows why. The address was \
                  set by hand inside the DHCP range, or a VM was cloned with its /etc/machine-id: systemd-networkd makes \
                  the DHCP client identifier from it, and dnsmasq gives one lease to one identifier, whatever the MAC. \
                  The guests themselves were asked, each by its own MAC, or their agents say so.",
    needs: &["libvirt"],
    basis: "RFC 5227; RFC 4361; dnsmasq src/rfc2131.c; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let nics: Vec<&Nic> = scene.topology.nics.iter().filter(|nic| nic.active).collect();
    let mut found = Vec::new();
    for (at, nic) in nics.iter().enumerate() {
        for address in held(nic) {
            let holds = |other: &&&Nic| {
                other.network.is_some()
                    && other.network == nic.network
                    && held(other).any(|held| held == address)
            };
            // A VM answers on each of its NICs for the addresses of all of them.
            let mut twins: Vec<&Nic> =
                nics[at + 1..].iter().filter(|other| other.vm != nic.vm).filter(holds).copied().collect();
            if !twins.is_empty() && !nics[..at].iter().any(|before| holds(&before)) {
                twins.insert(0, nic);
                found.push(diagnose(scene, address, &twins));
            }
        }
    }
    found
}

/// What explains that packets from or to a NIC go astray, if it is one of those that hold one address.
pub(super) fn of_claim(scene: &Scene<'_>, claim: &Claim) -> Option<Diagnosis> {
    let mut nics = scene.nics_of(claim);
    nics.find_map(|nic| facts(scene).into_iter().find(|found| found.subjects.contains(&vm(&nic.vm))))
}

/// The addresses that the guest itself says are its own.
fn held(nic: &Nic) -> impl Iterator<Item = IpAddr> {
    let own = |source: &AddressSource| matches!(source, AddressSource::Wire | AddressSource::Agent);
    nic.addresses.iter().filter(move |known| known.sources.iter().any(own)).map(|known| known.address)
}

fn diagnose(scene: &Scene<'_>, address: IpAddr, twins: &[&Nic]) -> Diagnosis {
    let names: Vec<String> = twins.iter().map(|nic| nic.label()).collect();
    let names = names.join(" and ");
    let leased = twins.iter().find_map(|nic| Some((*nic, lease(scene, nic, address)?)));
    let how = match leased {
        Some((nic, _)) if twins.iter().all(|other| *other == nic || !has_lease(scene, other)) => format!(
            "the lease is {}'s: the other has it set by hand, or asks for leases by the same client identifier \
             (a cloned /etc/machine-id)",
            nic.label()
        ),
        Some((nic, _)) => format!("the lease is {}'s: the other has it set by hand", nic.label()),
        None => "no lease names it: it is set by hand".to_owned(),
    };
    let mut evidence: Vec<_> = twins
        .iter()
        .map(|nic| fact("wire", format!("{} ({}) holds {address}", nic.label(), nic.mac)))
        .collect();
    if let Some((nic, lease)) = leased {
        let client = lease.client_id.as_ref().map(|id| format!(", client id {id}")).unwrap_or_default();
        evidence.push(fact("libvirt", format!("lease of {address}: {}{client}", nic.mac)));
    }
    let other = twins.iter().find(|nic| leased.is_none_or(|(holder, _)| holder != **nic));
    Diagnosis {
        key: address.to_string(),
        subjects: twins.iter().map(|nic| vm(&nic.vm)).collect(),
        title: format!("{names}: both hold {address}"),
        cause: format!("{names} both answer for {address}; {how}."),
        evidence,
        fix: fix(
            other.map(|nic| format!("virsh console {}", quoted(&nic.vm))),
            "give this guest another address; in a cloned one first `rm /etc/machine-id; systemd-machine-id-setup`, \
             then reboot it, or let it ask by its MAC (netplan: `dhcp-identifier: mac`)",
        ),
    }
}

fn leases<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Lease> {
    let networks = scene.snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.networks);
    networks.iter().flat_map(|network| &network.leases)
}

fn lease<'a>(scene: &Scene<'a>, nic: &Nic, address: IpAddr) -> Option<&'a Lease> {
    leases(scene).find(|lease| lease.mac == Some(nic.mac) && lease.address == address)
}

fn has_lease(scene: &Scene<'_>, nic: &Nic) -> bool {
    leases(scene).any(|lease| lease.mac == Some(nic.mac))
}
