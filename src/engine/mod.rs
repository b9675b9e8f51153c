//! What becomes of a packet, from the facts alone.
//!
//! A packet is carried through the path that the kernel uses: bridge, netfilter, routing, NAT, and
//! the reply backwards. Every place that decides leaves a [`Step`]. Past a place that drops, the
//! walk goes on as if the packet had passed, so that a [`Fate`] names every place that must change.
//! What is not understood makes the fate unknown and is named.

pub mod admit;
mod bridge;
mod chains;
mod claimed;
mod device;
mod eval;
mod fate;
mod hooks;
mod host;
pub mod libvirt;
mod loads;
pub mod owner;
mod packet;
pub mod packet_set;
mod path;
mod registers;
mod route;
mod rule_text;
mod sets;
mod shell;
#[cfg(test)]
mod testing;
mod walk;
mod world;
mod xtables;

pub use fate::*;
pub use path::fate;
pub use rule_text::rule_text;
pub use shell::quoted;
