//! What a guest sees of a run is what `docs/wire.md` says, and nothing else.

use std::collections::BTreeSet;

use crate::host::{Backend, Host};
use crate::shared_host::{assert_healthy, let_guests_speak, on_shared_host};

/// The kinds of the table in `docs/wire.md`, and how tcpdump writes them.
const KINDS: [(&str, &[&str]); 12] = [
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
    ("ICMPv6 router solicitation", &["ICMP6, router solicitation"]),
    ("ICMPv6 router advertisement", &["ICMP6, router advertisement"]),
];

/// What the bridge and the guests' kernels send by themselves. What else is sent over IPv6 is what is sent over IPv4.
const NOISE: [&str; 2] = ["STP 802.1d", "ethertype IPv6"];

/// A VM of the lab gets no more than so many frames of a run.
const MOST: usize = 40;

/// Gives the guests' network a subnet of IPv6: by it guests ask for their router.
const WITH_IPV6: &str = "virsh net-dumpxml --inactive default >/run/lab/default.xml
    sed \"s|<forward mode='nat'/>|<forward mode='nat'><nat ipv6='yes'/></forward>|
         s|</network>|<ip family='ipv6' address='fd00:122::1' prefix='64'/></network>|\" \
      /run/lab/default.xml | virsh -q net-define /dev/stdin";

/// Starts it anew, and plugs the guests in again.
const ANEW: &str = "virsh -q net-destroy default; virsh -q net-start default
    for tap in vnet0 vnet1; do ip link set $tap master virbr0 up; done";

/// What web1 has received so far, by its own count.
fn received(host: &Host) -> usize {
    let (status, said) = host.guest("web1", "cat /sys/class/net/eth0/statistics/rx_packets");
    assert_eq!(status, 0, "{said}");
    said.trim().parse().expect("a number")
}

fn a_guest_sees_what_the_docs_say(backend: Backend) {
    on_shared_host(backend, |host| {
        host.sh(&format!("{WITH_IPV6}\n{ANEW}"));
        let_guests_speak(host);
        // web1 is known by the link-local address as which it asks for its router. The lab's DHCP client took its own.
        let router = host.sh("ip -6 -o address show dev virbr0 scope link | grep -o 'fe80[^/]*'");
        let speak = format!(
            "cd /proc/sys/net/ipv6/conf; echo 0 >all/accept_dad; echo 0 >eth0/accept_dad; \
             ip addr add fe80::5054:ff:feaa:1/64 dev eth0; ping -c 1 -W 2 {}%eth0",
            router.trim()
        );
        let (status, said) = host.guest("web1", &speak);
        assert_eq!(status, 0, "{said}");
        // The recorder is at the tap before the guest counts, and stays until it has written as many down: what it holds
        // when it is told to end is lost.
        host.sh("tcpdump --immediate-mode -nn -l -e -i vnet0 -Q out >/run/lab/seen 2>/run/lab/recorder & echo $! >/run/lab/recorder.pid
                 timeout 10 sh -c 'until grep -q listening /run/lab/recorder; do sleep 0.05; done'");
        let before = received(host);
        let (code, _) = host.doctor(&[]);
        let after = received(host);
        host.sh(&format!(
            "timeout 10 sh -c 'until [ $(wc -l </run/lab/seen) -ge {} ]; do sleep 0.05; done' || :",
            after - before
        ));
        host.sh("kill -INT $(cat /run/lab/recorder.pid)
                 timeout 10 sh -c 'while kill -0 $(cat /run/lab/recorder.pid) 2>/dev/null; do sleep 0.05; done'");
        let seen = host.sh("cat /run/lab/seen");
        let lines: Vec<&str> = seen.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(code, 0, "{seen}");
        assert!(after - before <= lines.len(), "the guest got {} frames\n{seen}", after - before);
        let is = |line: &str, words: &[&str]| words.iter().all(|word| line.contains(word));
        let known = |line: &str| KINDS.iter().any(|(_, words)| is(line, words));
        let noise = |line: &str| NOISE.iter().any(|word| line.contains(word));
        let of_the_run: Vec<&&str> = lines.iter().filter(|line| known(line) || !noise(line)).collect();
        let strange: Vec<_> = of_the_run.iter().filter(|line| !known(line)).collect();
        assert!(strange.is_empty() && of_the_run.len() <= MOST, "{strange:#?}\n{seen}");
        let kinds: BTreeSet<&str> = KINDS
            .iter()
            .filter(|(_, words)| of_the_run.iter().any(|line| is(line, words)))
            .map(|(kind, _)| *kind)
            .collect();
        // The lab's first router has the target itself, so that nothing expires there.
        assert_eq!(kinds.len(), KINDS.len() - 1, "{kinds:?}\n{seen}");
        for to in ["> ff02::1:", "> fe80::"] {
            let advertised = |line: &str| line.contains("router advertisement") && line.contains(to);
            assert!(of_the_run.iter().any(|line| advertised(line)), "none {to}\n{seen}");
        }
        host.sh(&format!("virsh -q net-define /run/lab/default.xml\n{ANEW}"));
        host.guest("web1", "ip addr del fe80::5054:ff:feaa:1/64 dev eth0");
        // Spanning tree has to let the ports through first.
        assert_healthy(host);
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
