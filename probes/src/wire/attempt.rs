//! What is to be tried, and what was seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::exchange::marks;
use super::shadow::{Shadow, StandIn};
use crate::facts::{IfIndex, IfName, Mac, VlanId};

/// A device of this host, by both of its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Its index.
    pub index: IfIndex,
    /// Its name.
    pub name: IfName,
}

/// Who sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// The frame enters at the VM's tap, as if the guest had sent it.
    AsVm {
        /// The tap.
        tap: Device,
        /// The id of the XDP program in the tap's driver, which what the guest sends passes first.
        xdp: Option<u32>,
        /// The NIC's MAC.
        mac: Mac,
        /// The NIC's own address of the probe's family, if it is known. Without one only probes that
        /// need none can be sent (ARP with a zero sender, DHCP, router solicitation).
        address: Option<IpAddr>,
        /// The VLAN that the guest would tag with, if it tags.
        vlan: Option<VlanId>,
        /// The port that stands in for the tap where no frame can enter there, or why there is none.
        instead: Result<Box<Shadow>, String>,
    },
    /// It leaves from the host. ARP and NDP leave by this device; everything else takes the
    /// kernel's own way: routing, netfilter's output hooks and neighbours, with the source address
    /// that the kernel chooses. It counts as answered when the host's own sockets get the answer.
    AsHost {
        /// The bridge or device on which the VM lies.
        device: Device,
        /// The host's MAC on the device.
        mac: Mac,
        /// The host's address there; zero sender where it has none.
        address: Option<IpAddr>,
    },
    /// The frame enters at the uplink, as if it came from the LAN or the internet.
    AsOutside {
        /// The uplink.
        uplink: Device,
        /// The id of the XDP program in its driver, which what comes in passes first.
        xdp: Option<u32>,
        /// The source MAC to use: the router's, if it is known.
        mac: Mac,
        /// The source address to use.
        address: IpAddr,
    },
}

/// What is sent. The answer that counts follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// ARP request or NDP solicitation for the target; the answer names its MAC.
    Resolve {
        /// Whose MAC is asked for.
        target: IpAddr,
        /// Sent to this MAC alone instead of all; `None`: broadcast or solicited-node multicast.
        only: Option<Mac>,
    },
    /// Which of these addresses a NIC holds: ARP requests to its MAC alone.
    Discover {
        /// The NIC's MAC.
        mac: Mac,
        /// The addresses to ask for, at most 1024.
        candidates: Vec<Ipv4Addr>,
    },
    /// ICMP or ICMPv6 echo. It must not be fragmented on its way.
    Echo {
        /// To whom.
        target: IpAddr,
        /// The MAC of the next hop. Of no use to [`Sender::AsHost`], where the kernel finds it.
        via: NextHopMac,
        /// How far it may go, and how long it is.
        form: EchoForm,
    },
    /// TCP SYN; SYN-ACK and RST both prove the path.
    TcpSyn {
        /// To whom.
        target: IpAddr,
        /// Which port.
        port: u16,
        /// The MAC of the next hop.
        via: NextHopMac,
    },
    /// DHCP DISCOVER; an OFFER proves the service. No REQUEST follows, so no lease is taken.
    DhcpDiscover,
    /// DNS query over UDP; any response proves the service.
    DnsQuery {
        /// The server.
        server: IpAddr,
        /// The MAC of the next hop.
        via: NextHopMac,
        /// The name asked for.
        name: String,
    },
    /// ICMPv6 router solicitation to all routers (RFC 4861, 4.1), from the sender's address if that is a link-local
    /// one, else from none, as a guest asks that has none yet. An advertisement that comes to the sender is the
    /// answer, be it to that address or to all nodes. It carries nothing of the question; one to all counts from when
    /// the solicitation was seen to come in at a watched device, if one is watched. That may still be one which another
    /// guest asked for, or nobody, since routers send them now and then: it does show that they come to the VM.
    RouterSolicit {
        /// The link-local addresses of the router that is to answer. Others that advertise themselves are not heeded.
        routers: Vec<Ipv6Addr>,
    },
}

/// The longest packet that [`EchoForm::Filled`] asks for. A frame enters at a tap in one page of 4096 bytes, in which the
/// kernel also keeps room before and behind it (`bpf_prog_test_run_xdp` in `net/bpf/test_run.c`).
pub const LONGEST_FILLED: u16 = 3000;

