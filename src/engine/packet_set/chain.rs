//! A base chain for all packets at once: what passes, what is stopped, what may go either way.
//!
//! One set follows the rules, that of the packets that may have come so far, and a second one holds
//! those of them that can be elsewhere too, as some rule left them in doubt. Of every verdict only the
//! packets that may meet it are kept. What surely passes is what no stop may have met, so that a
//! doubt that comes to the same either way is none.

use std::rc::Rc;

use kvmnet_probes::facts::{BaseChain, Chain, Family, Policy, RejectWith, Rule, Table};

use super::bdd::{Arena, Bdd, Decided};
use super::field::{ARP, Field, IPV4, IPV6};
use super::guard::{Guards, Known};
use super::headers::Headers;
use super::loads::Memory;
use super::nat::Nat;
use super::outcomes::Outcomes;
use super::rule::{self, Branch, Outcome};
use super::set::PacketSet;
use super::summary::{Basis, Summaries, Summary};
use super::verdict::End;
use crate::engine::route::Remembered;
use crate::engine::scope::Scope;
use crate::engine::world::{Facts, World};

/// `NFT_JUMP_STACK_SIZE`: deeper the kernel does not follow.
const DEPTH: usize = 16;
/// Rules that are run in one base chain before it is given up.
const BUDGET: usize = 200_000;

/// A rule, or the policy of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// Its rule; `None` for the policy.
    pub rule: Option<&'a Rule>,
}

/// What a rule or policy does with packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Lets them pass.
    Accept,
    /// Drops them or, with an error to the sender, refuses them.
    Stop(Option<RejectWith>),
    /// Translates them.
    Translate(Nat),
    /// It is not known whether it matches, and why.
    Doubt(String),
    /// It may do anything with them, and why.
    Anything(String),
}

/// What packets meet.
#[derive(Debug, Clone)]
pub struct Met<'a> {
    /// Which may.
    pub packets: PacketSet,
    /// Which of them surely do, if nothing stops them before.
    pub surely: PacketSet,
    /// Which of them do, if no rule before that leaves them in doubt matches.
    pub plainly: PacketSet,
    /// The rule or policy; `None`: the chain as a whole.
    pub place: Option<Place<'a>>,
    /// What it does.
    pub what: Event,
}

/// How much is told of what packets meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every rule that does anything with them.
    Rules,
    /// What becomes of them and what is in doubt; what a chain plainly does is told of the chain as a whole, and
    /// followed once for all who come through it.
    Chains,
}

/// What becomes of a set of packets in a base chain. Sets are of packets as they came.
#[derive(Debug)]
pub struct Passage<'a> {
    /// They surely go on.
    pub passes: PacketSet,
    /// They surely do not.
    pub stopped: PacketSet,
    /// They may do either.
    pub either: PacketSet,
    /// What they meet, in order. Past a rule that stops them packets go on as if it were not there, so
    /// that everything is named that stops them.
    pub met: Vec<Met<'a>>,
}

impl<'a> Passage<'a> {
    /// What may stop packets, in the order met.
    pub fn stops(&self) -> impl Iterator<Item = &Met<'a>> {
        self.met.iter().filter(|met| matches!(met.what, Event::Stop(_)))
    }

    /// For which packets it is not known what is done with them, and why.
    pub fn doubts(&self) -> impl Iterator<Item = (PacketSet, &str)> {
        self.met.iter().filter_map(|met| match &met.what {
            Event::Doubt(why) | Event::Anything(why) => Some((met.packets, why.as_str())),
            _ => None,
        })
    }
}

/// The sets of packets of one host.
#[derive(Debug)]
pub struct HostSets<'a> {
    /// Where the sets are.
    pub sets: Arena,
    pub(super) world: World<'a>,
    pub(super) memory: Memory,
    pub(super) guards: Guards,
    outcomes: Outcomes<'a>,
    /// Of single packets, which hold other things in most fields than all packets at once.
    outcomes_of_one: Outcomes<'a>,
    pub(super) summaries: Summaries,
    pub(in crate::engine) routes: Remembered<'a>,
}

