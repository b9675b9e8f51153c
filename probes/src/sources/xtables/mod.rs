//! The kernel's structs of xtables matches and targets, as `nft_compat` and `IPT_SO_GET_ENTRIES` give
//! them.
//!
//! A name, a revision or a setting that is not known here gives `Opaque` with the raw bytes: what it
//! does is undecided, never "no match".

mod ebtables;
mod fields;
mod matches;
mod targets;

pub(crate) use fields::{Fields, terminated};
pub(crate) use matches::{decode_match, device};
pub(crate) use targets::decode_target;
