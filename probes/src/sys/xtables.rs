//! Reads tables of iptables-legacy by `getsockopt`, which no crate does with options of any length.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `getsockopt(2)`: the kernel reads its question from `value` and writes the answer over it. Gives
/// how many bytes it wrote.
pub(crate) fn ask(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the safe wrappers know only options of fixed length")]
    // SAFETY: `value` is valid for reads and writes of `length` bytes, `length` for a socklen_t; the
    // kernel writes at most that many bytes and keeps neither pointer.
    let status = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, value.as_mut_ptr().cast(), &raw mut length)
    };
    if status == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}
