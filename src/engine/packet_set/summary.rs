//! What a chain does with all packets, whoever sent them, kept for as long as the fields that it follows from
//! hold the same: a procedure summary (Sharir and Pnueli 1981).
//!
//! The rules of a chain treat each packet by itself. So what they do with a few is what they do with all, as
//! far as it concerns those few, and a chain that a hundred senders come through is run once.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use kvmnet_probes::facts::{Chain, Family, Hook};

use super::field::Field;
use super::headers::Headers;
use super::outcomes::Read;
use super::rule::{Branch, Outcome};
use super::set::PacketSet;
use super::verdict::End;
use crate::engine::scope::Scope;

/// Nodes that one summary may take.
pub(super) const NODES: usize = 1 << 17;

/// What becomes in a chain of all packets that come to it.
#[derive(Debug)]
pub(super) struct Summary {
    /// They are accepted.
    pub(super) accepted: PacketSet,
    /// They are stopped.
    pub(super) stopped: PacketSet,
    /// They come back from it, among them those that were stopped, as if they had not been.
    pub(super) through: PacketSet,
    /// What that follows from.
    pub(super) basis: Basis,
}

/// What a summary follows from.
#[derive(Debug, Default, Clone)]
pub(super) struct Basis {
    /// These fields.
    fields: BTreeSet<Field>,
    /// How many chains deep it calls others.
    depth: usize,
}

impl Basis {
    /// Adds a field that a rule has asked for.
    pub(super) fn add_field(&mut self, field: Field) {
        self.fields.insert(field);
    }

    /// Adds what the outcome follows from. Not if that cannot be told, or if a rule does more than to
    /// accept, stop, call and return the packets that surely match it.
    pub(super) fn add_outcome(&mut self, outcome: &Outcome<'_>) -> Option<()> {
        let sure = |branch: &Branch<'_>| {
            branch.surely == branch.perhaps && branch.nat.is_none() && branch.end != End::Anything
        };
        let plain = outcome.headers.is_none() && outcome.doubts.is_empty();
        let read = outcome.read.as_ref().filter(|_| plain && outcome.branches.iter().all(sure))?;
        self.fields.extend(read);
        Some(())
    }

    /// Adds what a called chain follows from.
    pub(super) fn add_called(&mut self, called: &Self) {
        self.fields.extend(&called.fields);
        self.depth = self.depth.max(called.depth + 1);
    }

    /// How many chains deep it calls others.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    fn read(&self, headers: &Headers) -> Read {
        self.fields.iter().map(|field| (*field, headers.written(*field))).collect()
    }
}

/// What is kept of a chain.
#[derive(Debug)]
pub(super) struct Kept {
    /// What the fields held that it follows from.
    read: Read,
    /// `None`: the chain has none.
    pub(super) summary: Option<Rc<Summary>>,
}

/// The last summary of each chain, by where the chain is in memory and where it is run.
#[derive(Debug, Default)]
pub(super) struct Summaries(HashMap<(*const Chain, Family, Hook), Kept>);

impl Summaries {
    /// What the chain does with packets that have such headers, if that is known.
    pub(super) fn recall(&self, scope: Scope<'_>, chain: &Chain, headers: &Headers) -> Option<&Kept> {
        let kept = self.0.get(&key(scope, chain))?;
        kept.read.iter().all(|(field, held)| headers.holds(*field, held.as_ref())).then_some(kept)
    }

    /// Keeps the summary of the chain with such headers, or that it never has one.
    pub(super) fn keep(
        &mut self,
        scope: Scope<'_>,
        chain: &Chain,
        headers: &Headers,
        summary: Option<Summary>,
    ) -> Option<Rc<Summary>> {
        let read = summary.as_ref().map(|summary| summary.basis.read(headers)).unwrap_or_default();
        let summary = summary.map(Rc::new);
        self.0.insert(key(scope, chain), Kept { read, summary: summary.clone() });
        summary
    }

    /// How many chains have one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().filter(|kept| kept.summary.is_some()).count()
    }
}

fn key(scope: Scope<'_>, chain: &Chain) -> (*const Chain, Family, Hook) {
    (std::ptr::from_ref(chain), scope.family, scope.hook)
}
