//! A host on which not everything can be read: what can be read is, what cannot is said, and nothing
//! that is unknown passes.

use std::time::{Duration, Instant};

use kvmnet_reports::{CellVerdict, Observed, Report, SourceStatus, Verdict, Zone};

use crate::host::{Backend, Host, INTERNET};
use crate::privileges::{NOBODY, assert_lacks, doctor_as, report};
use crate::shared_host::{assert_healthy, on_shared_host};

/// The sources that were not read, with the reason.
fn missing(report: &Report) -> Vec<(&str, &str)> {
    let missing = report.sources.iter().filter(|source| source.status == SourceStatus::Missing);
    missing.map(|source| (source.name.as_str(), source.reason.as_deref().unwrap_or("no reason"))).collect()
}

/// Everything but libvirt is read, the doctor says why libvirt is not, and that the answer is not a
/// full one. Gives the time that it took.
#[track_caller]
fn assert_without_libvirt(host: &Host, arguments: &[&str], reason: &str) -> Duration {
    let start = Instant::now();
    let (code, report) = host.doctor(arguments);
    let took = start.elapsed();
    let missing = missing(&report);
    let [("libvirt", why)] = missing.as_slice() else { panic!("libvirt alone is missing: {missing:?}") };
    assert!(why.contains(reason), "`{reason}` is not in the reason: {why}");
    assert_eq!((code, report.summary.verdict), (3, Verdict::Incomplete));
    assert_eq!(report.host.libvirt, None);
    let told = report.findings.iter().any(|finding| finding.id == "missing-source" && finding.cause == *why);
    assert!(told, "no finding tells it: {:?}", report.findings);
    let partial = report.sources.iter().find(|source| source.status == SourceStatus::Partial);
    assert_eq!(partial, None, "what the kernel says is read in full");
    took
}

/// The table says the same in words, and `ports` and `snapshot` do too.
#[track_caller]
fn assert_told_in_words(host: &Host, reason: &str) {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for arguments in
        [&["doctor", "--internet-target", INTERNET][..], &["ports"], &["snapshot", "-o", "/dev/null"]]
    {
        let ran = host.kvmnet(arguments);
        let said = squeezed(&(ran.stdout + &ran.stderr));
        assert_eq!(ran.code, Some(3), "{arguments:?}: {said}");
        assert!(said.contains("not read: libvirt: ") && said.contains(reason), "{arguments:?}: {said}");
    }
}

#[test]
fn a_host_without_libvirt_is_read_from_the_kernel_alone() {
    if !crate::host::can_run() {
        return;
    }
    let host = Host::start(Backend::None, &[]);
    // The kernel has what a guest's tap in a bridge needs.
    host.sh("ip tuntap add tap0 mode tap && ip link set tap0 master br0 up");
    let reason = "No such file or directory (does the daemon run?";
    assert_without_libvirt(&host, &[], reason);
    assert_told_in_words(&host, reason);
    let named = host.kvmnet(&["doctor", "--vm", "web1"]);
    assert_eq!(named.code, Some(3), "{}", named.stderr);
    assert!(named.stderr.contains("cannot look for the VM `web1`: libvirt was not read"), "{}", named.stderr);
    assert!(named.stderr.contains("\n\nhint: "), "{}", named.stderr);
}

/// Each tap is tried by its own name in place of the VM's, and every claim holds.
#[track_caller]
fn assert_taps_stand_for_vms(host: &Host) {
    let (_, report) = host.doctor(&[]);
    for tap in ["vnet0", "vnet1", "vnet2", "vnet3"] {
        let of_tap = |zone: &Zone| zone.vm.as_deref() == Some(tap);
        let cells: Vec<_> =
            report.matrix.iter().filter(|cell| of_tap(&cell.from) || of_tap(&cell.to)).collect();
        let wrong: Vec<_> = cells.iter().filter(|cell| cell.verdict != CellVerdict::Ok).collect();
        assert!(wrong.is_empty(), "{tap}: {wrong:?}");
        let answered = cells.iter().filter(|cell| cell.observed == Observed::Reply).count();
        assert!(answered >= 2, "{tap}: {answered} of {} claims were answered", cells.len());
    }
}

#[test]
fn a_dead_daemon_is_said_and_healthy_again_once_it_runs() {
    on_shared_host(Backend::Nftables, |host| {
        host.sh("kill -9 $(cat /run/libvirtd.pid) && tail --pid=$(cat /run/libvirtd.pid) -f /dev/null");
        let reason = "Connection refused (does the daemon run?";
        assert_without_libvirt(host, &[], reason);
        assert_told_in_words(host, reason);
        assert_taps_stand_for_vms(host);
        host.sh("systemctl start libvirtd");
        assert_healthy(host);
    });
}

/// What is stopped accepts connections, because the kernel does, and never answers.
#[test]
fn a_daemon_that_hangs_is_given_up_after_the_deadline() {
    on_shared_host(Backend::Nftables, |host| {
        host.sh("kill -STOP $(cat /run/libvirtd.pid)");
        for deadline_s in [1, 2] {
            let timeout = deadline_s.to_string();
            let reason = format!("libvirt did not answer within {deadline_s}s");
            let took = assert_without_libvirt(host, &["--timeout", &timeout], &reason);
            assert!(
                took >= Duration::from_secs(deadline_s),
                "it took {took:?}, so that it was not the deadline"
            );
        }
        assert_eq!(host.run("pgrep -x kvmnet-libvirt").stdout, "", "the helper is gone too");
        host.sh("kill -CONT $(cat /run/libvirtd.pid)");
        assert_healthy(host);
    });
}

#[test]
fn without_root_what_can_be_read_is_read() {
    on_shared_host(Backend::Nftables, |host| {
        let ran = doctor_as(host, NOBODY, &["--format", "json"]);
        let report = report(&ran);
        assert_eq!((ran.code, report.summary.verdict), (Some(3), Verdict::Incomplete));
        let missing = missing(&report);
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["nf-tables", "xtables-legacy", "libvirt"], "{missing:?}");
        for (name, reason) in &missing[..2] {
            let why = ["Operation not permitted", "Permission denied"].iter().any(|why| reason.contains(why));
            assert!(why, "{name}: {reason}");
        }
        let read = ["links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls"];
        for name in read {
            let source = report.sources.iter().find(|source| source.name == name);
            assert_eq!(source.map(|source| source.status), Some(SourceStatus::Read), "{name}");
        }
        assert_lacks(&ran, &["NET_ADMIN", "NET_RAW", "BPF", "SYS_PTRACE", "DAC_READ_SEARCH"]);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("bug"), "{}", ran.stderr);

        let table = doctor_as(host, NOBODY, &[]);
        assert_eq!(table.code, Some(3), "{}", table.stderr);
        for name in names {
            assert!(table.stdout.contains(&format!("not read: {name}: ")), "{name} in {}", table.stdout);
        }
    });
}
