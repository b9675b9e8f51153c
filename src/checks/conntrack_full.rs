//! The table of tracked connections is full, or nearly so.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};

pub(super) const CHECK: Check = Check {
    id: "conntrack-full",
    severity: Severity::Warning,
    category: Category::Firewall,
    summary: "the table of tracked connections is nearly full",
    explanation: "The kernel tracks every connection of guests behind NAT, and of all guests once a rule asks for the \
                  state of connections. When the table is full, the first packet of every further connection is \
                  dropped (\"nf_conntrack: table full, dropping packet\" in the kernel's log): old connections go on \
                  and new ones fail at random. Raise the limit, or find the guest that opens so many.",
    needs: &["sysctls"],
    basis: "net/netfilter/nf_conntrack_core.c __nf_conntrack_alloc; Documentation/networking/nf_conntrack-sysctl.rst",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

/// From this share of the limit on it is said, in percent.
const NEARLY_PERCENT: i64 = 90;

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let value = |name: &str| scene.snapshot.sysctls.known()?.number(&format!("net/netfilter/{name}"));
    let (Some(count), Some(limit)) = (value("nf_conntrack_count"), value("nf_conntrack_max")) else {
        return Vec::new();
    };
    // 0: no limit.
    if limit == 0 || count * 100 < limit * NEARLY_PERCENT {
        return Vec::new();
    }
    let more = limit.saturating_mul(4).max(65536);
    vec![Diagnosis {
        key: String::new(),
        subjects: vec!["host".to_owned()],
        title: format!("{count} of {limit} tracked connections are in use"),
        cause: format!(
            "{count} connections are tracked, and {limit} are the most: further ones are dropped."
        ),
        evidence: vec![fact("sysctls", format!("nf_conntrack_count {count}, nf_conntrack_max {limit}"))],
        fix: fix(
            [format!("sysctl -w net.netfilter.nf_conntrack_max={more}")],
            "to make it last, write the same into a file in /etc/sysctl.d; `conntrack -L` shows who has them open",
        ),
    }]
}
