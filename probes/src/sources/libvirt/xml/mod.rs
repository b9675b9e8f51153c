//! libvirt's XML, parsed into facts (pure).
//!
//! Invariant: what libvirt's schema allows is kept or has no part in a packet's fate; a value that
//! is not understood is an [`Error`] that names the element, never a default.

mod definition;
mod domain;
mod element;
mod filter;
mod network;

pub use definition::Definition;
pub use domain::{DomainXml, runs_as_saved};
pub use element::{Error, prefix_of};
pub use filter::{binding_owner, includes};
pub use network::port;
