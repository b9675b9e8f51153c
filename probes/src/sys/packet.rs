//! `packet(7)` sockets: watching every device of a network namespace, and sending frames.
#![expect(unsafe_code, reason = "nix builds no `sockaddr_ll` and has no packet socket options")]
#![expect(clippy::cast_possible_truncation, reason = "what is cast are constants and sizes of structs")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use libc::{c_int, c_void, sock_filter, sockaddr_ll, socklen_t};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use super::readable::Readable;
use super::ring::{Packet, Ring};

/// A packet as a device got it from below or from above, its link header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caught {
    /// How many bytes of it are in the buffer.
    pub(crate) length: usize,
    /// Where in the buffer its network header begins.
    pub(crate) network: usize,
    /// The device.
    pub(crate) ifindex: u32,
    /// The `EtherType`, without the VLAN tag that the kernel took off.
    pub(crate) protocol: u16,
    /// The source MAC, if the device has Ethernet's link headers.
    pub(crate) source: Option<[u8; 6]>,
    /// The destination MAC, likewise.
    pub(crate) destination: Option<[u8; 6]>,
    /// The device sends it rather than has received it.
    pub(crate) outgoing: bool,
    /// The VLAN tag that the kernel took off.
    pub(crate) vlan: Option<u16>,
    /// When, since the Unix epoch by the kernel's clock.
    pub(crate) at: Duration,
}

/// Sees the packets of all devices in both directions.
#[derive(Debug)]
pub(crate) struct PacketWatch {
    socket: Readable,
    ring: Ring,
}

impl PacketWatch {
    /// Watches what `filter` lets pass. Its offsets count from the link header, if the device has one. Needs
    /// `CAP_NET_RAW`.
    pub(crate) fn open(filter: &[sock_filter]) -> io::Result<Self> {
        // Protocol 0: nothing is received before the filter is in place.
        let fd = packet_socket(SockType::Raw)?;
        attach_filter(&fd, filter)?;
        let ring = Ring::new(&fd)?;
        let every = link_address(0, libc::ETH_P_ALL.cast_unsigned() as u16);
        // SAFETY: `every` is a whole `sockaddr_ll` and its size is given.
        let bound = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const every).cast(), size_of::<sockaddr_ll>() as socklen_t)
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { socket: Readable::new(fd)?, ring })
    }

    /// The next packet, cut to the buffer's length.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Caught>> {
        let Self { socket, ring } = self;
        socket.poll(cx, |_| receive(ring, buffer))
    }

    /// The next packet if there is one by now, cut to the buffer's length; else fails with `WouldBlock`.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Caught> {
        receive(&mut self.ring, buffer)
    }

    /// How many packets were lost since the last call because the buffer was full.
    pub(crate) fn lost(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as socklen_t;
        // SAFETY: `statistics` has room for the `length` bytes that the kernel writes.
        let read = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        if read < 0 { Err(io::Error::last_os_error()) } else { Ok(statistics.tp_drops) }
    }
}

/// Sends frames out of devices and receives nothing.
#[derive(Debug)]
pub(crate) struct FrameSender(OwnedFd);

impl FrameSender {
    /// Opens it. Needs `CAP_NET_RAW`.
    pub(crate) fn open() -> io::Result<Self> {
        packet_socket(SockType::Raw).map(Self)
    }

    /// Sends a whole Ethernet frame out of the device with this index.
    pub(crate) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let to = link_address(ifindex, 0);
        // SAFETY: `frame` and `to` live until the call returns and their sizes are given.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of::<sockaddr_ll>() as socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Lets a socket receive only what the classic BPF program lets pass.
pub(crate) fn attach_filter(fd: &OwnedFd, filter: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions, which the kernel copies and checks.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(ring: &mut Ring, buffer: &mut [u8]) -> io::Result<Caught> {
    let caught = ring.take(|Packet { header, address, bytes }| {
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        let ethernet = address.sll_hatype == libc::ARPHRD_ETHER;
        Caught {
            length,
            network: usize::from(header.tp_net.saturating_sub(header.tp_mac)),
            ifindex: address.sll_ifindex.cast_unsigned(),
            protocol: u16::from_be(address.sll_protocol),
            source: address.sll_addr.first_chunk().copied().filter(|_| ethernet),
            destination: bytes.first_chunk().copied().filter(|_| ethernet),
            outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
            vlan: (header.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(header.tp_vlan_tci & 0xfff),
            at: Duration::new(header.tp_sec.into(), header.tp_nsec),
        }
    });
    caught.ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

fn packet_socket(kind: SockType) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Packet, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?)
}

/// Gives a socket room for so many bytes, as the kernel counts them, if the caller may (`CAP_NET_ADMIN`). Without
/// that it keeps what `net.core.rmem_default` gives, and says if it was too small.
pub(crate) fn make_room(fd: &OwnedFd, bytes: usize) {
    let _ = setsockopt(fd, sockopt::RcvBufForce, &bytes);
}

/// How many packets an IP socket lost since it was opened, because its buffer was full or their checksum was wrong.
pub(crate) fn dropped(fd: &impl AsRawFd) -> io::Result<u32> {
    // `SK_MEMINFO_DROPS` is the last of `SK_MEMINFO_VARS` (`include/uapi/linux/sock_diag.h`).
    let mut info = [0_u32; 9];
    let mut length = size_of_val(&info) as socklen_t;
    // SAFETY: `info` has room for the `length` bytes that the kernel writes at most.
    let read = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if read < 0 { Err(io::Error::last_os_error()) } else { Ok(info[8]) }
}

/// Lets the kernel learn nothing from errors that come back to an IPv4 socket (`IP_PMTUDISC_INTERFACE`,
/// `ip_sk_accept_pmtu` in `include/net/ip.h`). What it sends may be fragmented on its way.
pub(crate) fn ignore_path_mtu(fd: &OwnedFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_INTERFACE)
}

fn set_option(fd: &OwnedFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: `value` is the `int` that the option takes.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn link_address(ifindex: u32, protocol: u16) -> sockaddr_ll {
    sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    #[test]
    fn what_does_not_fit_into_a_buffer_is_counted() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        setsockopt(&socket, sockopt::RcvBuf, &4096).unwrap();
        assert_eq!(dropped(&socket).unwrap(), 0);
        let to = socket.local_addr().unwrap();
        for _ in 0..100 {
            socket.send_to(&[0; 512], to).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let kept = std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok()).count();
        assert_eq!(u32::try_from(kept).unwrap() + dropped(&socket).unwrap(), 100);
        assert!(kept < 100);
    }
}
