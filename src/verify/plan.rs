//! Which packets stand for which claims.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use kvmnet_probes::facts::{IfIndex, LinkKind, Mac, PortState, Snapshot};
use kvmnet_probes::wire::{Attempt, Device, EchoForm, LONGEST_FILLED, NextHopMac, Probe, Sender, Shadow};
use kvmnet_reports::Expected;

use super::Reach;
use super::beyond::{Expiring, expiring};
use super::reach::Within;
use super::stand_in::stand_ins;
use crate::model::{AddressSource, Attachment, Claim, NetworkZone, Nic, Topology, Traffic, Uplink, Zone};

/// The name that DNS servers are asked for: they answer it from their own hosts file, so that a dead
/// upstream does not look like a dead server.
const DNS_NAME: &str = "localhost";

/// The source MAC of packets that enter at a routed uplink whose router is not known: locally
/// administered, and no table of the host learns it.
const STRANGER: Mac = Mac([0x02, 0, 0, 0, 0, 1]);

/// Why UDP is not tried: whoever gets a datagram need not answer.
const NO_UDP: &str = "no probe stands for a UDP datagram";

/// Why full-size packets are not tried elsewhere.
const ONLY_OUTWARD: &str = "full-size packets are tried towards the internet alone";

/// Why a claim is not tried that is out of reach.
const BEYOND: &str = "not tried: --local-only, and it leads out of the host";

/// How a claim is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// By this attempt of the plan.
    Attempt(usize),
    /// Not at all, for this reason; the prediction decides alone.
    None(String),
}

/// The attempts, and for each claim which of them stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is sent.
    pub attempts: Vec<Attempt>,
    /// How each claim is tried, in the claims' order.
    pub trials: Vec<Trial>,
    /// The attempt by which the host itself asks what a claim asks of the internet, in the claims' order: it tells
    /// trouble upstream from trouble of the guest's.
    pub own: Vec<Option<usize>>,
    /// The attempts that expire behind the host.
    pub expiring: Vec<Expiring>,
}

impl Plan {
    /// Nothing is sent, for one reason.
    pub fn untried(claims: &[Claim], reason: &str) -> Self {
        let trials = vec![Trial::None(reason.to_owned()); claims.len()];
        Self { attempts: Vec::new(), trials, own: vec![None; claims.len()], expiring: Vec::new() }
    }
}

/// An attempt for every claim within reach that a packet can stand for on this host as it is now.
pub fn plan(snapshot: &Snapshot, topology: &Topology, claims: &[Claim], reach: Reach) -> Plan {
    let within = Within::new(reach, snapshot, topology);
    let stand_ins = stand_ins(snapshot, topology);
    let planner = |claim| Planner { snapshot, topology, claim, stand_ins: &stand_ins };
    let mut attempts = Vec::new();
    let trials: Vec<Trial> = claims
        .iter()
        .map(|claim| {
            if !within.covers(claim) {
                return Trial::None(BEYOND.to_owned());
            }
            match planner(claim).attempt() {
                Ok(attempt) => {
                    attempts.push(attempt);
                    Trial::Attempt(attempts.len() - 1)
                }
                Err(reason) => Trial::None(format!("not tried: {reason}")),
            }
        })
        .collect();
    let mut asked: Vec<((Option<IpAddr>, Traffic), usize)> = Vec::new();
    let mut own = vec![None; claims.len()];
    for (at, claim) in claims.iter().enumerate().filter(|(at, _)| matches!(trials[*at], Trial::Attempt(_))) {
        let same = (claim.destination, claim.traffic);
        own[at] = asked.iter().find(|(question, _)| *question == same).map(|(_, attempt)| *attempt);
        if own[at].is_none()
            && let Some(attempt) = planner(claim).by_the_host()
        {
            asked.push((same, attempts.len()));
            own[at] = Some(attempts.len());
            attempts.push(attempt);
        }
    }
    let tried = claims.iter().zip(&trials).filter_map(|(claim, trial)| match trial {
        Trial::Attempt(at) => Some((claim, *at)),
        Trial::None(_) => None,
    });
    let as_host = |claim: &Claim| Planner { snapshot, topology, claim, stand_ins: &stand_ins }.by_the_host();
    let expiring = expiring(topology, tried, as_host, &mut attempts);
    Plan { attempts, trials, own, expiring }
}

