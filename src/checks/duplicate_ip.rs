//! Two guests of one network hold the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kvmnet_probes::facts::{Lease, Libvirt};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::engine::quoted;
use crate::model::{AddressSource, Claim, Nic, NicAddress};

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
    conflicts(scene).iter().map(|conflict| diagnose(scene, conflict)).collect()
}

/// What explains that packets from or to a NIC go astray, if it is one of those that hold one address.
pub(super) fn of_claim(scene: &Scene<'_>, claim: &Claim) -> Option<Diagnosis> {
    let claimed = |conflict: &&Conflict<'_>| scene.nics_of(claim).any(|nic| conflict.twins.contains(&nic));
    conflicts(scene).iter().find(claimed).map(|conflict| diagnose(scene, conflict))
}

/// An address of one network and the NICs of several VMs that hold it.
struct Conflict<'a> {
    network: usize,
    address: IpAddr,
    twins: Vec<&'a Nic>,
}

fn conflicts<'a>(scene: &Scene<'a>) -> Vec<Conflict<'a>> {
    let mut holders: BTreeMap<(usize, IpAddr), Vec<&Nic>> = BTreeMap::new();
    for nic in scene.topology.nics.iter().filter(|nic| nic.active) {
        for (network, address) in
            nic.network.into_iter().flat_map(|network| held(nic).map(move |at| (network, at)))
        {
            holders.entry((network, address)).or_default().push(nic);
        }
    }
    // A VM answers on each of its NICs for the addresses of all of them.
    holders.retain(|_, nics| nics.iter().any(|nic| nic.vm != nics[0].vm));
    holders.into_iter().map(|((network, address), twins)| Conflict { network, address, twins }).collect()
}

/// Who says that a NIC holds an address: the guest itself, asked by ARP or through its agent.
fn witness(known: &NicAddress) -> Option<&'static str> {
    let by = |source| known.sources.contains(&source);
    if by(AddressSource::Wire) { Some("wire") } else { by(AddressSource::Agent).then_some("libvirt") }
}

fn held(nic: &Nic) -> impl Iterator<Item = IpAddr> {
    nic.addresses.iter().filter(|known| witness(known).is_some()).map(|known| known.address)
}

fn diagnose(scene: &Scene<'_>, conflict: &Conflict<'_>) -> Diagnosis {
    let Conflict { network, address, twins } = conflict;
    let names: Vec<String> = twins.iter().map(|nic| nic.label()).collect();
    let names = names.join(" and ");
    let leased = twins.iter().find_map(|nic| Some((*nic, lease(scene, nic, *address)?)));
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
        .map(|nic| {
            let known = nic.addresses.iter().find(|known| known.address == *address);
            let words = format!("{} ({}) says that it holds {address}", nic.label(), nic.mac);
            fact(known.and_then(witness).unwrap_or("libvirt"), words)
        })
        .collect();
    if let Some((nic, lease)) = leased {
        let client = lease.client_id.as_ref().map(|id| format!(", client id {id}")).unwrap_or_default();
        evidence.push(fact("libvirt", format!("lease of {address}: {}{client}", nic.mac)));
    }
    let other = twins.iter().find(|nic| leased.is_none_or(|(holder, _)| holder != **nic));
    Diagnosis {
        key: format!("{network} {address}"),
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
    scene.snapshot.libvirt.known().into_iter().flat_map(Libvirt::leases)
}

fn lease<'a>(scene: &Scene<'a>, nic: &Nic, address: IpAddr) -> Option<&'a Lease> {
    leases(scene).find(|lease| lease.mac == Some(nic.mac) && lease.address == address)
}

fn has_lease(scene: &Scene<'_>, nic: &Nic) -> bool {
    leases(scene).any(|lease| lease.mac == Some(nic.mac))
}
