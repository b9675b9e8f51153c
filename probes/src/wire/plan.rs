//! What one attempt sends, and by which way it leaves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::answer::{RunId, Token, Whom};
use super::frame::{self, Link, Pair, Segment};
use super::shadow::{Port, Shadow, StandIn, Unplugged};
use super::{Attempt, Device, EchoForm, NextHopMac, Probe, Sender};
use crate::facts::{Mac, VlanId};

/// The most candidates of one [`Probe::Discover`].
const MOST_CANDIDATES: usize = 1024;

/// Source ports begin here: above the range from which Linux and Windows choose theirs, so that no
/// connection of the VM or the host is met by accident.
const FIRST_PORT: u16 = 61000;

/// As many ports are there above it.
const PORTS: u16 = u16::MAX - FIRST_PORT;

/// The hop limit of what is to go as far as its target is.
pub(super) const FAR: u8 = 64;

/// How often a packet is sent at most.
pub(super) const ROUNDS: u16 = 3;

/// Why an attempt is not tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("watching packets needs CAP_NET_RAW: {0}")]
    Watch(io::Error),
    #[error("sending as a VM needs CAP_BPF and CAP_NET_ADMIN in the initial user namespace: {0}")]
    Load(io::Error),
    #[error("frames at {device} pass its XDP program {id}, which takes CAP_SYS_ADMIN to run: {source}")]
    Program { device: String, id: u32, source: io::Error },
    #[error("this kernel lets no frame enter at a tap, which Linux 5.18 is the first to do: {0}")]
    Kernel(io::Error),
    #[error("{since}; nor by a port of kvmnet's own: {why}")]
    NoStandIn { since: Box<Trouble>, why: String },
    #[error("{since}; nor by a port of kvmnet's own in {bridge}: {why}")]
    Unplugged { since: String, bridge: String, why: String },
    #[error("no {family} address was found in {bridge} that is free for a port of kvmnet's own")]
    NoFreeAddress { bridge: String, family: &'static str },
    #[error("cannot send by a port of kvmnet's own: {0}")]
    Shadow(io::Error),
    #[error("cannot let a frame enter at {device} (Linux before 5.18 cannot do it at all): {source}")]
    Inject { device: String, source: io::Error },
    #[error("cannot send a frame out of {device}: {source}")]
    Frame { device: String, source: io::Error },
    #[error("sending from the host needs CAP_NET_RAW: {0}")]
    Open(io::Error),
    #[error("cannot send to {target} from the host: {source}")]
    Host { target: IpAddr, source: io::Error },
    #[error("the sender's {0} address is not known")]
    NoAddress(&'static str),
    #[error("`{0}` is not a domain name")]
    NotADomainName(String),
    #[error("{0} addresses are too many to ask one NIC for, {MOST_CANDIDATES} are the most")]
    Candidates(usize),
    #[error("the host would remember what comes back for its own full IPv6 packet, and treat the VMs' by it")]
    Remembered,
    #[error("only a VM asks for an address by DHCP")]
    DhcpFromHost,
    #[error("only a VM asks for its router")]
    RouterFromHost,
    #[error("more than {0} packets are to be tried at once")]
    TooMany(u16),
    #[error("the wait for packets failed: {0}")]
    Wait(io::Error),
    #[error("{0} packets were lost because they came faster than they could be read")]
    Lost(u32),
}

/// By which way the packets of an attempt leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// They enter at the device as if received from its other end, by the XDP program of its driver if it has
    /// one.
    Inject(&'a Device, Option<u32>),
    /// They enter by the port of our own with this number.
    Shadow(usize, Arc<Device>),
    /// They leave by the device.
    Frame(&'a Device),
    /// The host's IP layer sends them.
    Host(&'a Device),
}

impl Way<'_> {
    /// The device where answers are looked for.
    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Inject(device, _) | Self::Frame(device) | Self::Host(device) => device,
            Self::Shadow(_, device) => device,
        }
    }
}

/// What an attempt sends.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) way: Way<'a>,
    /// The MAC that the sender has.
    pub(super) mac: Mac,
    /// Whose MAC must be found first.
    pub(super) resolve: Option<IpAddr>,
    /// Which packets belong to it.
    pub(super) tokens: Vec<Token>,
    /// The port of our own that stands in for the VM.
    pub(super) stand_in: Option<StandIn>,
    address: Option<IpAddr>,
    vlan: Option<VlanId>,
    question: Vec<u8>,
    run: RunId,
    number: u16,
}

