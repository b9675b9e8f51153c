//! Frames that only cross a bridge are dropped by IP rules, because br_netfilter shows them to these.

use kvmnet_probes::facts::Hook;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::Site;
use crate::engine::owner::owner;
use crate::model::{NetworkZone, Zone};

pub(super) const CHECK: Check = Check {
    id: "bridge-netfilter-drop",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "IP rules drop frames that only cross a bridge",
    explanation: "With the module br_netfilter and bridge-nf-call-iptables=1, frames between two ports of one \
                  bridge pass the FORWARD chains as if they were routed. Alone that breaks nothing, but any \
                  chain that drops there (Docker's, Kubernetes', your own) then cuts guests off from their LAN \
                  or from one another. Unless Kubernetes or a filter of yours needs it, switch it off.",
    needs: &["sysctls", "links", "nf-tables", "xtables-legacy"],
    basis: "net/bridge/br_netfilter_hooks.c; wiki.libvirt.org: Net.bridge.bridge-nf-call and sysctl.conf",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { table, chain, hook: Hook::Forward | Hook::Prerouting, .. } = site else {
        return None;
    };
    if !is_bridged(scene, gap) || !calls_iptables(scene, gap) {
        return None;
    }
    let key = if gap.claim.ipv6 { "bridge-nf-call-ip6tables" } else { "bridge-nf-call-iptables" };
    Some(Diagnosis {
        key: key.to_owned(),
        subjects: vec!["host".to_owned()],
        title: "IP rules drop bridged frames".to_owned(),
        cause: format!(
            "{key} sends frames that only cross a bridge through the IP rules, where chain {chain} of table \
             {table}, written by {}, drops them.",
            owner(scene.snapshot, site)
        ),
        evidence: vec![fact("sysctls", format!("net.bridge.{key} = 1"))],
        fix: fix(
            [format!("sysctl -w net.bridge.{key}=0")],
            "to make it last, set it in /etc/sysctl.d and load br_netfilter from /etc/modules-load.d, so that \
             the setting exists when it is applied; Kubernetes needs it on: then accept the bridge in the chain",
        ),
    })
}

/// The packet goes from port to port of one bridge.
fn is_bridged(scene: &Scene<'_>, gap: &Gap<'_>) -> bool {
    let lan = scene.networks_of(gap.claim).next().is_some_and(NetworkZone::is_lan);
    match (gap.claim.from, gap.claim.to) {
        (Zone::Nic(from), Zone::Nic(to)) => {
            scene.topology.nics[from].network == scene.topology.nics[to].network
        }
        (Zone::Nic(_), Zone::Gateway(_) | Zone::Internet) | (Zone::Outside, Zone::Nic(_)) => lan,
        _ => false,
    }
}

fn calls_iptables(scene: &Scene<'_>, gap: &Gap<'_>) -> bool {
    let name = if gap.claim.ipv6 { "ip6tables" } else { "iptables" };
    let sysctls = scene.snapshot.sysctls.known();
    sysctls.and_then(|sysctls| sysctls.number(&format!("net/bridge/bridge-nf-call-{name}"))) == Some(1)
}
