//! The wire shows the opposite of what the facts say.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, fix};

pub(super) const CHECK: Check = Check {
    id: "wire-disagrees",
    severity: Severity::Warning,
    category: Category::Wire,
    summary: "a packet fared otherwise than the facts say",
    explanation: "The proof from the facts and the packet that was sent disagree, and did so again once the facts had \
                  been read anew. Something decides that the facts do not show (a program in the kernel, the \
                  network card, the guest's own firewall), the host keeps changing, or kvmnet is wrong: then \
                  please report it with a snapshot.",
    needs: &[],
    basis: "what the wire showed against what the engine says",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

pub(super) fn diagnose(passed: bool) -> Diagnosis {
    let (title, cause) = if passed {
        (
            "packets pass although the facts say that they do not",
            "an answer came although the facts say that the packet is stopped.",
        )
    } else {
        (
            "packets are lost although the facts say that they pass",
            "by the facts the packet passes, but it was lost on this host.",
        )
    };
    Diagnosis {
        key: passed.to_string(),
        subjects: vec!["host".to_owned()],
        title: title.to_owned(),
        cause: cause.to_owned(),
        evidence: Vec::new(),
        fix: fix(
            None::<String>,
            "look for programs in the kernel (`bpftool net`, `tc filter show`); if there are none, report it with \
             `kvmnet snapshot --anonymize`",
        ),
    }
}
