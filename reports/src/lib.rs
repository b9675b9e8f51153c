//! The report of `kvmnet doctor`: its types, which are the JSON interface, and one renderer per
//! format. Pure: no I/O but the writer that a renderer is given, no clock, no knowledge of the host.

mod grid;
mod report;
mod schema;
mod unexplained;
mod words;

pub mod catalogue;
pub mod diff;
pub mod dry_run;
pub mod fix_script;
pub mod formats;
pub mod json;
pub mod map;
pub mod ports;
pub mod survey;
pub mod table;
pub mod text;
pub mod trace;

pub use report::*;
pub use schema::schema;
