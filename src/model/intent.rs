//! Who should reach whom: the table of the three models as data, and the claims that follow.
//!
//! To keep the number of claims linear in the number of NICs, one NIC stands for its neighbours: in
//! the same network each NIC has a claim to the next one (a ring), and between networks one NIC stands for
//! all that are like it, and one of the other network for all there.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::Expected;

use super::{Attachment, Claim, NetworkZone, Nic, Selection, Topology, Traffic, Zone};

/// What is claimed to be reachable in the internet if the user names nothing else: Cloudflare's
/// anycast resolver, which answers ICMP and TCP port 443.
pub const DEFAULT_INTERNET_TARGETS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];

/// What the claims are limited to, and what stands for the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Addresses that stand for the internet; none: [`DEFAULT_INTERNET_TARGETS`].
    pub internet_targets: Vec<IpAddr>,
    /// Only claims from or to these domains; none: all.
    pub vms: Vec<String>,
    /// Only claims of NICs of these networks; none: all.
    pub networks: Vec<String>,
}

/// What the model wants in one mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Allow,
    Deny,
    /// Allow if the host has an address of the family on the network, else deny.
    IfAddress,
    /// Allow if the host has an address of the family on the network, else nothing is claimed.
    OnlyWithAddress,
    /// Nothing is claimed.
    Free,
}

/// The pairs of zones of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    NicToGateway,
    NicToInternet,
    HostToNic,
    NicToNic,
    NicToOtherNetwork,
    OutsideToNic,
}

/// One row of the table: what is wanted per mode of the NIC's network.
struct Row {
    pair: Pair,
    traffic: &'static [Traffic],
    nat: Wish,
    isolated: Wish,
    route: Wish,
    open: Wish,
    bridge: Wish,
    macvtap: Wish,
}

use Wish::{Allow, Deny, Free, IfAddress, OnlyWithAddress};

/// The table of the three models, with the modes that are related to them.
///
/// - `bridge`: the LAN's router counts as gateway, at layer 2 only; what it serves is not claimed.
/// - `open`: libvirt writes no rules, so that the administrator's own rules say what passes further
///   than the host; nothing is claimed of that.
/// - `macvtap`: host and VM do not reach one another by design, and the lower device carries the rest
///   past everything that the host decides.
const ROWS: &[Row] = &[
    Row {
        pair: Pair::NicToGateway,
        traffic: &[Traffic::Resolve],
        nat: OnlyWithAddress,
        isolated: OnlyWithAddress,
        route: OnlyWithAddress,
        open: OnlyWithAddress,
        bridge: Allow,
        macvtap: Free,
    },
    Row {
        pair: Pair::NicToGateway,
        traffic: &[Traffic::Icmp, Traffic::Dhcp, Traffic::Dns, Traffic::RouterAdvertisement],
        nat: OnlyWithAddress,
        isolated: OnlyWithAddress,
        route: OnlyWithAddress,
        open: OnlyWithAddress,
        bridge: Free,
        macvtap: Free,
    },
    Row {
        pair: Pair::NicToInternet,
        traffic: &[Traffic::Icmp, Traffic::Tcp(443)],
        nat: Allow,
        isolated: Deny,
        route: Allow,
        open: Free,
        bridge: Allow,
        macvtap: Free,
    },
    Row {
        pair: Pair::HostToNic,
        traffic: &[Traffic::Resolve, Traffic::Icmp],
        nat: IfAddress,
        isolated: IfAddress,
        route: IfAddress,
        open: IfAddress,
        bridge: OnlyWithAddress,
        macvtap: Deny,
    },
    Row {
        pair: Pair::NicToNic,
        traffic: &[Traffic::Icmp],
        nat: Allow,
        isolated: Allow,
        route: Allow,
        open: Allow,
        bridge: Allow,
        macvtap: Free,
    },
    // To networks of mode nat or isolated; what a network of another mode lets in is no matter of ours.
    Row {
        pair: Pair::NicToOtherNetwork,
        traffic: &[Traffic::Icmp],
        nat: Deny,
        isolated: Deny,
        route: Deny,
        open: Deny,
        bridge: Free,
        macvtap: Free,
    },
    Row {
        pair: Pair::OutsideToNic,
        traffic: &[Traffic::Icmp],
        nat: Deny,
        isolated: Deny,
        route: Allow,
        open: Free,
        bridge: Allow,
        macvtap: Free,
    },
];

