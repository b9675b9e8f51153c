//! What is on a KVM host's network, and what happens when a packet is sent.
//!
//! - [`facts`]: the typed snapshot of a host, pure data.
//! - [`sources`]: one reader per source of facts; together they take a [`facts::Snapshot`].
//! - [`privilege`]: what the process may do, and how it gives that up.
//! - [`wire`]: packets sent as a VM or as the host, and watched where they come out.
//! - `sys`: the system calls that no crate offers, the only unsafe code.

pub mod facts;
pub mod privilege;
pub mod sources;
mod sys;
pub mod wire;