impl<'a> HostSets<'a> {
    /// Sets of at most `budget` nodes.
    pub fn new(facts: &'a Facts<'a>, budget: usize) -> Self {
        let world = World::new(facts);
        Self {
            sets: Arena::new(budget),
            world,
            memory: Memory::default(),
            guards: Guards::default(),
            outcomes: Outcomes::default(),
            outcomes_of_one: Outcomes::default(),
            summaries: Summaries::default(),
            routes: Remembered::default(),
        }
    }

    /// Runs every rule anew.
    #[cfg(test)]
    pub(super) fn forget_rules(&mut self) {
        (self.outcomes, self.outcomes_of_one) = Default::default();
        self.summaries = Summaries::default();
    }

    /// How many chains have a summary.
    #[cfg(test)]
    pub(super) fn summaries(&self) -> usize {
        self.summaries.len()
    }

    /// Whether a chain of nothing but this rule has a summary.
    #[cfg(test)]
    pub(super) fn can_summarise(&mut self, scope: Scope<'a>, headers: &Headers, rule: &'a Rule) -> bool {
        let outcome = rule::run(&mut self.sets, &mut self.memory, scope, headers, rule).unwrap();
        Basis::default().add_outcome(&mut self.sets, &outcome, Bdd::ALL).unwrap()
    }

    /// Takes packets through a base chain of the table, at the hook of `scope`, whose family is never
    /// `inet` itself; only those of the family come there. `headers` is what fields hold before, and then
    /// after. The packets of `perhaps` may pass the chain by.
    pub(in crate::engine) fn run(
        &mut self,
        scope: Scope<'a>,
        (chain, base): (&'a Chain, &BaseChain),
        (packets, perhaps): (PacketSet, PacketSet),
        detail: Detail,
        headers: &mut Headers,
    ) -> Decided<Passage<'a>> {
        let mut walk = Walk {
            forked: perhaps,
            accepted: perhaps,
            detail,
            ..Walk::new(self, scope, headers.clone(), vec![&chain.name])
        };
        let passage = walk.base(chain, base, packets)?;
        *headers = walk.headers;
        Ok(passage)
    }

    /// Takes packets through a base chain of the table, at the hook of `family`, which is never `inet`
    /// itself; only those of the family come there. `headers` is what fields hold before, and then after.
    pub fn through(
        &mut self,
        table: &'a Table,
        chain: &'a Chain,
        family: Family,
        packets: PacketSet,
        headers: &mut Headers,
    ) -> Passage<'a> {
        let Some(base) = &chain.base else {
            return undecided(packets, "not a base chain".to_owned());
        };
        let scope = Scope { world: self.world, table, family, hook: base.hook, next_hop: None };
        match self.run(scope, (chain, base), (packets, Bdd::NONE), Detail::Rules, headers) {
            Ok(passage) => passage,
            Err(undecided_sets) => {
                headers.forget_all();
                undecided(packets, undecided_sets.to_string())
            }
        }
    }
}

fn undecided<'a>(packets: PacketSet, why: String) -> Passage<'a> {
    let (surely, plainly) = (Bdd::NONE, Bdd::NONE);
    let met = Met { packets, surely, plainly, place: None, what: Event::Anything(why) };
    Passage { passes: Bdd::NONE, stopped: Bdd::NONE, either: packets, met: vec![met] }
}

/// Packets on their way through one base chain.
pub(super) struct Walk<'h, 'a> {
    pub(super) host: &'h mut HostSets<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) headers: Headers,
    /// Packets that a rule left in doubt, so that they can be in several places.
    forked: PacketSet,
    /// Packets that are in this chain only if a rule matched that leaves them in doubt.
    doubtful: PacketSet,
    /// Packets that may have left some chain already in which they are followed.
    escaped: PacketSet,
    /// Packets that surely were stopped. They go on as if they had not been.
    pub(super) gone: PacketSet,
    /// Packets that may be accepted, or may have been.
    pub(super) accepted: PacketSet,
    /// Packets that may be stopped, or may have been.
    may_stop: PacketSet,
    met: Vec<Met<'a>>,
    /// The chains that are being run, the base chain first.
    pub(super) callers: Vec<&'a str>,
    pub(super) budget: usize,
    detail: Detail,
    /// What a summary follows from, while one is made.
    pub(super) basis: Option<Basis>,
}