/// What is asked with an echo request besides whether its target answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoForm {
    /// Nothing: it is short, and may go as far as the target is.
    Plain,
    /// Who is so many routers away: its hop limit runs out there. The error by which that router says so is the
    /// answer that counts, or the target's if it is no farther away.
    Expiring {
        /// The hop limit with which it leaves its sender.
        hops: u8,
    },
    /// Whether a packet of so many bytes, IP header included, gets through. The error by which somebody on the way
    /// says that it is too big is an answer: the sender then knows what to send instead.
    /// The host itself does not ask so by IPv6, since it would remember the answer.
    Filled {
        /// The length, from 46 bytes for IPv4 and 66 for IPv6, as [`Self::Plain`] is, to [`LONGEST_FILLED`].
        bytes: u16,
    },
}

/// How the frame's destination MAC is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopMac {
    /// This one.
    Known(Mac),
    /// By resolving this address first, from the same sender. Where nobody answers, the packet
    /// cannot leave, as it could not leave the guest: the attempt is silent, and the sightings are
    /// those of the request.
    Resolve(IpAddr),
}

/// One packet to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who sends.
    pub sender: Sender,
    /// What is sent.
    pub probe: Probe,
    /// Devices besides the sender's where it may be seen passing, in the order of the path: the
    /// bridge, the uplink, the destination's tap.
    pub watch: Vec<Device>,
    /// Where the packet counts as arrived even if nobody answers: the destination's tap, or the
    /// uplink for the internet. Decides for denials.
    pub arrival: Option<Device>,
    /// An answer is wanted. Without it silence is the wanted outcome, and the attempt ends as soon
    /// as it is answered, refused or seen at [`Self::arrival`].
    pub wants_answer: bool,
}

impl Attempt {
    /// How many packets leave for it at most, requests for the next hop's MAC among them.
    pub fn most_packets(&self) -> usize {
        let rounds = marks(self, Duration::from_secs(1)).len();
        let each = match &self.probe {
            Probe::Discover { candidates, .. } => candidates.len(),
            Probe::Echo { via, .. } | Probe::TcpSyn { via, .. } | Probe::DnsQuery { via, .. } => {
                let resolves = matches!(via, NextHopMac::Resolve(_));
                1 + usize::from(resolves && !matches!(self.sender, Sender::AsHost { .. }))
            }
            Probe::Resolve { .. } | Probe::DhcpDiscover | Probe::RouterSolicit { .. } => 1,
        };
        rounds * each
    }
}

/// The probe was seen on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where.
    pub device: Device,
    /// It left by the device (`PACKET_OUTGOING`) rather than came in.
    pub outgoing: bool,
    /// It is the answer rather than the probe.
    pub answer: bool,
    /// The source address that it had there: shows NAT.
    pub source: Option<IpAddr>,
    /// The MAC that it was for there, on devices with Ethernet's link headers. Whoever has another one does
    /// not take it, although a bridge may flood it to its port.
    pub to: Option<Mac>,
    /// The VLAN that it was tagged with there.
    pub vlan: Option<VlanId>,
    /// Microseconds after it was sent.
    pub after_us: u64,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// Where the probe and its answer were seen, in order of time.
    pub sightings: Vec<Sighting>,
    /// The port of our own by which it was sent in place of the VM, if it was.
    pub stand_in: Option<StandIn>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered by the one whom it was sent to.
    Answered {
        /// Microseconds from sending to the answer.
        after_us: u64,
        /// What the answer says: a MAC, an offered address, `syn-ack`, `rst`.
        answer: Answer,
    },
    /// Someone on the path refused it with an ICMP error or a reset.
    Refused {
        /// Who sent the error.
        by: IpAddr,
        /// The error in words.
        error: String,
    },
    /// Nothing came back before the deadline. [`Observation::sightings`] say how far it came.
    Silent,
    /// It could not be sent, or not be watched without loss: nothing is known.
    NotTried {
        /// What is missing, in words.
        reason: String,
    },
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The target's MAC.
    Mac(Mac),
    /// The addresses that the NIC holds.
    Holds(Vec<Ipv4Addr>),
    /// An echo reply.
    Echo,
    /// The hop limit of [`EchoForm::Expiring`] ran out at this router.
    Expired {
        /// Who says so.
        by: IpAddr,
    },
    /// [`EchoForm::Filled`] was too big for the way on from here.
    TooBig {
        /// Who says so.
        by: IpAddr,
        /// The most bytes that the way on carries, IP header included. 0 from a router older than RFC 1191.
        mtu: u32,
    },
    /// The port is open.
    SynAck,
    /// The port is closed, the path is open.
    Reset,
    /// An offered address and the server that offers it.
    Offer {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// A DNS response with this code (0: no error, 3: no such name, 5: refused).
    Dns(u8),
    /// A router's advertisement.
    RouterAdvertisement {
        /// It is for all nodes, so that somebody else may have asked for it, or nobody.
        to_all: bool,
    },
}