impl Row {
    fn wish(&self, mode: ForwardMode, attachment: Attachment) -> Wish {
        match (attachment, mode) {
            (Attachment::Invisible, _) | (Attachment::Tap, ForwardMode::Hostdev | ForwardMode::Unknown) => {
                Free
            }
            (Attachment::Macvtap, _)
            | (Attachment::Tap, ForwardMode::Private | ForwardMode::Vepa | ForwardMode::Passthrough) => {
                self.macvtap
            }
            (Attachment::Tap, ForwardMode::Nat) => self.nat,
            (Attachment::Tap, ForwardMode::Isolated) => self.isolated,
            (Attachment::Tap, ForwardMode::Route) => self.route,
            (Attachment::Tap, ForwardMode::Open) => self.open,
            (Attachment::Tap, ForwardMode::Bridge) => self.bridge,
        }
    }
}

/// The claims of a host: for each NIC that runs and whose link is not set to down, each row of the
/// table, in each family that the NIC's network has. `alike` gives for each NIC one that is like it to
/// everything that decides on packets.
pub fn claims(topology: &Topology, scope: &Scope, alike: &[usize]) -> Vec<Claim> {
    let explicit = !scope.internet_targets.is_empty();
    let targets = if explicit { &scope.internet_targets[..] } else { &DEFAULT_INTERNET_TARGETS[..] };
    let mut found = Vec::new();
    let strangers = [strangers(topology, false), strangers(topology, true)];
    for at in (0..topology.nics.len()).filter(|&at| is_claimed(&topology.nics[at])) {
        let side = Side { topology, targets, explicit, strangers: &strangers, at };
        for ipv6 in [false, true] {
            if side.has_family(ipv6) {
                for row in ROWS {
                    side.add(row, ipv6, &mut found);
                }
            } else if ipv6 && side.lacks_ipv6() {
                side.close_ipv6(&mut found);
            }
        }
    }
    found.retain(|claim| scope.covers(topology, claim));
    let mut between = HashSet::new();
    found.retain(|claim| match (claim.from, claim.to, claim.expected) {
        (Zone::Nic(from), Zone::Nic(to), Expected::Deny) if !same_network(topology, from, to) => {
            let kind = alike.get(from).copied().unwrap_or(from);
            between.insert((kind, topology.nics[to].network, claim.ipv6, claim.traffic))
        }
        _ => true,
    });
    found
}

/// Whether the models deny all packets between the ends of a claim.
pub fn is_denied(topology: &Topology, claim: &Claim) -> bool {
    let (nic, pair) = match (claim.from, claim.to) {
        (Zone::Nic(from), Zone::Internet) => (from, Pair::NicToInternet),
        (Zone::Nic(from), Zone::Nic(to)) if same_network(topology, from, to) => return false,
        (Zone::Nic(from), Zone::Nic(to)) => {
            if !is_closed(topology, to, claim.ipv6) {
                return false;
            }
            (from, Pair::NicToOtherNetwork)
        }
        (Zone::Outside, Zone::Nic(to)) => (to, Pair::OutsideToNic),
        (Zone::Host, Zone::Nic(to)) => (to, Pair::HostToNic),
        (Zone::Nic(_) | Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside, _) => return false,
    };
    let nic = &topology.nics[nic];
    let network = topology.network_of(nic);
    let mode = network.map_or(ForwardMode::Unknown, |network| network.mode);
    if pair == Pair::OutsideToNic && network.is_some_and(|network| network.routes(claim.ipv6)) {
        return false;
    }
    let without_address = network.is_none_or(|network| network.gateway(claim.ipv6).is_none());
    ROWS.iter().filter(|row| row.pair == pair).any(|row| match row.wish(mode, nic.attachment) {
        Deny => true,
        IfAddress => without_address,
        Allow | OnlyWithAddress | Free => false,
    })
}

fn is_closed(topology: &Topology, nic: usize, ipv6: bool) -> bool {
    topology.network_of(&topology.nics[nic]).is_some_and(|network| lets_nobody_in(network, ipv6))
}

/// A network of a mode that lets nobody in, with a subnet of the family.
fn lets_nobody_in(network: &NetworkZone, ipv6: bool) -> bool {
    match network.mode {
        ForwardMode::Nat => network.gateway(ipv6).is_some() && !network.routes(ipv6),
        ForwardMode::Isolated => network.gateway(ipv6).is_some(),
        ForwardMode::Route
        | ForwardMode::Open
        | ForwardMode::Bridge
        | ForwardMode::Private
        | ForwardMode::Vepa
        | ForwardMode::Passthrough
        | ForwardMode::Hostdev
        | ForwardMode::Unknown => false,
    }
}

fn same_network(topology: &Topology, one: usize, other: usize) -> bool {
    topology.nics[one].network == topology.nics[other].network
}

