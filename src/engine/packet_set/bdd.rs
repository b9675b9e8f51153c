//! Binary decision diagrams: sets of bit vectors.
//!
//! Reduced, ordered and hash-consed (Bryant 1986), with complement edges (Brace, Rudell and Bryant
//! 1990): an edge is the number of a node and whether what it stands for is negated, so that a
//! complement costs nothing and shares every node. Equal sets are equal edges; to keep that so, the
//! high edge of a node is never negated.
//!
//! Nodes are not freed one by one: an arena belongs to one question, and what an abandoned attempt
//! left is cut off by `Arena::rollback`. An arena that would grow past its budget of nodes says
//! [`Undecided`], which whoever asked has to pass on.

use std::collections::HashMap;
use std::ops::{Not, Range};

/// A set of bit vectors, as an edge into the arena that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdd(u32);

impl Bdd {
    /// Every vector.
    pub const ALL: Self = Self(0);
    /// No vector.
    pub const NONE: Self = Self(1);

    const fn node(self) -> usize {
        (self.0 >> 1) as usize
    }

    const fn is_negated(self) -> bool {
        self.0 & 1 != 0
    }

    const fn negated_if(self, negate: bool) -> Self {
        Self(self.0 ^ negate as u32)
    }
}

/// The complement.
impl Not for Bdd {
    type Output = Self;

    fn not(self) -> Self {
        self.negated_if(true)
    }
}

/// The budget of nodes is used up: the answer is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sets of packets are too complex")]
pub struct Undecided;

/// A set, unless it is too complex.
pub type Decided<T = Bdd> = Result<T, Undecided>;

#[derive(Debug, Clone, Copy)]
struct Node {
    variable: u32,
    low: Bdd,
    high: Bdd,
}

/// The variable of the one terminal node: below all others.
const TERMINAL: u32 = u32::MAX;

/// An operation and its result. `operation` is [`AND`], says which variables are quantified, or is the condition of an
/// [`Arena::ite`]: the other operands of that are no terminals, as the last one of a quantification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cached {
    operation: u32,
    left: Bdd,
    right: Bdd,
    result: Bdd,
}

const AND: u32 = u32::MAX;
/// No operation has two equal operands.
const UNUSED: Cached = Cached { operation: AND, left: Bdd::ALL, right: Bdd::ALL, result: Bdd::ALL };

/// Where the nodes are.
#[derive(Debug, Clone)]
pub struct Arena {
    nodes: Vec<Node>,
    /// The unique table: numbers of nodes, open addressing, 0 for an empty slot.
    unique: Vec<u32>,
    /// Direct-mapped, as long as the unique table.
    cache: Vec<Cached>,
    budget: usize,
    /// The budget of the question at hand.
    allowed: usize,
}

const SMALLEST: usize = 1 << 10;
const LARGEST_CACHE: usize = 1 << 20;
/// Numbers of nodes are stored in 31 bits, and no edge is [`AND`].
const MOST: usize = (1 << 31) - 1;

impl Arena {
    /// An arena of at most `budget` nodes, of about 36 bytes each.
    pub fn new(budget: usize) -> Self {
        Self {
            nodes: vec![Node { variable: TERMINAL, low: Bdd::ALL, high: Bdd::ALL }],
            unique: vec![0; SMALLEST],
            cache: vec![UNUSED; SMALLEST],
            budget: budget.min(MOST),
            allowed: budget.min(MOST),
        }
    }

    /// Allows for so many nodes more than there are now, within the budget.
    pub fn allow(&mut self, more: usize) {
        self.allowed = self.budget.min(self.nodes.len().saturating_add(more));
    }

    /// Allows for no more than so many nodes more than there are now; gives what was allowed, for
    /// [`Self::lift`]. What was made meanwhile stays.
    pub(super) fn restrict(&mut self, more: usize) -> usize {
        let allowed = self.allowed;
        self.allowed = allowed.min(self.nodes.len().saturating_add(more));
        allowed
    }

    /// Allows again what was allowed before [`Self::restrict`].
    pub(super) fn lift(&mut self, allowed: usize) {
        self.allowed = allowed;
    }

    /// Nodes in use.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no set was made yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Runs `attempt` with a budget of `more` nodes from here on; if that is not enough, it leaves
    /// nothing behind. Sets that it made are valid only if it succeeds.
    pub fn attempt<T>(&mut self, more: usize, attempt: impl FnOnce(&mut Self) -> Decided<T>) -> Decided<T> {
        let (allowed, before) = (self.allowed, self.nodes.len());
        self.allowed = allowed.min(before.saturating_add(more));
        let result = attempt(self);
        self.allowed = allowed;
        if result.is_err() {
            self.rollback(before);
        }
        result
    }

    /// Forgets all nodes but the first `length`. Sets that were made since are void.
    fn rollback(&mut self, length: usize) {
        self.nodes.truncate(length);
        self.rebuild(self.unique.len());
    }

