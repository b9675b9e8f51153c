//! Netlink for reading: whole dumps and their attributes, nothing lost.
//!
//! The messages are read attribute by attribute here, because a verifier must see what the message
//! types of `netlink-packet-route` hide: an interrupted dump, a message that cannot be decoded (one
//! odd attribute loses the whole message there), and the objects that have no type at all (MDB,
//! bridge VLANs, nexthops, tun attributes).

mod attribute;
mod dump;

#[cfg(test)]
pub(crate) use attribute::mutations;
pub(crate) use attribute::{Attribute, Malformed, attributes, body, put, put_u32};
pub(crate) use dump::{Dump, NetlinkError, Socket, decode, decode_any};
