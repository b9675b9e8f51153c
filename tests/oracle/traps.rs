//! The places where others went wrong, one by one: what the kernel does is stated here, and the engine
//! must say the same.

use std::fmt::Write as _;

use kvmnet::model::{Claim, Selection, Traffic, Zone};
use kvmnet_probes::wire::{Answer, Outcome};
use kvmnet_reports::Expected;

use crate::case;
use crate::compare::Comparison;
use crate::host::Host;
use crate::places::{GUESTS, INTERNET, NETS, ip};
use crate::shrink::report;
use crate::trial::Trial;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Stopped,
    /// The kernel may do either; the engine must say so.
    Open,
}

use Fate::{Answered, Open, Stopped};

/// A configuration, and what becomes of packets on it.
struct Trap {
    name: &'static str,
    items: &'static str,
    packets: &'static [(&'static str, Fate)],
}

/// A chain that sees what the host forwards.
macro_rules! forward {
    ($($rule:literal),*) => {
        concat!(
            "nft add table inet t\nnft add chain inet t f { type filter hook forward priority 0; }\n",
            $("nft add rule inet t f ", $rule, "\n"),*
        )
    };
}

const TRAPS: &[Trap] = &[
    Trap {
        name: "one connection state is a test of bits",
        items: forward!("ct state new drop"),
        packets: &[("db1 web1 icmp", Stopped), ("web1 web2 icmp", Answered)],
    },
    Trap {
        name: "a set of connection states holds exact values",
        items: forward!("ct state { established, related } drop"),
        packets: &[("db1 web1 icmp", Stopped), ("host db1 icmp", Answered)],
    },
    Trap {
        name: "states with a comma are a test of bits, one that is compared is exact",
        items: forward!("ct state == 0xa drop", "ct state established,untracked accept"),
        packets: &[("db1 web1 icmp", Answered), ("db1 web1 tcp 22", Answered)],
    },
    Trap {
        name: "one TCP flag is a test of bits",
        items: forward!("tcp flags syn drop"),
        packets: &[("db1 web1 tcp 22", Stopped), ("db1 web1 icmp", Answered)],
    },
    Trap {
        name: "a set of TCP flags holds exact values: the SYN passes, the SYN with ACK does not",
        items: forward!("tcp flags { ack, syn | ack } drop"),
        packets: &[("db1 web1 tcp 22", Stopped), ("db1 web1 icmp", Answered)],
    },
    Trap {
        name: "TCP flags of other packets than those of connections",
        items: forward!("tcp flags { ack, fin } drop", "tcp flags == ack drop"),
        packets: &[("db1 web1 tcp 22", Answered)],
    },
    Trap {
        name: "a name that ends in an asterisk is a prefix",
        items: forward!("iifname \"virbr*\" oifname \"virbr*\" drop"),
        packets: &[("db1 web1 icmp", Stopped), ("lan1 web1 icmp", Answered)],
    },
    Trap {
        name: "a whole name is no prefix of a longer one",
        items: forward!("iifname \"virbr\" drop", "oifname \"br\" drop"),
        packets: &[("db1 web1 icmp", Answered), ("db1 lan1 icmp", Answered)],
    },
    Trap {
        name: "a load of ports breaks the rule where there are none, also a negated one",
        items: forward!("meta l4proto tcp th dport != 443 drop", "@th,0,32 != 0 tcp dport != 22 drop"),
        packets: &[("db1 web1 icmp", Answered), ("db1 web1 tcp 443", Stopped), ("db1 web1 tcp 80", Stopped)],
    },
    Trap {
        name: "an ARP packet has no transport header, and a negated load of it breaks the rule",
        items: "nft add table netdev t
nft add chain netdev t i { type filter hook ingress device vnet2 priority 0; }
nft add rule netdev t i @th,16,16 != 443 drop",
        packets: &[
            ("web1 gateway arp", Answered),
            ("web1 gateway tcp 443", Answered),
            ("web1 gateway tcp 22", Stopped),
        ],
    },
    Trap {
        name: "a key of a connection breaks the rule before there is one",
        items: "nft add table ip t
nft add chain ip t p { type filter hook prerouting priority -300; }
nft add rule ip t p ct mark != 7 drop
nft add rule ip t p ct direction original drop",
        packets: &[("web1 gateway icmp", Answered), ("db1 web1 icmp", Answered)],
    },
    Trap {
        name: "what is not tracked has a state of its own, and no translation",
        items: "nft add table ip t
nft add chain ip t raw { type filter hook prerouting priority -300; }
nft add rule ip t raw ip saddr 192.168.122.11 notrack
nft add chain ip t f { type filter hook forward priority 0; }
nft add rule ip t f ct state new counter
nft add chain ip t n { type nat hook postrouting priority 100; }
nft add rule ip t n oifname \"eth0\" masquerade",
        packets: &[("web1 internet icmp", Stopped), ("web2 internet icmp", Answered)],
    },
    Trap {
        name: "notrack does nothing where a connection is tracked already",
        items: "nft add table ip t
nft add chain ip t p { type filter hook prerouting priority 0; }
nft add rule ip t p notrack
nft add chain ip t f { type filter hook forward priority 0; }
nft add rule ip t f ct state untracked drop",
        packets: &[("db1 web1 icmp", Answered)],
    },
    Trap {
        name: "a connection is translated once: the first rule that does it counts",
        items: "nft add table ip t
nft add chain ip t n { type nat hook postrouting priority 100; }
nft add rule ip t n oifname \"eth0\" masquerade
nft add rule ip t n oifname \"eth0\" snat to 192.0.2.9",
        packets: &[("web1 internet icmp", Answered), ("web1 internet tcp 443", Answered)],
    },
    Trap {
        name: "answers are translated back without any rule for them",
        items: "nft add table ip t
nft add chain ip t n { type nat hook postrouting priority 100; }
nft add rule ip t n ct direction original oifname \"eth0\" masquerade
nft add chain ip t p { type nat hook prerouting priority -100; }
nft add rule ip t p iifname \"eth0\" dnat to 192.168.150.11",
        packets: &[("web1 internet icmp", Answered), ("internet db1 icmp", Answered)],
    },
    Trap {
        name: "a table of inet translates each family by its own rules",
        items: "nft add table inet t
nft add chain inet t n { type nat hook postrouting priority 100; }
nft add rule inet t n oifname \"eth0\" snat ip6 to 2001:db8:1::2
nft add rule inet t n meta nfproto ipv4 oifname \"eth0\" masquerade",
        packets: &[
            ("web1 internet icmp", Answered),
            ("web1 internet icmp 6", Answered),
            ("web2 internet tcp 22 6", Answered),
        ],
    },
    Trap {
        name: "fields of a concatenation are filled up to four octets",
        items: "nft add table ip t
nft add set ip t s { type ipv4_addr . inet_service . ipv4_addr; flags interval; }
nft add element ip t s { 192.168.150.0/24 . 20-30 . 192.168.122.11 }
nft add chain ip t f { type filter hook forward priority 0; }
nft add rule ip t f ip saddr . tcp dport . ip daddr @s drop",
        packets: &[
            ("db1 web1 tcp 22", Stopped),
            ("db1 web1 tcp 80", Answered),
            ("db1 web2 tcp 22", Answered),
        ],
    },
    Trap {
        name: "a limit can go either way",
        items: forward!("limit rate 1/day burst 1 packets accept", "ip daddr 192.168.122.11 drop"),
        packets: &[("db1 web1 icmp", Open), ("db1 lan1 icmp", Answered)],
    },
    Trap {
        name: "an accept ends one chain, a drop at any priority ends the packet",
        items: "nft add table ip a
nft add chain ip a f { type filter hook forward priority -10; }
nft add rule ip a f accept
nft add table ip b
nft add chain ip b f { type filter hook forward priority 300; }
nft add rule ip b f ip daddr 192.168.122.11 drop",
        packets: &[("db1 web1 icmp", Stopped), ("db1 web2 icmp", Answered)],
    },
    Trap {
        name: "the forward chain of another table drops what libvirt accepts",
        items: "nft add table ip libvirt_network
nft add chain ip libvirt_network forward { type filter hook forward priority 0; policy accept; }
nft add rule ip libvirt_network forward iif \"virbr0\" accept
nft add rule ip libvirt_network forward oif \"virbr0\" ct state established,related accept
nft add chain ip libvirt_network guest_nat { type nat hook postrouting priority 100; }
nft add rule ip libvirt_network guest_nat ip saddr 192.168.122.0/24 masquerade
iptables -t filter :FORWARD DROP [0:0]",
        packets: &[
            ("web1 internet icmp", Stopped),
            ("web1 gateway icmp", Answered),
            ("web1 web2 icmp", Answered),
        ],
    },
];

