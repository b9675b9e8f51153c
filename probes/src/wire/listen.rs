//! Where packets are seen: one packet socket for all devices, and the host's own sockets.
//!
//! One socket for all devices instead of one for each: packets come in the order in which the kernel
//! handled them, whatever the device, and closing a packet socket costs an RCU grace period each
//! (measured: see `probes/tests/wire.rs`). The filter keeps the host's other traffic away.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::task::Poll;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvmsg};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ip::IpNextHeaderProtocols;

use super::answer::{self, Heard, RunId};
use super::filter;
use super::plan::Trouble;
use super::send::RawKind;
use crate::facts::Mac;
use crate::sys::packet::{Caught, PacketWatch, dropped};
use crate::sys::readable::Readable;

/// Longer than any answer whose end matters: a DHCP offer, an ICMP error with what it quotes.
const BUFFER: usize = 2048;

/// Something was heard.
#[derive(Debug)]
pub(super) enum Event {
    /// A device sent or received it.
    Seen(Caught, Heard),
    /// The host's own socket got it.
    Delivered(Heard),
}

/// A socket of the host that gets answers.
#[derive(Debug)]
enum Own {
    /// A raw one.
    Raw(RawKind),
    /// The one that asked this DNS server.
    Dns(IpAddr),
}

/// All that is listened to.
#[derive(Debug)]
pub(super) struct Ears {
    watch: PacketWatch,
    own: Vec<(Own, Readable)>,
    /// What one of the host's sockets got, while devices may have seen something before.
    delivered: Option<Heard>,
    run: RunId,
    buffer: [u8; BUFFER],
}

impl Ears {
    /// Begins to watch.
    pub(super) fn open(run: RunId) -> Result<Self, Trouble> {
        let watch = PacketWatch::open(&filter::watch(run)).map_err(Trouble::Watch)?;
        Ok(Self { watch, own: Vec::new(), delivered: None, run, buffer: [0; BUFFER] })
    }

    /// Listens to a raw socket too.
    pub(super) fn add_raw(&mut self, kind: RawKind, socket: &OwnedFd) -> Result<(), Trouble> {
        socket.try_clone().and_then(|fd| self.add(Own::Raw(kind), fd)).map_err(Trouble::Wait)
    }

    /// Listens to the socket from which a DNS server was asked too.
    pub(super) fn add_dns(&mut self, server: IpAddr, socket: UdpSocket) -> Result<(), Trouble> {
        self.add(Own::Dns(server), socket.into()).map_err(Trouble::Wait)
    }

    fn add(&mut self, own: Own, fd: OwnedFd) -> io::Result<()> {
        self.own.push((own, Readable::new(fd)?));
        Ok(())
    }

    /// The next packet, `None` if it says nothing to anybody. What devices saw comes before what the
    /// host's sockets got.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Trouble> {
        let Self { watch, own, delivered, run, buffer } = self;
        let run = *run;
        let seen = |caught: Caught, buffer: &[u8]| {
            let bytes = buffer[..caught.length.min(BUFFER)].get(caught.network..).unwrap_or_default();
            let heard = answer::read(run, caught.protocol, bytes, caught.source.map(Mac));
            heard.map(|heard| Event::Seen(caught, heard))
        };
        poll_fn(|cx| {
            if delivered.is_none() {
                if let Poll::Ready(caught) = watch.poll_receive(cx, buffer) {
                    return Poll::Ready(caught.map(|caught| seen(caught, buffer)));
                }
                for (own, socket) in &*own {
                    match socket.poll(cx, |fd| own.receive(fd, run, buffer)) {
                        Poll::Ready(Ok(Some(heard))) => {
                            *delivered = Some(heard);
                            break;
                        }
                        Poll::Ready(other) => return Poll::Ready(other.map(|_| None)),
                        Poll::Pending => {}
                    }
                }
            }
            if delivered.is_none() {
                return Poll::Pending;
            }
            // Devices saw it before the socket got it, though tokio may not know of that yet: ask the kernel.
            Poll::Ready(match watch.receive(buffer) {
                Ok(caught) => Ok(seen(caught, buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(delivered.take().map(Event::Delivered))
                }
                Err(error) => Err(error),
            })
        })
        .await
        .map_err(Trouble::Wait)
    }

    /// How many packets were lost, by the watch or by the host's own sockets.
    pub(super) fn lost(&self) -> Result<u32, Trouble> {
        let own = self.own.iter().map(|(_, socket)| dropped(socket));
        own.chain([self.watch.lost()]).sum::<io::Result<u32>>().map_err(Trouble::Wait)
    }
}

impl Own {
    fn receive(&self, fd: BorrowedFd<'_>, run: RunId, buffer: &mut [u8]) -> io::Result<Option<Heard>> {
        let (length, from) = match receive(fd, buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Err(Errno::EAGAIN.into()),
            // An ICMP error came back for what was sent: the raw ICMP sockets hear more of it.
            Err(_) => return Ok(None),
        };
        let bytes = &buffer[..length];
        Ok(match *self {
            Self::Raw(RawKind::Icmp | RawKind::Tcp4 | RawKind::Whole4) => {
                answer::read(run, EtherTypes::Ipv4.0, bytes, None)
            }
            Self::Raw(RawKind::Icmpv6) => from
                .and_then(|source| answer::read_delivered(run, source, IpNextHeaderProtocols::Icmpv6, bytes)),
            Self::Raw(RawKind::Tcp6) => {
                from.and_then(|source| answer::read_delivered(run, source, IpNextHeaderProtocols::Tcp, bytes))
            }
            Self::Dns(server) => answer::read_dns_response(server, bytes),
        })
    }
}

/// One message, and who sent it if that is an IPv6 address.
fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Option<IpAddr>)> {
    let mut parts = [io::IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
    let from = message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in6);
    Ok((message.bytes, from.map(|from| from.ip().into())))
}
