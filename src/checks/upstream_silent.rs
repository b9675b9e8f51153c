//! Packets leave the host as they should, and nobody answers.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, fix};

pub(super) const CHECK: Check = Check {
    id: "upstream-silent",
    severity: Severity::Warning,
    category: Category::Wire,
    summary: "packets leave the host and nobody answers",
    explanation: "The host does its share: the packet was seen leaving. What lies behind does not answer. The \
                  target may be down or filter the probe, the router may drop it, or, where sources are not \
                  rewritten, it may have no route back to the guests.",
    needs: &[],
    basis: "what the wire showed",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

pub(super) fn diagnose(target: &str, host_too: bool) -> Diagnosis {
    let (more, note) = if host_too {
        (
            " The host itself is not answered either.",
            "look upstream: the router, its way to the target, the target. Another target is set by --internet-target",
        )
    } else {
        (
            "",
            "try the same from the host; if the host gets no answer either, look upstream. Another target is set by \
             --internet-target",
        )
    };
    Diagnosis {
        key: target.to_owned(),
        subjects: Vec::new(),
        title: format!("{target} does not answer"),
        cause: format!("the packets to {target} leave the host, and no answer comes back.{more}"),
        evidence: Vec::new(),
        fix: fix(None::<String>, note),
    }
}
