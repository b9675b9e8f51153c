//! Packets sent as a VM or as the host, and watched where they come out.
//!
//! [`run()`] takes every [`Attempt`] at once, sends them side by side and gives one [`Observation`]
//! each, in the same order. Nothing that it does outlives the process.

mod answer;
mod attempt;
mod exchange;
mod filter;
mod frame;
mod listen;
mod plan;
mod run;
mod send;

pub use answer::is_unresolved;
pub use attempt::*;
pub use run::run;
