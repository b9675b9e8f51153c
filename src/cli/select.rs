//! `--vm` and `--network`: names that must exist.

use clap::Args;
use kvmnet_probes::facts::Snapshot;

use super::failure::Failure;
use crate::model::Topology;

/// Which part of the host is examined.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Only this VM; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) vm: Vec<String>,
    /// Only this network; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Vec<String>,
}

impl Arguments {
    /// Whether a NIC of this VM and network is in that part.
    pub(crate) fn wants(&self, vm: &str, network: Option<&str>) -> bool {
        let named = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|wanted| wanted == name))
        };
        named(&self.vm, Some(vm)) && named(&self.network, network)
    }
}

/// Every wanted name exists. If libvirt was not read nobody knows, and that is said.
pub(crate) fn check(
    snapshot: &Snapshot,
    topology: &Topology,
    vms: &[String],
    networks: &[String],
) -> Result<(), Failure> {
    let domains = snapshot.libvirt.known().into_iter().flat_map(|libvirt| &libvirt.domains);
    let domains: Vec<_> = domains.map(|domain| domain.name.clone()).collect();
    let known: Vec<_> = topology.networks.iter().map(|network| network.name.clone()).collect();
    for (kind, wanted, known) in [("VM", vms, domains), ("network", networks, known)] {
        if let Some(missing) = wanted.iter().find(|name| !known.contains(name)) {
            let wanted = missing.clone();
            return Err(match snapshot.libvirt.reason() {
                Some(reason) => Failure::NamesUnknown { kind, wanted, reason: reason.to_owned() },
                None => Failure::NoSuchName { kind, wanted, known },
            });
        }
    }
    Ok(())
}
