//! What a guest sees of a run is what `docs/wire.md` says, and nothing else.

use std::collections::BTreeSet;

use crate::host::{Backend, Host};
use crate::shared_host::{let_guests_speak, on_shared_host};

/// The kinds of the table in `docs/wire.md`, and how tcpdump writes them.
const KINDS: [(&str, &[&str]); 10] = [
    ("ARP request", &["ethertype ARP", "Request who-has"]),
    ("ARP reply", &["ethertype ARP", "Reply"]),
    ("ICMP echo request", &["ICMP echo request"]),
    ("ICMP echo reply", &["ICMP echo reply"]),
    ("ICMP time exceeded", &["ICMP time exceeded"]),
    ("ICMP unreachable", &[": ICMP ", " unreachable"]),
    ("TCP SYN-ACK or RST", &[".443 > ", "Flags ["]),
    ("DNS response", &[".53 > "]),
    ("DHCP discover", &["BOOTP/DHCP, Request"]),
    ("DHCP offer", &["BOOTP/DHCP, Reply"]),
];

/// What the bridge and the guests' kernels send by themselves.
const NOISE: [&str; 2] = ["STP 802.1d", "ethertype IPv6"];

/// A VM of the lab gets no more than so many frames of a run.
const MOST: usize = 40;

/// What web1 has received so far, by its own count.
fn received(host: &Host) -> usize {
    let (status, said) = host.guest("web1", "cat /sys/class/net/eth0/statistics/rx_packets");
    assert_eq!(status, 0, "{said}");
    said.trim().parse().expect("a number")
}

fn a_guest_sees_what_the_docs_say(backend: Backend) {
    on_shared_host(backend, |host| {
        let_guests_speak(host);
        // The recorder is at the tap before the guest counts, and stays until it has counted.
        host.sh("tcpdump -nn -l -e -i vnet0 -Q out >/run/lab/seen 2>/run/lab/recorder & echo $! >/run/lab/recorder.pid
                 timeout 10 sh -c 'until grep -q listening /run/lab/recorder; do sleep 0.05; done'");
        let before = received(host);
        let (code, _) = host.doctor(&[]);
        let after = received(host);
        host.sh("kill -INT $(cat /run/lab/recorder.pid)
                 timeout 10 sh -c 'while kill -0 $(cat /run/lab/recorder.pid) 2>/dev/null; do sleep 0.05; done'");
        let seen = host.sh("cat /run/lab/seen");
        let lines: Vec<&str> = seen.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(code, 0, "{seen}");
        assert!(after - before <= lines.len(), "the guest got {} frames\n{seen}", after - before);
        let is = |line: &str, words: &[&str]| words.iter().all(|word| line.contains(word));
        let of_the_run: Vec<&&str> =
            lines.iter().filter(|line| !NOISE.iter().any(|word| line.contains(word))).collect();
        let strange: Vec<_> =
            of_the_run.iter().filter(|line| !KINDS.iter().any(|(_, words)| is(line, words))).collect();
        assert!(strange.is_empty() && of_the_run.len() <= MOST, "{strange:#?}\n{seen}");
        let kinds: BTreeSet<&str> = KINDS
            .iter()
            .filter(|(_, words)| of_the_run.iter().any(|line| is(line, words)))
            .map(|(kind, _)| *kind)
            .collect();
        // The lab's first router has the target itself, so that nothing expires there.
        assert_eq!(kinds.len(), KINDS.len() - 1, "{kinds:?}\n{seen}");
    });
}

#[test]
fn a_guest_sees_what_the_docs_say_with_nftables() {
    a_guest_sees_what_the_docs_say(Backend::Nftables);
}

#[test]
fn a_guest_sees_what_the_docs_say_with_iptables() {
    a_guest_sees_what_the_docs_say(Backend::Iptables);
}

#[test]
fn the_docs_have_every_kind() {
    let docs = include_str!("../../docs/wire.md");
    let rows: Vec<&str> =
        docs.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(2).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(rows, kinds);
}