/// Whether a packet can stand for a claim on this host as it is now.
pub(super) fn can_be_tried(snapshot: &Snapshot, topology: &Topology, claim: &Claim) -> bool {
    Planner { snapshot, topology, claim, stand_ins: &[] }.attempt().is_ok()
}

/// One claim and where it is tried.
#[derive(Clone, Copy)]
struct Planner<'a> {
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    claim: &'a Claim,
    /// For each NIC the port that may stand in for it.
    stand_ins: &'a [Result<Box<Shadow>, String>],
}

impl<'a> Planner<'a> {
    /// The attempt, or why there is none.
    fn attempt(self) -> Result<Attempt, String> {
        match (self.claim.from, self.claim.to) {
            (Zone::Nic(from), Zone::Gateway(_)) => self.to_gateway(&self.topology.nics[from]),
            (Zone::Nic(from), Zone::Internet) => self.to_internet(&self.topology.nics[from]),
            (Zone::Nic(from), Zone::Nic(to)) => {
                self.to_nic(&self.topology.nics[from], &self.topology.nics[to])
            }
            (Zone::Host, Zone::Nic(to)) => self.host_to_nic(&self.topology.nics[to]),
            (Zone::Outside, Zone::Nic(to)) => self.outside_to_nic(&self.topology.nics[to]),
            (from, to) => {
                Err(format!("nothing is sent for packets from {} to {}", self.end(from), self.end(to)))
            }
        }
    }

