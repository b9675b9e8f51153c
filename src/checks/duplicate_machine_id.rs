//! Several guests identify themselves to DHCP servers as one machine.

use std::collections::BTreeMap;

use kvmnet_probes::facts::{Lease, Libvirt};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::model::Nic;

pub(super) const CHECK: Check = Check {
    id: "duplicate-machine-id",
    severity: Severity::Warning,
    category: Category::Libvirt,
    summary: "guests were cloned with one machine id",
    explanation: "systemd-networkd identifies a machine to DHCP servers by a DUID that it makes from /etc/machine-id. \
                  Guests that were cloned with that file give the same one. dnsmasq gives one lease to one identifier, \
                  whatever the MAC: on one network such guests get the same address, one after the other. Empty the \
                  file in the template before it is cloned; it is made anew at the first boot.",
    needs: &["libvirt"],
    basis: "RFC 4361, 6.1 (client identifier: 255, IAID, DUID); systemd src/libsystemd-network/dhcp-identifier.c; \
            machine-id(5)",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let leases = || scene.snapshot.libvirt.known().into_iter().flat_map(Libvirt::leases);
    let mut by_duid: BTreeMap<&str, Vec<(&Nic, &Lease)>> = BTreeMap::new();
    for (nic, ipv6) in scene.topology.nics.iter().flat_map(|nic| [(nic, false), (nic, true)]) {
        let of_nic = |lease: &&Lease| lease.mac == Some(nic.mac) && lease.address.is_ipv6() == ipv6;
        // Those under an earlier name stay until they end.
        let last = leases().filter(of_nic).max_by_key(|lease| lease.expires_s);
        if let Some((duid, lease)) = last.and_then(|lease| Some((duid(lease)?, lease))) {
            by_duid.entry(duid).or_default().push((nic, lease));
        }
    }
    by_duid.into_iter().filter_map(|(duid, holders)| diagnose(duid, &holders)).collect()
}

/// The DUID in a lease: over IPv6 the whole client id, over IPv4 what follows the IAID. Other forms name the MAC.
fn duid(lease: &Lease) -> Option<&str> {
    let id = lease.client_id.as_deref()?;
    if lease.address.is_ipv6() {
        return Some(id);
    }
    // Type and IAID are five octets, each of two digits and a colon.
    id.get(..15).filter(|start| start.starts_with("ff:"))?;
    id.get(15..).filter(|duid| !duid.is_empty())
}

fn diagnose(duid: &str, holders: &[(&Nic, &Lease)]) -> Option<Diagnosis> {
    let mut vms: Vec<&str> = holders.iter().map(|(nic, _)| nic.vm.as_str()).collect();
    vms.sort_unstable();
    vms.dedup();
    if vms.len() < 2 {
        return None;
    }
    let names = vms.join(", ");
    Some(Diagnosis {
        key: duid.to_owned(),
        subjects: vms.iter().map(|name| vm(name)).collect(),
        title: format!("{names}: one machine id"),
        cause: format!(
            "{names} ask for addresses as the same machine, DUID {duid}: they are clones of one image."
        ),
        evidence: holders
            .iter()
            .map(|(nic, lease)| {
                let id = lease.client_id.as_deref().unwrap_or_default();
                fact("libvirt", format!("lease of {}: {}, client id {id}", lease.address, nic.label()))
            })
            .collect(),
        fix: fix(
            None::<String>,
            "in each of them but one: `rm /etc/machine-id; systemd-machine-id-setup`, then a reboot",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Topology;
    use crate::testing::{known, snapshot};

    /// The guests that are said to be clones if their leases have these client ids.
    fn check(ids: &[(&str, &str, &str)], expected: &[&str]) {
        let mut snapshot = snapshot();
        let libvirt = known(&mut snapshot.libvirt);
        let domains = &libvirt.domains;
        let leases = ids.iter().map(|(vm, address, id)| {
            let domain = domains.iter().find(|domain| domain.name == *vm).expect("a VM of the fixture");
            Lease {
                mac: domain.interfaces.first().map(|nic| nic.mac),
                address: address.parse().unwrap(),
                prefix_length: 24,
                hostname: None,
                client_id: Some((*id).to_owned()),
                expires_s: 0,
            }
        });
        libvirt.networks[0].leases = leases.collect();
        let topology = Topology::from_snapshot(&snapshot);
        let found = facts(&Scene { snapshot: &snapshot, topology: &topology });
        let titles: Vec<_> = found.into_iter().map(|diagnosis| diagnosis.title).collect();
        assert_eq!(titles, expected, "{ids:?}");
    }

    #[test]
    fn clones_give_one_duid_whatever_their_interface() {
        let systemd = |iaid: &str| format!("ff:{iaid}:00:02:00:00:ab:11:8b:59:1d:f0:7d:2e:27:0c");
        let (one, other) = (systemd("b5:5e:67:ff"), systemd("00:00:00:02"));
        check(
            &[("web1", "192.168.122.101", &one), ("web2", "192.168.122.102", &other)],
            &["web1, web2: one machine id"],
        );
        check(&[("web1", "192.168.122.101", &one), ("web1", "192.168.122.102", &other)], &[]);
        let mac = "01:52:54:00:aa:00:01";
        check(&[("web1", "192.168.122.101", mac), ("web2", "192.168.122.102", "01:52:54:00:aa:00:02")], &[]);
        let v6 = "00:02:00:00:ab:11:8b:59:1d:f0:7d:2e:27:0c";
        check(
            &[("web1", "fd00::5", v6), ("web2", "192.168.122.102", &other)],
            &["web1, web2: one machine id"],
        );
        check(&[("web1", "192.168.122.101", "ff:1"), ("web2", "192.168.122.102", "ff:1")], &[]);
    }
}
