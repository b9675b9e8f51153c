//! What a chain does with all packets, whoever sent them, kept for as long as the fields that it follows from
//! hold the same: a procedure summary (Sharir and Pnueli 1981).
//!
//! The rules of a chain treat each packet by itself. So what they do with a few is what they do with all, as
//! far as it concerns those few, and a chain that a hundred senders come through is run once.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;

use kvmnet_probes::facts::{Chain, Data, Expr, Family, Hook, Verdict};

use super::bdd::{Arena, Bdd, Decided};
use super::chain::{HostSets, Walk};
use super::field::Field;
use super::guard::{Guard, Known};
use super::headers::Headers;
use super::outcomes::Read;
use super::rule::Outcome;
use super::set::PacketSet;
use super::verdict::End;
use crate::engine::scope::Scope;

/// Nodes that one summary may take.
const NODES: usize = 1 << 19;

/// A chain of more rules that may match leaves so much behind that it is run in an arena of its own.
const FEW: usize = 3;

/// What becomes in a chain of all packets that come to it.
#[derive(Debug)]
pub(super) struct Summary {
    /// It is about these packets: about all, but where they differ in the device by which they leave only
    /// about those whose device is listed.
    pub(super) of: PacketSet,
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
    /// What these fields hold.
    fields: BTreeSet<Field>,
    /// That rules with these guards match nothing.
    guards: HashSet<Guard>,
    /// How many chains deep it calls others.
    depth: usize,
}

impl Basis {
    /// Adds what a field holds.
    fn add_field(&mut self, field: Field) {
        self.fields.insert(field);
    }

    /// Adds that a rule with this guard matches nothing.
    pub(super) fn add_guard(&mut self, guard: Guard) {
        self.guards.insert(guard);
    }

    /// Adds what the outcome for the packets that are here follows from. `false`: that cannot be told, or the
    /// rule does more than to accept, stop, call and return those that surely match it.
    pub(super) fn add_outcome(
        &mut self,
        sets: &mut Arena,
        outcome: &Outcome<'_>,
        here: PacketSet,
    ) -> Decided<bool> {
        let Some(read) = outcome.read.as_ref().filter(|_| outcome.headers.is_none()) else {
            return Ok(false);
        };
        if outcome.branches.iter().any(|branch| branch.nat.is_some() || branch.end == End::Anything) {
            return Ok(false);
        }
        for (open, _) in &outcome.doubts {
            if sets.and(here, *open)? != Bdd::NONE {
                return Ok(false);
            }
        }
        self.fields.extend(read);
        Ok(true)
    }