    /// The set of vectors whose `variable` is 1.
    pub fn variable(&mut self, variable: u32) -> Decided {
        self.node(variable, Bdd::NONE, Bdd::ALL)
    }

    /// `low` where `variable` is 0 and `high` where it is 1; both depend on later variables only.
    pub(super) fn node(&mut self, variable: u32, low: Bdd, high: Bdd) -> Decided {
        if low == high {
            return Ok(low);
        }
        let negate = high.is_negated();
        let node = Node { variable, low: low.negated_if(negate), high: high.negated_if(negate) };
        let mut slot = self.slot(node);
        while let number @ 1.. = self.unique[slot] {
            let found = self.nodes[number as usize];
            if (found.variable, found.low, found.high) == (node.variable, node.low, node.high) {
                return Ok(Bdd(number << 1).negated_if(negate));
            }
            slot = (slot + 1) & (self.unique.len() - 1);
        }
        if self.nodes.len() >= self.allowed {
            return Err(Undecided);
        }
        let number = u32::try_from(self.nodes.len()).expect("the budget is below 2^31");
        self.unique[slot] = number;
        self.nodes.push(node);
        if self.nodes.len() * 4 > self.unique.len() * 3 {
            // Small ones grow fast, as results are forgotten each time.
            let factor = if self.unique.len() < LARGEST_CACHE { 4 } else { 2 };
            self.rebuild(self.unique.len() * factor);
        }
        Ok(Bdd(number << 1).negated_if(negate))
    }

    /// Fills a unique table of `length` slots with the nodes that there are, and forgets results.
    fn rebuild(&mut self, length: usize) {
        self.unique.clear();
        self.unique.resize(length, 0);
        self.cache.clear();
        self.cache.resize(length.min(LARGEST_CACHE), UNUSED);
        for (number, node) in (0..).zip(&self.nodes).skip(1) {
            let mut slot = self.slot(*node);
            while self.unique[slot] != 0 {
                slot = (slot + 1) & (length - 1);
            }
            self.unique[slot] = number;
        }
    }

    fn slot(&self, node: Node) -> usize {
        hash(node.variable, node.low.0, node.high.0) & (self.unique.len() - 1)
    }

    /// The variable that decides first, and what is left of `set` where it is 0 and where it is 1.
    pub fn branch(&self, set: Bdd) -> Option<(u32, Bdd, Bdd)> {
        let node = self.nodes[set.node()];
        let negate = set.is_negated();
        (node.variable != TERMINAL)
            .then(|| (node.variable, node.low.negated_if(negate), node.high.negated_if(negate)))
    }

    fn top(&self, set: Bdd) -> u32 {
        self.nodes[set.node()].variable
    }

    /// What is left of `set` where `variable` is 0 and where it is 1; `set` has no earlier one.
    fn cofactors(&self, set: Bdd, variable: u32) -> (Bdd, Bdd) {
        match self.branch(set) {
            Some((top, low, high)) if top == variable => (low, high),
            _ => (set, set),
        }
    }

    /// The same set as in another arena; `known` keeps what was copied from there before.
    pub fn copy(&mut self, other: &Self, set: Bdd, known: &mut HashMap<usize, Bdd>) -> Decided {
        let Some((variable, low, high)) = other.branch(set.negated_if(set.is_negated())) else {
            return Ok(set);
        };
        let copied = if let Some(copied) = known.get(&set.node()) {
            *copied
        } else {
            let (low, high) = (self.copy(other, low, known)?, self.copy(other, high, known)?);
            let copied = self.node(variable, low, high)?;
            known.insert(set.node(), copied);
            copied
        };
        Ok(copied.negated_if(set.is_negated()))
    }

    /// What is in both.
    pub fn and(&mut self, left: Bdd, right: Bdd) -> Decided {
        match (left, right) {
            _ if left == right => return Ok(left),
            (Bdd::ALL, other) | (other, Bdd::ALL) => return Ok(other),
            (Bdd::NONE, _) | (_, Bdd::NONE) => return Ok(Bdd::NONE),
            _ if left == !right => return Ok(Bdd::NONE),
            _ => {}
        }
        let (left, right) = (left.min(right), left.max(right));
        if let Some(result) = self.cached(AND, left, right) {
            return Ok(result);
        }
        let variable = self.top(left).min(self.top(right));
        let (left_low, left_high) = self.cofactors(left, variable);
        let (right_low, right_high) = self.cofactors(right, variable);
        let low = self.and(left_low, right_low)?;
        let high = self.and(left_high, right_high)?;
        let result = self.node(variable, low, high)?;
        self.remember(AND, left, right, result);
        Ok(result)
    }

    /// As [`Self::and`], of one variable or its complement and of what is most often about later variables alone: then
    /// nothing is to be looked up.
    pub fn and_first(&mut self, literal: Bdd, rest: Bdd) -> Decided {
        match self.branch(literal) {
            Some((variable, Bdd::NONE, Bdd::ALL)) if variable < self.top(rest) => {
                self.node(variable, Bdd::NONE, rest)
            }
            Some((variable, Bdd::ALL, Bdd::NONE)) if variable < self.top(rest) => {
                self.node(variable, rest, Bdd::NONE)
            }
            _ => self.and(literal, rest),
        }
    }

