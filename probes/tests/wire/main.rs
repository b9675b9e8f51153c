//! Packets on the wire of a private host: answered, stopped on their way, leaking, and many at once.
//! Every test makes its own host ([`topology`] draws it) and changes what it says.

#![expect(clippy::print_stderr, clippy::unwrap_used, reason = "tests may fail, and say what they skip")]

mod capture;
mod router;
mod shadow;
mod topology;

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use capture::Capture;
use kvmnet_probes::facts::Mac;
use kvmnet_probes::wire::{
    Answer, Attempt, EchoForm, LONGEST_FILLED, Limits, NextHopMac, Observation, Outcome, Probe, Sender, run,
};
use topology::{
    BRIDGE, GUEST1, GUEST2, Host, WAN, as_guest1, as_host, device, echo, echo_as, ip, nobody, sh, unwanted,
    wanted,
};

const DEADLINE: Duration = Duration::from_secs(2);

fn try_all(attempts: &[Attempt]) -> Vec<Observation> {
    try_within(attempts, &Limits::new(DEADLINE))
}

fn try_within(attempts: &[Attempt], limits: &Limits) -> Vec<Observation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(attempts, limits))
}

fn answer(observation: &Observation) -> &Answer {
    match &observation.outcome {
        Outcome::Answered { answer, .. } => answer,
        other => panic!("not answered: {other:?}, seen {:?}", observation.sightings),
    }
}

fn try_one(attempt: Attempt) -> Observation {
    try_all(&[attempt]).pop().unwrap()
}