    /// An end as people call it.
    fn end(self, zone: Zone) -> Cow<'static, str> {
        match zone {
            Zone::Nic(at) => self.topology.nics[at].label().into(),
            Zone::Gateway(_) => "a gateway".into(),
            Zone::Host => "the host itself".into(),
            Zone::Internet => "the internet".into(),
            Zone::Outside => "outside".into(),
        }
    }

    fn to_gateway(self, nic: &Nic) -> Result<Attempt, String> {
        let network = self.network(nic)?;
        let sender = self.as_vm(nic)?;
        if network.is_lan() {
            return match self.claim.traffic {
                Traffic::RouterAdvertisement => Err("a LAN's router is not the host".to_owned()),
                _ => self.to_lan_router(network, sender),
            };
        }
        if self.claim.traffic == Traffic::Dhcp
            && let Some(other) = self.asks_dhcp_for(nic)
        {
            return Err(format!("{} stands for it, which has no lease either", other.label()));
        }
        let target = self.claim.destination.ok_or("the gateway has no address of this family")?;
        let via = NextHopMac::Known(self.bridge(network)?.1);
        let probe = match self.claim.traffic {
            Traffic::Resolve => Probe::Resolve { target, only: None },
            Traffic::Dhcp => Probe::DhcpDiscover,
            Traffic::Icmp => Probe::Echo { target, via, form: EchoForm::Plain },
            Traffic::Dns => Probe::DnsQuery { server: target, via, name: DNS_NAME.to_owned() },
            Traffic::RouterAdvertisement => Probe::RouterSolicit { routers: self.own_link_local(network) },
            Traffic::Tcp(port) => Probe::TcpSyn { target, port, via },
            Traffic::Udp(_) => return Err(NO_UDP.to_owned()),
            Traffic::FullSize => return Err(ONLY_OUTWARD.to_owned()),
        };
        let needs_source =
            !matches!(probe, Probe::Resolve { .. } | Probe::DhcpDiscover | Probe::RouterSolicit { .. });
        let sender = if needs_source { self.with_source(nic, sender)? } else { sender };
        let watch = vec![self.bridge(network)?.0];
        Ok(Attempt { sender, probe, watch, arrival: None, wants_answer: true })
    }

    /// The NIC of the same network that asks its DHCP server in place of this one. dnsmasq answers one
    /// question after the other, and for an address that it leased to nobody yet it first listens for 3 s
    /// whether somebody has it (`src/dhcp.c`, `do_icmp_ping`): of those without a lease only the first
    /// can be sure to be answered in time.
    fn asks_dhcp_for(self, nic: &Nic) -> Option<&'a Nic> {
        let leased = |nic: &Nic| {
            let mut sources = nic.addresses.iter().flat_map(|known| &known.sources);
            sources.any(|source| matches!(source, AddressSource::Lease | AddressSource::Reserved))
        };
        let same =
            |other: &&Nic| other.network == nic.network && other.active && other.link_up && !leased(other);
        let first = self.topology.nics.iter().filter(same).find(|other| self.as_vm(other).is_ok())?;
        (!leased(nic) && first != nic).then_some(first)
    }

    /// The LAN's router answers for itself. One that the host does not know cannot be asked for; the
    /// question for the LAN's first address still shows whether frames leave by the uplink.
    fn to_lan_router(self, network: &NetworkZone, sender: Sender) -> Result<Attempt, String> {
        let uplink = self.lan_port(network)?;
        let first = || network.gateway(self.claim.ipv6).and_then(|net| net.trunc().hosts().next());
        let known = self.claim.destination;
        let target = known.or_else(first).ok_or("the LAN's router and subnet are not known to the host")?;
        Ok(Attempt {
            sender,
            probe: Probe::Resolve { target, only: None },
            watch: vec![uplink.clone()],
            arrival: Some(uplink),
            wants_answer: known.is_some(),
        })
    }

    fn to_internet(self, nic: &Nic) -> Result<Attempt, String> {
        let network = self.network(nic)?;
        let sender = self.with_source(nic, self.as_vm(nic)?)?;
        let (via, watch, arrival) = if network.is_lan() {
            let router = network.lan_gateway.filter(|address| address.is_ipv6() == self.claim.ipv6);
            let router = router.ok_or("the LAN's router is not known to the host")?;
            let uplink = self.lan_port(network)?;
            (NextHopMac::Resolve(router), vec![uplink.clone()], Some(uplink))
        } else {
            let (bridge, mac) = self.bridge_under(nic, network)?;
            let uplink = self.routed_uplink(network);
            let watch = std::iter::once(bridge).chain(uplink.clone()).collect();
            (NextHopMac::Known(mac), watch, uplink)
        };
        let wants_answer = self.claim.expected == Expected::Allow;
        let probe = self.probe_outward(via, tap_of(nic)?.index)?;
        Ok(Attempt { sender, probe, watch, arrival, wants_answer })
    }

    /// What the host itself asks of the internet, where it is meant to route the same for a guest by its own way.
    fn by_the_host(self) -> Option<Attempt> {
        let (Zone::Nic(nic), Zone::Internet, Expected::Allow) =
            (self.claim.from, self.claim.to, self.claim.expected)
        else {
            return None;
        };
        let network = self.topology.network_of(self.topology.nics.get(nic)?).filter(|zone| !zone.is_lan())?;
        let uplink = self.routed_uplink(network)?;
        let own = |own: &&Uplink| own.device == uplink.index && own.ipv6 == self.claim.ipv6;
        self.topology.uplinks.iter().find(own)?;
        // The kernel finds the way, the source and the next hop.
        let mac = self.snapshot.link(uplink.index)?.mac?;
        let probe = self.probe_outward(NextHopMac::Known(mac), uplink.index).ok()?;
        let sender = Sender::AsHost { device: uplink.clone(), mac, address: None };
        Some(Attempt {
            sender,
            probe,
            watch: vec![uplink.clone()],
            arrival: Some(uplink),
            wants_answer: true,
        })
    }

    fn to_nic(self, from: &Nic, to: &Nic) -> Result<Attempt, String> {
        let network = self.network(from)?;
        let sender = self.with_source(from, self.as_vm(from)?)?;
        let tap = tap_of(to)?;
        // Two NICs that are not meant to meet do so on the wire that really carries both.
        let together = match self.claim.expected {
            Expected::Allow => from.network == to.network,
            Expected::Deny => from.network == to.network || from.bridge.is_some() && from.bridge == to.bridge,
        };
        let (via, mut watch) = if together {
            (NextHopMac::Known(to.mac), Vec::new())
        } else {
            let (bridge, mac) = self.bridge_under(from, network)?;
            (NextHopMac::Known(mac), vec![bridge])
        };
        watch.push(tap.clone());
        let wants_answer = self.claim.expected == Expected::Allow && !to.paused;
        Ok(Attempt { sender, probe: self.probe(via)?, watch, arrival: Some(tap), wants_answer })
    }

    fn host_to_nic(self, nic: &Nic) -> Result<Attempt, String> {
        if nic.attachment != Attachment::Tap {
            return Err("host and VM do not reach one another over macvtap, by design".to_owned());
        }
        if nic.paused {
            return Err(format!("{} is paused and cannot answer", nic.vm));
        }
        let network = self.network(nic)?;
        let (device, mac) = self.bridge(network)?;
        let tap = tap_of(nic)?;
        let address = self.claim.source;
        let target = self.target(nic)?;
        let probe = match self.claim.traffic {
            Traffic::Resolve => Probe::Resolve { target, only: None },
            _ => self.probe(NextHopMac::Known(nic.mac))?,
        };
        let wants_answer = self.claim.expected == Expected::Allow;
        Ok(Attempt {
            sender: Sender::AsHost { device, mac, address },
            probe,
            watch: vec![tap.clone()],
            arrival: Some(tap),
            wants_answer,
        })
    }

    fn outside_to_nic(self, nic: &Nic) -> Result<Attempt, String> {
        let network = self.network(nic)?;
        let address = self.claim.source.ok_or("no address outside is known to ask from")?;
        let tap = tap_of(nic)?;
        let (uplink, mac, via) = if network.is_lan() {
            let uplink = self.lan_port(network)?;
            let mac = self.mac_behind(network, uplink.index)?;
            (uplink, mac, NextHopMac::Known(nic.mac))
        } else {
            self.routed_entrance(network)?
        };
        let wants_answer = self.claim.expected == Expected::Allow && !nic.paused;
        Ok(Attempt {
            sender: Sender::AsOutside { xdp: self.driver_program(uplink.index), uplink, mac, address },
            probe: self.probe(via)?,
            watch: vec![tap.clone()],
            arrival: Some(tap),
            wants_answer,
        })
    }

    /// Where a packet from outside enters towards a routed network, from which MAC and to which.
    fn routed_entrance(self, network: &NetworkZone) -> Result<(Device, Mac, NextHopMac), String> {
        let device = self.routed_uplink(network).ok_or("the host has no uplink")?;
        let link = self.snapshot.link(device.index).ok_or("the uplink is gone")?;
        let own = link.mac.ok_or_else(|| format!("{} has no MAC", device.name))?;
        let router = self.router_mac(device.index);
        if matches!(link.kind, LinkKind::Bridge(_)) {
            // On a bridge the source is learned: only one that is there already leaves no trace.
            let lan = self.topology.networks.iter().find(|lan| lan.bridge_index == Some(device.index));
            let port =
                self.lan_port(lan.ok_or_else(|| format!("no port of {} leads outside", device.name))?)?;
            let mac = router.ok_or_else(|| format!("no router behind {} is known", device.name))?;
            return Ok((port, mac, NextHopMac::Known(own)));
        }
        Ok((device, router.unwrap_or(STRANGER), NextHopMac::Known(own)))
    }

    /// The probe for traffic that goes out of the host from this device.
    fn probe_outward(self, via: NextHopMac, from: IfIndex) -> Result<Probe, String> {
        if self.claim.traffic != Traffic::FullSize {
            return self.probe(via);
        }
        let target = self.claim.destination.ok_or("the destination's address is not known")?;
        let mtu = self.snapshot.link(from).ok_or("its device is gone")?.mtu;
        let bytes = u16::try_from(mtu).unwrap_or(u16::MAX).min(LONGEST_FILLED);
        Ok(Probe::Echo { target, via, form: EchoForm::Filled { bytes } })
    }

    /// The probe for traffic that goes past the first hop.
    fn probe(self, via: NextHopMac) -> Result<Probe, String> {
        let target = self.claim.destination.ok_or("the destination's address is not known")?;
        match self.claim.traffic {
            Traffic::Icmp => Ok(Probe::Echo { target, via, form: EchoForm::Plain }),
            Traffic::Tcp(port) => Ok(Probe::TcpSyn { target, port, via }),
            Traffic::Udp(_) => Err(NO_UDP.to_owned()),
            Traffic::FullSize => Err(ONLY_OUTWARD.to_owned()),
            Traffic::Resolve | Traffic::Dhcp | Traffic::Dns | Traffic::RouterAdvertisement => {
                Err("this traffic stays on the link".to_owned())
            }
        }
    }

    fn target(self, nic: &Nic) -> Result<IpAddr, String> {
        let family = if self.claim.ipv6 { "IPv6" } else { "IPv4" };
        self.claim.destination.ok_or_else(|| format!("no {family} address of {} is known", nic.label()))
    }

    fn network(self, nic: &Nic) -> Result<&'a NetworkZone, String> {
        self.topology.network_of(nic).ok_or_else(|| format!("{} belongs to no known network", nic.label()))
    }

    /// The bridge by which what a NIC sends comes up to the host. What must not get through is tried by the
    /// bridge that really carries it, as it is proved.
    fn bridge_under(self, nic: &Nic, network: &NetworkZone) -> Result<(Device, Mac), String> {
        match nic.bridge.as_ref().filter(|_| self.claim.expected == Expected::Deny) {
            Some((index, _)) => self.bridge_device(*index, network),
            None => self.bridge(network),
        }
    }

    /// The host's link-local addresses on the bridge of a network.
    fn own_link_local(self, network: &NetworkZone) -> Vec<Ipv6Addr> {
        let own = self.snapshot.addresses.items().iter();
        let own = own.filter(|address| Some(address.device) == network.bridge_index);
        own.filter_map(|address| match address.net.addr() {
            IpAddr::V6(address) => Some(address).filter(Ipv6Addr::is_unicast_link_local),
            IpAddr::V4(_) => None,
        })
        .collect()
    }

    /// The bridge of a network with its MAC.
    fn bridge(self, network: &NetworkZone) -> Result<(Device, Mac), String> {
        let index = network.bridge_index.ok_or_else(|| format!("network {} has no bridge", network.name))?;
        self.bridge_device(index, network)
    }

    fn bridge_device(self, index: IfIndex, network: &NetworkZone) -> Result<(Device, Mac), String> {
        let link = self.snapshot.link(index);
        let link = link.ok_or_else(|| format!("the bridge of network {} is gone", network.name))?;
        let mac = link.mac.ok_or_else(|| format!("{} has no MAC", link.name))?;
        if link.up {
            Ok((Device { index: link.index, name: link.name.clone() }, mac))
        } else {
            Err(format!("{} is down", link.name))
        }
    }

    /// A frame that enters at a tap whose port does not forward proves nothing: the bridge drops it
    /// whatever else is set.
    fn as_vm(self, nic: &Nic) -> Result<Sender, String> {
        if nic.attachment != Attachment::Tap {
            return Err(format!("{}: {}", nic.label(), nic.plugged_into));
        }
        let tap = tap_of(nic)?;
        let link = self.snapshot.link(tap.index).ok_or_else(|| format!("{} is gone", tap.name))?;
        let name = &link.name;
        if !link.up {
            return Err(format!("{name} is down"));
        }
        if !link.carrier {
            return Err(format!("{name} has no carrier: no process serves it"));
        }
        match link.port.as_ref().map(|port| port.state) {
            Some(PortState::Forwarding) => {}
            Some(PortState::Listening | PortState::Learning) => {
                return Err(format!("{name} is not forwarding yet: spanning tree listens first"));
            }
            Some(PortState::Disabled | PortState::Blocking | PortState::Unknown(_)) => {
                return Err(format!("{name} does not forward"));
            }
            None => return Err(format!("{name} is in no bridge")),
        }
        let bridge = nic.bridge.as_ref().and_then(|(index, _)| self.snapshot.link(*index));
        match bridge {
            Some(bridge) if !bridge.up => Err(format!("{} is down", bridge.name)),
            _ => {
                let xdp = self.driver_program(tap.index);
                let at = self.topology.nics.iter().position(|other| std::ptr::eq(other, nic));
                let instead = at.and_then(|at| self.stand_ins.get(at)).cloned();
                let instead = instead.unwrap_or_else(|| Err("it was not planned".to_owned()));
                let (mac, address) = (nic.mac, self.claim.source);
                Ok(Sender::AsVm { tap, xdp, mac, address, vlan: None, instead })
            }
        }
    }

    /// The XDP program in a device's driver. Generic ones see injected frames like any others.
    fn driver_program(self, device: IfIndex) -> Option<u32> {
        let programs = &self.snapshot.link(device)?.xdp;
        programs.iter().find(|program| program.mode == "driver").map(|program| program.program_id)
    }

    fn with_source(self, nic: &Nic, sender: Sender) -> Result<Sender, String> {
        let family = if self.claim.ipv6 { "IPv6" } else { "IPv4" };
        match self.claim.source {
            Some(_) => Ok(sender),
            None => Err(format!("no {family} address of {} is known", nic.label())),
        }
    }

    /// The device by which a routed network leaves in this family.
    fn routed_uplink(self, network: &NetworkZone) -> Option<Device> {
        let (index, name) = self.topology.way_out(Some(network), self.claim.ipv6)?;
        Some(Device { index, name: name.clone() })
    }

    fn lan_port(self, network: &NetworkZone) -> Result<Device, String> {
        let (index, name) =
            network.uplink.clone().ok_or_else(|| format!("no port of {} leads to the LAN", network.name))?;
        match self.snapshot.link(index) {
            Some(link) if link.up && link.carrier => Ok(Device { index, name }),
            Some(link) if link.up => Err(format!("{name} has no carrier")),
            Some(_) | None => Err(format!("{name} is down")),
        }
    }

    /// The MAC of the router behind a routed uplink, from the neighbour table.
    fn router_mac(self, device: IfIndex) -> Option<Mac> {
        let routers = self.topology.uplinks.iter().filter(|uplink| uplink.device == device);
        let routers: Vec<IpAddr> = routers.filter_map(|uplink| uplink.gateway).collect();
        self.neighbour_mac(device, |address| routers.contains(&address))
    }

    fn neighbour_mac(self, device: IfIndex, wanted: impl Fn(IpAddr) -> bool) -> Option<Mac> {
        let neighbours = self.snapshot.neighbours.items().iter();
        neighbours
            .filter(|neighbour| neighbour.device == device && wanted(neighbour.address))
            .find_map(|neighbour| neighbour.mac)
    }

    /// A MAC that the bridge knows to lie behind its uplink: the router's, else any. Another one would
    /// stay in the bridge's table.
    fn mac_behind(self, network: &NetworkZone, uplink: IfIndex) -> Result<Mac, String> {
        let router = network.lan_gateway;
        let by_router = network
            .bridge_index
            .and_then(|bridge| self.neighbour_mac(bridge, |address| Some(address) == router));
        let learned = || {
            let mut macs: Vec<Mac> = self
                .snapshot
                .fdb
                .items()
                .iter()
                .filter(|entry| {
                    entry.port == uplink && !entry.permanent && !entry.own && !entry.mac.is_group()
                })
                .map(|entry| entry.mac)
                .collect();
            macs.sort_unstable();
            macs.first().copied()
        };
        by_router
            .or_else(learned)
            .ok_or_else(|| "the bridge has learned no MAC behind its uplink to send as".to_owned())
    }
}

