//! Packets on the wire of a private host: answered, stopped on their way, leaking, and many at once.
//! Every test makes its own host ([`topology`] draws it) and changes what it says.

mod topology;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kvmnet_probes::facts::Mac;
use kvmnet_probes::wire::{Answer, Attempt, NextHopMac, Observation, Outcome, Probe, Sender, run};
use topology::{
    BRIDGE, GUEST1, GUEST2, Host, as_guest1, as_host, device, echo, ip, possible, sh, unwanted, wanted,
};

const DEADLINE: Duration = Duration::from_secs(2);

fn try_all(attempts: &[Attempt]) -> Vec<Observation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(attempts, DEADLINE))
}

fn answer(observation: &Observation) -> &Answer {
    match &observation.outcome {
        Outcome::Answered { answer, .. } => answer,
        other => panic!("not answered: {other:?}, seen {:?}", observation.sightings),
    }
}

/// Where the probe was seen: device, direction, source.
fn path(observation: &Observation) -> Vec<(String, Option<IpAddr>)> {
    let seen = observation.sightings.iter().filter(|seen| !seen.answer);
    seen.map(|seen| {
        let arrow = if seen.outgoing { "from" } else { "into" };
        (format!("{arrow} {}", seen.device.name), seen.source)
    })
    .collect()
}

#[test]
fn a_healthy_host_answers_every_kind_of_probe() {
    if !possible("a_healthy_host_answers_every_kind_of_probe") {
        return;
    }
    let host = Host::new();
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
