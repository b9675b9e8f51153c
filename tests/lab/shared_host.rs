//! One healthy host per backend that tests use one after another, and what healthy means.

use std::sync::{Mutex, PoisonError};

use kvmnet_reports::{CellVerdict, Expected, Predicted, Proof, Report, Zone, ZoneKind};

use crate::host::{Backend, GUESTS, Host, can_run};

/// One healthy host with all guests per backend, for the tests one after another. A test that fails takes
/// the host with it.
static HOSTS: [Mutex<Option<Host>>; 2] = [Mutex::new(None), Mutex::new(None)];

/// Runs on the backend's shared host, which is healthy and must be so afterwards.
pub(crate) fn on_shared_host(backend: Backend, test: impl FnOnce(&Host)) {
    if !can_run() {
        return;
    }
    let slot = match backend {
        Backend::Nftables => &HOSTS[0],
        Backend::Iptables => &HOSTS[1],
        Backend::None => panic!("a shared host has libvirt"),
    };
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let host = slot.take().unwrap_or_else(|| {
        let host = Host::start(backend, GUESTS);
        assert_healthy(&host);
        host
    });
    test(&host);
    *slot = Some(host);
}

/// Each guest, its network, the network's bridge and the host's address there.
pub(crate) const PLUGGED: [(&str, &str, &str, &str); 4] = [
    ("db1", "iso", "virbr1", "192.168.150.1"),
    ("lan1", "lan", "br0", "10.20.0.2"),
    ("web1", "default", "virbr0", "192.168.122.1"),
    ("web2", "default", "virbr0", "192.168.122.1"),
];

/// Lets every guest ping the host, so that the bridges and the host have heard of it just now. For
/// seconds after a port was plugged in or out, spanning tree makes the bridges forget after 4 s instead
/// of 300: that is waited for.
#[track_caller]
pub(crate) fn let_guests_speak(host: &Host) {
    host.settle();
    host.wait_for("! ip -d link show type bridge | grep -q 'topology_change 1'");
    for (guest, _, _, address) in PLUGGED {
        assert!(host.guest_reaches(guest, address), "{guest} does not reach {address}");
    }
}

/// On a healthy host the facts alone give the model's matrix: what must pass does, and what must not is
/// closed to every packet. Who has which address in a LAN they do not know.
fn facts_against_model(host: &Host) -> Vec<String> {
    let (_, alone) = host.doctor(&["--static"]);
    let wrong = alone.matrix.iter().filter(|cell| {
        let lan = |zone: &Zone| zone.network.as_deref() == Some("lan") && zone.address.is_none();
        let closed = cell.proof == Proof::AllPackets || cell.from.zone == ZoneKind::Host;
        match (cell.expected, cell.predicted) {
            (Expected::Allow, Predicted::Allow) => false,
            (Expected::Deny, Predicted::Deny) => !closed,
            (_, Predicted::Unknown) => !lan(&cell.from) && !lan(&cell.to),
            _ => true,
        }
    });
    wrong
        .map(|cell| format!("by the facts alone: {}", serde_json::to_string(cell).expect("a cell is JSON")))
        .collect()
}

/// The doctor finds nothing, every claim holds, and the exit code is 0.
#[track_caller]
pub(crate) fn assert_healthy(host: &Host) {
    assert_healthy_but(host, &[]);
}

/// The same, but for findings with these ids.
#[track_caller]
pub(crate) fn assert_healthy_but(host: &Host, stays: &[&str]) {
    host.settle();
    let (code, report) = host.doctor(&[]);
    let expected = report.findings.iter().all(|finding| stays.contains(&finding.id.as_str()));
    let quiet = expected && report.summary.gaps == 0 && report.summary.unknown == 0;
    let wrong = facts_against_model(host);
    assert!(
        code == 0 && quiet && !report.matrix.is_empty() && wrong.is_empty(),
        "the host should be healthy, exit code {code}\n{}\n{}\n{}",
        wrong.join("\n"),
        shown(&report),
        host.picture()
    );
}

/// The cells that tell of trouble, and the findings.
pub(crate) fn shown(report: &Report) -> String {
    let cells: Vec<_> = report.matrix.iter().filter(|c| c.verdict != CellVerdict::Ok).collect();
    serde_json::to_string_pretty(&(cells, &report.findings)).expect("a report is JSON")
}
