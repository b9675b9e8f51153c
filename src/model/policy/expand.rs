//! From assertions to claims.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use kvmnet_probes::facts::{Address, Snapshot};
use kvmnet_reports::Expected;
use wildmatch::WildMatch;

use super::{Assertion, At, Beyond, Selector};
use crate::model::{
    Claim, DEFAULT_INTERNET_TARGETS, NetworkZone, Nic, Protocol, Selection, Topology, Traffic, Zone,
};

/// A word of the policy that means nobody on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unmatched {
    /// What is wrong.
    pub what: String,
    /// The line, from 1.
    pub line: usize,
    /// The name, and those that the host knows.
    pub wanted: Option<(String, Vec<String>)>,
}

impl Unmatched {
    fn new(what: String, line: usize) -> Self {
        Self { what, line, wanted: None }
    }

    pub(super) fn vm(name: &WildMatch, line: usize, topology: &Topology) -> Self {
        let known: BTreeSet<_> = topology.nics.iter().map(|nic| nic.vm.clone()).collect();
        let wanted = Some((name.to_string(), known.into_iter().collect()));
        Self { what: format!("there is no VM with a NIC that is called `{name}`"), line, wanted }
    }

    pub(super) fn tag(tag: &WildMatch, line: usize, topology: &Topology) -> Self {
        let known: BTreeSet<_> = topology.nics.iter().flat_map(|nic| nic.tags.clone()).collect();
        let wanted = Some((tag.to_string(), known.into_iter().collect()));
        Self { what: format!("there is no VM with a NIC that is tagged `{tag}`"), line, wanted }
    }

    pub(super) fn network(name: &str, line: usize, topology: &Topology) -> Self {
        let known = topology.networks.iter().map(|network| network.name.clone()).collect();
        let wanted = Some((name.to_owned(), known));
        Self { what: format!("there is no network `{name}`"), line, wanted }
    }

    pub(super) fn empty(network: &str, line: usize) -> Self {
        Self::new(format!("no VM is plugged into network `{network}`"), line)
    }

    pub(super) fn address(net: IpNet, line: usize) -> Self {
        Self::new(format!("no VM is known to have an address of {}", Selector::Net(net)), line)
    }
}

/// What assertions come to on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The claims, each with the assertion that states it.
    pub claims: Vec<Claim>,
    /// How each assertion was read.
    pub readings: Vec<Reading>,
}

/// How an assertion was read on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The pairs of ends that it speaks of. Of those that are alike one is claimed.
    pub pairs: usize,
    /// Who was left out.
    pub note: Option<String>,
}

/// One end of the pairs of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Nic(usize),
    Other(Beyond),
}

/// What the assertions claim of this host. `internet`: what stands for it; none: [`DEFAULT_INTERNET_TARGETS`]. `alike`: for each NIC one that no site can
/// tell from it; of pairs that are alike one is claimed for all.
pub fn expand(
    assertions: &[Assertion],
    (snapshot, topology): (&Snapshot, &Topology),
    internet: &[IpAddr],
    alike: &[usize],
) -> Result<Expansion, Unmatched> {
    let mut expansion = Expansion::default();
    let named = !internet.is_empty();
    let internet = if named { internet } else { &DEFAULT_INTERNET_TARGETS };
    for (number, assertion) in assertions.iter().enumerate() {
        let expander = Expander { snapshot, topology, internet, named, alike, assertion, number };
        let reading = expander.add(&mut expansion.claims)?;
        expansion.readings.push(reading);
    }
    Ok(expansion)
}

/// One assertion on one host.
#[derive(Clone, Copy)]
struct Expander<'a> {
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    internet: &'a [IpAddr],
    /// The user named what stands for the internet.
    named: bool,
    alike: &'a [usize],
    assertion: &'a Assertion,
    number: usize,
}