/// NICs with a tap that run in a network; those that can answer and are known by address first.
fn members(topology: &Topology, network: usize, ipv6: bool) -> Vec<usize> {
    let mut members: Vec<usize> = (0..topology.nics.len())
        .filter(|&at| {
            let nic = &topology.nics[at];
            is_claimed(nic) && nic.network == Some(network) && nic.attachment == Attachment::Tap
        })
        .collect();
    members.sort_by_key(|&at| {
        let nic = &topology.nics[at];
        (nic.paused, nic.address(ipv6).is_none(), at)
    });
    members
}

/// One NIC of each network that lets nobody in: `nat` and `isolated`.
fn strangers(topology: &Topology, ipv6: bool) -> Vec<usize> {
    (0..topology.networks.len())
        .filter(|&at| lets_nobody_in(&topology.networks[at], ipv6))
        .filter_map(|at| members(topology, at, ipv6).first().copied())
        .filter(|&at| topology.nics[at].address(ipv6).is_some())
        .collect()
}

fn is_claimed(nic: &Nic) -> bool {
    nic.active && nic.link_up
}

impl Scope {
    /// The claim has a NIC that the user asked for; with neither domains nor networks named, every
    /// claim is covered.
    fn covers(&self, topology: &Topology, claim: &Claim) -> bool {
        let nics = [claim.from, claim.to].into_iter().filter_map(|zone| match zone {
            Zone::Nic(at) => Some(&topology.nics[at]),
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
        });
        nics.into_iter().any(|nic| {
            let network = topology.network_of(nic).map(|network| &network.name);
            (self.vms.is_empty() || self.vms.contains(&nic.vm))
                && (self.networks.is_empty() || network.is_some_and(|name| self.networks.contains(name)))
        })
    }
}

/// One NIC, whose claims are collected.
#[derive(Clone, Copy)]
struct Side<'a> {
    topology: &'a Topology,
    targets: &'a [IpAddr],
    /// The user named the targets.
    explicit: bool,
    /// One NIC of each closed network, for IPv4 and IPv6.
    strangers: &'a [Vec<usize>; 2],
    at: usize,
}