    /// Adds what a called chain follows from.
    pub(super) fn add_called(&mut self, called: &Self) {
        self.fields.extend(&called.fields);
        self.guards.extend(&called.guards);
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

impl<'a> Walk<'_, 'a> {
    /// The summary of the chain; `None`: it has none, as it does more than summaries tell, or takes too many nodes.
    pub(super) fn summary(&mut self, chain: &'a Chain) -> Decided<Option<Rc<Summary>>> {
        let scope = self.scope;
        let known = Known::of(&self.headers, scope.hook);
        if let Some(kept) = self.host.summaries.recall(scope, chain, &self.headers, &known) {
            return Ok(kept.summary.clone());
        }
        let mut summary = self.made(chain, &known, Bdd::ALL);
        if summary.is_none() && self.headers.written(Field::OutputDevice).is_none() {
            // Of packets whose device nobody knows it is in doubt what matches them.
            let HostSets { sets, memory, world, .. } = &mut *self.host;
            let listed = memory.devices.listed(sets, *world, Field::OutputDevice)?;
            summary = self.made(chain, &known, listed);
            if let Some(summary) = &mut summary {
                summary.basis.add_field(Field::OutputDevice);
            }
        }
        Ok(self.host.summaries.keep(scope, chain, &self.headers, summary))
    }

    /// Makes the summary about the packets.
    fn made(&mut self, chain: &'a Chain, known: &Known, of: PacketSet) -> Option<Summary> {
        let guards = self.host.guards.of(self.scope, chain);
        let matching = guards.iter().filter(|guards| known.excluded_by(guards).is_none());
        let apart = if matching.count() > FEW && !calls(chain) { self.apart(chain, of) } else { None };
        apart.or_else(|| self.here(chain, of))
    }

    /// Makes the summary among the other sets, where the chains that it calls have theirs.
    fn here(&mut self, chain: &'a Chain, of: PacketSet) -> Option<Summary> {
        let allowed = self.host.sets.restrict(NODES);
        let mut walk =
            Walk::to_summarise(&mut *self.host, self.scope, self.headers.clone(), self.callers.clone());
        walk.budget = self.budget;
        let through = walk.chain(chain, of).ok();
        let (accepted, stopped, basis) = (walk.accepted, walk.gone, walk.basis);
        self.budget = walk.budget;
        self.host.sets.lift(allowed);
        Some(Summary { of, accepted, stopped, through: through?, basis: basis? })
    }

    /// Makes the summary in an arena of its own, and brings home nothing else.
    fn apart(&mut self, chain: &'a Chain, of: PacketSet) -> Option<Summary> {
        let mut apart = HostSets::new(self.scope.world.facts, NODES);
        std::mem::swap(&mut apart.guards, &mut self.host.guards);
        let made = self.copied(&mut apart, of).ok().and_then(|(headers, of)| {
            let mut walk = Walk::to_summarise(&mut apart, self.scope, headers, self.callers.clone());
            let through = walk.chain(chain, of).ok()?;
            Some((walk.accepted, walk.gone, through, walk.basis?))
        });
        std::mem::swap(&mut apart.guards, &mut self.host.guards);
        let (accepted, stopped, through, basis) = made?;
        let mut known = HashMap::new();
        let mut home = |set| self.host.sets.copy(&apart.sets, set, &mut known).ok();
        Some(Summary {
            of,
            accepted: home(accepted)?,
            stopped: home(stopped)?,
            through: home(through)?,
            basis,
        })
    }

    /// What the headers hold, and the packets, in the other arena.
    fn copied(&self, apart: &mut HostSets<'a>, of: PacketSet) -> Decided<(Headers, PacketSet)> {
        let allowed = apart.sets.restrict(NODES / 16);
        let headers = self.headers.copy(&self.host.sets, &mut apart.sets)?;
        let of = apart.sets.copy(&self.host.sets, of, &mut HashMap::new())?;
        apart.sets.lift(allowed);
        Ok((headers, of))
    }
}

/// Whether the chain may call another.
fn calls(chain: &Chain) -> bool {
    let may_call = |expr: &Expr| match expr {
        Expr::Immediate { data: Data::Verdict(verdict), .. } => {
            matches!(verdict, Verdict::Jump { .. } | Verdict::Goto { .. })
        }
        // Of a map of verdicts.
        Expr::Lookup { destination, .. } => destination.is_some(),
        _ => false,
    };
    chain.rules.iter().flat_map(|rule| &rule.exprs).any(may_call)
}

/// What is kept of a chain.
#[derive(Debug)]
pub(super) struct Kept {
    /// What the fields held that it follows from.
    read: Read,
    /// Rules with these guards matched nothing.
    guards: Vec<Guard>,
    /// `None`: the chain has none.
    pub(super) summary: Option<Rc<Summary>>,
}

/// The last summaries of each chain, by where the chain is in memory and where it is run.
#[derive(Debug, Default)]
pub(super) struct Summaries(HashMap<(*const Chain, Family, Hook), VecDeque<Kept>>);

/// So many are kept of one chain: those that come from the guests and from outside come through by turns.
const LAST: usize = 3;

impl Summaries {
    /// What the chain does with packets that have such headers, if that is known.
    pub(super) fn recall(
        &self,
        scope: Scope<'_>,
        chain: &Chain,
        headers: &Headers,
        known: &Known,
    ) -> Option<&Kept> {
        let holds = |kept: &&Kept| {
            kept.read.iter().all(|(field, held)| headers.holds(*field, held.as_ref()))
                && kept.guards.iter().all(|guard| known.is_excluded(guard))
        };
        self.0.get(&key(scope, chain))?.iter().find(holds)
    }

    /// Keeps the summary of the chain with such headers, or that it never has one.
    pub(super) fn keep(
        &mut self,
        scope: Scope<'_>,
        chain: &Chain,
        headers: &Headers,
        summary: Option<Summary>,
    ) -> Option<Rc<Summary>> {
        let basis = summary.as_ref().map(|summary| &summary.basis);
        let read = basis.map(|basis| basis.read(headers)).unwrap_or_default();
        let guards = basis.map(|basis| basis.guards.iter().copied().collect()).unwrap_or_default();
        let summary = summary.map(Rc::new);
        let kept = self.0.entry(key(scope, chain)).or_default();
        kept.push_front(Kept { read, guards, summary: summary.clone() });
        kept.truncate(LAST);
        summary
    }

    /// How many chains have one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().flatten().filter(|kept| kept.summary.is_some()).count()
    }
}

fn key(scope: Scope<'_>, chain: &Chain) -> (*const Chain, Family, Hook) {
    (std::ptr::from_ref(chain), scope.family, scope.hook)
}
