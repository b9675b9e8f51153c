//! What becomes of a packet, from the facts alone.
//!
//! A packet is carried through the path that the kernel uses: bridge, netfilter, routing, NAT, and
//! the reply backwards. Every place that decides leaves a [`Step`]. Past a place that drops, the
//! walk goes on as if the packet had passed, so that a [`Fate`] names every place that must change.
//! What is not understood makes the fate unknown and is named.
//!
//! All that is carried is sets of packets: one packet is a set with a constant in every header. So
//! [`Engine::fate`] follows the packet that stands for a claim, and [`Engine::deny`] and
//! [`Engine::survey`] follow all that one end can send to another, by the same code.

pub mod admit;
mod bridge;
mod chains;
mod claimed;
mod classes;
mod device;
mod difference;
mod fate;
mod hooks;
mod host;
pub mod libvirt;
mod outward;
pub mod owner;
pub mod packet_set;
mod packets;
mod path;
mod proof;
mod route;
mod rule_text;
mod scope;
mod service;
mod shell;
mod survey;
mod take_in;
#[cfg(test)]
mod testing;
mod tracking;
mod walk;
mod world;

pub use classes::{representatives, set_apart};
pub use difference::Difference;
pub use fate::*;
pub use path::Engine;
pub use proof::{Denial, Leak};
pub use route::route_at;
pub use rule_text::rule_text;
pub use shell::quoted;
pub use survey::Survey;
pub use world::Facts;
