//! Tables of iptables-legacy and ip6tables-legacy, in the form of `nf_tables`.

mod blob;
mod header;
mod read;

pub(crate) use read::{META, read};
