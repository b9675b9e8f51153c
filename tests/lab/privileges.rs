//! What `docs/privileges.md` says of each level of privilege, and what the running doctor holds.

use std::process::Command;

use kvmnet_reports::{Cell, CellVerdict, Expected, Observed, Proof, Report, Sender, Verdict, ZoneKind};

use crate::host::{Backend, Host, INTERNET, Ran, kvmnet};
use crate::shared_host::{assert_healthy, let_guests_speak, on_shared_host};

/// A user without any privilege, as arguments of setpriv.
pub(crate) const NOBODY: &str = "--reuid=65534 --regid=65534 --clear-groups";

/// kvmnet as `setpriv` with these arguments starts it. The build directory may be closed to others, so the programs
/// are copied.
fn kvmnet_as(host: &Host, setpriv: &str) -> Command {
    let programs = kvmnet();
    let directory = programs.parent().expect("a program is in a directory").display();
    host.sh(&format!(
        "mkdir -p /run/lab/bin && cp {directory}/kvmnet {directory}/kvmnet-libvirt /run/lab/bin"
    ));
    let mut command = host.command("setpriv");
    command.args(setpriv.split(' ')).arg("/run/lab/bin/kvmnet").env("HOME", "/nonexistent");
    command
}

/// The doctor as `setpriv` with these arguments starts it.
#[track_caller]
pub(crate) fn doctor_as(host: &Host, setpriv: &str, arguments: &[&str]) -> Ran {
    let mut command = kvmnet_as(host, setpriv);
    command.args(["doctor", "--internet-target", INTERNET]).args(arguments);
    command.output().expect("nsenter runs").into()
}

/// The report that a doctor printed as JSON.
#[track_caller]
pub(crate) fn report(ran: &Ran) -> Report {
    serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("no report ({e}), exit {:?}: {}{}", ran.code, ran.stdout, ran.stderr))
}

/// The doctor says once, at the end, that it lacks these capabilities and no others.
#[track_caller]
pub(crate) fn assert_lacks(ran: &Ran, expected: &[&str]) {
    let hints: Vec<_> = ran.stderr.split("\nhint: ").skip(1).collect();
    let told = hints.iter().flat_map(|hint| hint.lines()).filter_map(|line| line.strip_prefix("  CAP_"));
    let told: Vec<_> = told.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(told, expected, "{}", ran.stderr);
    assert_eq!(hints.len(), usize::from(!expected.is_empty()), "{}", ran.stderr);
}

/// Root with these capabilities and no others.
fn root_with(capabilities: &str) -> String {
    format!("--bounding-set -all{capabilities} --inh-caps -all")
}

/// Whether somebody with every privilege does not try it either.
fn has_no_packet(cell: &Cell) -> bool {
    cell.note.as_deref().is_some_and(|note| note.contains("not tried: the LAN's router is not known"))
}

/// Each cell that was not tried says which capability that takes, and passes only if it is closed by proof.
#[track_caller]
fn assert_untried(report: &Report, is_untried: impl Fn(&Cell) -> bool, capability: &str) {
    assert!(report.matrix.iter().any(&is_untried), "{:#?}", report.matrix);
    for cell in report.matrix.iter().filter(|cell| !has_no_packet(cell)) {
        assert_eq!(cell.observed == Observed::NotTried, is_untried(cell), "{cell:?}");
        if is_untried(cell) {
            let closed = cell.expected == Expected::Deny && cell.proof == Proof::AllPackets;
            let expected = if closed { CellVerdict::Ok } else { CellVerdict::Unknown };
            assert_eq!(cell.verdict, expected, "{cell:?}");
            assert!(cell.note.as_deref().is_some_and(|note| note.contains(capability)), "{cell:?}");
        }
    }
}

/// The doctor at this level is incomplete, and nothing is said to be wrong.
#[track_caller]
fn incomplete(host: &Host, setpriv: &str, lacks: &[&str]) -> Report {
    let ran = doctor_as(host, setpriv, &["--format", "json"]);
    let report = report(&ran);
    assert_eq!((ran.code, report.summary.verdict), (Some(3), Verdict::Incomplete), "{}", ran.stdout);
    assert_eq!(report.summary.gaps, 0, "{:#?}", report.findings);
    assert_lacks(&ran, lacks);
    report
}