/// A claim in words: from whom, to whom, what, and `6` for IPv6.
fn claim(words: &str) -> Claim {
    let words: Vec<&str> = words.split(' ').collect();
    let ipv6 = words.last() == Some(&"6");
    let family = usize::from(ipv6);
    let guest = |name: &str| GUESTS.iter().position(|guest| guest.name == name);
    let net = |name: &str| NETS.iter().position(|net| net.name == name);
    let own = guest(words[0]).and_then(|at| net(GUESTS[at].network));
    let (from, source) = match (words[0], guest(words[0])) {
        ("host", _) => (Zone::Host, None),
        ("internet", _) => (Zone::Outside, Some(INTERNET[family])),
        (name, guest) => {
            let at = guest.unwrap_or_else(|| panic!("no guest {name}"));
            (Zone::Nic(at), Some(GUESTS[at].addresses[family]))
        }
    };
    let (to, destination) = match (words[1], guest(words[1]), own) {
        ("gateway", _, Some(own)) => (Zone::Gateway(own), NETS[own].gateway(ipv6)),
        ("internet", ..) => (Zone::Internet, INTERNET[family]),
        (name, guest, _) => {
            let at = guest.unwrap_or_else(|| panic!("no guest {name}"));
            (Zone::Nic(at), GUESTS[at].addresses[family])
        }
    };
    let traffic = match words[2] {
        "arp" => Traffic::Resolve,
        "icmp" => Traffic::Icmp,
        _ => Traffic::Tcp(words[3].parse().expect("a port")),
    };
    let (source, destination) = (source.map(ip), Some(ip(destination)));
    Claim {
        from,
        to,
        source,
        destination,
        ipv6,
        traffic,
        expected: Expected::Allow,
        selection: Selection::default(),
        assertion: None,
    }
}