impl<'h, 'a> Walk<'h, 'a> {
    /// A walk on which nothing has been met yet.
    fn new(host: &'h mut HostSets<'a>, scope: Scope<'a>, headers: Headers, callers: Vec<&'a str>) -> Self {
        Self {
            host,
            scope,
            headers,
            forked: Bdd::NONE,
            doubtful: Bdd::NONE,
            escaped: Bdd::NONE,
            gone: Bdd::NONE,
            accepted: Bdd::NONE,
            may_stop: Bdd::NONE,
            met: Vec::new(),
            callers,
            budget: BUDGET,
            detail: Detail::Rules,
            basis: None,
        }
    }

    /// A walk whose end is a summary of the chain that it begins with.
    pub(super) fn to_summarise(
        host: &'h mut HostSets<'a>,
        scope: Scope<'a>,
        headers: Headers,
        callers: Vec<&'a str>,
    ) -> Self {
        let basis = Some(Basis::default());
        Self { detail: Detail::Chains, basis, ..Self::new(host, scope, headers, callers) }
    }

    fn base(&mut self, chain: &'a Chain, base: &BaseChain, packets: PacketSet) -> Decided<Passage<'a>> {
        let packets = self.of_family(packets)?;
        let through = self.enter(chain, packets)?;
        match base.policy {
            Policy::Accept => self.accept(through)?,
            Policy::Drop if through != Bdd::NONE => {
                let surely = self.host.sets.minus(through, self.forked)?;
                let place = Some(Place { chain, rule: None });
                let what = Event::Stop(None);
                self.stop(Met { packets: through, surely, plainly: through, place, what })?;
            }
            Policy::Drop => {}
        }
        let sets = &mut self.host.sets;
        let passes = sets.minus(packets, self.may_stop)?;
        let stopped = sets.minus(packets, self.accepted)?;
        let decided = sets.or(passes, stopped)?;
        let either = sets.minus(packets, decided)?;
        Ok(Passage { passes, stopped, either, met: std::mem::take(&mut self.met) })
    }

    fn of_family(&mut self, packets: PacketSet) -> Decided<PacketSet> {
        let ether_type = match self.scope.family {
            Family::Ip => IPV4,
            Family::Ip6 => IPV6,
            Family::Arp => ARP,
            Family::Inet | Family::Netdev | Family::Bridge => return Ok(packets),
        };
        let family = self.headers.equal(&mut self.host.sets, Field::EtherType, ether_type)?;
        self.host.sets.and(packets, family.yes)
    }

    /// Takes packets through the chain, by its summary where that says enough; gives those that may come out at
    /// its end or by a return.
    fn enter(&mut self, chain: &'a Chain, packets: PacketSet) -> Decided<PacketSet> {
        // A summary does not tell apart what is in doubt already.
        if self.detail == Detail::Rules || self.host.sets.and(packets, self.forked)? != Bdd::NONE {
            return self.chain(chain, packets);
        }
        match self.summary(chain)? {
            Some(summary)
                if self.callers.len() + summary.basis.depth() <= DEPTH
                    && self.host.sets.is_subset(packets, summary.of)? =>
            {
                self.apply(&summary, packets)
            }
            _ if self.basis.is_some() => {
                self.basis = None;
                Ok(Bdd::NONE)
            }
            _ => self.chain(chain, packets),
        }
    }

    /// What becomes of the packets in a chain with this summary.
    fn apply(&mut self, summary: &Summary, packets: PacketSet) -> Decided<PacketSet> {
        if let Some(basis) = &mut self.basis {
            basis.add_called(&summary.basis);
        }
        let accepted = self.host.sets.and(packets, summary.accepted)?;
        self.accept(accepted)?;
        let stopped = self.host.sets.and(packets, summary.stopped)?;
        if stopped != Bdd::NONE {
            let what = Event::Stop(None);
            self.stop(Met { packets: stopped, surely: stopped, plainly: stopped, place: None, what })?;
        }
        self.host.sets.and(packets, summary.through)
    }

    /// Runs the chain; gives the packets that may come out at its end or by a return.
    pub(super) fn chain(&mut self, chain: &'a Chain, packets: PacketSet) -> Decided<PacketSet> {
        let (mut here, mut back) = (packets, Bdd::NONE);
        let summarised = self.basis.is_some();
        let guards = self.host.guards.of(self.scope, chain);
        let mut known = Known::of(&self.headers, self.scope.hook);
        for (rule, guards) in chain.rules.iter().zip(guards.iter()) {
            if here == Bdd::NONE {
                break;
            }
            if let Some(guard) = known.excluded_by(guards) {
                if let Some(basis) = &mut self.basis {
                    basis.add_guard(guard);
                }
                continue;
            }
            let place = Place { chain, rule: Some(rule) };
            self.budget = self.budget.saturating_sub(1);
            if self.budget == 0 || self.callers.len() > DEPTH {
                self.anything(here, place, "too deep or too long to follow".to_owned())?;
                break;
            }
            let outcome = self.outcome(rule, known.is_one_packet())?;
            if let Some(basis) = &mut self.basis
                && !basis.add_outcome(&mut self.host.sets, &outcome, here)?
            {
                self.basis = None;
            }
            if summarised && self.basis.is_none() {
                return Ok(Bdd::NONE);
            }
            let surely = self.host.sets.minus(here, self.forked)?;
            if let Some(written) = &outcome.headers {
                self.headers.adopt(&mut self.host.sets, (surely, here), written)?;
            }
            for (open, why) in &outcome.doubts {
                let packets = self.host.sets.and(here, *open)?;
                if outcome.branches.is_empty() {
                    // Whatever it does, it goes on with the next rule.
                    self.forked = self.host.sets.or(self.forked, packets)?;
                } else {
                    let anything = outcome.branches.iter().any(|branch| branch.end == End::Anything);
                    let why = why.clone();
                    let what = if anything { Event::Anything(why) } else { Event::Doubt(why) };
                    self.doubt(packets, place, what)?;
                }
            }
            let mut stays = here;
            for branch in &outcome.branches {
                let taken = self.host.sets.and(here, branch.perhaps)?;
                let comes_back = self.branch(branch, taken, place, &mut back)?;
                // Most often none come back, or all.
                if comes_back != taken || branch.surely != branch.perhaps {
                    stays = self.host.sets.minus(stays, branch.surely)?;
                    stays = self.host.sets.or(stays, comes_back)?;
                }
            }
            here = stays;
            if !known.is_of(&self.headers) {
                known = Known::of(&self.headers, self.scope.hook);
            }
        }
        self.host.sets.or(here, back)
    }

    /// What the rule does with packets with these headers.
    fn outcome(&mut self, rule: &'a Rule, one: bool) -> Decided<Rc<Outcome<'a>>> {
        let HostSets { sets, memory, outcomes, outcomes_of_one, .. } = &mut *self.host;
        let outcomes = if one { outcomes_of_one } else { outcomes };
        if let Some(outcome) = outcomes.recall(self.scope, rule, &self.headers) {
            return Ok(outcome);
        }
        let outcome = rule::run(sets, memory, self.scope, &self.headers, rule)?;
        Ok(outcomes.keep(self.scope, rule, &self.headers, outcome))
    }

    /// What a rule does with the packets that may take the branch; gives those that come back to go
    /// on with the next rule, and adds to `back` those that leave the chain.
    fn branch(
        &mut self,
        branch: &Branch<'a>,
        taken: PacketSet,
        place: Place<'a>,
        back: &mut PacketSet,
    ) -> Decided<PacketSet> {
        if taken == Bdd::NONE {
            return Ok(Bdd::NONE);
        }
        let sure = branch.surely == branch.perhaps;
        let certain = if sure { taken } else { self.host.sets.and(taken, branch.surely)? };
        let surely = self.host.sets.minus(certain, self.forked)?;
        let plainly = self.host.sets.minus(certain, self.doubtful)?;
        let met = |what| Met { packets: taken, surely, plainly, place: Some(place), what };
        if let Some(nat) = &branch.nat {
            self.met.push(met(Event::Translate(nat.clone())));
        }
        match &branch.end {
            End::Accept => {
                if branch.nat.is_none() {
                    self.met.push(met(Event::Accept));
                }
                self.accept(taken)?;
            }
            End::Drop => return self.stop(met(Event::Stop(None))),
            End::Reject(with) => return self.stop(met(Event::Stop(Some(*with)))),
            End::Jump(name) => return self.called(name, (taken, certain), place),
            End::Goto(name) => {
                let through = self.called(name, (taken, certain), place)?;
                self.escape(taken, certain)?;
                *back = self.host.sets.or(*back, through)?;
            }
            End::Return => {
                self.escape(taken, certain)?;
                *back = self.host.sets.or(*back, taken)?;
            }
            End::Anything => {
                self.may_do_anything(taken)?;
                return Ok(taken);
            }
        }
        Ok(Bdd::NONE)
    }

    fn accept(&mut self, packets: PacketSet) -> Decided<()> {
        let packets = self.host.sets.minus(packets, self.gone)?;
        self.accepted = self.host.sets.or(self.accepted, packets)?;
        Ok(())
    }

    /// Packets for which it is not certain leave the chain and stay in it.
    fn escape(&mut self, taken: PacketSet, certain: PacketSet) -> Decided<()> {
        let open = self.host.sets.minus(taken, certain)?;
        self.escaped = self.host.sets.or(self.escaped, open)?;
        Ok(())
    }

    /// Stops packets, surely or perhaps; gives those that go on all the same: all of them.
    fn stop(&mut self, met: Met<'a>) -> Decided<PacketSet> {
        let sets = &mut self.host.sets;
        let really = sets.minus(met.packets, self.gone)?;
        self.may_stop = sets.or(self.may_stop, really)?;
        let gone = sets.minus(met.plainly, self.escaped)?;
        self.gone = sets.or(self.gone, gone)?;
        let packets = met.packets;
        self.met.push(met);
        Ok(packets)
    }

    fn called(
        &mut self,
        name: &'a str,
        (packets, certain): (PacketSet, PacketSet),
        place: Place<'a>,
    ) -> Decided<PacketSet> {
        // The kernel loads no loops; a snapshot written by hand may have one.
        if self.callers.contains(&name) {
            self.anything(packets, place, format!("chain {name} calls itself"))?;
            return Ok(packets);
        }
        let Some(chain) = self.scope.table.chains.iter().find(|chain| chain.name == name) else {
            self.anything(packets, place, format!("chain {name} was not read"))?;
            return Ok(packets);
        };
        let open = self.host.sets.minus(packets, certain)?;
        let doubtful = self.host.sets.or(self.doubtful, open)?;
        let before = std::mem::replace(&mut self.doubtful, doubtful);
        self.callers.push(name);
        let through = self.enter(chain, packets);
        self.callers.pop();
        self.doubtful = before;
        through
    }

    fn doubt(&mut self, packets: PacketSet, place: Place<'a>, what: Event) -> Decided<()> {
        if packets != Bdd::NONE {
            self.basis = None;
            let (surely, plainly) = (Bdd::NONE, Bdd::NONE);
            self.met.push(Met { packets, surely, plainly, place: Some(place), what });
            self.forked = self.host.sets.or(self.forked, packets)?;
        }
        Ok(())
    }

    fn anything(&mut self, packets: PacketSet, place: Place<'a>, why: String) -> Decided<()> {
        self.doubt(packets, place, Event::Anything(why))?;
        self.may_do_anything(packets)
    }

    /// The packets may be accepted, stopped or let go on, and their marks written.
    fn may_do_anything(&mut self, packets: PacketSet) -> Decided<()> {
        self.accept(packets)?;
        let really = self.host.sets.minus(packets, self.gone)?;
        self.may_stop = self.host.sets.or(self.may_stop, really)?;
        self.headers.forget_marks(&mut self.host.sets, packets)
    }
}