#[test]
fn root_with_three_capabilities_reads_and_tries_everything() {
    on_shared_host(Backend::Nftables, |host| {
        let ran = doctor_as(host, &root_with(",+net_admin,+net_raw,+bpf"), &["--format", "json"]);
        let report = report(&ran);
        assert_eq!((ran.code, report.summary.unknown), (Some(0), 0), "{}", ran.stdout);
        let (_, whole) = host.doctor(&[]);
        let of = |report: &Report| {
            report.matrix.iter().map(|cell| (cell.verdict, cell.observed)).collect::<Vec<_>>()
        };
        assert_eq!(of(&report), of(&whole));
        assert_lacks(&ran, &["SYS_PTRACE"]);
    });
}

const WITHOUT_BPF: &str = ",+net_admin,+net_raw";

/// A cell of a VM that is on a network of libvirt's, where nobody but VMs would notice a port of kvmnet's own.
fn may_be_stood_in_for(cell: &Cell) -> bool {
    cell.from.zone == ZoneKind::Vm && cell.from.network.as_deref() != Some("lan")
}

#[test]
fn without_cap_bpf_a_port_of_our_own_stands_in_for_vms() {
    on_shared_host(Backend::Nftables, |host| {
        let report = incomplete(host, &root_with(WITHOUT_BPF), &["BPF", "SYS_PTRACE"]);
        let from_host = |cell: &Cell| cell.from.zone == ZoneKind::Host;
        assert_untried(&report, |cell| !from_host(cell) && !may_be_stood_in_for(cell), "CAP_BPF");
        let (stood_in, own): (Vec<_>, Vec<_>) = report
            .matrix
            .iter()
            .filter(|cell| cell.sender.is_some())
            .partition(|cell| may_be_stood_in_for(cell));
        assert!(stood_in.len() >= 20 && own.len() >= 8, "{:#?}", report.matrix);
        for cell in stood_in {
            assert_eq!((cell.sender, cell.verdict), (Some(Sender::Shadow), CellVerdict::Ok), "{cell:?}");
            let expected = if cell.expected == Expected::Allow { Observed::Reply } else { Observed::NoReply };
            assert_eq!(cell.observed, expected, "{cell:?}");
            let note = cell.note.as_deref().unwrap_or_default();
            assert!(note.contains("tried by a port of kvmnet's own in virbr"), "{note}");
        }
        for cell in own {
            assert_eq!((cell.sender, cell.verdict), (Some(Sender::AsHost), CellVerdict::Ok), "{cell:?}");
        }
    });
}

/// What became of a VM's pings to the internet where a port of our own has to stand in for it: the verdict, who sent,
/// and the note.
#[track_caller]
fn ping_by_a_port(report: &Report, vm: &str) -> (CellVerdict, Option<Sender>, String) {
    let cell = report.matrix.iter().find(|cell| {
        (cell.from.vm.as_deref(), cell.to.zone, cell.traffic.as_str())
            == (Some(vm), ZoneKind::Internet, "icmp")
    });
    let cell = cell.unwrap_or_else(|| panic!("no such cell: {:#?}", report.matrix));
    (cell.verdict, cell.sender, cell.note.clone().unwrap_or_default())
}

