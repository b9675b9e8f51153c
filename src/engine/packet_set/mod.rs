//! Sets of packets, all packets at once: the algebra that the proof is made of.

pub mod bdd;
mod cover;
pub mod field;
pub mod first_match;
#[cfg(test)]
mod properties;
mod set;
mod text;
mod witness;

pub use bdd::{Arena, Bdd, Decided, Undecided};
pub use field::{Field, Packet};
pub use set::PacketSet;
