//! The host is as it was: after a run, after every subcommand, and after a run that was killed at any
//! moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::{Backend, Host, INTERNET, kvmnet};
use crate::shared_host::{assert_healthy, let_guests_speak, on_shared_host};

/// What is compared, besides the devices: a name, and the command that prints it.
const SECTIONS: [(&str, &str); 13] = [
    ("addresses", "ip -o address; ip maddress"),
    ("routes", "ip route show table all; ip -6 route show table all; ip nexthop"),
    ("rules", "ip rule; ip -6 rule"),
    (
        "permanent neighbours",
        "ip neigh show nud permanent; ip -6 neigh show nud permanent; ip neigh show proxy",
    ),
    ("permanent MACs", "bridge fdb | grep -E 'permanent|static'; bridge mdb | grep permanent; bridge vlan"),
    // Where the guests are, as the bridges learned it.
    ("learned MACs", "bridge fdb | grep -vE 'permanent|static'"),
    // -s leaves the counters out, -a adds the handles.
    ("rule set", "nft -s -a list ruleset"),
    (
        "legacy rule set",
        "for v in 4 6; do cat /proc/net/ip${v%4}_tables_names; ip${v%4}tables-legacy-save | sed 's/\\[.*\\]//; /^#/d'; done",
    ),
    (
        "traffic control",
        "tc qdisc | sed 's/direct_packets_stat [0-9]*//'; for d in $(ls /sys/class/net); do tc class show dev $d; \
         for at in root ingress egress; do tc filter show dev $d $at; done; done",
    ),
    (
        "leases",
        "for n in $(virsh -q net-list --name); do virsh -q net-dhcp-leases $n; done; \
         grep -H '' /var/lib/libvirt/dnsmasq/*",
    ),
    ("sysctls", "sysctl -a 2>/dev/null"),
    // Without this one and its children.
    ("processes", "ps -eo pid=,ppid=,args= | awk -v me=$$ '$1 != me && $2 != me'"),
    // libvirtd's log tells of clients that come and go.
    (
        "files",
        "find /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt -xdev ! -name libvirtd.log \
         -printf '%p %y %s %m %T@\\n'",
    ),
];

/// Sysctls that change by themselves, by the beginning of their names.
const RESTLESS: [&str; 9] = [
    // Counters of what is open, anywhere on the machine.
    "fs.aio-nr ",
    "fs.dentry-state ",
    "fs.file-nr ",
    "fs.inode-",
    "kernel.pty.nr ",
    // The process that prints them has a new id itself.
    "kernel.ns_last_pid ",
    // The kernel lowers it when the machine is busy.
    "kernel.perf_event_max_sample_rate ",
    // Random, and what is left of it.
    "kernel.random.",
    // Connections that were tracked and end with their timers.
    "net.netfilter.nf_conntrack_count ",
];

/// What a host is, by section; in each the lines and how often they occur.
pub(crate) type Picture = BTreeMap<&'static str, BTreeMap<String, i32>>;

#[track_caller]
pub(crate) fn picture(host: &Host) -> Picture {
    let mut picture = Picture::new();
    let devices = picture.entry("devices").or_default();
    for device in host.json(&["ip", "-j", "-d", "link"]).as_array().expect("ip lists devices") {
        flatten(device["ifname"].as_str().expect("a device has a name"), device, devices);
    }
    for (section, command) in SECTIONS {
        let lines = picture.entry(section).or_default();
        // grep says by its status that it found nothing.
        for line in host.run(command).stdout.lines().map(str::trim) {
            if section != "sysctls" || !RESTLESS.iter().any(|name| line.starts_with(name)) {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
        }
    }
    picture
}

/// A device's attributes as lines, without the timers of bridges and their ports.
fn flatten(path: &str, value: &Value, lines: &mut BTreeMap<String, i32>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| !key.ends_with("_timer")) {
                flatten(&format!("{path} {key}"), value, lines);
            }
        }
        other => {
            *lines.entry(format!("{path} {other}")).or_default() += 1;
        }
    }
}

/// What only one of two pictures has, by section.
fn changes(before: &Picture, after: &Picture) -> Vec<(&'static str, String)> {
    let mut changes = Vec::new();
    for (section, lines) in before {
        let mut counts = lines.clone();
        for (line, count) in &after[section] {
            *counts.entry(line.clone()).or_default() -= count;
        }
        changes.extend(counts.into_iter().filter(|(_, count)| *count != 0).map(|(line, count)| {
            (*section, format!("{section}: {} {line}", if count > 0 { "gone:" } else { "new:" }))
        }));
    }
    changes
}