/// A port of our own does not meet what means the VM. It makes nothing of that: no pass, and no disagreement.
#[test]
fn what_means_the_vm_alone_is_not_told_by_a_port_of_our_own() {
    on_shared_host(Backend::Nftables, |host| {
        let_guests_speak(host);
        let (_, facts) = host.doctor(&["--static"]);
        let nic = facts.nics.iter().find(|nic| nic.vm == "web1").expect("web1 has a NIC");
        let (tap, web1) = (nic.tap.as_deref().expect("it runs"), &nic.addresses[0]);
        let set = "nft add table inet own; \
                   nft add chain inet own forward '{ type filter hook forward priority -5; }'; \
                   nft add rule inet own forward";
        for (rule, why) in [
            // It lets web1 pass, and might do anything to others.
            (format!("iifname {tap} counter"), "rules or settings of this host mean web1 alone"),
            // What the facts leave open stays open.
            ("limit rate over 1000/second drop".to_owned(), "the facts do not tell what the VM meets"),
            (format!("ip saddr {web1} counter accept"), "rules of this host tell its address from the VM's"),
        ] {
            host.sh(&format!("{set} {rule}"));
            let ran = doctor_as(host, &root_with(WITHOUT_BPF), &["--format", "json", "--vm", "web1"]);
            let (verdict, sender, note) = ping_by_a_port(&self::report(&ran), "web1");
            assert_eq!((verdict, sender), (CellVerdict::Unknown, None), "{rule}: {note}");
            assert!(note.contains(why), "{rule}: {note}");
            host.sh("nft delete table inet own");
        }
        // web1's packets are stopped, those of the port are not: the facts decide.
        host.sh(&format!("{set} ip saddr {web1} drop"));
        let ran = doctor_as(host, &root_with(WITHOUT_BPF), &["--format", "json"]);
        let stopped = self::report(&ran);
        let (verdict, sender, note) = ping_by_a_port(&stopped, "web1");
        assert_eq!((verdict, sender), (CellVerdict::Gap, None), "{note}");
        assert_eq!(ping_by_a_port(&stopped, "web2").1, Some(Sender::Shadow));
        let ids: Vec<_> = stopped.findings.iter().map(|finding| finding.id.as_str()).collect();
        assert!(!ids.is_empty() && !ids.contains(&"wire-disagrees"), "{ids:?}");
        host.sh("nft delete table inet own");
        assert_healthy(host);
    });
}

#[test]
fn without_cap_net_raw_nothing_is_sent() {
    on_shared_host(Backend::Nftables, |host| {
        let report = incomplete(host, &root_with(",+net_admin,+bpf"), &["NET_RAW", "SYS_PTRACE"]);
        assert_untried(&report, |_| true, "CAP_NET_RAW");
    });
}

#[test]
fn root_without_any_capability_passes_nothing() {
    on_shared_host(Backend::Nftables, |host| {
        let lacks = ["NET_ADMIN", "NET_RAW", "BPF", "SYS_PTRACE"];
        let report = incomplete(host, &root_with(""), &lacks);
        assert_untried(&report, |_| true, "CAP_NET_RAW");
        assert_eq!(report.summary.ok, 0, "without the rules nothing is proved either");
    });
}

/// libvirt lets a group in, as it is on every distribution: the members read all that root reads, if they have the
/// capabilities that the documentation names.
#[test]
fn a_member_of_libvirts_group_with_ambient_capabilities_needs_no_root() {
    on_shared_host(Backend::Nftables, |host| {
        let restart = "kill -9 $(cat /run/libvirtd.pid) && tail --pid=$(cat /run/libvirtd.pid) -f /dev/null; \
                       systemctl start libvirtd";
        let settings = "unix_sock_group = \"tty\"\nunix_sock_ro_perms = \"0770\"\nunix_sock_rw_perms = \"0770\"\n\
                        auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n";
        host.write("/etc/libvirt/libvirtd.conf", settings.as_bytes());
        host.sh(restart);
        let group = host.sh("getent group tty | cut -d: -f3");
        let user = |groups: &str, capabilities: &str| {
            let capabilities = format!("-all{capabilities}");
            format!(
                "--reuid=65534 --regid=65534 {groups} --inh-caps {capabilities} --ambient-caps {capabilities}"
            )
        };
        let member = |capabilities: &str| user(&format!("--groups={}", group.trim()), capabilities);
        let system = ["--uri", "qemu:///system", "--format", "json"];
        let all = ",+net_admin,+net_raw,+bpf,+sys_ptrace,+dac_read_search";
        let ran = doctor_as(host, &member(all), &system);
        let whole = report(&ran);
        assert_eq!((ran.code, whole.summary.verdict), (Some(0), Verdict::Verified), "{}", ran.stdout);
        assert_lacks(&ran, &[]);

        let ran = doctor_as(host, &member(",+net_admin,+net_raw,+bpf"), &system);
        let partial = report(&ran);
        assert_eq!((ran.code, partial.summary.verdict), (Some(3), Verdict::Incomplete), "{}", ran.stdout);
        let tried = partial.matrix.iter().filter(|cell| !has_no_packet(cell));
        assert!(tried.into_iter().all(|cell| cell.observed != Observed::NotTried), "{}", ran.stdout);
        assert_lacks(&ran, &["SYS_PTRACE", "DAC_READ_SEARCH"]);

        let ran = doctor_as(host, &user("--clear-groups", ",+net_admin,+net_raw,+bpf"), &system);
        let libvirt = report(&ran).sources.into_iter().find(|source| source.name == "libvirt");
        let reason = libvirt.and_then(|libvirt| libvirt.reason).expect("libvirt lets only the group in");
        assert!(reason.contains("join the group libvirt"), "{reason}");
        assert_eq!(ran.code, Some(3));

        host.sh(&format!("rm /etc/libvirt/libvirtd.conf; {restart}"));
        assert_healthy(host);
    });
}

