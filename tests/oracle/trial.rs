//! One trial: the host is configured, read, predicted and tried.

use std::path::PathBuf;
use std::time::Duration;

use kvmnet::engine::{Denial, Engine, Facts, Fate};
use kvmnet::model::{Claim, Selection, Topology, Traffic, Zone};
use kvmnet::verify;
use kvmnet_probes::facts::{Fact, IfIndex, Snapshot};
use kvmnet_probes::sources::{Context, observe};
use kvmnet_probes::wire::{Attempt, Device, Limits, NextHopMac, Observation, Probe, Sender, run};
use kvmnet_reports::Expected;

use crate::compare::{Comparison, compare, compare_all};
use crate::config::{Item, load};
use crate::host::{Host, net};
use crate::libvirt;
use crate::places::{GUESTS, INTERNET, LAN_ROUTER, LAN_ROUTER_MAC, NETS, PORTS, UPLINK, ip};
use crate::random::Random;

/// Answers come within a millisecond; the rest is for a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(2);

/// Pairs of ends in a trial of which it is asked what of all packets passes.
const PAIRS: usize = 6;

/// How long everybody speaks before the host is read.
const WARM_UP: Duration = Duration::from_millis(250);

/// A configuration and what is claimed on it.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) items: Vec<Item>,
    pub(crate) claims: Vec<Claim>,
    /// The LAN's router is known by its IPv6 address: a topology has one only.
    pub(crate) lan_ipv6: bool,
}

/// One claim, predicted and tried.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) claim: Claim,
    pub(crate) fate: Fate,
    pub(crate) attempt: Attempt,
    pub(crate) observation: Observation,
    pub(crate) comparison: Comparison,
}

/// What a trial gave.
#[derive(Debug)]
pub(crate) struct Result {
    /// What the kernel took of the configuration.
    pub(crate) taken: Vec<Item>,
    pub(crate) tried: Vec<Tried>,
}

impl Trial {
    /// Runs it. Nothing is left of the trial before.
    pub(crate) fn run(&self, host: &mut Host) -> anyhow::Result<Result> {
        let taken = load(host, &self.items)?;
        Ok(Result { taken, tried: self.on_the_host_as_it_is()? })
    }

    /// Predicts and tries the claims on the calling thread's host.
    pub(crate) fn on_the_host_as_it_is(&self) -> anyhow::Result<Vec<Tried>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&everybody_speaks(), &Limits::new(WARM_UP)));
        let snapshot = runtime.block_on(snapshot());
        let mut topology = Topology::from_snapshot(&snapshot);
        let lan = topology.networks.iter_mut().find(|network| network.name == "lan");
        lan.expect("libvirt's facts have it").lan_gateway = Some(ip(LAN_ROUTER[usize::from(self.lan_ipv6)]));
        let facts = Facts::new(&snapshot);
        let mut engine = Engine::new(&facts, &topology);
        let mut claims = self.claims.clone();
        // One pair of ends after the other, as far as a trial has time for it.
        let mut pairs: Vec<(Zone, Zone, bool)> = Vec::new();
        let denials: Vec<Option<Denial>> = self
            .claims
            .iter()
            .map(|claim| {
                let pair = (claim.from, claim.to, claim.ipv6);
                if pairs.contains(&pair) || pairs.len() >= PAIRS {
                    return None;
                }
                pairs.push(pair);
                engine.deny(&denied(claim))
            })
            .collect();
        // What is said to pass of all packets is sent, too, where the wire can speak as its sender.
        for (claim, denial) in self.claims.iter().zip(&denials) {
            if let Some(shown) = denial.as_ref().and_then(|denial| shown(claim, denial))
                && !claims.contains(&shown)
            {
                claims.push(shown);
            }
        }
        let fates: Vec<Fate> = claims.iter().map(|claim| engine.fate(claim)).collect();
        let mut plan = verify::plan(&snapshot, &topology, &claims, verify::Reach::Anywhere);
        plan.attempts.iter_mut().for_each(know_router);
        let mut observations = runtime.block_on(run(&plan.attempts, &Limits::new(DEADLINE))).into_iter();
        let mut attempts = plan.attempts.into_iter();
        let mut tried = Vec::new();
        for ((claim, fate), trial) in claims.iter().zip(fates).zip(plan.trials) {
            let verify::Trial::Attempt(_) = trial else { continue };
            let (Some(attempt), Some(observation)) = (attempts.next(), observations.next()) else { break };
            let alike =
                |other: &&Claim| (other.from, other.to, other.ipv6) == (claim.from, claim.to, claim.ipv6);
            let mut of_pair = self.claims.iter().zip(&denials).filter(|(other, _)| alike(other));
            let comparison = match compare(&snapshot, claim, &fate, &attempt, &observation) {
                Comparison::Agree | Comparison::Undecided => of_pair
                    .find_map(|(_, denial)| {
                        let seen = (&attempt, &observation);
                        let compared = compare_all(denial.as_ref()?, claim, &fate, seen);
                        matches!(compared, Comparison::Disagree(_)).then_some(compared)
                    })
                    .unwrap_or_else(|| compare(&snapshot, claim, &fate, &attempt, &observation)),
                other => other,
            };
            tried.push(Tried { claim: claim.clone(), fate, attempt, observation, comparison });
        }
        Ok(tried)
    }
}

