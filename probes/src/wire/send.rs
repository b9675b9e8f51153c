//! The ways by which packets leave: in at a device as if received there (`Inject`), in by a port of our own
//! (`Shadow`), out of a device (`Frame`), and through the host's IP layer (`Host`).
//!
//! A frame that is injected passes the XDP program of the device's driver if the sender names it, the
//! device's packet sockets (incoming), a generic XDP program, tc ingress, and its bridge or IP layer as any
//! received frame does. Its receive counters do not move (Linux 6.18). A frame sent out of a device skips the ARP family's
//! netfilter hooks; a packet of the host's IP layer skips nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    sendmsg, socket,
};

use super::answer::RunId;
use super::frame::{self, Pair};
use super::plan::{FAR, Plan, Trouble, Way, unspecified};
use super::shadow::{Port, Shadow, Unplugged};
use super::{Device, EchoForm, Probe, filter};
use crate::sys::bpf::XdpProgram;
use crate::sys::packet::{FrameSender, attach_filter, ignore_path_mtu, make_room};

/// For the answers to some thousand packets.
const ROOM: usize = 4 << 20;

/// The protocols that leave the host by raw sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RawKind {
    Icmp,
    Icmpv6,
    Tcp4,
    Tcp6,
    /// IPv4 with a header that is made here, since no other socket sends what must not be fragmented without the
    /// kernel's learning from what comes back. It receives nothing.
    Whole4,
}

/// Opens a raw IP socket of the host. One for TCP receives the answers to this run's probes alone.
fn raw_socket(kind: RawKind, run: RunId) -> io::Result<OwnedFd> {
    let (family, protocol) = match kind {
        RawKind::Icmp => (AddressFamily::Inet, SockProtocol::Icmp),
        RawKind::Icmpv6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        RawKind::Tcp4 => (AddressFamily::Inet, SockProtocol::Tcp),
        RawKind::Whole4 => (AddressFamily::Inet, SockProtocol::Raw),
        RawKind::Tcp6 => (AddressFamily::Inet6, SockProtocol::Tcp),
    };
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    make_room(&fd, ROOM);
    match kind {
        // It gets what comes back for packets that fill the MTU, and the kernel asks it whether to learn from that.
        RawKind::Icmp => {
            ignore_path_mtu(&fd)?;
            attach_filter(&fd, &filter::no_requests(true))?;
        }
        RawKind::Icmpv6 => attach_filter(&fd, &filter::no_requests(false))?,
        RawKind::Whole4 => {}
        RawKind::Tcp4 | RawKind::Tcp6 => {
            attach_filter(&fd, &filter::acknowledges(run, kind == RawKind::Tcp4))?;
        }
    }
    Ok(fd)
}

/// What became of a packet that was to leave.
#[derive(Debug)]
pub(super) enum Sent {
    /// It left.
    Away,
    /// It left from a socket of its own, which gets the answer.
    From { socket: UdpSocket, server: IpAddr },
    /// The host's own IP layer refused it: no route, or a rule on the way out.
    RefusedHere { by: IpAddr, error: io::Error },
}

/// What is needed to send the packets of a run.
#[derive(Debug, Default)]
pub(super) struct Senders {
    /// By the id of the driver's program; `None`: one that passes everything.
    xdp: HashMap<Option<u32>, XdpProgram>,
    /// It was tried whether the kernel lets frames enter, and it does.
    injects: bool,
    frames: Option<FrameSender>,
    /// Ports of our own.
    pub(super) ports: Vec<Port>,
    raw: HashMap<RawKind, OwnedFd>,
}

