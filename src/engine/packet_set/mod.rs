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
mod device;
mod fib;
pub mod field;
pub mod first_match;
mod guard;
mod headers;
mod held;
mod loads;
mod lookup;
mod nat;
mod octets;
mod outcomes;
#[cfg(test)]
mod properties;
mod registers;
mod rule;
mod set;
mod summary;
mod text;
#[cfg(test)]
mod traps;
mod truth;
mod verdict;
mod witness;
mod xt;

pub use bdd::{Arena, Bdd, Decided, Undecided};
pub use chain::{Detail, Event, HostSets, Met, Passage, Place};
pub use field::{Field, Packet};
pub use headers::{Headers, Tuple, Tuples};
pub(in crate::engine) use held::Held;
pub use nat::Nat;
pub use set::PacketSet;
pub use truth::Truth;
