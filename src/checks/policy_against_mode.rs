//! The policy allows what the mode of a network forbids.

use kvmnet_reports::{Expected, Severity};

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, network, vm};
use crate::engine::libvirt::is_libvirts;
use crate::engine::{Site, quoted};
use crate::model::Zone;

pub(super) const CHECK: Check = Check {
    id: "policy-against-mode",
    severity: Severity::Error,
    category: Category::Libvirt,
    summary: "the policy allows what a network's mode forbids",
    explanation: "libvirt's own rules stop the packet, as the mode of the network promises: networks of mode nat and \
                  isolated let nobody in, and isolated ones nobody out. An accept elsewhere cannot help where libvirt \
                  rejects. Either the policy is wrong, or the VM needs a NIC in the other network, or the network \
                  another mode.",
    needs: &["nf-tables", "xtables-legacy", "libvirt"],
    basis: "libvirt: src/network/network_nftables.c, network_iptables.c; nft(8): a drop in any table is final",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let claim = gap.claim;
    let Site::Netfilter { table, chain, .. } = gap.site()? else { return None };
    if claim.assertion.is_none() || claim.expected != Expected::Allow || !is_libvirts(table, chain) {
        return None;
    }
    let (from, to) = (scene.in_words(claim.from), scene.in_words(claim.to));
    let traffic = claim.traffic_in_words();
    let zones: Vec<_> = scene.networks_of(claim).collect();
    let modes: Vec<String> =
        zones.iter().map(|zone| format!("network {} is of mode {}", zone.name, zone.mode.word())).collect();
    let nics: Vec<_> = scene.nics_of(claim).collect();
    let fix = match (claim.from, claim.to, nics.as_slice(), zones.as_slice()) {
        (Zone::Nic(_), Zone::Nic(_), [sender, _], [_, other]) if other.in_libvirt => fix(
            [format!(
                "virsh attach-interface {} network {} --model virtio --live --config",
                quoted(&sender.vm),
                quoted(&other.name)
            )],
            "this gives the sender a NIC in the other network, which it has to configure; or take the assertion out of \
             the policy",
        ),
        _ => {
            let name = zones.first().map_or_else(String::new, |zone| quoted(&zone.name));
            fix(
                [format!("virsh net-edit {name}")],
                "change `<forward mode>` there, and start the network anew when its VMs can be interrupted; or take the \
                 assertion out of the policy",
            )
        }
    };
    Some(Diagnosis {
        key: format!("{:?} {:?}", claim.from, claim.to),
        subjects: zones
            .iter()
            .map(|zone| network(&zone.name))
            .chain(nics.iter().map(|nic| vm(&nic.vm)))
            .collect(),
        title: format!("{from} does not reach {to} with {traffic}, which the policy allows"),
        cause: format!("libvirt's own rules stop {traffic} from {from} to {to}: {}.", modes.join(", ")),
        evidence: modes.into_iter().map(|mode| fact("libvirt", mode)).collect(),
        fix,
    })
}
