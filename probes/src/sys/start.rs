//! What a program that is started may do.
#![expect(unsafe_code, reason = "what runs between fork and exec shares the parent's memory and locks")]

use tokio::process::Command;

use crate::privilege::pass_on_for_libvirt;

/// The program starts without any capability but the one that asking libvirt may take, and cannot gain one.
pub(crate) fn confined(command: &mut Command) {
    // SAFETY: it makes system calls and nothing else: it allocates nothing and takes no lock, also where it fails.
    unsafe { command.pre_exec(pass_on_for_libvirt) };
}
