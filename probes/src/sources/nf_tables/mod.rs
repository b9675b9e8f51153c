//! `nf_tables` of every family, exactly as the kernel runs them.

mod dump;
mod expression;
mod nest;
mod object;
mod stateful;
mod words;

pub(crate) use dump::{META, read};