/// Capabilities by their bits: what reading and sending take, and what writing files takes.
const USED: u64 = 1 << 2 | 1 << 12 | 1 << 13 | 1 << 19 | 1 << 21 | 1 << 39;
const WRITING: u64 = 1 << 1 | 1 << 3;
const FOR_LIBVIRT: u64 = 1 << 2;

/// A shell condition: the process has these capabilities, no others, and can gain none.
fn holds(pid: &str, permitted: u64, effective: u64, inheritable: u64, ambient: u64) -> String {
    let lines = [
        ("CapInh", inheritable),
        ("CapPrm", permitted),
        ("CapEff", effective),
        ("CapBnd", FOR_LIBVIRT),
        ("CapAmb", ambient),
    ];
    let lines = lines.map(|(name, set)| format!("{name}:\\t{set:016x}\\n")).concat();
    format!(
        "cmp -s <(grep ^Cap /proc/{pid}/status) <(printf '{lines}') && \
         grep -q '^NoNewPrivs:.1' /proc/{pid}/status"
    )
}

/// Starts the doctor as root, behind which the caller may look; its id is in a file.
#[track_caller]
fn start_doctor(host: &Host, arguments: &str) {
    host.sh(&format!(
        "{} doctor --internet-target {INTERNET} {arguments} >/run/lab/doctor.out 2>&1 & \
         echo $! >/run/lab/doctor.pid",
        kvmnet().display()
    ));
}

const DOCTOR: &str = "$(cat /run/lab/doctor.pid)";

/// While guests may answer no capability is in effect. The first look keeps those that a second one takes; the last
/// look keeps none of them. A file in a directory that only its owner may write to is written all the same.
#[test]
fn the_running_doctor_holds_no_more_than_it_needs() {
    on_shared_host(Backend::Nftables, |host| {
        // Facts and wire disagree about a server that hangs: it listens, and each look waits for it in vain.
        host.sh("kill -STOP $(cat /run/libvirt/network/default.pid)");
        host.sh("mkdir -m 700 /run/lab/home && chown 65534 /run/lab/home");
        start_doctor(host, "--format json -o /run/lab/home/report.json");
        let listens = "test $(wc -l </proc/net/packet) -gt 1";
        host.wait_for(&format!("{listens} && {}", holds(DOCTOR, USED | WRITING, 0, 0, 0)));
        host.wait_for(&format!("{listens} && {}", holds(DOCTOR, WRITING, 0, 0, 0)));
        host.sh(&format!("tail --pid={DOCTOR} -f /dev/null; test -s /run/lab/home/report.json"));
        assert_eq!(host.run("cat /run/lab/doctor.out").stdout, "");

        start_doctor(host, "");
        host.wait_for(&format!("{listens} && {}", holds(DOCTOR, 0, 0, 0, 0)));
        host.sh(&format!("tail --pid={DOCTOR} -f /dev/null; rm -r /run/lab/home /run/lab/doctor.*"));
        host.sh("kill -CONT $(cat /run/libvirt/network/default.pid)");
        assert_healthy(host);
    });
}

#[test]
fn the_helper_has_no_network_capability() {
    on_shared_host(Backend::Nftables, |host| {
        host.sh("kill -STOP $(cat /run/libvirtd.pid)");
        start_doctor(host, "");
        // It gives up itself what it could hand on.
        host.wait_for(&holds("$(pgrep -x kvmnet-libvirt)", FOR_LIBVIRT, FOR_LIBVIRT, 0, 0));
        host.sh(&format!("kill -CONT $(cat /run/libvirtd.pid); tail --pid={DOCTOR} -f /dev/null"));
        host.sh("rm /run/lab/doctor.*");
        assert_healthy(host);
    });
}