impl<'a> Side<'a> {
    fn nic(self) -> &'a Nic {
        &self.topology.nics[self.at]
    }

    fn network(self) -> Option<&'a NetworkZone> {
        self.topology.network_of(self.nic())
    }

    /// The network has a subnet of the family. In a LAN, and where the host has no address at all, IPv4 is
    /// claimed anyhow; that a guest uses the LAN's IPv6 is for the guest to say, by an address.
    fn has_family(self, ipv6: bool) -> bool {
        let is_lan = self.network().is_none_or(NetworkZone::is_lan);
        let neither = is_lan || self.network().is_some_and(|network| network.gateways.is_empty());
        let gateway = self.network().is_some_and(|network| network.gateway(ipv6).is_some());
        let uses = !ipv6 || !is_lan || self.nic().address(true).is_some();
        gateway && uses || !ipv6 && neither
    }

    /// The network has IPv4 alone, while the host has a way out by IPv6, and libvirt's rules guard the one only.
    fn lacks_ipv6(self) -> bool {
        let routed = |mode| matches!(mode, ForwardMode::Nat | ForwardMode::Isolated | ForwardMode::Route);
        self.nic().attachment == Attachment::Tap
            && self.network().is_some_and(|network| network.in_libvirt && routed(network.mode))
            && self.topology.uplinks.iter().any(|uplink| uplink.ipv6)
    }

    /// Nothing of a network without IPv6 gets out by IPv6, whatever address the guest gives itself.
    fn close_ipv6(self, claims: &mut Vec<Claim>) {
        for (from, to, source, destination) in self.ends(Pair::NicToInternet, Expected::Deny, true) {
            let (traffic, expected) = (Traffic::Icmp, Expected::Deny);
            claims.push(Claim {
                from,
                to,
                source,
                destination,
                ipv6: true,
                traffic,
                expected,
                selection: Selection::default(),
                assertion: None,
            });
        }
    }

    fn add(self, row: &Row, ipv6: bool, claims: &mut Vec<Claim>) {
        let mode = self.network().map_or(ForwardMode::Unknown, |network| network.mode);
        // What the host routes for a network of mode nat it lets in, too; whether that is wanted nobody has said.
        if row.pair == Pair::OutsideToNic && self.network().is_some_and(|network| network.routes(ipv6)) {
            return;
        }
        let gateway = self.network().and_then(|network| network.gateway(ipv6));
        let expected = match (row.wish(mode, self.nic().attachment), gateway) {
            (Allow, _) | (IfAddress | OnlyWithAddress, Some(_)) => Expected::Allow,
            (Deny, _) | (IfAddress, None) => Expected::Deny,
            (OnlyWithAddress, None) | (Free, _) => return,
        };
        for &traffic in row.traffic.iter().filter(|traffic| self.is_served(**traffic, ipv6)) {
            for (from, to, source, destination) in self.ends(row.pair, expected, ipv6) {
                let source = match traffic {
                    // A router is asked from a link-local address or from none, and answers that.
                    Traffic::RouterAdvertisement => self.nic().link_local,
                    _ => source,
                };
                let expected = match row.pair {
                    Pair::NicToNic if self.both_isolated(to) => Expected::Deny,
                    _ => expected,
                };
                claims.push(Claim {
                    from,
                    to,
                    source,
                    destination,
                    ipv6,
                    traffic,
                    expected,
                    selection: Selection::default(),
                    assertion: None,
                });
            }
        }
    }

    /// DHCP, DNS and router advertisements are claimed where libvirt serves them; DHCP of IPv4 only, since IPv6
    /// guests may configure themselves.
    fn is_served(self, traffic: Traffic, ipv6: bool) -> bool {
        match traffic {
            Traffic::Dhcp => !ipv6 && self.network().is_some_and(|network| network.dhcp),
            Traffic::Dns => self.network().is_some_and(|network| network.dns),
            Traffic::RouterAdvertisement => {
                ipv6 && self.network().is_some_and(|network| network.router_advertisements)
            }
            Traffic::Resolve | Traffic::Icmp | Traffic::FullSize | Traffic::Tcp(_) | Traffic::Udp(_) => true,
        }
    }

    /// The zones and addresses of a pair, none if there is nobody to claim it of.
    fn ends(
        self,
        pair: Pair,
        expected: Expected,
        ipv6: bool,
    ) -> Vec<(Zone, Zone, Option<IpAddr>, Option<IpAddr>)> {
        let me = Zone::Nic(self.at);
        let mine = self.nic().address(ipv6);
        let network = self.network();
        let gateway = network.and_then(|network| network.gateway(ipv6)).map(|net| net.addr());
        let of_family = |address: &&IpAddr| address.is_ipv6() == ipv6;
        match pair {
            Pair::NicToGateway => {
                let Some(at) = self.nic().network else { return Vec::new() };
                let lan_router =
                    network.and_then(|network| network.lan_gateway).filter(|a| a.is_ipv6() == ipv6);
                let address = if network.is_some_and(NetworkZone::is_lan) { lan_router } else { gateway };
                vec![(me, Zone::Gateway(at), mine, address)]
            }
            Pair::NicToInternet if self.internet_is_claimed(expected, ipv6) => self
                .targets
                .iter()
                .filter(of_family)
                .map(|&target| (me, Zone::Internet, mine, Some(target)))
                .collect(),
            Pair::NicToInternet => Vec::new(),
            // A denial is stated of an address; without one there is nothing to state.
            Pair::HostToNic if expected == Expected::Deny && mine.is_none() => Vec::new(),
            Pair::HostToNic => vec![(Zone::Host, me, gateway, mine)],
            Pair::NicToNic => self
                .next_in_ring()
                .map(|at| (me, Zone::Nic(at), mine, self.topology.nics[at].address(ipv6)))
                .into_iter()
                .collect(),
            Pair::NicToOtherNetwork => self.strangers[usize::from(ipv6)]
                .iter()
                .copied()
                .filter(|&at| !same_network(self.topology, self.at, at))
                .map(|at| (me, Zone::Nic(at), mine, self.topology.nics[at].address(ipv6)))
                .collect(),
            Pair::OutsideToNic => {
                let asking = network
                    .filter(|network| network.is_lan())
                    .and_then(|network| network.lan_gateway)
                    .filter(|address| address.is_ipv6() == ipv6)
                    .or_else(|| self.targets.iter().find(of_family).copied());
                asking.map(|source| (Zone::Outside, me, Some(source), mine)).into_iter().collect()
            }
        }
    }

    /// IPv6 towards the internet is expected where the host has it, or where the user named a target.
    fn internet_is_claimed(self, expected: Expected, ipv6: bool) -> bool {
        !ipv6
            || self.explicit
            || expected == Expected::Deny
            || self.topology.uplinks.iter().any(|uplink| uplink.ipv6)
    }

    fn both_isolated(self, to: Zone) -> bool {
        match to {
            Zone::Nic(at) => self.nic().isolated && self.topology.nics[at].isolated,
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => false,
        }
    }

    /// The next NIC of the same network, in a ring over all of them.
    fn next_in_ring(self) -> Option<usize> {
        let mut members = members(self.topology, self.nic().network?, false);
        members.sort_unstable();
        let next = members.iter().copied().find(|&at| at > self.at).or_else(|| members.first().copied());
        next.filter(|&at| at != self.at)
    }
}
