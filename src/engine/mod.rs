//! What becomes of a packet, from the facts alone.
//!
//! A packet is carried through the path that the kernel uses: bridge, netfilter, routing, NAT, and
//! the reply backwards. Every place that decides leaves a [`Step`]. Past a place that drops, the
//! walk goes on as if the packet had passed, so that a [`Fate`] names every place that must change.
//! What is not understood makes the fate unknown and is named.

mod fate;
mod path;

pub use fate::*;
pub use path::fate;