impl<'a> Expander<'a> {
    fn add(self, claims: &mut Vec<Claim>) -> Result<Reading, Unmatched> {
        let Assertion { from, to, line, .. } = self.assertion;
        let everywhere = [Beyond::Host, Beyond::Uplink(None)];
        let senders = self.ends(from, &everywhere)?;
        let receivers = self.ends(to, &everywhere)?;
        let mut pairs: Vec<(End, End)> = Vec::new();
        for from in &senders {
            pairs.extend(receivers.iter().filter(|to| self.can_meet(*from, **to)).map(|to| (*from, *to)));
        }
        if pairs.is_empty() {
            let what = "no packet goes between these: one end must be a VM, or they must be the outside and the host";
            return Err(Unmatched::new(what.to_owned(), *line));
        }
        let mut off: BTreeSet<&str> = BTreeSet::new();
        pairs.retain(|(from, to)| {
            let sleeping: Vec<&Nic> = [*from, *to].into_iter().filter_map(|end| self.sleeping(end)).collect();
            off.extend(sleeping.iter().map(|nic| nic.vm.as_str()));
            sleeping.is_empty()
        });
        let awake = pairs.len();
        let mut kinds = HashSet::new();
        pairs.retain(|(from, to)| kinds.insert((self.kind(*from), self.kind(*to))));
        let stated = claims.len();
        for (from, to) in &pairs {
            self.state(*from, *to, claims);
        }
        let mut notes = Vec::new();
        if !off.is_empty() {
            let names: Vec<&str> = off.into_iter().collect();
            notes.push(format!("nothing is said of {}, off or unplugged", names.join(", ")));
        }
        if claims.len() == stated && awake > 0 {
            notes.push("these have no address family in common".to_owned());
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(Reading { pairs: awake, note })
    }

    /// Those whom the selectors mean; without any, everybody.
    fn ends(self, selectors: &[At<Selector>], everywhere: &[Beyond]) -> Result<Vec<End>, Unmatched> {
        let mut meant: BTreeSet<usize> = BTreeSet::new();
        let mut others: Vec<Beyond> = Vec::new();
        if selectors.iter().all(|selector| matches!(selector.value, Selector::Not(_))) {
            meant.extend(0..self.topology.nics.len());
            others.extend(everywhere);
        }
        let (not, these): (Vec<_>, Vec<_>) =
            selectors.iter().partition(|selector| matches!(selector.value, Selector::Not(_)));
        for At { value, line } in these {
            meant.extend(value.nics(self.topology, *line)?);
            others.extend(value.beyond(self.topology).filter(|beyond| !others.contains(beyond)));
        }
        for At { value, line } in not {
            for nic in value.nics(self.topology, *line)? {
                meant.remove(&nic);
            }
            let beyond = value.beyond(self.topology);
            others.retain(|other| Some(*other) != beyond);
        }
        Ok(meant.into_iter().map(End::Nic).chain(others.into_iter().map(End::Other)).collect())
    }

    fn nic(self, end: End) -> Option<&'a Nic> {
        match end {
            End::Nic(nic) => self.topology.nics.get(nic),
            End::Other(_) => None,
        }
    }