/// Where the probe itself was seen when it was first sent: `into tap1`, `out of wan0 from 203.0.113.2`.
fn path(observation: &Observation) -> Vec<String> {
    let mut words = Vec::new();
    for seen in observation.sightings.iter().filter(|seen| !seen.answer) {
        let source = seen.source.map_or_else(String::new, |source| format!(" from {source}"));
        let word = if seen.outgoing {
            format!("out of {}{source}", seen.device.name)
        } else {
            format!("into {}", seen.device.name)
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

#[test]
fn a_healthy_host_answers_every_kind_of_probe() {
    let Some(host) = Host::new("a_healthy_host_answers_every_kind_of_probe") else { return };
    let _open = host.inet.listen(443);
    let (v4, v6) = (as_guest1("10.9.0.11"), as_guest1("fd00:9::11"));
    let (host4, host6) = (as_host("10.9.0.1"), as_host("fd00:9::1"));
    let gateway = |address: &str| NextHopMac::Resolve(ip(address));
    let syn = |target: &str, port, hop: &str| Probe::TcpSyn { target: ip(target), port, via: gateway(hop) };
    let resolve = |target: &str| Probe::Resolve { target: ip(target), only: None };
    let cases = [
        (v4.clone(), resolve("10.9.0.1"), Answer::Mac(BRIDGE)),
        (v6.clone(), resolve("fd00:9::1"), Answer::Mac(BRIDGE)),
        (v4.clone(), echo("10.9.0.1", "10.9.0.1"), Answer::Echo),
        (v6.clone(), echo("fd00:9::1", "fd00:9::1"), Answer::Echo),
        (v4.clone(), echo("198.51.100.10", "10.9.0.1"), Answer::Echo),
        (v6.clone(), echo("2001:db8:2::10", "fd00:9::1"), Answer::Echo),
        (v4.clone(), echo("10.9.0.12", "10.9.0.12"), Answer::Echo),
        (v4.clone(), syn("198.51.100.10", 443, "10.9.0.1"), Answer::SynAck),
        (v6.clone(), syn("2001:db8:2::10", 443, "fd00:9::1"), Answer::SynAck),
        (v4.clone(), syn("198.51.100.10", 444, "10.9.0.1"), Answer::Reset),
        (host4.clone(), resolve("10.9.0.11"), Answer::Mac(GUEST1)),
        (host6.clone(), resolve("fd00:9::12"), Answer::Mac(GUEST2)),
        (host4.clone(), echo("10.9.0.11", "10.9.0.11"), Answer::Echo),
        (host6.clone(), echo("fd00:9::12", "fd00:9::12"), Answer::Echo),
        (host4.clone(), syn("10.9.0.11", 22, "10.9.0.11"), Answer::Reset),
        (host6.clone(), syn("fd00:9::11", 22, "fd00:9::11"), Answer::Reset),
    ];
    let attempts: Vec<_> = cases.iter().map(|(s, p, _)| wanted(s.clone(), p.clone())).collect();
    let observed = try_all(&attempts);
    for ((sender, probe, expected), observation) in cases.iter().zip(&observed) {
        assert_eq!(answer(observation), expected, "{sender:?} {probe:?}");
    }
}

#[test]
fn the_sightings_show_the_way_and_the_translated_source() {
    let Some(_host) = Host::new("the_sightings_show_the_way_and_the_translated_source") else { return };
    let observed = try_one(wanted(as_guest1("10.9.0.11"), echo("198.51.100.10", "10.9.0.1")));
    assert_eq!(answer(&observed), &Answer::Echo);
    assert_eq!(path(&observed), ["into tap1", "into br0", "out of wan0 from 203.0.113.2"]);
    let answers: Vec<_> = observed.sightings.iter().filter(|seen| seen.answer).collect();
    let back: Vec<_> = answers.iter().map(|seen| seen.device.name.as_str()).collect();
    assert_eq!(back.first().zip(back.last()), Some((&"wan0", &"tap1")), "{answers:?}");
    assert!(answers.iter().all(|seen| seen.source == Some(ip("198.51.100.10"))), "{answers:?}");
}

#[test]
fn a_packet_that_is_stopped_tells_how_far_it_came() {
    let Some(_host) = Host::new("a_packet_that_is_stopped_tells_how_far_it_came") else { return };
    let probe = || wanted(as_guest1("10.9.0.11"), echo("198.51.100.10", "10.9.0.1"));

    // In the forward chain: it came up at the bridge and never left.
    sh("nft 'add table ip f; add chain ip f path { type filter hook forward priority 0; }'
        nft 'add rule ip f path drop'");
    let observed = try_one(probe());
    assert_eq!(observed.outcome, Outcome::Silent);
    assert_eq!(path(&observed), ["into tap1", "into br0"]);

    // The same with an error to the sender: who refused it, and in which words.
    sh("nft 'flush chain ip f path; add rule ip f path reject with icmp admin-prohibited'");
    let observed = try_one(probe());
    let refused = Outcome::Refused { by: ip("10.9.0.1"), error: "administratively prohibited".to_owned() };
    assert_eq!(observed.outcome, refused);

    // Beyond the host: it left, and nobody answered.
    sh("nft 'flush chain ip f path'");
    let silent = wanted(as_guest1("10.9.0.11"), echo("203.0.113.99", "10.9.0.1"));
    sh("ip neigh add 203.0.113.99 lladdr 02:00:00:00:00:99 dev wan0");
    let observed = try_one(silent);
    assert_eq!(observed.outcome, Outcome::Silent);
    assert_eq!(path(&observed), ["into tap1", "into br0", "out of wan0 from 203.0.113.2"]);
}

/// A target that is silent behind a router that is not: the router answers for what expires there, to the guest
/// through the host's NAT and to the host itself.
#[test]
fn a_packet_that_expires_on_its_way_tells_who_is_there() {
    let Some(host) = Host::new("a_packet_that_expires_on_its_way_tells_who_is_there") else { return };
    // Forwarding takes one before it looks for rules.
    host.inet.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        ip link add void type bridge; ip link set void up
        ip route add 192.0.2.0/24 dev void; ip -6 route add 2001:db8:9::/64 dev void
        nft 'add table inet f; add chain inet f path { type filter hook forward priority 0; policy drop; }'");
    let expiring = |hops| EchoForm::Expiring { hops };
    let (v4, v6) = ("192.0.2.9", "2001:db8:9::9");
    let observed = try_all(&[
        wanted(as_guest1("10.9.0.11"), echo(v4, "10.9.0.1")),
        wanted(as_guest1("10.9.0.11"), echo_as(expiring(2), v4, "10.9.0.1")),
        wanted(as_guest1("fd00:9::11"), echo_as(expiring(2), v6, "fd00:9::1")),
        wanted(as_guest1("10.9.0.11"), echo_as(expiring(1), v4, "10.9.0.1")),
        wanted(as_host("10.9.0.1"), echo_as(expiring(1), v4, "10.9.0.1")),
        wanted(as_host("fd00:9::1"), echo_as(expiring(1), v6, "fd00:9::1")),
        // The target is no farther away.
        wanted(as_guest1("10.9.0.11"), echo_as(expiring(2), "198.51.100.10", "10.9.0.1")),
    ]);
    let router = |address: &str| Answer::Expired { by: ip(address) };
    assert_eq!(observed[0].outcome, Outcome::Silent);
    assert_eq!(answer(&observed[1]), &router("203.0.113.1"));
    assert_eq!(answer(&observed[2]), &router("2001:db8:1::1"));
    assert_eq!(answer(&observed[3]), &router("10.9.0.1"));
    assert_eq!(answer(&observed[4]), &router("203.0.113.1"));
    assert_eq!(answer(&observed[5]), &router("2001:db8:1::1"));
    assert_eq!(answer(&observed[6]), &Answer::Echo);
}

/// Behind the host is a way that carries less than the guest's and the host's own devices.
#[test]
fn a_packet_that_is_too_big_is_answered_by_whoever_cannot_pass_it_on() {
    let Some(host) = Host::new("a_packet_that_is_too_big_is_answered_by_whoever_cannot_pass_it_on") else {
        return;
    };
    host.inet.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        ip link add narrow type bridge; ip link set narrow mtu 1300 up
        ip route add 192.0.2.0/24 dev narrow; ip -6 route add 2001:db8:9::/64 dev narrow");
    let full = EchoForm::Filled { bytes: 1500 };
    let (v4, v6) = ("192.0.2.9", "2001:db8:9::9");
    let attempts = [
        wanted(as_guest1("10.9.0.11"), echo_as(full, "198.51.100.10", "10.9.0.1")),
        wanted(as_guest1("fd00:9::11"), echo_as(full, "2001:db8:2::10", "fd00:9::1")),
        wanted(as_guest1("10.9.0.11"), echo_as(full, v4, "10.9.0.1")),
        wanted(as_guest1("fd00:9::11"), echo_as(full, v6, "fd00:9::1")),
        wanted(as_host("10.9.0.1"), echo_as(full, v4, "10.9.0.1")),
    ];
    let narrow = |address: &str| Answer::TooBig { by: ip(address), mtu: 1300 };
    let (echo, by4, by6) = (Answer::Echo, narrow("203.0.113.1"), narrow("2001:db8:1::1"));
    let observed = try_all(&attempts);
    let answers: Vec<_> = observed.iter().map(answer).collect();
    assert_eq!(answers, [&echo, &echo, &by4, &by6, &by4]);
    for (target, family) in [(v4, "-4"), (v6, "-6")] {
        let route = sh(&format!("ip {family} route get {target}"));
        assert!(!route.contains("mtu"), "the host has learned from it: {route}");
    }
    let remembered = try_one(wanted(as_host("fd00:9::1"), echo_as(full, v6, "fd00:9::1"))).outcome;
    assert!(matches!(remembered, Outcome::NotTried { .. }), "{remembered:?}");

    // The error comes back to the host and is lost there.
    sh("nft 'add table inet f; add chain inet f path { type filter hook forward priority 0; }'
        nft 'add rule inet f path icmp type destination-unreachable drop'");
    let lost = try_one(attempts[2].clone());
    assert_eq!(lost.outcome, Outcome::Silent);
    let back: Vec<_> = lost.sightings.iter().filter(|seen| seen.answer).collect();
    assert_eq!(back.len(), 1, "{back:?}");
    assert_eq!((back[0].device.name.as_str(), back[0].source), ("wan0", Some(ip("203.0.113.1"))));

    // What the host's own way out does not carry it says itself.
    sh("nft delete table inet f; ip link set wan0 mtu 1400");
    let refused = try_one(attempts[0].clone());
    let by_host = Answer::TooBig { by: ip("10.9.0.1"), mtu: 1400 };
    assert_eq!(answer(&refused), &by_host);
    // The longest enters too, at a tap that carries it.
    sh("ip link set tap1 mtu 9000");
    let longest = EchoForm::Filled { bytes: LONGEST_FILLED };
    let refused = try_one(wanted(as_guest1("10.9.0.11"), echo_as(longest, "198.51.100.10", "10.9.0.1")));
    assert_eq!(answer(&refused), &by_host);
}

/// A bridge floods what is for a MAC that it does not know: no guest takes it.
#[test]
fn an_answer_for_another_mac_is_no_answer() {
    let Some(_host) = Host::new("an_answer_for_another_mac_is_no_answer") else { return };
    sh("ip neigh replace 10.9.0.11 lladdr 02:00:00:00:00:99 nud permanent dev br0");
    let observed = try_one(wanted(as_guest1("10.9.0.11"), echo("10.9.0.1", "10.9.0.1")));
    assert_eq!(observed.outcome, Outcome::Silent);
    let back: Vec<_> = observed.sightings.iter().filter(|seen| seen.answer && seen.outgoing).collect();
    assert!(back.iter().any(|seen| seen.device.name.as_str() == "tap1"), "{back:?}");
    assert!(back.iter().all(|seen| seen.to == Some(Mac([2, 0, 0, 0, 0, 0x99]))), "{back:?}");
}

#[test]
fn what_must_not_arrive_is_seen_where_it_does() {
    let Some(_host) = Host::new("what_must_not_arrive_is_seen_where_it_does") else { return };
    let outside =
        Sender::AsOutside { uplink: device("wan0"), xdp: None, mac: GUEST2, address: ip("198.51.100.10") };
    let inward = Probe::Echo { target: ip("10.9.0.12"), via: NextHopMac::Known(WAN), form: EchoForm::Plain };
    let attempt = || unwanted(outside.clone(), inward.clone(), "tap2");
    let arrived = |observed: &Observation| path(observed).iter().any(|at| at.starts_with("out of tap2"));
    let open = try_one(attempt());
    assert!(arrived(&open), "{open:?}");
    sh("nft 'add table ip f; add chain ip f path { type filter hook forward priority 0; }'
        nft 'add rule ip f path iifname wan0 ct state new drop'");
    let closed = try_one(attempt());
    assert_eq!(closed.outcome, Outcome::Silent);
    assert!(!arrived(&closed), "{closed:?}");
}

#[test]
fn a_server_offers_an_address_and_no_lease_is_taken() {
    let Some(_host) = Host::new("a_server_offers_an_address_and_no_lease_is_taken") else { return };
    let leases = Host::serve();
    let guest = as_guest1("10.9.0.11");
    let via = NextHopMac::Known(BRIDGE);
    let query = Probe::DnsQuery { server: ip("10.9.0.1"), via, name: "localhost".to_owned() };
    let observed = try_all(&[wanted(guest.clone(), Probe::DhcpDiscover), wanted(guest, query)]);
    let Answer::Offer { address, server } = answer(&observed[0]) else {
        panic!("no offer: {observed:?}");
    };
    assert_eq!(*server, Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(address.octets()[..3], [10, 9, 0]);
    assert_eq!(answer(&observed[1]), &Answer::Dns(0));
    assert_eq!(std::fs::read_to_string(leases.path()).unwrap(), "", "a lease was taken");
}

#[test]
fn a_nic_is_asked_for_its_addresses() {
    let Some(host) = Host::new("a_nic_is_asked_for_its_addresses") else { return };
    host.guest1.sh("ip addr add 10.9.0.200/24 dev eth0");
    let candidates = (1..=254).map(|last| Ipv4Addr::new(10, 9, 0, last)).filter(|ip| ip.octets()[3] != 1);
    let discover = Probe::Discover { mac: GUEST1, candidates: candidates.collect() };
    let observed = try_one(wanted(as_host("10.9.0.1"), discover));
    let held = [Ipv4Addr::new(10, 9, 0, 11), Ipv4Addr::new(10, 9, 0, 200)];
    assert_eq!(answer(&observed), &Answer::Holds(held.to_vec()));
}

#[test]
fn a_thousand_attempts_are_told_apart() {
    let Some(_host) = Host::new("a_thousand_attempts_are_told_apart") else { return };
    // Every second one asks for an address that nobody has.
    let target = |number: usize| if number.is_multiple_of(2) { "10.9.0.12" } else { "10.9.0.77" };
    let attempt = |number| wanted(as_guest1("10.9.0.11"), echo(target(number), "10.9.0.12"));
    let attempts: Vec<_> = (0..1000).map(attempt).collect();
    for (number, observed) in try_all(&attempts).iter().enumerate() {
        if number.is_multiple_of(2) {
            assert_eq!(answer(observed), &Answer::Echo, "{number}");
        } else {
            assert_eq!(observed.outcome, Outcome::Silent, "{number}");
        }
    }
}

/// The most of these times that lie within one second.
fn most_in_a_second(times: &[Duration]) -> usize {
    let second = |from: &Duration| *from..*from + Duration::from_secs(1);
    times.iter().map(|from| times.iter().filter(|at| second(from).contains(at)).count()).max().unwrap_or(0)
}

/// 120 echo requests as guest 1, and 20 as guest 2 behind them.
fn echoes() -> Vec<Attempt> {
    let guest2 = Sender::AsVm {
        tap: device("tap2"),
        xdp: None,
        mac: GUEST2,
        address: Some(ip("10.9.0.12")),
        vlan: None,
        instead: nobody(),
    };
    let senders = std::iter::repeat_n(as_guest1("10.9.0.11"), 120).chain(std::iter::repeat_n(guest2, 20));
    let probe =
        || Probe::Echo { target: ip("10.9.0.1"), via: NextHopMac::Known(BRIDGE), form: EchoForm::Plain };
    senders.map(|sender| wanted(sender, probe())).collect()
}

#[test]
fn one_vm_sends_no_more_than_its_ceiling_and_holds_up_nobody() {
    let Some(_host) = Host::new("one_vm_sends_no_more_than_its_ceiling_and_holds_up_nobody") else { return };
    let rate_per_vm = NonZeroU32::new(50).unwrap();
    let capture = Capture::start();
    let observed = try_within(&echoes(), &Limits { rate_per_vm, ..Limits::new(DEADLINE) });
    let seen = capture.stop();
    for observation in &observed {
        assert_eq!(answer(observation), &Answer::Echo, "waiting for one's turn is no silence");
    }
    let (one, two) = (seen.echo_requests_into("tap1"), seen.echo_requests_into("tap2"));
    assert_eq!((one.len(), two.len()), (120, 20));
    assert_eq!(most_in_a_second(&one), 50);
    let took = |times: &[Duration]| times.last().unwrap().saturating_sub(one[0]);
    assert!(took(&one) >= Duration::from_secs(2), "{:?}", took(&one));
    assert!(took(&two) < Duration::from_secs(1), "guest 2 waits for guest 1: {:?}", took(&two));
}

#[test]
fn all_together_send_no_more_than_the_ceiling() {
    let Some(_host) = Host::new("all_together_send_no_more_than_the_ceiling") else { return };
    let rate = NonZeroU32::new(80).unwrap();
    let capture = Capture::start();
    let observed = try_within(&echoes(), &Limits { rate, ..Limits::new(DEADLINE) });
    let seen = capture.stop();
    assert!(observed.iter().all(|observation| answer(observation) == &Answer::Echo));
    let mut times = [seen.echo_requests_into("tap1"), seen.echo_requests_into("tap2")].concat();
    times.sort();
    assert_eq!(times.len(), 140);
    let most = most_in_a_second(&times);
    assert!((48..=80).contains(&most), "{most} in a second");
}

#[test]
fn what_cannot_be_sent_says_why() {
    let Some(_host) = Host::new("what_cannot_be_sent_says_why") else { return };
    let reason = |attempt: Attempt| match try_one(attempt).outcome {
        Outcome::NotTried { reason } => reason,
        other => panic!("{other:?}"),
    };
    let nameless = Sender::AsVm {
        tap: device("tap1"),
        xdp: None,
        mac: GUEST1,
        address: None,
        vlan: None,
        instead: nobody(),
    };
    assert_eq!(
        reason(wanted(nameless, echo("198.51.100.10", "10.9.0.1"))),
        "the sender's IPv4 address is not known"
    );
    assert_eq!(
        reason(wanted(as_host("10.9.0.1"), Probe::DhcpDiscover)),
        "only a VM asks for an address by DHCP"
    );
    let query =
        Probe::DnsQuery { server: ip("10.9.0.1"), via: NextHopMac::Known(BRIDGE), name: "a..b".to_owned() };
    assert_eq!(reason(wanted(as_guest1("10.9.0.11"), query)), "`a..b` is not a domain name");
}
