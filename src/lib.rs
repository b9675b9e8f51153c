//! kvmnet: intent, proof and diagnosis for the networks of a KVM/libvirt host.
//!
//! Data flows one way: `kvmnet-probes` observes, this crate decides, `kvmnet-reports` shows.
//! [`model`], [`engine`] and [`checks`] are pure: the same snapshot gives the same report.

pub mod checks;
pub mod cli;
pub mod engine;
pub mod model;
#[cfg(test)]
mod testing;
pub mod verify;
