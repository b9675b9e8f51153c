//! `docs/faults.md`: the catalogue with what the doctor says of each fault. Every line of it is what a
//! run of the benchmark asserts.

use std::fmt::Write as _;
use std::path::Path;

use crate::CATALOGUE;
use crate::fault::{Cure, Fault};
use crate::host::Backend;

const HEAD: &str = "# The fault benchmark

<!-- Made by `KVMNET_UPDATE=1 cargo test --features lab --test faults scoreboard`; do not edit. -->

Failures from the field, each made on a healthy private host with real libvirt and real guests. For each the benchmark (`make faults`) asserts
that the doctor finds it, that the finding in the table comes first, that no other error is reported, that the guests themselves are cut off
where the doctor says so, that the facts alone do not contradict the wire (but where only the wire can tell), and that the commands which the doctor prints bring the host back.
Where no command on the host can do that, it says «by hand».

";

/// Fails if the file is not what the catalogue says; with `KVMNET_UPDATE=1` writes it.
pub(crate) fn check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let text = page();
    if std::env::var_os("KVMNET_UPDATE").is_some() {
        std::fs::write(&path, text).expect("docs/faults.md is written");
    } else {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "docs/faults.md is stale: run this with KVMNET_UPDATE=1");
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let all: Vec<&Fault> = CATALOGUE.iter().flat_map(|(_, faults)| *faults).collect();
    let harmful = all.iter().filter(|fault| !fault.findings.is_empty()).count();
    let recorded = all.iter().filter(|fault| fault.recorded.is_some()).count();
    let quiet = |fault: &&&Fault| fault.backends().any(|backend| fault.is_harmless_on(backend));
    let runs: usize = all.iter().map(|fault| fault.backends().count()).sum();
    let _ = writeln!(
        page,
        "{harmful} faults, {recorded} of them on a record of the healthy host that was changed, since this kernel or a \
         running guest cannot make them; {} odd states that do no harm, at least with one backend. {runs} runs with \
         libvirt's two firewall backends; beside them pairs of faults, of which both causes must be named.",
        all.iter().filter(quiet).count()
    );
    for (chapter, faults) in CATALOGUE {
        let _ = writeln!(
            page,
            "\n## {chapter}\n\n| fault | what happened | finding | broken | cure |\n| --- | --- | --- | --- | --- |"
        );
        for fault in *faults {
            let _ = writeln!(page, "{}", row(fault));
        }
    }
    page
}

fn row(fault: &Fault) -> String {
    let mut findings: Vec<String> =
        fault.findings.iter().map(|(id, _)| format!("[{id}](checks.md#{id})")).collect();
    findings.dedup();
    let mut broken: Vec<String> =
        fault.gaps.iter().map(|(from, to)| format!("{from} → {to}").replace("vm:", "")).collect();
    if broken.is_empty() {
        broken.push(if fault.findings.is_empty() { "nothing" } else { "nothing yet" }.to_owned());
    }
    let cure = match (&fault.cure, fault.findings.is_empty()) {
        (_, true) => "harmless: no finding",
        _ if fault.recorded.is_some() => "not tried",
        (Cure::Printed, _) => "printed",
        (Cure::ByHand(_), _) => "by hand",
    };
    let only = match (fault.only_on, fault.harmless_on) {
        (Some(backend), _) => format!(" ({} backend)", backend.name()),
        (None, Some(backend)) if !fault.findings.is_empty() => {
            let other = if backend == Backend::Iptables { Backend::Nftables } else { Backend::Iptables };
            format!(" ({} backend; harmless with the other)", other.name())
        }
        (None, _) => String::new(),
    };
    let only = if fault.recorded.is_some() { format!("{only} (on a record)") } else { only };
    format!(
        "| {} | {}{only} | {} | {} | {cure} |",
        fault.id,
        fault.what.replace('|', "\\|"),
        findings.join(", "),
        broken.join("; ")
    )
}
