//! libvirt's own rules for a network are gone, in part or altogether.
//!
//! Often nobody notices: the guests may reach everything, and more than they should.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network};
use crate::engine::{Site, libvirt};
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "libvirt-rules-missing",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "libvirt's rules for a network are gone",
    explanation: "libvirt writes its rules when it starts a network and never looks again. `nft flush ruleset` \
                  at the start of somebody's configuration, `iptables -F`, a restart of firewalld: each removes \
                  them. With them goes the isolation: guests of other networks and the outside reach guests \
                  that they should not, while everything else seems to work. Restarting the network daemon \
                  writes all rules again and leaves the guests alone; where the nftables backend's table is gone as a \
                  whole it takes two restarts, since the first deletes some of its own new rules by the handles of \
                  the old ones. Stopping and starting the network does \
                  not: it fails when the chains are gone, and unplugs running VMs.",
    needs: &["nf-tables", "xtables-legacy", "libvirt"],
    basis: "measured with both of libvirt 11.3's backends: restart, SIGHUP and net-start compared",
    since: "0.1.0",
    cause: Some(cause),
    facts: Some(facts),
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let explains = match gap.site() {
        None | Some(Site::NoNat { .. }) => true,
        Some(Site::Netfilter { table, chain, .. }) => libvirt::is_libvirts(table, chain),
        Some(_) => false,
    };
    let zones = scene.networks_of(gap.claim);
    if explains { zones.into_iter().find_map(|zone| diagnose(scene, zone)) } else { None }
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene.topology.networks.iter().filter_map(|zone| diagnose(scene, zone)).collect()
}

fn diagnose(scene: &Scene<'_>, zone: &NetworkZone) -> Option<Diagnosis> {
    if !zone.in_libvirt || !zone.active || !libvirt::writes_rules(zone.mode) || zone.bridge_index.is_none() {
        return None;
    }
    let rules = [false, true]
        .into_iter()
        .filter(|&ipv6| zone.gateway(ipv6).is_some())
        .find_map(|ipv6| libvirt::rules_for(scene.snapshot, zone, ipv6).filter(|rules| !rules.complete()))?;
    // Rules that name the number of a bridge that is gone are another finding.
    if !libvirt::stale_indices(scene.snapshot).is_empty() {
        return None;
    }
    let bridge = zone.bridge.as_ref()?;
    let missing = match (rules.input, rules.output) {
        (false, false) => "to and from its guests",
        (false, true) => "to its guests",
        _ => "from its guests",
    };
    Some(Diagnosis {
        key: "rules".to_owned(),
        subjects: vec![network(&zone.name)],
        title: format!("{}: libvirt's rules are gone", zone.name),
        cause: "libvirt's own rules are gone: nothing decides any more about packets that it should accept or reject."
            .to_owned(),
        evidence: vec![fact(
            "nf-tables",
            format!("no rule of libvirt's for packets {missing} by {bridge} (network {})", zone.name),
        )],
        fix: fix(
            restarts(scene),
            "guests are not interrupted. Find what removed the rules: `flush ruleset` in /etc/nftables.conf, a \
             firewall's restart, a script with `iptables -F`. Do not use net-destroy and net-start here",
        ),
    })
}

/// One restart, or two where the whole table is gone: libvirt first deletes the rules that it remembers, network by
/// network and by handle, and a new table counts its handles from 1 again, so that the second network's turn deletes
/// what was just written for the first. The second restart finds the right handles (measured with libvirt 11.3).
fn restarts(scene: &Scene<'_>) -> Vec<String> {
    let restart = format!("systemctl restart {}", libvirt::network_service(scene.snapshot));
    let by_nftables = scene.snapshot.libvirt.known().and_then(|libvirt| libvirt.firewall_backend.as_deref());
    let mut tables = scene.snapshot.nf_tables.items().iter();
    let is_gone = !tables.any(|table| table.name == libvirt::NFTABLES_TABLE);
    if by_nftables == Some("nftables") && is_gone {
        vec![format!("{restart} && {restart}")]
    } else {
        vec![restart]
    }
}
