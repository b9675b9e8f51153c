//! Taps of our own (`/dev/net/tun`), which are gone as soon as their descriptor is closed.
#![expect(unsafe_code, reason = "nix has no ioctl of tun")]

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::task::{Context, Poll};

use super::readable::Readable;

/// `IFF_TAP`, frames without a header of the driver's (`IFF_NO_PI`), and no device that is there already
/// (`IFF_TUN_EXCL`), `include/uapi/linux/if_tun.h`.
const FLAGS: libc::c_short = 0x9002_u16.cast_signed();

/// A tap. What is written to it enters the host by the device, what leaves by the device is read from it. The kernel
/// takes the device away when the descriptor is closed, also when the process is killed, since it is not persistent.
#[derive(Debug)]
pub(crate) struct Tap {
    fd: Readable,
    /// The device's name.
    pub(crate) name: String,
}

impl Tap {
    /// A new device; `%d` in its name becomes a number that is free. Needs `CAP_NET_ADMIN`.
    pub(crate) fn open(name: &CStr) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let fd = OwnedFd::from(file);
        // SAFETY: all bytes zero are an `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // One byte less, so that the name ends with zero.
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.to_bytes()) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        request.ifr_ifru.ifru_flags = FLAGS;
        // SAFETY: `request` is the `ifreq` that the call reads, and writes the name to.
        if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let name = request.ifr_name.iter().take_while(|&&byte| byte != 0);
        let name = name.map(|&byte| char::from(byte.to_ne_bytes()[0])).collect();
        Ok(Self { fd: Readable::new(fd)?, name })
    }

    /// Lets a frame enter by the device.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        match nix::unistd::write(self.fd.as_fd(), frame)? {
            written if written == frame.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// The next frame that left by the device, cut to the buffer's length.
    pub(crate) fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = |fd: BorrowedFd<'_>| Ok(nix::unistd::read(fd, buffer)?);
        self.fd.poll(cx, &mut read)
    }
}
