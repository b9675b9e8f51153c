//! A claim does not hold, and no other check knows the site that stops it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fix};

pub(super) const CHECK: Check = Check {
    id: "unexplained-gap",
    severity: Severity::Error,
    category: Category::Wire,
    summary: "a claim does not hold and no check knows why",
    explanation: "The site in the evidence stops the packet, but kvmnet does not know who is responsible for it \
                  nor what to do. The trace shows the whole path.",
    needs: &[],
    basis: "kvmnet's own: a gap is never left without a finding",
    since: "0.1.0",
    // Asked when all others have declined.
    cause: None,
    facts: None,
};

pub(super) fn diagnose(_scene: &Scene<'_>, gap: &Gap<'_>) -> Diagnosis {
    let words = gap.step.map(ToString::to_string);
    let what = words.unwrap_or_else(|| "nothing stops it".to_owned());
    Diagnosis {
        key: gap.step.map_or_else(String::new, |step| format!("{:?}", step.site)),
        subjects: Vec::new(),
        title: what.clone(),
        cause: what,
        evidence: Vec::new(),
        fix: fix(None::<String>, "look at the site in the evidence"),
    }
}
