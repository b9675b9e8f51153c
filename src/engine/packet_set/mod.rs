//! All packets at once: sets of packets, and what netfilter does with them.
//!
//! [`Arena`] holds sets and joins them, [`HostSets`] takes a set through a base chain. What is not
//! known of some packets never drops out of sight: a [`Truth`] says of whom something surely holds and
//! of whom it surely does not, and a [`Passage`] names what left the others open.

#[cfg(test)]
mod agreement;
pub mod bdd;
pub mod chain;
mod cover;
pub mod field;
pub mod first_match;
mod headers;
mod loads;
mod lookup;
#[cfg(test)]
mod properties;
mod registers;
mod rule;
mod set;
mod text;
#[cfg(test)]
mod traps;
mod truth;
mod witness;
mod xt;

pub use bdd::{Arena, Bdd, Decided, Undecided};
pub use chain::{HostSets, Passage};
pub use field::{Field, Packet};
pub use headers::Headers;
pub use set::PacketSet;
pub use truth::Truth;
