//! The three models: which zones a host has, and who should reach whom.
//!
//! [`Topology`] pairs what libvirt says with what the kernel has; [`claims`] turns it into intent.

mod claim;
mod intent;
mod network;
mod nic;
pub mod policy;
mod taps;
mod topology;

pub use claim::*;
pub use intent::*;
pub use topology::*;

pub(crate) use network::lost_uplinks;
