//! How rules end.

use kvmnet_probes::facts::{Expr, RejectWith, Verdict};

/// How a rule ends, if it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End<'r> {
    Accept,
    Drop,
    Reject(RejectWith),
    Jump(&'r str),
    Goto(&'r str),
    Return,
    /// It may do anything with the packet.
    Anything,
}

/// What a verdict does.
pub(super) enum Flow<'r> {
    Continue,
    /// The rule does not match.
    Break,
    End(End<'r>),
    /// It may do anything with the packet, and why.
    Anything(String),
}

/// Whether it can go either way by its nature, or is not understood.
pub(super) fn is_limit(expr: &Expr) -> bool {
    matches!(expr, Expr::Limit { .. } | Expr::Quota { .. } | Expr::Connlimit { .. } | Expr::Opaque { .. })
}

/// What a verdict does.
pub(super) fn decide(verdict: &Verdict) -> Flow<'_> {
    Flow::End(match verdict {
        Verdict::Accept => End::Accept,
        Verdict::Drop | Verdict::Stolen => End::Drop,
        Verdict::Continue => return Flow::Continue,
        Verdict::Break => return Flow::Break,
        Verdict::Jump { chain } => End::Jump(chain),
        Verdict::Goto { chain } => End::Goto(chain),
        Verdict::Return => End::Return,
        Verdict::Queue => return Flow::Anything("a process decides (queue)".to_owned()),
        Verdict::Unknown { code } => return Flow::Anything(format!("verdict {code} is not understood")),
    })
}
