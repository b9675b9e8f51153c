//! What devices receive, with the kernel's own times.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};

use crate::topology::device;

/// `PACKET_OUTGOING` of linux/if_packet.h.
const OUTGOING: u8 = 4;

/// Every packet of the calling thread's namespace from the start on.
pub(crate) struct Capture(OwnedFd);

/// What was seen: the device, when, and the packet.
pub(crate) struct Seen(Vec<(usize, Duration, Vec<u8>)>);

impl Capture {
    pub(crate) fn start() -> Self {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let fd = fd.unwrap();
        // Room for all that a test sends, at each device that it passes.
        setsockopt(&fd, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true).unwrap();
        let capture = Self(fd);
        capture.wait_for_times();
        capture
    }

    /// The kernel begins to note when packets arrive some time after it was asked to; before, they have the time at
    /// which they are read.
    fn wait_for_times(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        loop {
            socket.send_to(&[0], "127.0.0.1:9").unwrap();
            let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            // Read later than it was sent, so that the two times differ.
            while SystemTime::now().duration_since(UNIX_EPOCH).unwrap() == sent {}
            let seen = self.read();
            if !seen.is_empty() && seen.iter().all(|(_, at, _)| *at <= sent) {
                return;
            }
        }
    }

    pub(crate) fn stop(self) -> Seen {
        Seen(self.read())
    }

    /// What has come in since it was last read.
    fn read(&self) -> Vec<(usize, Duration, Vec<u8>)> {
        let mut seen = Vec::new();
        loop {
            let mut buffer = [0; 256];
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
            let flags = MsgFlags::MSG_DONTWAIT;
            let message = match recvmsg::<LinkAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags)
            {
                Err(Errno::EAGAIN) => return seen,
                message => message.unwrap(),
            };
            let from = message.address.unwrap();
            let at = message.cmsgs().unwrap().find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(at) => Some(at.into()),
                _ => None,
            });
            let length = message.bytes;
            if from.pkttype() != OUTGOING {
                seen.push((from.ifindex(), at.unwrap(), buffer[..length].to_vec()));
            }
        }
    }
}

impl Seen {
    /// When echo requests over IPv4 came in by the device.
    pub(crate) fn echo_requests_into(&self, name: &str) -> Vec<Duration> {
        let index = device(name).index.0 as usize;
        let is_request = |packet: &[u8]| {
            packet.len() > 34 && packet[12..14] == [8, 0] && packet[23] == 1 && packet[34] == 8
        };
        let here = self.0.iter().filter(|(at, _, packet)| *at == index && is_request(packet));
        here.map(|(_, at, _)| *at).collect()
    }
}
