//! The report of `kvmnet doctor`: its types, which are the JSON interface, and one renderer per
//! format. Pure: no I/O but the writer that a renderer is given, no clock, no knowledge of the host.

mod report;
mod schema;
mod text;

pub mod json;
pub mod table;

pub use report::*;
