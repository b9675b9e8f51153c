//! A forward chain outside libvirt drops by policy what libvirt accepts.

use kvmnet_probes::facts::Hook;
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix};
use crate::engine::Site;
use crate::engine::admit::{admit, family_word};
use crate::engine::libvirt::is_libvirts;
use crate::engine::owner::{Owner, owner};

pub(super) const CHECK: Check = Check {
    id: "forward-policy-drop",
    severity: Severity::Error,
    category: Category::Firewall,
    summary: "another program's forward chain drops by policy what libvirt accepts",
    explanation: "Every base chain at the forward hook sees the packet, and a drop in any of them is final: \
                  libvirt's accept in its own table does not save it. Docker sets the policy of FORWARD to \
                  DROP when it switches forwarding on, ufw does by default, and so do many hand-written rule \
                  sets. The chain that drops has to accept the bridge's traffic itself.",
    needs: &["nf-tables", "xtables-legacy"],
    basis: "net/netfilter/core.c nf_hook_slow; measured with libvirt 11.3; moby issue 39439",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let site = gap.site()?;
    let Site::Netfilter { family, table, chain, hook: Hook::Forward, handle: None, legacy, .. } = site else {
        return None;
    };
    let owner = owner(scene.snapshot, site);
    if is_libvirts(table, chain) || owner == Owner::Firewalld {
        return None;
    }
    let flow = scene.flow(gap)?;
    let (who, lasting) = match owner {
        Owner::Docker => (
            "Docker set it".to_owned(),
            "to make it last: \"ip-forward-no-drop\": true in /etc/docker/daemon.json (Docker 28 or newer), or \
             run the commands whenever Docker has started",
        ),
        Owner::Ufw => (
            "ufw set it".to_owned(),
            "ufw keeps its rules. For all bridges at once: DEFAULT_FORWARD_POLICY=\"ACCEPT\" in /etc/default/ufw",
        ),
        Owner::Libvirt | Owner::Firewalld | Owner::Kubernetes | Owner::Tailscale | Owner::Unknown => (
            format!("{owner} set it"),
            "to make it last, add the same to the configuration that loads this table",
        ),
    };
    let generation = if *legacy { "legacy table" } else { "table" };
    Some(Diagnosis {
        key: format!("{legacy} {family:?} {table} {chain}"),
        subjects: vec!["host".to_owned()],
        title: format!("chain {chain} drops what is forwarded"),
        cause: format!(
            "chain {chain} of {generation} {} {table} drops by policy; {who}. libvirt accepts the packet in its \
             own rules, but a drop in any table is final.",
            family_word(*family)
        ),
        evidence: Vec::new(),
        fix: fix(admit(scene.snapshot, site, flow), lasting),
    })
}
