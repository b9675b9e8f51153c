//! libvirt's networks, domains and filters.
//!
//! The program `kvmnet-libvirt` asks libvirt and prints the facts; [`read()`] starts it, because a
//! call into libvirt can block for ever and only a process can be given up. [`xml`] is what that
//! program understands of libvirt's XML.

mod read;
pub mod xml;

pub(crate) use read::{META, read};