    fn network(self, end: End) -> Option<&'a NetworkZone> {
        self.topology.network_of(self.nic(end)?)
    }

    /// The NIC, if nothing can be said of its packets now.
    fn sleeping(self, end: End) -> Option<&'a Nic> {
        self.nic(end).filter(|nic| !nic.active || !nic.link_up)
    }

    /// Whether packets of the family go there by what is configured. A guest may use another one all the same.
    fn has(self, end: End, ipv6: bool) -> bool {
        match end {
            End::Nic(_) => {
                let network = self.network(end);
                let subnet = network.is_some_and(|network| network.gateway(ipv6).is_some());
                let is_lan = network.is_none_or(|network| network.is_lan() || network.gateways.is_empty());
                let known = self.nic(end).is_some_and(|nic| nic.address(ipv6).is_some());
                known || (if is_lan { !ipv6 } else { subnet })
            }
            End::Other(Beyond::Host | Beyond::Gateway) => true,
            End::Other(Beyond::Uplink(Some(net))) => net.addr().is_ipv6() == ipv6,
            End::Other(Beyond::Uplink(None)) => {
                !ipv6 || self.named || self.topology.uplinks.iter().any(|uplink| uplink.ipv6)
            }
        }
    }

    fn zone(self, end: End, from: End, sends: bool) -> Zone {
        match end {
            End::Nic(nic) => Zone::Nic(nic),
            End::Other(Beyond::Uplink(_)) if sends => Zone::Outside,
            End::Other(Beyond::Uplink(_)) => Zone::Internet,
            End::Other(Beyond::Gateway) => {
                self.nic(from).and_then(|nic| nic.network).map_or(Zone::Host, Zone::Gateway)
            }
            End::Other(Beyond::Host) => Zone::Host,
        }
    }

    /// The host's address towards the internet.
    fn at_uplink(self, ipv6: bool) -> Option<IpAddr> {
        let uplink = self.topology.uplinks.iter().find(|uplink| uplink.ipv6 == ipv6)?;
        let own = |own: &&Address| {
            own.device == uplink.device && own.scope == "global" && own.net.addr().is_ipv6() == ipv6
        };
        self.snapshot.addresses.items().iter().find(own).map(|own| own.net.addr())
    }

    /// The address that stands for an end, which `sends` or gets; `other`: the other end.
    fn address(self, (end, sends): (End, bool), other: End, ipv6: bool) -> Option<IpAddr> {
        let of_family = |address: &IpAddr| address.is_ipv6() == ipv6;
        let network = self.network(other);
        let lan_router =
            || network.filter(|lan| lan.is_lan()).and_then(|lan| lan.lan_gateway).filter(of_family);
        match end {
            End::Nic(_) => self.nic(end).and_then(|nic| nic.address(ipv6)),
            End::Other(Beyond::Gateway) if network.is_some_and(NetworkZone::is_lan) => lan_router(),
            End::Other(Beyond::Host | Beyond::Gateway) => {
                let on_network = network.and_then(|network| network.gateway(ipv6)).map(|net| net.addr());
                on_network.or_else(|| self.at_uplink(ipv6))
            }
            End::Other(Beyond::Uplink(Some(net))) => net.hosts().next().filter(of_family),
            // On a LAN its router asks for all that lie behind it.
            End::Other(Beyond::Uplink(None)) => {
                let router = lan_router().filter(|_| sends);
                router.or_else(|| self.internet.iter().copied().find(of_family))
            }
        }
    }

    /// Whether packets from one to the other pass this host, or begin or end on it. What a VM sends to itself does not.
    fn can_meet(self, from: End, to: End) -> bool {
        match (from, to) {
            (End::Nic(_), End::Nic(_)) => {
                self.nic(from).map(|nic| &nic.vm) != self.nic(to).map(|nic| &nic.vm)
            }
            (End::Nic(_), End::Other(_))
            | (End::Other(Beyond::Host | Beyond::Uplink(_)), End::Nic(_))
            | (End::Other(Beyond::Uplink(_)), End::Other(Beyond::Host)) => true,
            (End::Other(_), End::Other(_)) | (End::Other(Beyond::Gateway), End::Nic(_)) => false,
        }
    }

    fn kind(self, end: End) -> End {
        match end {
            End::Nic(nic) => End::Nic(self.alike.get(nic).copied().unwrap_or(nic)),
            End::Other(_) => end,
        }
    }

    fn state(self, from: End, to: End, claims: &mut Vec<Claim>) {
        let Assertion { expected, traffic, .. } = self.assertion;
        for ipv6 in [false, true] {
            // A denial holds for packets that nobody is meant to send, too.
            let other_family = |end: &End| matches!(end, End::Other(Beyond::Uplink(Some(net))) if net.addr().is_ipv6() != ipv6);
            let ends = [from, to];
            let has = ends.iter().all(|end| self.has(*end, ipv6));
            if ends.iter().any(other_family) || !has && *expected == Expected::Allow {
                continue;
            }
            let kinds: Vec<Option<&Protocol>> =
                if traffic.is_empty() { vec![None] } else { traffic.iter().map(Some).collect() };
            for protocol in kinds {
                let net = |end| match end {
                    End::Other(Beyond::Uplink(net)) => net,
                    End::Nic(_) | End::Other(Beyond::Host | Beyond::Gateway) => None,
                };
                claims.push(Claim {
                    from: self.zone(from, from, true),
                    to: self.zone(to, from, false),
                    source: self.address((from, true), to, ipv6),
                    destination: self.address((to, false), from, ipv6),
                    ipv6,
                    traffic: protocol.map_or(Traffic::Icmp, one),
                    expected: *expected,
                    selection: Selection {
                        source: net(from),
                        destination: net(to),
                        protocol: protocol.cloned(),
                        except: Vec::new(),
                    },
                    assertion: Some(self.number),
                });
            }
        }
    }
}

/// The packet that stands for a protocol.
fn one(protocol: &Protocol) -> Traffic {
    match protocol {
        Protocol::Icmp => Traffic::Icmp,
        Protocol::Tcp(ports) => Traffic::Tcp(*ports.start()),
        Protocol::Udp(ports) => Traffic::Udp(*ports.start()),
    }
}
