//! `bpf(2)`: which programs are attached to a device by tcx (Linux 6.6), past what rtnetlink shows.
#![expect(unsafe_code, reason = "no crate offers the query without a whole BPF toolchain")]

use std::io;

const PROG_QUERY: libc::c_long = 16;
/// `BPF_MPROG_MAX`: the most programs in one place.
const MOST: usize = 64;

/// A place of a device where tcx runs programs (`enum bpf_attach_type`).
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(crate) enum Place {
    Ingress = 46,
    Egress = 47,
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` reads.
#[repr(C)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The ids of the programs at a place, in the order in which they run; none on a kernel without tcx.
/// Needs `CAP_NET_ADMIN` in the initial user namespace.
pub(crate) fn programs(ifindex: u32, place: Place) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let mut attr = QueryAttr {
        target_ifindex: ifindex,
        attach_type: place as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST).expect("the constant is small"),
        padding: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: `attr` is a prefix of `union bpf_attr` of the given size; `ids` lives until the call
    // returns and has room for as many ids as `count` says.
    let done = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<QueryAttr>()) };
    if done < 0 {
        let error = io::Error::last_os_error();
        // The attach type is unknown to an older kernel.
        return if error.raw_os_error() == Some(libc::EINVAL) { Ok(Vec::new()) } else { Err(error) };
    }
    Ok(ids.into_iter().take(attr.count as usize).collect())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Attaches a program, so that there is one to be found.

    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::{Place, io};

    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    const PROG_TYPE_SCHED_CLS: u32 = 3;
    /// `r0 = 0; exit`: `TCX_PASS`, whatever the byte order.
    const PASS: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

    #[repr(C)]
    struct LoadAttr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
    }

    #[repr(C)]
    struct AttachAttr {
        target_ifindex: u32,
        attach_bpf_fd: u32,
        attach_type: u32,
        attach_flags: u32,
    }

    /// Attaches a program that lets everything pass. It is gone with its network namespace.
    pub(crate) fn attach(ifindex: u32, place: Place) -> io::Result<()> {
        let load = LoadAttr {
            prog_type: PROG_TYPE_SCHED_CLS,
            insn_cnt: 2,
            insns: PASS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
        };
        let program = call(PROG_LOAD, &load)?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let attach = AttachAttr {
            target_ifindex: ifindex,
            attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
            attach_type: place as u32,
            attach_flags: 0,
        };
        call(PROG_ATTACH, &attach).map(drop)
    }

    fn call<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
        // SAFETY: `attr` is a prefix of `union bpf_attr` of the given size; pointers in it are to
        // constants.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(done).unwrap()) }
    }
}
