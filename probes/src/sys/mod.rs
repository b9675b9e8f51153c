//! The system calls that no crate offers: the only unsafe code of kvmnet.

pub(crate) mod xtables;
