//! The system calls that no crate offers: the only unsafe code of kvmnet.

pub(crate) mod bpf;
pub(crate) mod packet;
pub(crate) mod readable;
mod ring;
pub(crate) mod start;
pub(crate) mod tap;
pub(crate) mod tcx;
pub(crate) mod xtables;