    /// What is in either.
    pub fn or(&mut self, left: Bdd, right: Bdd) -> Decided {
        self.and(!left, !right).map(Bdd::not)
    }

    /// What is in `left` and not in `right`.
    pub fn minus(&mut self, left: Bdd, right: Bdd) -> Decided {
        self.and(left, !right)
    }

    /// `then` within `condition`, `otherwise` without.
    pub fn ite(&mut self, condition: Bdd, then: Bdd, otherwise: Bdd) -> Decided {
        match (condition, then, otherwise) {
            _ if then == otherwise => return Ok(then),
            (Bdd::ALL, ..) => return Ok(then),
            (Bdd::NONE, ..) => return Ok(otherwise),
            (_, Bdd::ALL, _) => return self.or(condition, otherwise),
            (_, Bdd::NONE, _) => return self.minus(otherwise, condition),
            (_, _, Bdd::ALL) => return self.or(!condition, then),
            (_, _, Bdd::NONE) => return self.and(condition, then),
            _ => {}
        }
        // One of four equal forms: with the condition and what holds within it not negated.
        if condition.is_negated() {
            return self.ite(!condition, otherwise, then);
        }
        let negate = then.is_negated();
        let (then, otherwise) = (then.negated_if(negate), otherwise.negated_if(negate));
        if let Some(result) = self.cached(condition.0, then, otherwise) {
            return Ok(result.negated_if(negate));
        }
        let variable = self.top(condition).min(self.top(then)).min(self.top(otherwise));
        let (condition_low, condition_high) = self.cofactors(condition, variable);
        let (then_low, then_high) = self.cofactors(then, variable);
        let (otherwise_low, otherwise_high) = self.cofactors(otherwise, variable);
        let low = self.ite(condition_low, then_low, otherwise_low)?;
        let high = self.ite(condition_high, then_high, otherwise_high)?;
        let result = self.node(variable, low, high)?;
        self.remember(condition.0, then, otherwise, result);
        Ok(result.negated_if(negate))
    }

    /// What is in any of them, joined in pairs: neighbours are small and share much.
    pub fn any_of(&mut self, sets: &[Bdd]) -> Decided {
        match sets {
            [] => Ok(Bdd::NONE),
            [one] => Ok(*one),
            _ => {
                let (left, right) = sets.split_at(sets.len() / 2);
                let (left, right) = (self.any_of(left)?, self.any_of(right)?);
                self.or(left, right)
            }
        }
    }

    /// What is in all of them. Tests of different fields make no node in vain, as the last field comes
    /// first.
    pub fn all_of(&mut self, sets: &[Bdd]) -> Decided {
        let mut sets = sets.to_vec();
        sets.sort_by_key(|set| std::cmp::Reverse(self.top(*set)));
        sets.into_iter().try_fold(Bdd::ALL, |all, set| self.and(all, set))
    }

    /// Whether all of `part` is in `whole`.
    pub fn is_subset(&mut self, part: Bdd, whole: Bdd) -> Decided<bool> {
        Ok(self.minus(part, whole)? == Bdd::NONE)
    }

    /// The vectors that are in `set` with any values of `variables` (existential quantification).
    pub fn exists(&mut self, set: Bdd, variables: &Range<u32>) -> Decided {
        let Some((variable, low, high)) = self.branch(set) else { return Ok(set) };
        if variable >= variables.end {
            return Ok(set);
        }
        // Fields are below 2^16 variables; AND is no such range, as it would end before it starts.
        let operation = variables.start << 16 | variables.end;
        if let Some(result) = self.cached(operation, set, Bdd::ALL) {
            return Ok(result);
        }
        let low = self.exists(low, variables)?;
        let high = self.exists(high, variables)?;
        let result =
            if variables.contains(&variable) { self.or(low, high)? } else { self.node(variable, low, high)? };
        self.remember(operation, set, Bdd::ALL, result);
        Ok(result)
    }

    fn cached(&self, operation: u32, left: Bdd, right: Bdd) -> Option<Bdd> {
        let entry = self.cache[hash(operation, left.0, right.0) & (self.cache.len() - 1)];
        ((entry.operation, entry.left, entry.right) == (operation, left, right)).then_some(entry.result)
    }

    fn remember(&mut self, operation: u32, left: Bdd, right: Bdd, result: Bdd) {
        let slot = hash(operation, left.0, right.0) & (self.cache.len() - 1);
        self.cache[slot] = Cached { operation, left, right, result };
    }
}

/// Multiplicative hashing: the high half of the product is well mixed.
fn hash(a: u32, b: u32, c: u32) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (u64::from(b) << 32 | u64::from(c)).wrapping_mul(ODD) ^ u64::from(a);
    u32::try_from(mixed.wrapping_mul(ODD) >> 32).expect("32 bits are left") as usize
}
