//! A network that running VMs need does not start with the host.

use kvmnet_probes::facts::{Daemon, Domain, InterfaceSource, Libvirt, Network};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, network};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "network-not-autostarted",
    severity: Severity::Warning,
    category: Category::Libvirt,
    summary: "a network in use does not start with the host",
    explanation: "Nothing is broken now. After the next reboot the network is not started, and VMs that belong \
                  to it do not start either.",
    needs: &["libvirt"],
    basis: "libvirt's virNetworkSetAutostart; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let Some(libvirt) = scene.snapshot.libvirt.known() else { return Vec::new() };
    // What the test driver serves ends with the connection anyhow.
    if libvirt.daemon == Daemon::TestDriver {
        return Vec::new();
    }
    let at_risk = |network: &&Network| network.active && !network.autostart && is_used(libvirt, network);
    libvirt.networks.iter().filter(at_risk).map(diagnose).collect()
}

fn is_used(libvirt: &Libvirt, network: &Network) -> bool {
    let uses = |domain: &Domain| {
        domain.interfaces.iter().any(|interface| {
            matches!(&interface.source, InterfaceSource::Network { network: name, .. } if *name == network.name)
        })
    };
    libvirt.domains.iter().any(|domain| (domain.state.is_active() || domain.autostart) && uses(domain))
}

fn diagnose(zone: &Network) -> Diagnosis {
    let fix = if zone.persistent {
        fix([format!("virsh net-autostart {}", quoted(&zone.name))], "")
    } else {
        fix(
            [format!(
                "virsh net-dumpxml {0} | virsh net-define /dev/stdin && virsh net-autostart {0}",
                quoted(&zone.name)
            )],
            "the network has no saved configuration: this saves the one that runs",
        )
    };
    Diagnosis {
        key: zone.name.clone(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: does not start with the host", zone.name),
        cause: format!("VMs use network {}, but it will not be started after a reboot.", zone.name),
        evidence: vec![fact("libvirt", format!("network {}: autostart off", zone.name))],
        fix,
    }
}