impl Senders {
    /// Opens what the plan needs and is not open yet.
    pub(super) fn prepare(&mut self, plan: &Plan<'_>, run: RunId) -> Result<(), Trouble> {
        match &plan.way {
            &Way::Inject(at, program) => {
                self.injecting()?;
                if let Entry::Vacant(missing) = self.xdp.entry(program) {
                    missing.insert(match program {
                        None => XdpProgram::pass().map_err(Trouble::Load)?,
                        Some(id) => XdpProgram::with_id(id).map_err(|source| Trouble::Program {
                            device: at.name.to_string(),
                            id,
                            source,
                        })?,
                    });
                }
            }
            Way::Frame(_) if self.frames.is_none() => {
                self.frames = Some(FrameSender::open().map_err(Trouble::Open)?);
            }
            Way::Frame(_) | Way::Shadow(..) => {}
            Way::Host(_) => {
                // The ICMP socket also gets the errors that come back for the others.
                for kind in raw_kinds(plan) {
                    if let Entry::Vacant(missing) = self.raw.entry(kind) {
                        missing.insert(raw_socket(kind, run).map_err(Trouble::Open)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether frames can enter at devices at all.
    fn injecting(&mut self) -> Result<(), Trouble> {
        if !self.injects {
            XdpProgram::can_inject().map_err(|error| match error.raw_os_error() {
                // What it was told to do it does not know.
                Some(libc::EINVAL) => Trouble::Kernel(error),
                _ => Trouble::Load(error),
            })?;
            self.injects = true;
        }
        Ok(())
    }

    /// The number of the port of our own that is like this one. It is plugged in if it is not there yet.
    pub(super) fn port(&mut self, shadow: &Shadow, run: RunId) -> Result<usize, Unplugged> {
        if let Some(known) = self.ports.iter().position(|port| port.shadow == *shadow) {
            return Ok(known);
        }
        let number = self.ports.len();
        self.ports.push(Port::plug(shadow, run, number as u64)?);
        Ok(number)
    }

    /// The raw sockets. What they receive has passed the host's input hooks.
    pub(super) fn raw_sockets(&self) -> impl Iterator<Item = (RawKind, &OwnedFd)> {
        self.raw.iter().map(|(&kind, fd)| (kind, fd))
    }

    /// Lets a frame enter at the device, or leave by it.
    pub(super) fn send_frame(&self, way: &Way<'_>, frame: &[u8]) -> Result<(), Trouble> {
        let named = |device: &Device| device.name.to_string();
        match way {
            Way::Inject(at, program) => {
                let xdp = self.xdp.get(program).expect("prepared for every planned way");
                xdp.inject(at.index.0, frame).map_err(|source| Trouble::Inject { device: named(at), source })
            }
            Way::Shadow(number, _) => self.ports[*number].send(frame).map_err(Trouble::Shadow),
            Way::Frame(by) | Way::Host(by) => {
                let frames = self.frames.as_ref().expect("prepared for every planned way");
                frames.send(by.index.0, frame).map_err(|source| Trouble::Frame { device: named(by), source })
            }
        }
    }

    /// Sends the plan's packet through the host's IP layer. The source address is the one that the
    /// kernel chooses for such a packet.
    pub(super) fn send_from_host(&self, plan: &Plan<'_>, round: u16) -> Result<Sent, Trouble> {
        let Some(target) = plan.answerer() else { return Ok(Sent::Away) };
        let port = match plan.attempt.probe {
            Probe::TcpSyn { port, .. } => port,
            _ => 53,
        };
        let to = match target {
            IpAddr::V6(ip) => {
                let scope = if ip.is_unicast_link_local() { plan.way.device().index.0 } else { 0 };
                SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
            }
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), port),
        };
        // Connecting a datagram socket sends nothing, but asks for route and source.
        let socket =
            UdpSocket::bind((unspecified(target), 0)).map_err(|source| Trouble::Host { target, source })?;
        if let Err(error) = socket.connect(to) {
            return refused(plan.own_address(target), target, error);
        }
        let source = socket.local_addr().map_err(|source| Trouble::Host { target, source })?.ip();
        if matches!(plan.attempt.probe, Probe::DnsQuery { .. }) {
            return match socket.send(&plan.dns_query()) {
                Ok(_) => Ok(Sent::From { socket, server: target }),
                Err(error) => refused(source, target, error),
            };
        }
        match self.send_raw(plan, round, source, to) {
            Ok(()) => Ok(Sent::Away),
            Err(error) => refused(source, target, error),
        }
    }

    fn send_raw(&self, plan: &Plan<'_>, round: u16, source: IpAddr, to: SocketAddr) -> io::Result<()> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let segment =
            Pair::new(source, to.ip()).and_then(|pair| plan.segment(pair, round)).ok_or_else(invalid)?;
        let kind = raw_kinds(plan).last().ok_or_else(invalid)?;
        let socket = self.raw.get(&kind).expect("prepared for every planned way").as_raw_fd();
        let whole = match (kind, Pair::new(source, to.ip())) {
            (RawKind::Whole4, Some(pair)) => {
                Some(frame::ip_packet(pair, &segment, plan.hop_limit().unwrap_or(FAR)))
            }
            _ => None,
        };
        let parts = [io::IoSlice::new(whole.as_ref().unwrap_or(&segment.bytes))];
        let flags = MsgFlags::MSG_DONTWAIT;
        let hops = plan.hop_limit().map(libc::c_int::from);
        match (source, to) {
            (IpAddr::V4(source), SocketAddr::V4(mut to)) => {
                to.set_port(0);
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let control = hops.iter().map(ControlMessage::Ipv4Ttl);
                let control: Vec<_> = control.chain([ControlMessage::Ipv4PacketInfo(&info)]).collect();
                sendmsg(socket, &parts, &control, flags, Some(&SockaddrIn::from(to)))?;
            }
            (IpAddr::V6(source), SocketAddr::V6(mut to)) => {
                to.set_port(0);
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                    ipi6_ifindex: to.scope_id(),
                };
                let control = hops.iter().map(ControlMessage::Ipv6HopLimit);
                let control: Vec<_> = control.chain([ControlMessage::Ipv6PacketInfo(&info)]).collect();
                sendmsg(socket, &parts, &control, flags, Some(&SockaddrIn6::from(to)))?;
            }
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

/// The raw sockets that a plan needs, the one that it sends by last.
fn raw_kinds(plan: &Plan<'_>) -> impl Iterator<Item = RawKind> {
    let ipv4 = plan.answerer().is_some_and(|target| target.is_ipv4());
    let icmp = if ipv4 { RawKind::Icmp } else { RawKind::Icmpv6 };
    let other = match plan.attempt.probe {
        Probe::TcpSyn { .. } => Some(if ipv4 { RawKind::Tcp4 } else { RawKind::Tcp6 }),
        Probe::Echo { form: EchoForm::Filled { .. }, .. } if ipv4 => Some(RawKind::Whole4),
        Probe::Echo { .. }
        | Probe::DnsQuery { .. }
        | Probe::Resolve { .. }
        | Probe::Discover { .. }
        | Probe::DhcpDiscover
        | Probe::RouterSolicit { .. } => None,
    };
    std::iter::once(icmp).chain(other)
}

/// Tells what the host's routing or rules said from what went wrong with the sending itself.
fn refused(by: IpAddr, target: IpAddr, error: io::Error) -> Result<Sent, Trouble> {
    match error.raw_os_error() {
        // Routes: unreachable and none, prohibit, blackhole, a device that is down. Rules: EPERM, at egress ENOBUFS.
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::EACCES
            | libc::EINVAL
            | libc::ENETDOWN
            | libc::EPERM
            | libc::ENOBUFS,
        ) => Ok(Sent::RefusedHere { by, error }),
        _ => Err(Trouble::Host { target, source: error }),
    }
}
