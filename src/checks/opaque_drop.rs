//! The wire shows that a wanted packet is lost on this host, and only what kvmnet does not understand can have
//! taken it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::{Site, Step};

pub(super) const CHECK: Check = Check {
    id: "opaque-drop",
    severity: Severity::Error,
    category: Category::Wire,
    summary: "a wanted packet is lost where something that is not understood decides",
    explanation: "The packet was sent and never came out where it should. By everything that can be read it would \
                  have passed; but on its way lies something whose decision facts do not show: an eBPF program at a \
                  tap (tc, XDP), a queue to a program (nfqueue), a source that could not be read. That is what took \
                  it, as far as is known. Look at the program first: `bpftool net`, `tc filter show dev TAP ingress`, \
                  `bpftool prog show id N`, and who loaded it (Cilium, an agent, a traffic shaper). It can be wrong \
                  where the host was changed while it was looked at.",
    needs: &[],
    basis: "what the wire showed; measured with programs that drop at a tap (tc and XDP)",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let step = gap.step?;
    let what = opaque(step)?;
    let others: Vec<String> = gap
        .steps
        .iter()
        .filter(|other| opaque(other).is_some() && *other != step)
        .map(|other| format!("{}: {}", other.place, opaque(other).unwrap_or_default()))
        .collect();
    let more =
        if others.is_empty() { String::new() } else { format!(" or by one of: {}", others.join("; ")) };
    Some(Diagnosis {
        key: format!("{} {what}", step.place),
        subjects: Vec::new(),
        title: format!("{}: {what}", step.place),
        cause: format!(
            "the packet is lost on this host, by {what} at {}{more}; nothing else stops it.",
            step.place
        ),
        evidence: vec![fact("traffic-control", format!("{}: {what}", step.place))],
        fix: fix(
            None::<String>,
            "find out what the program is for (`bpftool net`, `tc filter show dev DEVICE ingress`) before you \
             detach it",
        ),
    })
}

fn opaque(step: &Step) -> Option<String> {
    match &step.site {
        Site::Opaque { what } => Some(what.clone()),
        Site::MissingFact { source } => Some(format!("what source {source} would have shown")),
        _ => None,
    }
}