/// The bridge of the NAT network, made again with all that it had.
const BRIDGE_AGAIN: &str = "link del virbr0
link add virbr0 address 52:54:00:bb:00:03 type bridge stp_state 0 mcast_snooping 0
address add 192.168.122.1/24 dev virbr0
link set virbr0 up
link set vnet2 master virbr0
link set vnet3 master virbr0
neigh add 192.168.122.11 lladdr 52:54:00:aa:00:03 dev virbr0
neigh add 192.168.122.12 lladdr 52:54:00:aa:00:04 dev virbr0
";

/// `iif` and `oif` are numbers: what they mean is lost with the device. Gives what is not so.
pub(crate) fn wrong_numbers() -> anyhow::Result<String> {
    let mut host = Host::build()?;
    let items = "nft add table inet t
nft add chain inet t f { type filter hook forward priority 0; }
nft add rule inet t f iif virbr0 ip daddr 192.168.150.11 drop
nft add rule inet t f iifname virbr0 ip daddr 10.20.0.11 drop";
    let items: Vec<_> = items.lines().map(case::item).collect();
    let claims = vec![claim("web1 db1 icmp"), claim("web1 lan1 icmp")];
    let trial = Trial { items: items.clone(), claims, lan_ipv6: false };
    let before = trial.run(&mut host)?.tried;
    crate::run::ip(BRIDGE_AGAIN)?;
    let after = trial.on_the_host_as_it_is()?;
    let mut wrong = String::new();
    for (tried, stated) in before.iter().chain(&after).zip([Stopped, Stopped, Answered, Stopped]) {
        let answered = matches!(tried.observation.outcome, Outcome::Answered { .. });
        if tried.comparison != Comparison::Agree || answered != (stated == Answered) {
            writeln!(wrong, "by number: {stated:?} is stated: {}", report(&items, tried, ""))?;
        }
    }
    Ok(wrong)
}

