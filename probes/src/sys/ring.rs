//! Memory into which the kernel writes what a packet socket receives (`PACKET_RX_RING`, see
//! `Documentation/networking/packet_mmap.rst`).
//!
//! Its second version: a packet can be read as soon as it was written. The third shows packets by the block, after
//! a millisecond at best, so that the host's own sockets would have got what no device seemed to have seen.
#![expect(unsafe_code, reason = "the kernel writes into memory that is shared with it")]
#![expect(clippy::cast_possible_truncation, reason = "what is cast are constants and sizes of structs")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use libc::{TP_STATUS_KERNEL, TP_STATUS_USER, c_int, sockaddr_ll, socklen_t, tpacket_req, tpacket2_hdr};

/// One packet's place, headers of the kernel's included: longer than any answer whose end matters. Of a packet
/// that is longer the end is cut off.
const PLACE: usize = 1024;

/// All places: enough for a broadcast that leaves by a thousand ports to be heard eight times between two reads.
/// The 8 MB are the kernel's, and taken from the start.
const PLACES: usize = 8192;

/// So much is asked of the kernel in one piece. A multiple of every page size.
const BLOCK: usize = 1 << 16;

const LENGTH: usize = PLACE * PLACES;

/// Processors take places in order and fill them side by side. At most so many are being filled before one that is
/// full.
const SIDE_BY_SIDE: usize = 32;

/// A packet in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// What the kernel says of it.
    pub(super) header: tpacket2_hdr,
    /// Where it was seen.
    pub(super) address: sockaddr_ll,
    /// From its link header on, if the device has one.
    pub(super) bytes: &'a [u8],
}

/// The places of a socket, read one after the other.
#[derive(Debug)]
pub(super) struct Ring {
    memory: NonNull<u8>,
    next: usize,
}

// SAFETY: the memory belongs to this alone, and is read only through `&mut`.
unsafe impl Send for Ring {}

impl Ring {
    /// Lets the socket receive into a ring from now on.
    pub(super) fn new(socket: &OwnedFd) -> io::Result<Self> {
        set(socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as c_int))?;
        let request = tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: (LENGTH / BLOCK) as u32,
            tp_frame_size: PLACE as u32,
            tp_frame_nr: PLACES as u32,
        };
        set(socket, libc::PACKET_RX_RING, &request)?;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, where the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), LENGTH, access, shared, socket.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory =
            NonNull::new(memory.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { memory, next: 0 })
    }

    /// Reads the next packet and gives its place back; `None` if there is none.
    pub(super) fn take<T>(&mut self, read: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        while !self.is_full(0) {
            // A packet that came later may be there already. It is not read before.
            if !(1..=SIDE_BY_SIDE).any(|ahead| self.is_full(ahead)) {
                return None;
            }
            thread::yield_now();
        }
        let place = self.place(0);
        // SAFETY: a full place is ours until it is given back, and begins with these two structs, both aligned to
        // `TPACKET_ALIGNMENT` (`tpacket_rcv` in `net/packet/af_packet.c`).
        let (header, address) = unsafe {
            let address = place.add(libc::TPACKET_ALIGN(size_of::<tpacket2_hdr>()));
            (place.cast::<tpacket2_hdr>().read(), address.cast::<sockaddr_ll>().read())
        };
        let start = usize::from(header.tp_mac).min(PLACE);
        let length = (header.tp_snaplen as usize).min(PLACE - start);
        // SAFETY: within the place, and nobody writes there until it is given back below.
        let bytes = unsafe { slice::from_raw_parts(place.add(start).as_ptr(), length) };
        let read = read(Packet { header, address, bytes });
        self.status(0).store(TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % PLACES;
        Some(read)
    }

    fn is_full(&self, ahead: usize) -> bool {
        self.status(ahead).load(Ordering::Acquire) & TP_STATUS_USER != 0
    }

    /// Whose a place is: the first word in it.
    fn status(&self, ahead: usize) -> &AtomicU32 {
        // SAFETY: the word is within the mapping, which lives as long as `self`; both sides write it as a whole.
        unsafe { AtomicU32::from_ptr(self.place(ahead).cast().as_ptr()) }
    }

    /// The place so many after the next one.
    fn place(&self, ahead: usize) -> NonNull<u8> {
        // SAFETY: within the mapping.
        unsafe { self.memory.add((self.next + ahead) % PLACES * PLACE) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it is the mapping of `new`, and nothing of it is borrowed.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), LENGTH) };
    }
}

fn set<T>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is what the option takes, and its size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
