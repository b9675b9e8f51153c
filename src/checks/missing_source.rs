//! A source of facts could not be read.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};

pub(super) const CHECK: Check = Check {
    id: "missing-source",
    severity: Severity::Info,
    category: Category::Libvirt,
    summary: "a source of facts could not be read",
    explanation: "What a missing source would have said is unknown, and so is everything that depends on it. \
                  Reading the kernel's rules and sending packets needs root; libvirt's facts need a daemon that \
                  answers.",
    needs: &[],
    basis: "kvmnet's own invariant: unknown is never a pass",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    scene
        .snapshot
        .sources()
        .into_iter()
        .filter_map(|source| {
            let reason = source.missing?;
            Some(Diagnosis {
                key: source.name.to_owned(),
                subjects: vec!["host".to_owned()],
                title: format!("{} could not be read", source.name),
                cause: reason.to_owned(),
                evidence: vec![fact(source.name, reason)],
                fix: fix(None::<String>, "run kvmnet as root, with libvirt's daemon running"),
            })
        })
        .collect()
}