/// Addresses of one link alone: one on another link than the guest's, one on its own, and the guest's, whom the host
/// knows.
const ON_LINKS: &str = "address add fe80::7/64 dev virbr1 nodad
address add fe80::8/64 dev virbr0 nodad
neigh add fe80::b lladdr 52:54:00:aa:00:03 dev virbr0
";

/// An address of one link alone is the host's for who asks by that link, and not for who asks by another; rules that
/// ask the routes mean the link, too. Gives what is not so.
pub(crate) fn wrong_links() -> anyhow::Result<String> {
    let mut host = Host::build()?;
    crate::run::ip(ON_LINKS)?;
    let to = |address| Claim { destination: Some(ip(address)), ..claim("web1 gateway icmp 6") };
    let strict = "nft add table ip6 t
nft add chain ip6 t f { type filter hook prerouting priority 0; }
nft add rule ip6 t f fib saddr . iif oif missing drop";
    let redirected = "nft add table ip6 t
nft add chain ip6 t n { type nat hook prerouting priority -100; }
nft add rule ip6 t n ip6 daddr fe80::7 fib daddr type != local dnat to fe80::8";
    let from_link = Claim { source: Some(ip("fe80::b")), ..to("fe80::8") };
    let mut wrong = String::new();
    for (items, claim, stated) in [
        ("", to("fe80::7"), Stopped),
        ("", to("fe80::8"), Answered),
        (strict, from_link, Answered),
        (redirected, to("fe80::7"), Answered),
    ] {
        let items: Vec<_> = items.lines().map(case::item).collect();
        let trial = Trial { items: items.clone(), claims: vec![claim], lan_ipv6: false };
        let result = trial.run(&mut host)?;
        anyhow::ensure!(result.taken.len() == items.len(), "not loaded: {:?}", result.taken);
        let tried = result.tried.first().ok_or_else(|| anyhow::anyhow!("not sent"))?;
        let answered = matches!(tried.observation.outcome, Outcome::Answered { .. });
        if tried.comparison != Comparison::Agree || answered != (stated == Answered) {
            writeln!(wrong, "{stated:?} is stated: {}", report(&items, tried, ""))?;
        }
    }
    Ok(wrong)
}

/// Runs every trap; gives what is not as it is stated.
pub(crate) fn wrong() -> anyhow::Result<String> {
    let mut host = Host::build()?;
    let mut wrong = String::new();
    for trap in TRAPS {
        let items: Vec<_> = trap.items.lines().map(case::item).collect();
        let claims = trap.packets.iter().map(|(words, _)| claim(words)).collect();
        let trial = Trial { items: items.clone(), claims, lan_ipv6: false };
        let result = trial.run(&mut host)?;
        if result.taken.len() != items.len() || result.tried.len() < trap.packets.len() {
            writeln!(wrong, "{}: not loaded, or not sent: {:?}", trap.name, result.taken)?;
        }
        for ((words, stated), tried) in trap.packets.iter().zip(&result.tried) {
            let answered = matches!(&tried.observation.outcome, Outcome::Answered { answer, .. } if *answer != Answer::Reset);
            let as_stated = match stated {
                Answered => answered && tried.comparison == Comparison::Agree,
                Stopped => !answered && tried.comparison == Comparison::Agree,
                Open => tried.comparison == Comparison::Undecided,
            };
            if !as_stated {
                writeln!(
                    wrong,
                    "{}: {words}: {stated:?} is stated: {}",
                    trap.name,
                    report(&items, tried, "")
                )?;
            }
        }
    }
    Ok(wrong)
}