impl<'a> Plan<'a> {
    /// Plans the attempt with this number.
    pub(super) fn new(attempt: &'a Attempt, run: RunId, number: u16) -> Result<Self, Trouble> {
        let (way, mac, address, vlan) = match (&attempt.sender, &attempt.probe) {
            (Sender::AsVm { tap, xdp, mac, address, vlan, .. }, _) => {
                (Way::Inject(tap, *xdp), *mac, *address, *vlan)
            }
            (Sender::AsOutside { uplink, xdp, mac, address }, _) => {
                (Way::Inject(uplink, *xdp), *mac, Some(*address), None)
            }
            (Sender::AsHost { .. }, Probe::DhcpDiscover) => return Err(Trouble::DhcpFromHost),
            (Sender::AsHost { .. }, Probe::RouterSolicit { .. }) => return Err(Trouble::RouterFromHost),
            // `icmpv6_err` in `net/ipv6/icmp.c` learns from every error, and `ip6_forward` goes by it.
            (
                Sender::AsHost { .. },
                Probe::Echo { target: IpAddr::V6(_), form: EchoForm::Filled { .. }, .. },
            ) => return Err(Trouble::Remembered),
            (Sender::AsHost { device, mac, address }, Probe::Resolve { .. } | Probe::Discover { .. }) => {
                (Way::Frame(device), *mac, *address, None)
            }
            (
                Sender::AsHost { device, mac, address },
                Probe::Echo { .. } | Probe::TcpSyn { .. } | Probe::DnsQuery { .. },
            ) => (Way::Host(device), *mac, *address, None),
        };
        let mut plan = Self {
            attempt,
            way,
            mac,
            resolve: None,
            tokens: Vec::new(),
            stand_in: None,
            address,
            vlan,
            question: Vec::new(),
            run,
            number,
        };
        match &attempt.probe {
            Probe::Resolve { target, .. } => plan.tokens.push(Token::Neighbour(*target)),
            Probe::Discover { candidates, .. } => {
                if candidates.len() > MOST_CANDIDATES {
                    return Err(Trouble::Candidates(candidates.len()));
                }
                plan.tokens.extend(candidates.iter().map(|&ip| Token::Neighbour(ip.into())));
            }
            Probe::Echo { target, via, .. } => plan.packet(Token::Echo(number), *target, *via)?,
            Probe::TcpSyn { target, via, .. } => plan.packet(Token::Tcp(number), *target, *via)?,
            Probe::DnsQuery { server, via, name } => {
                plan.question =
                    frame::dns_question(name).ok_or_else(|| Trouble::NotADomainName(name.clone()))?;
                let token = Token::Dns(run.dns_id(number), plan.question.clone());
                plan.packet(token, *server, *via)?;
            }
            Probe::DhcpDiscover => plan.tokens.push(Token::Dhcp(number)),
            Probe::RouterSolicit { .. } => plan.tokens.push(Token::Router),
        }
        Ok(plan)
    }

    /// Sends it by a port of our own in place of the VM, whose address is not known before it has
    /// [settled](Self::settled).
    pub(super) fn stand_in(&mut self, number: usize, port: &Port, since: &Trouble) {
        self.way = Way::Shadow(number, Arc::clone(&port.device));
        self.mac = port.mac;
        self.vlan = None;
        self.stand_in = Some(StandIn {
            device: (*port.device).clone(),
            bridge: port.shadow.bridge.clone(),
            address: None,
            since: since.to_string(),
        });
    }

