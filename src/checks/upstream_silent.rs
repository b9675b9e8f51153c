//! Packets leave the host as they should, and nobody answers.

use std::net::IpAddr;

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, fix};

pub(super) const CHECK: Check = Check {
    id: "upstream-silent",
    severity: Severity::Warning,
    category: Category::Wire,
    summary: "packets leave the host and nobody answers",
    explanation: "The host does its share: the packet was seen leaving. What lies behind does not answer. The \
                  target may be down or filter the probe, the router may drop it, or, where sources are not \
                  rewritten, it may have no route back to the guests. A packet that \
                  expires one router behind the host tells more: if that router says so to the VM, the way through the \
                  host, its NAT and the router works in both directions, and the trouble lies beyond. Many routers say nothing.",
    needs: &[],
    basis: "what the wire showed",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

/// `router`: who answers the VM's packets that expire behind the host.
pub(super) fn diagnose(target: &str, host_too: bool, router: Option<IpAddr>) -> Diagnosis {
    let beyond = router.map_or_else(String::new, |router| {
        format!(
            " The router {router} answers the VMs' packets that expire there; what is beyond it is silent."
        )
    });
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
        cause: format!("the packets to {target} leave the host, and no answer comes back.{more}{beyond}"),
        evidence: Vec::new(),
        fix: fix(None::<String>, note),
    }
}
