//! A rule as the administrator knows it: in nft's words, or in those of iptables and ebtables where
//! these wrote it.
//!
//! The kernel's expressions are first put together into statements ([`statement`]), which each
//! dialect then words. Nothing is left out that decides: what a dialect has no words for is said in
//! nft's, and what is not understood is named. What the facts do not hold (a rate, a log prefix) is
//! `…`. Names and comments stay as they came.

mod context;
mod datum;
mod ebtables;
mod field;
mod iptables;
mod nat;
mod nft;
mod rule;
mod set;
mod statement;
mod subject;
#[cfg(test)]
mod tests;
mod words;
mod write;
mod xt_match;
mod xt_target;

pub(super) use rule::expression_text;
pub use rule::rule_text;