/// Nothing differs between the pictures.
#[track_caller]
pub(crate) fn assert_untouched(before: &Picture, after: &Picture, by: &str) {
    let changes: Vec<_> = changes(before, after).into_iter().map(|(_, change)| change).collect();
    assert!(changes.is_empty(), "{by} changes the host:\n{}", changes.join("\n"));
}

/// Changes of which each shows in its section, and how to take them back. Legacy tables are left out:
/// the kernel would keep them.
const TOUCHES: [(&str, &str, &str); 13] = [
    ("devices", "ip link set eth0 group 7", "ip link set eth0 group 0"),
    ("addresses", "ip address add 203.0.113.77/32 dev eth0", "ip address del 203.0.113.77/32 dev eth0"),
    ("routes", "ip route add blackhole 10.9.0.0/16 table 99", "ip route del blackhole 10.9.0.0/16 table 99"),
    ("rules", "ip -6 rule add priority 99 table 99", "ip -6 rule del priority 99"),
    (
        "permanent neighbours",
        "ip neigh add 10.20.0.77 lladdr 52:54:00:00:00:77 dev br0",
        "ip neigh del 10.20.0.77 dev br0",
    ),
    (
        "permanent MACs",
        "bridge fdb add 52:54:00:00:00:77 dev vnet1 master static",
        "bridge fdb del 52:54:00:00:00:77 dev vnet1 master",
    ),
    (
        "learned MACs",
        "bridge fdb add 52:54:00:00:00:78 dev vnet1 master dynamic",
        "bridge fdb del 52:54:00:00:00:78 dev vnet1 master",
    ),
    ("rule set", "nft add table inet lab", "nft delete table inet lab"),
    ("traffic control", "tc qdisc add dev eth0 clsact", "tc qdisc del dev eth0 clsact"),
    (
        "leases",
        "echo '#' >>/var/lib/libvirt/dnsmasq/virbr0.status",
        "truncate -s -2 /var/lib/libvirt/dnsmasq/virbr0.status",
    ),
    ("sysctls", "sysctl -qw net.ipv4.conf.eth0.arp_notify=1", "sysctl -qw net.ipv4.conf.eth0.arp_notify=0"),
    ("processes", "sleep 99 >/dev/null 2>&1 & echo $! >/run/lab/pid", "kill $(cat /run/lab/pid)"),
    ("files", "touch /run/lab/file", "rm /run/lab/file /run/lab/pid"),
];