    /// The port that stands in has settled: it has addresses now, or will never have any.
    pub(super) fn settled(&mut self, port: &Port) -> Result<(), Trouble> {
        let wanted = self.address.take();
        self.address = wanted.and_then(|wanted| port.address(wanted.is_ipv6()));
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.address = self.address;
        }
        match self.answerer() {
            Some(target) if self.address.is_none() => Err(Trouble::NoFreeAddress {
                bridge: port.shadow.bridge.name.to_string(),
                family: if target.is_ipv4() { "IPv4" } else { "IPv6" },
            }),
            _ => Ok(()),
        }
    }

    /// Why nothing is sent by the port that stands in.
    pub(super) fn unplugged(&self, shadow: &Shadow, why: &Unplugged) -> Trouble {
        let since = self.stand_in.as_ref().map(|stand_in| stand_in.since.clone());
        Trouble::Unplugged {
            since: since.unwrap_or_default(),
            bridge: shadow.bridge.name.to_string(),
            why: why.to_string(),
        }
    }

    /// Whether both are sent by the same port of our own and ask the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let asked = |plan: &Self| (plan.attempt.wants_answer, plan.address.map(|address| address.is_ipv6()));
        let same_port = matches!((&self.way, &other.way), (Way::Shadow(a, _), Way::Shadow(b, _)) if a == b);
        same_port
            && asked(self) == asked(other)
            && (&self.attempt.probe, &self.attempt.watch, &self.attempt.arrival)
                == (&other.attempt.probe, &other.attempt.watch, &other.attempt.arrival)
    }

    /// An IP packet to `target`: it needs a source address, and a MAC to send it to.
    fn packet(&mut self, token: Token, target: IpAddr, via: NextHopMac) -> Result<(), Trouble> {
        self.tokens.push(token);
        if matches!(self.way, Way::Host(_)) {
            return Ok(());
        }
        if self.address.and_then(|address| Pair::new(address, target)).is_none() {
            return Err(Trouble::NoAddress(if target.is_ipv4() { "IPv4" } else { "IPv6" }));
        }
        if let NextHopMac::Resolve(hop) = via {
            self.resolve = Some(hop);
            self.tokens.push(Token::Neighbour(hop));
        }
        Ok(())
    }

    /// How many packets one round of the probe has.
    pub(super) fn packets(&self) -> usize {
        match &self.attempt.probe {
            Probe::Discover { candidates, .. } => candidates.len(),
            Probe::Resolve { .. }
            | Probe::Echo { .. }
            | Probe::TcpSyn { .. }
            | Probe::DhcpDiscover
            | Probe::DnsQuery { .. }
            | Probe::RouterSolicit { .. } => 1,
        }
    }

    /// Whom an answer must come from to count.
    pub(super) fn answerer(&self) -> Option<IpAddr> {
        match &self.attempt.probe {
            Probe::Echo { target: whom, .. }
            | Probe::TcpSyn { target: whom, .. }
            | Probe::DnsQuery { server: whom, .. } => Some(*whom),
            Probe::Resolve { .. }
            | Probe::Discover { .. }
            | Probe::DhcpDiscover
            | Probe::RouterSolicit { .. } => None,
        }
    }

    /// Whether an advertisement comes from somebody else than the router that is asked for.
    pub(super) fn is_strange(&self, router: Option<IpAddr>) -> bool {
        match (&self.attempt.probe, router) {
            (Probe::RouterSolicit { routers }, Some(IpAddr::V6(router))) => !routers.contains(&router),
            (Probe::RouterSolicit { .. }, _) => true,
            _ => false,
        }
    }

    /// Whether an answer that tells `whom` alone is for the sender.
    pub(super) fn is(&self, whom: Whom) -> bool {
        match whom {
            Whom::Mac(mac) => mac == self.mac,
            Whom::Address(address) => self.asks_as() == Some(address),
        }
    }

    /// The address as which it asks for a MAC. From outside that is none: the caller's address there may
    /// be anybody's, and the host would believe the MAC that we made up for it.
    pub(super) fn asks_as(&self) -> Option<IpAddr> {
        self.address.filter(|_| !matches!(self.attempt.sender, Sender::AsOutside { .. }))
    }

    /// The request for the MAC of the next hop.
    pub(super) fn resolving_frame(&self, hop: IpAddr) -> Vec<u8> {
        self.request(hop, None)
    }

    /// The probe's frame, to this next hop where it needs one; `item` counts the candidates of
    /// [`Probe::Discover`], `round` how often it was sent before. `None`: there is no such frame.
    pub(super) fn frame(&self, item: usize, hop: Option<Mac>, round: u16) -> Option<Vec<u8>> {
        match &self.attempt.probe {
            Probe::Resolve { target, only } => Some(self.request(*target, *only)),
            Probe::Discover { mac, candidates } => {
                candidates.get(item).map(|&candidate| self.request(candidate.into(), Some(*mac)))
            }
            Probe::DhcpDiscover => {
                Some(frame::dhcp_discover(self.mac, self.vlan, self.run.long_number(self.number)))
            }
            Probe::RouterSolicit { .. } => {
                let asker = match self.address {
                    Some(IpAddr::V6(address)) if address.is_unicast_link_local() => address,
                    Some(_) | None => Ipv6Addr::UNSPECIFIED,
                };
                Some(frame::router_solicitation(self.mac, self.vlan, asker))
            }
            Probe::Echo { target, via, .. }
            | Probe::TcpSyn { target, via, .. }
            | Probe::DnsQuery { server: target, via, .. } => {
                let destination = match *via {
                    NextHopMac::Known(mac) => mac,
                    NextHopMac::Resolve(_) => hop?,
                };
                let pair = Pair::new(self.address?, *target)?;
                let link = Link { source: self.mac, destination, vlan: self.vlan };
                Some(frame::packet(link, pair, &self.segment(pair, round)?, self.hop_limit().unwrap_or(FAR)))
            }
        }
    }

    /// What follows the IP header. Each round begins a flow of its own: the second packet of one passes
    /// over the chains that translate its first, and need not meet the same fate.
    pub(super) fn segment(&self, pair: Pair, round: u16) -> Option<Segment> {
        match &self.attempt.probe {
            Probe::Echo { form, .. } => {
                // The headers of IP and of the echo request come before it.
                let headers = match pair {
                    Pair::V4(..) => 20 + 8,
                    Pair::V6(..) => 40 + 8,
                };
                let length = match *form {
                    EchoForm::Filled { bytes } => usize::from(bytes).saturating_sub(headers),
                    EchoForm::Plain | EchoForm::Expiring { .. } => 0,
                };
                let payload = self.run.payload(self.number, length);
                Some(frame::echo(pair, self.run.echo_identifier(round), self.number, &payload))
            }
            Probe::TcpSyn { port, .. } => {
                Some(frame::tcp_syn(pair, self.port(round), *port, self.run.long_number(self.number)))
            }
            Probe::DnsQuery { .. } => Some(frame::udp(pair, self.port(round), 53, &self.dns_query())),
            Probe::Resolve { .. }
            | Probe::Discover { .. }
            | Probe::DhcpDiscover
            | Probe::RouterSolicit { .. } => None,
        }
    }

    /// The hop limit, if it is another than the sender's usual one.
    pub(super) fn hop_limit(&self) -> Option<u8> {
        match self.attempt.probe {
            Probe::Echo { form: EchoForm::Expiring { hops }, .. } => Some(hops),
            Probe::Echo { form: EchoForm::Plain | EchoForm::Filled { .. }, .. }
            | Probe::TcpSyn { .. }
            | Probe::DnsQuery { .. }
            | Probe::Resolve { .. }
            | Probe::Discover { .. }
            | Probe::DhcpDiscover
            | Probe::RouterSolicit { .. } => None,
        }
    }

    /// The DNS query.
    pub(super) fn dns_query(&self) -> Vec<u8> {
        frame::dns_query(self.run.dns_id(self.number), &self.question)
    }

    /// The address that the sender is said to have, or the unspecified one of `like`'s family.
    pub(super) fn own_address(&self, like: IpAddr) -> IpAddr {
        self.address.unwrap_or(unspecified(like))
    }

    fn port(&self, round: u16) -> u16 {
        // Far from those of the attempts that follow.
        let round = round % ROUNDS * (PORTS / ROUNDS);
        FIRST_PORT + self.run.short().wrapping_add(self.number).wrapping_add(round) % PORTS
    }

    /// A request for the MAC of `target`.
    fn request(&self, target: IpAddr, only: Option<Mac>) -> Vec<u8> {
        let sender = self.asks_as();
        match target {
            IpAddr::V4(target) => {
                let sender = match sender {
                    Some(IpAddr::V4(sender)) => sender,
                    Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
                };
                let destination = only.unwrap_or(Mac::BROADCAST);
                frame::arp_request(Link { source: self.mac, destination, vlan: self.vlan }, sender, target)
            }
            IpAddr::V6(target) => {
                let sender = match sender {
                    Some(IpAddr::V6(sender)) => sender,
                    Some(IpAddr::V4(_)) | None => Ipv6Addr::UNSPECIFIED,
                };
                frame::solicitation(self.mac, only, self.vlan, sender, target)
            }
        }
    }
}

/// The unspecified address of the same family.
pub(super) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
