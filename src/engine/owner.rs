//! Which program wrote a table or chain, told from names.

use std::fmt;

use kvmnet_probes::facts::{Family, Hook, ManagerKind, Rule, Snapshot, Table};

use super::Site;
use super::libvirt::is_libvirts;

/// A program that writes netfilter rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// libvirt's network driver.
    Libvirt,
    /// Docker.
    Docker,
    /// firewalld.
    Firewalld,
    /// ufw.
    Ufw,
    /// Kubernetes or its network plugins.
    Kubernetes,
    /// Tailscale.
    Tailscale,
    /// The administrator, or a program that is not known.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Libvirt => "libvirt",
            Self::Docker => "Docker",
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Kubernetes => "Kubernetes",
            Self::Tailscale => "Tailscale",
            Self::Unknown => "the administrator or another program",
        })
    }
}

/// Chain name prefixes by program.
const PREFIXES: &[(&str, Owner)] = &[
    ("DOCKER", Owner::Docker),
    ("ufw", Owner::Ufw),
    ("KUBE-", Owner::Kubernetes),
    ("CNI-", Owner::Kubernetes),
    ("cali-", Owner::Kubernetes),
    ("CILIUM_", Owner::Kubernetes),
    ("FLANNEL", Owner::Kubernetes),
    ("ts-", Owner::Tailscale),
];

/// Who wrote the rule or policy at a netfilter site; [`Owner::Unknown`] for other sites.
pub fn owner(snapshot: &Snapshot, site: &Site) -> Owner {
    let Site::Netfilter { table, chain, hook, handle, .. } = site else { return Owner::Unknown };
    if is_libvirts(table, chain) {
        return Owner::Libvirt;
    }
    if table == "firewalld" {
        return Owner::Firewalld;
    }
    if let Some((_, owner)) = PREFIXES.iter().find(|(prefix, _)| chain.starts_with(prefix)) {
        return *owner;
    }
    let has = |prefix: &str| table_at(snapshot, site).is_some_and(|table| has_chain(table, prefix));
    let runs = |kind| snapshot.managers.items().iter().any(|manager| manager.kind == kind);
    // Docker sets the policy of FORWARD and no other; ufw those of all three.
    if handle.is_none() && *hook == Hook::Forward && (has("DOCKER") || runs(ManagerKind::Docker)) {
        Owner::Docker
    } else if handle.is_none() && has("ufw") {
        Owner::Ufw
    } else {
        Owner::Unknown
    }
}

fn has_chain(table: &Table, prefix: &str) -> bool {
    table.chains.iter().any(|chain| chain.name.starts_with(prefix))
}

/// The tables and chains that iptables-nft makes are its own: nft would show, but not mend them.
pub(super) fn is_iptables(family: Family, table: &str, chain: &str) -> bool {
    matches!(family, Family::Ip | Family::Ip6)
        && matches!(table, "filter" | "nat" | "mangle" | "raw" | "security")
        && matches!(chain, "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING")
}

/// The same of ebtables-nft.
pub(super) fn is_ebtables(family: Family, table: &str, chain: &str) -> bool {
    family == Family::Bridge
        && matches!(table, "filter" | "nat" | "broute")
        && matches!(chain, "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING" | "BROUTING")
}

/// The rules of the chain in which a netfilter site lies.
pub fn rules_at<'a>(snapshot: &'a Snapshot, site: &Site) -> &'a [Rule] {
    let Site::Netfilter { chain, .. } = site else { return &[] };
    let table = table_at(snapshot, site);
    let found = table.and_then(|table| table.chains.iter().find(|candidate| candidate.name == *chain));
    found.map_or(&[], |chain| &chain.rules)
}

/// The table in which a netfilter site lies.
pub fn table_at<'a>(snapshot: &'a Snapshot, site: &Site) -> Option<&'a Table> {
    let Site::Netfilter { family, table, legacy, .. } = site else { return None };
    let tables = if *legacy { &snapshot.xtables_legacy } else { &snapshot.nf_tables };
    tables.items().iter().find(|candidate| candidate.family == *family && candidate.name == *table)
}