/// A port of our own in place of the VMs' (`CAP_BPF` is lacking) is gone with its process, also if that is killed, and
/// the VMs are found where they were. Spanning tree forgets them sooner for a while, as it does whenever a VM starts.
#[test]
fn a_port_of_our_own_leaves_the_host_as_it_was() {
    on_shared_host(Backend::Nftables, |host| {
        let without_bpf = "--bounding-set -all,+net_admin,+net_raw --inh-caps -all";
        let_guests_speak(host);
        let before = picture(host);
        let doctor = format!(
            "setpriv {without_bpf} {} doctor --internet-target {INTERNET} --format json",
            kvmnet().display()
        );
        let ran = host.run(&doctor);
        assert!(ran.stdout.contains("\"sender\": \"shadow\""), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(host.run("ip -o link | grep kvmnet; bridge fdb | grep kvmnet").stdout, "");
        let_guests_speak(host);
        assert_untouched(&before, &picture(host), "a port of kvmnet's own");

        host.sh(&format!(
            "{doctor} >/dev/null 2>&1 & pid=$!; \
             for _ in $(seq 500); do bridge link | grep -q 'kvmnet-.*state forwarding' && break; sleep 0.02; done; \
             kill -9 $pid; wait $pid; test $? = 137"
        ));
        assert_eq!(host.run("ip -o link | grep kvmnet; bridge fdb | grep kvmnet").stdout, "");
        let_guests_speak(host);
        assert_untouched(&before, &picture(host), "a killed run with a port of its own");
    });
}

/// Otherwise the tests below would pass whatever kvmnet does.
#[test]
fn every_change_is_seen() {
    on_shared_host(Backend::Nftables, |host| {
        let_guests_speak(host);
        let before = picture(host);
        let empty: Vec<_> =
            before.iter().filter(|(_, lines)| lines.is_empty()).map(|(name, _)| *name).collect();
        assert_eq!(empty, ["legacy rule set", "permanent neighbours"]);
        for (_, touch, _) in TOUCHES {
            host.sh(touch);
        }
        let touched = changes(&before, &picture(host));
        for (.., back) in TOUCHES {
            host.sh(back);
        }
        for (section, touch, _) in TOUCHES {
            assert!(
                touched.iter().any(|(changed, _)| *changed == section),
                "{touch} is not seen: {touched:?}"
            );
        }
        let left: Vec<_> =
            changes(&before, &picture(host)).into_iter().filter(|(at, _)| *at != "files").collect();
        assert!(left.is_empty(), "the test leaves changes behind: {left:?}");
        assert_healthy(host);
    });
}

fn no_subcommand_changes_the_host(backend: Backend) {
    on_shared_host(backend, |host| {
        // Otherwise the answers to kvmnet's packets may be the first that a bridge hears of a guest.
        let_guests_speak(host);
        let before = picture(host);
        assert_healthy(host);
        assert_untouched(&before, &picture(host), "kvmnet doctor");
        for arguments in [&["doctor", "--static"][..], &["ports"], &["snapshot"]] {
            let ran = host.kvmnet(arguments);
            assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        }
        assert_untouched(&before, &picture(host), "kvmnet that sends nothing");
    });
}

#[test]
fn no_subcommand_changes_the_host_nftables() {
    no_subcommand_changes_the_host(Backend::Nftables);
}

#[test]
fn no_subcommand_changes_the_host_iptables() {
    no_subcommand_changes_the_host(Backend::Iptables);
}

/// How often a run is killed; `KVMNET_LAB_KILLS` gives another number.
fn kills() -> u32 {
    let given = std::env::var("KVMNET_LAB_KILLS").ok();
    given.map_or(25, |number| number.parse().expect("KVMNET_LAB_KILLS is a number"))
}

/// Starts the doctor, kills it alone after a while, and waits for the helper that it started. Says
/// whether the doctor still ran.
#[track_caller]
fn killed_after(host: &Host, delay: Duration) -> bool {
    let status = host.sh(&format!(
        "{} doctor --internet-target {INTERNET} >/dev/null & pid=$!; sleep {}; kill -9 $pid; wait $pid; echo $?; \
         for _ in $(seq 100); do pgrep -x kvmnet-libvirt >/dev/null || exit 0; sleep 0.02; done; \
         echo 'the helper outlives the doctor'; exit 1",
        kvmnet().display(),
        delay.as_secs_f64()
    ));
    status.trim() == "137"
}

fn a_killed_run_leaves_the_host_as_it_was(backend: Backend) {
    on_shared_host(backend, |host| {
        let_guests_speak(host);
        let before = picture(host);
        assert_healthy(host);
        let start = Instant::now();
        host.doctor(&[]);
        let whole = start.elapsed();
        let (kills, mut killed) = (kills(), 0);
        for at in 0..kills {
            killed += u32::from(killed_after(host, whole * at / kills));
            assert_untouched(&before, &picture(host), "a killed run");
        }
        assert!(killed > kills / 2, "only {killed} of {kills} runs were killed within {whole:?}");
        assert_healthy(host);
    });
}

#[test]
fn a_killed_run_leaves_the_host_as_it_was_nftables() {
    a_killed_run_leaves_the_host_as_it_was(Backend::Nftables);
}

#[test]
fn a_killed_run_leaves_the_host_as_it_was_iptables() {
    a_killed_run_leaves_the_host_as_it_was(Backend::Iptables);
}

/// A helper that waits for a daemon that hangs would otherwise wait for ever.
#[test]
fn the_helper_of_a_killed_run_ends_even_if_libvirt_hangs() {
    on_shared_host(Backend::Nftables, |host| {
        host.sh("kill -STOP $(cat /run/libvirtd.pid)");
        // The helper starts within the first milliseconds.
        let kills = kills();
        let killed = (0..kills).filter(|&at| killed_after(host, Duration::from_millis(2) * at)).count();
        assert_eq!(killed, kills as usize, "a doctor does not wait for libvirt");
        host.sh("kill -CONT $(cat /run/libvirtd.pid)");
        assert_healthy(host);
    });
}