fn tap_of(nic: &Nic) -> Result<Device, String> {
    match (&nic.tap, nic.tap_index) {
        (Some(name), Some(index)) => Ok(Device { index, name: name.clone() }),
        (Some(name), None) => Err(format!("{name} does not exist")),
        (None, _) => Err(format!("{} has no tap", nic.label())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{expand, parse};
    use crate::testing::snapshot;

    #[test]
    fn of_two_nics_of_a_vm_it_is_said_which_is_not_tried() {
        let snapshot = snapshot();
        let mut topology = Topology::from_snapshot(&snapshot);
        let web1 = topology.nics.iter().position(|nic| nic.vm == "web1").expect("a VM of the fixture");
        topology.nics[web1].position = 1;
        let policy =
            parse("version: 1\nassertions: [{from: 'vm:web1', to: host, deny: tcp/22}]").expect("one");
        let alike: Vec<usize> = (0..topology.nics.len()).collect();
        let expansion = expand(&policy.assertions, (&snapshot, &topology), &[], &alike).expect("claims");
        let plan = plan(&snapshot, &topology, &expansion.claims, Reach::Anywhere);
        let said = "not tried: nothing is sent for packets from web1 (NIC 2) to the host itself";
        assert!(!plan.trials.is_empty());
        assert!(plan.trials.iter().all(|trial| *trial == Trial::None(said.to_owned())), "{:?}", plan.trials);
    }
}
