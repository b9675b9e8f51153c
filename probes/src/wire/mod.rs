//! Packets sent as a VM or as the host, and watched where they come out.
//!
//! [`open()`] takes every [`Attempt`] at once and opens what they need; [`Ready::run`] sends them side by side and
//! gives one [`Observation`] each, in the same order. Nothing that it does outlives the process.

mod answer;
mod attempt;
mod exchange;
mod filter;
mod frame;
mod listen;
mod pace;
mod plan;
mod run;
mod send;
mod shadow;

pub use answer::is_unresolved;
pub use attempt::*;
pub use pace::Limits;
pub use run::{Ready, open, run};
pub use shadow::{SHADOW_OUI, SHADOW_TAP_OUI, Shadow, StandIn};
