//! `bpf(2)`: XDP programs, through which frames enter a device as if its driver had received them
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18): one of our own of two instructions, or the one that the
//! driver runs.
#![expect(unsafe_code, reason = "no crate offers the test run without a whole BPF toolchain")]
#![expect(clippy::cast_possible_truncation, reason = "what is cast are constants and sizes of structs")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_TYPE_XDP: u32 = 6;
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

const XDP_DROP: u8 = 1;
const XDP_PASS: u8 = 2;

/// `r0 = verdict; exit`, as `struct bpf_insn`.
const fn returning(verdict: u8) -> [[u8; 8]; 2] {
    let load = if cfg!(target_endian = "little") {
        [0xb7, 0, 0, 0, verdict, 0, 0, 0]
    } else {
        [0xb7, 0, 0, 0, 0, 0, 0, verdict]
    };
    [load, [0x95, 0, 0, 0, 0, 0, 0, 0]]
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_GET_FD_BY_ID` reads.
#[repr(C)]
struct FdByIdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_TEST_RUN` reads.
#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// A loaded XDP program.
#[derive(Debug)]
pub(crate) struct XdpProgram(OwnedFd);

impl XdpProgram {
    /// One that passes everything, attached to nothing. Needs `CAP_BPF` and `CAP_NET_ADMIN` in the initial
    /// user namespace.
    pub(crate) fn pass() -> io::Result<Self> {
        Self::load(&returning(XDP_PASS))
    }

    /// Whether this kernel runs programs on frames that go on from there: tries it with one that drops everything,
    /// so that nothing enters anywhere.
    pub(crate) fn can_inject() -> io::Result<()> {
        Self::load(&returning(XDP_DROP))?.inject(0, &[0; 60])
    }

    fn load(instructions: &[[u8; 8]; 2]) -> io::Result<Self> {
        let mut attr = LoadAttr {
            prog_type: PROG_TYPE_XDP,
            insn_cnt: 2,
            insns: instructions.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
        };
        // SAFETY: `attr` is a prefix of `union bpf_attr` of the given size, and the pointers in it
        // are to bytes that live until the call returns.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut attr, size_of::<LoadAttr>()) };
        Self::owning(fd)
    }

    /// The one with this id. Needs `CAP_SYS_ADMIN` (`bpf_prog_get_fd_by_id` in `kernel/bpf/syscall.c`).
    pub(crate) fn with_id(id: u32) -> io::Result<Self> {
        let mut attr = FdByIdAttr { prog_id: id, next_id: 0, open_flags: 0 };
        // SAFETY: `attr` is a prefix of `union bpf_attr` of the given size, without pointers.
        let fd = unsafe {
            libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &raw mut attr, size_of::<FdByIdAttr>())
        };
        Self::owning(fd)
    }

    fn owning(fd: libc::c_long) -> io::Result<Self> {
        match i32::try_from(fd) {
            // SAFETY: the kernel has just given this descriptor to us alone.
            Ok(fd) if fd >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets `frame` enter the device with this index, in the network namespace of the caller, once, if the
    /// program passes it. Success says that the kernel took the frame, not that a bridge took it from the
    /// device.
    pub(crate) fn inject(&self, ingress_ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut context = XdpMd { data_end: length, ingress_ifindex, ..XdpMd::default() };
        let mut attr = TestRunAttr {
            prog_fd: self.0.as_raw_fd().cast_unsigned(),
            data_size_in: length,
            data_in: frame.as_ptr() as u64,
            repeat: 1,
            ctx_size_in: size_of::<XdpMd>() as u32,
            ctx_in: &raw mut context as u64,
            flags: TEST_XDP_LIVE_FRAMES,
            ..TestRunAttr::default()
        };
        // SAFETY: `attr` is a prefix of `union bpf_attr` of the given size; `frame` and `context`
        // live until the call returns and have the sizes that it states.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, PROG_TEST_RUN, &raw mut attr, size_of::<TestRunAttr>()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