/// The claim that nothing passes between the same ends.
fn denied(claim: &Claim) -> Claim {
    Claim { expected: Expected::Deny, traffic: Traffic::Icmp, ..claim.clone() }
}

/// The packet that shows a leak, if it is one that its sender would send.
fn shown(claim: &Claim, denial: &Denial) -> Option<Claim> {
    let Denial::Leaks(leak) = denial else { return None };
    let same = (Some(leak.ends.0), Some(leak.ends.1)) == (claim.source, claim.destination);
    let traffic = leak.traffic.filter(|_| leak.honest && same)?;
    Some(Claim { traffic, ..claim.clone() })
}

/// The facts of the calling thread's host.
pub(crate) async fn snapshot() -> Snapshot {
    let context = Context {
        libvirt_uri: Some("test:///nonexistent".to_owned()),
        root: PathBuf::from("/nonexistent"),
        ..Context::default()
    };
    let mut snapshot = observe(&context).await;
    snapshot.libvirt = Fact::read(snapshot.taken_ms, libvirt::facts());
    snapshot
}

/// The guests of the LAN know their router: whether ARP reaches it is tried for itself.
fn know_router(attempt: &mut Attempt) {
    if let Probe::Echo { via, .. } | Probe::TcpSyn { via, .. } = &mut attempt.probe
        && let NextHopMac::Resolve(_) = via
    {
        *via = NextHopMac::Known(LAN_ROUTER_MAC);
    }
}

/// Everybody asks for a neighbour's MAC, so that MAC tables have learned what they can learn.
fn everybody_speaks() -> Vec<Attempt> {
    let device = |name: &str| Device {
        index: IfIndex(nix::net::if_::if_nametoindex(name).expect("the host has the device")),
        name: name.into(),
    };
    let guests = GUESTS.iter().map(|guest| (guest.tap, guest.mac, net(guest).gateway(false)));
    let router = ("eth1", LAN_ROUTER_MAC, NETS[1].gateway(false));
    guests
        .chain([router])
        .map(|(tap, mac, target)| Attempt {
            sender: Sender::AsVm {
                tap: device(tap),
                xdp: None,
                mac,
                address: None,
                vlan: None,
                instead: Err(String::new()),
            },
            probe: Probe::Resolve { target: ip(target), only: None },
            watch: Vec::new(),
            arrival: None,
            wants_answer: true,
        })
        .collect()
}

/// `count` of all claims that can be made of the host.
pub(crate) fn claims(random: &mut Random, count: usize, lan_ipv6: bool) -> Vec<Claim> {
    random.sample(every_claim(lan_ipv6), count)
}

/// Every claim for which there is a packet. What is wanted is always that it passes, so that every
/// packet is waited for.
pub(crate) fn every_claim(lan_ipv6: bool) -> Vec<Claim> {
    let mut claims = Vec::new();
    for family in [0, 1] {
        let ipv6 = family == 1;
        let mut add = |from, to, source: Option<&str>, destination: &str, traffic: &[Traffic]| {
            for &traffic in traffic {
                claims.push(Claim {
                    from,
                    to,
                    source: source.map(ip),
                    destination: Some(ip(destination)),
                    ipv6,
                    traffic,
                    expected: Expected::Allow,
                    selection: Selection::default(),
                    assertion: None,
                });
            }
        };
        let mut packets = vec![Traffic::Icmp];
        packets.extend(PORTS.map(Traffic::Tcp));
        let with_resolve = [&[Traffic::Resolve][..], &packets].concat();
        for (at, guest) in GUESTS.iter().enumerate() {
            let me = Zone::Nic(at);
            let mine = Some(guest.addresses[family]);
            let own = NETS.iter().position(|net| net.name == guest.network).expect("a network");
            if guest.network == "lan" {
                if lan_ipv6 == ipv6 {
                    add(me, Zone::Gateway(own), mine, LAN_ROUTER[family], &[Traffic::Resolve]);
                    add(me, Zone::Internet, mine, INTERNET[family], &packets);
                }
            } else {
                add(me, Zone::Internet, mine, INTERNET[family], &packets);
                add(me, Zone::Gateway(own), mine, UPLINK[family], &packets);
                for (to, net) in NETS.iter().enumerate() {
                    let traffic = if to == own { &with_resolve } else { &packets };
                    add(me, Zone::Gateway(to), mine, net.gateway(ipv6), traffic);
                }
            }
            for (to, other) in GUESTS.iter().enumerate().filter(|(to, _)| *to != at) {
                add(me, Zone::Nic(to), mine, other.addresses[family], &packets);
            }
            add(Zone::Host, me, None, guest.addresses[family], &packets);
            let gateway = NETS[own].gateway(ipv6);
            add(Zone::Host, me, Some(gateway), guest.addresses[family], &[Traffic::Resolve]);
            let stranger = if guest.network == "lan" { LAN_ROUTER[family] } else { INTERNET[family] };
            if guest.network != "lan" || lan_ipv6 == ipv6 {
                add(Zone::Outside, me, Some(stranger), guest.addresses[family], &packets);
            }
        }
    }
    claims
}
