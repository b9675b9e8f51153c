//! A host's snapshot in place of the host: the same verdicts follow from it, also without names.

use kvmnet_reports::{Expected, Predicted, Report, Summary};

use crate::host::{Backend, Host};
use crate::shared_host::{assert_healthy, on_shared_host};

/// The note of a claim that was not tried, on a live and on a recorded host.
const LIVE: &str = "not tried: --static";
const RECORDED: &str = "not tried: the host is a recorded one";

/// The static report on a snapshot that is taken now: exit code and report.
#[track_caller]
fn recorded(host: &Host, more: &[&str]) -> (i32, Report) {
    const FILE: &str = "/run/lab/snapshot.json";
    let taken = host.kvmnet(&[&["snapshot", "-o", FILE], more].concat());
    assert_eq!((taken.code, taken.stdout + &taken.stderr), (Some(0), String::new()));
    let report = host.doctor(&["--static", "--snapshot", FILE]);
    host.sh(&format!("rm {FILE}"));
    report
}

/// The report's lines from the matrix to the end; why nothing was tried is said in the same words.
fn lines(report: &Report, untried: &str) -> Vec<String> {
    let mut matrix = report.matrix.clone();
    for note in matrix.iter_mut().filter_map(|cell| cell.note.as_mut()).filter(|note| *note == untried) {
        "not tried".clone_into(note);
    }
    let text = serde_json::to_string_pretty(&(matrix, &report.findings, report.summary));
    text.expect("a report is JSON").lines().map(str::to_owned).collect()
}

/// Both say the same; what differs is named by line.
#[track_caller]
fn assert_same(live: &[String], recorded: &[String]) {
    let differing = live.iter().zip(recorded).enumerate().filter(|(_, (live, recorded))| live != recorded);
    let differing: Vec<_> = differing.map(|(at, (l, r))| format!("{at}: live {l}, recorded {r}")).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(live.len(), recorded.len(), "one says more than the other");
}

/// What names do not change: the counts, the findings, and how many claims are predicted how.
fn nameless(report: &Report) -> (Summary, Vec<String>, Vec<(String, Expected, Predicted)>) {
    let mut findings: Vec<_> = report.findings.iter().map(|finding| finding.id.clone()).collect();
    findings.sort();
    let cells = report.matrix.iter();
    let mut cells: Vec<_> = cells.map(|cell| (cell.traffic.clone(), cell.expected, cell.predicted)).collect();
    cells.sort_by_key(|cell| format!("{cell:?}"));
    (report.summary, findings, cells)
}

/// The live host and its snapshots say the same; gives what the live host says.
#[track_caller]
fn assert_recorded_as_live(host: &Host) -> (i32, Report) {
    let (code, live) = host.doctor(&["--static"]);
    let (recorded_code, recorded_report) = recorded(host, &[]);
    assert_same(&lines(&live, LIVE), &lines(&recorded_report, RECORDED));
    let (anonymous_code, anonymous) = recorded(host, &["--anonymize"]);
    assert_eq!(nameless(&anonymous), nameless(&live));
    assert_eq!((recorded_code, anonymous_code), (code, code));
    (code, live)
}

fn the_verdicts_are_those_of_the_host(backend: Backend) {
    on_shared_host(backend, |host| {
        let (code, report) = assert_recorded_as_live(host);
        assert!(code == 0 && report.matrix.len() > 30, "exit code {code}, {} claims", report.matrix.len());

        host.sh("ip link set vnet0 nomaster");
        let (code, report) = assert_recorded_as_live(host);
        let ids: Vec<_> = report.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert_eq!((code, ids.as_slice()), (1, ["vnet-not-in-bridge"].as_slice()));
        host.sh("ip link set vnet0 master virbr0");
        assert_healthy(host);
    });
}

#[test]
fn the_verdicts_are_those_of_the_host_nftables() {
    the_verdicts_are_those_of_the_host(Backend::Nftables);
}

#[test]
fn the_verdicts_are_those_of_the_host_iptables() {
    the_verdicts_are_those_of_the_host(Backend::Iptables);
}
