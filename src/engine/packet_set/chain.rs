//! A base chain for all packets at once: what passes, what is stopped, what may go either way.
//!
//! One set follows the rules, that of the packets that may have come so far, and a second one holds
//! those of them that can be elsewhere too, as some rule left them in doubt. Of every verdict only the
//! packets that may meet it are kept. What surely passes is what no stop may have met, so that a
//! doubt that comes to the same either way is none.

use kvmnet_probes::facts::{BaseChain, Chain, Family, NatKind, Policy, RejectWith, Rule, Snapshot, Table};

use super::bdd::{Arena, Bdd, Decided};
use super::field::{ARP, Field, IPV4, IPV6};
use super::headers::Headers;
use super::loads::Memory;
use super::rule::{self, Branch};
use super::set::PacketSet;
use crate::engine::eval::{End, Scope};
use crate::engine::world::World;

/// Deeper than any kernel follows (`NFT_JUMP_STACK_SIZE` is 16): a snapshot written by hand may loop.
const DEPTH: usize = 64;
/// Rules that are run in one base chain before it is given up.
const BUDGET: usize = 1_000_000;

/// A rule, or the policy of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The chain.
    pub chain: &'a Chain,
    /// Its rule; `None` for the policy.
    pub rule: Option<&'a Rule>,
}

/// Packets that may be stopped by one rule or policy.
#[derive(Debug)]
pub struct Stop<'a> {
    /// Which.
    pub packets: PacketSet,
    /// By what.
    pub place: Place<'a>,
    /// How they are refused; `None`: dropped.
    pub with: Option<RejectWith>,
}

/// Packets that a rule may translate.
#[derive(Debug)]
pub struct Translation<'a> {
    /// Which.
    pub packets: PacketSet,
    /// By what.
    pub place: Place<'a>,
    /// Which end.
    pub kind: NatKind,
}

/// Packets of which it is not known what a rule does with them.
#[derive(Debug)]
pub struct Doubt<'a> {
    /// Which.
    pub packets: PacketSet,
    /// By what; `None`: by the chain as a whole.
    pub place: Option<Place<'a>>,
    /// Why.
    pub why: String,
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
    /// What may stop them, in the order met.
    pub stops: Vec<Stop<'a>>,
    /// What may translate them, in the order met.
    pub translations: Vec<Translation<'a>>,
    /// Why it is not known what becomes of some.
    pub doubts: Vec<Doubt<'a>>,
}

/// The sets of packets of one host.
#[derive(Debug)]
pub struct HostSets<'a> {
    /// Where the sets are.
    pub sets: Arena,
    snapshot: &'a Snapshot,
    memory: Memory,
}

impl<'a> HostSets<'a> {
    /// Sets of at most `budget` nodes.
    pub fn new(snapshot: &'a Snapshot, budget: usize) -> Self {
        Self { sets: Arena::new(budget), snapshot, memory: Memory::default() }
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
        let scope = Scope { world: World { snapshot: self.snapshot }, table, family, hook: base.hook };
        let before = headers.clone();
        let mut walk = Walk {
            host: self,
            scope,
            headers: before,
            forked: Bdd::NONE,
            accepted: Bdd::NONE,
            stops: Vec::new(),
            translations: Vec::new(),
            doubts: Vec::new(),
            budget: BUDGET,
        };
        match walk.base(chain, base, packets) {
            Ok(passage) => {
                *headers = walk.headers;
                passage
            }
            Err(undecided_sets) => {
                headers.forget_all();
                undecided(packets, undecided_sets.to_string())
            }
        }
    }
}

fn undecided<'a>(packets: PacketSet, why: String) -> Passage<'a> {
    Passage {
        passes: Bdd::NONE,
        stopped: Bdd::NONE,
        either: packets,
        stops: Vec::new(),
        translations: Vec::new(),
        doubts: vec![Doubt { packets, place: None, why }],
    }
}

struct Walk<'h, 'a> {
    host: &'h mut HostSets<'a>,
    scope: Scope<'a>,
    headers: Headers,
    /// Packets that a rule left in doubt, so that they can be in several places.
    forked: PacketSet,
    /// Packets that may be accepted, or may have been.
    accepted: PacketSet,
    stops: Vec<Stop<'a>>,
    translations: Vec<Translation<'a>>,
    doubts: Vec<Doubt<'a>>,
    budget: usize,
}

impl<'a> Walk<'_, 'a> {
    fn base(&mut self, chain: &'a Chain, base: &BaseChain, packets: PacketSet) -> Decided<Passage<'a>> {
        let packets = self.of_family(packets)?;
        let through = self.chain(chain, packets, 0)?;
        let sets = &mut self.host.sets;
        match base.policy {
            Policy::Accept => self.accepted = sets.or(self.accepted, through)?,
            Policy::Drop if through != Bdd::NONE => {
                let place = Place { chain, rule: None };
                self.stops.push(Stop { packets: through, place, with: None });
            }
            Policy::Drop => {}
        }
        let may_stop: Vec<_> = self.stops.iter().map(|stop| stop.packets).collect();
        let may_stop = sets.any_of(&may_stop)?;
        let passes = sets.minus(packets, may_stop)?;
        let stopped = sets.minus(packets, self.accepted)?;
        let decided = sets.or(passes, stopped)?;
        Ok(Passage {
            passes,
            stopped,
            either: sets.minus(packets, decided)?,
            stops: std::mem::take(&mut self.stops),
            translations: std::mem::take(&mut self.translations),
            doubts: std::mem::take(&mut self.doubts),
        })
    }

    fn of_family(&mut self, packets: PacketSet) -> Decided<PacketSet> {
        let ether_type = match self.scope.family {
            Family::Ip => IPV4,
            Family::Ip6 => IPV6,
            Family::Arp => ARP,
            Family::Inet | Family::Netdev | Family::Bridge => return Ok(packets),
        };
        let family = self.host.sets.equal(Field::EtherType, ether_type)?;
        self.host.sets.and(packets, family)
    }

    /// Runs the chain; gives the packets that may come out at its end or by a return.
    fn chain(&mut self, chain: &'a Chain, packets: PacketSet, depth: usize) -> Decided<PacketSet> {
        let (mut here, mut back) = (packets, Bdd::NONE);
        for rule in &chain.rules {
            if here == Bdd::NONE {
                break;
            }
            let place = Place { chain, rule: Some(rule) };
            self.budget = self.budget.saturating_sub(1);
            if self.budget == 0 || depth > DEPTH {
                self.anything(here, place, "too deep or too long to follow".to_owned())?;
                break;
            }
            let outcome =
                rule::run(&mut self.host.sets, &mut self.host.memory, self.scope, &self.headers, rule)?;
            let surely = self.host.sets.minus(here, self.forked)?;
            self.headers.adopt(&mut self.host.sets, (surely, here), &outcome.headers)?;
            for (open, why) in outcome.doubts {
                let packets = self.host.sets.and(here, open)?;
                if packets != Bdd::NONE {
                    self.doubts.push(Doubt { packets, place: Some(place), why });
                    self.forked = self.host.sets.or(self.forked, packets)?;
                }
            }
            let mut stays = here;
            for branch in &outcome.branches {
                let taken = self.host.sets.and(here, branch.perhaps)?;
                let comes_back = self.branch(branch, taken, place, depth, &mut back)?;
                stays = self.host.sets.minus(stays, branch.surely)?;
                stays = self.host.sets.or(stays, comes_back)?;
            }
            here = stays;
        }
        self.host.sets.or(here, back)
    }

    /// What a rule does with the packets that may take the branch; gives those that come back to go
    /// on with the next rule, and adds to `back` those that leave the chain.
    fn branch(
        &mut self,
        branch: &Branch<'a>,
        taken: PacketSet,
        place: Place<'a>,
        depth: usize,
        back: &mut PacketSet,
    ) -> Decided<PacketSet> {
        if taken == Bdd::NONE {
            return Ok(Bdd::NONE);
        }
        if let Some(kind) = branch.nat {
            self.translations.push(Translation { packets: taken, place, kind });
        }
        match &branch.end {
            End::Next => return Ok(taken),
            End::Accept => self.accepted = self.host.sets.or(self.accepted, taken)?,
            End::Drop => self.stops.push(Stop { packets: taken, place, with: None }),
            End::Reject(with) => self.stops.push(Stop { packets: taken, place, with: Some(*with) }),
            End::Jump(name) => return self.called(name, taken, place, depth),
            End::Goto(name) => {
                let through = self.called(name, taken, place, depth)?;
                *back = self.host.sets.or(*back, through)?;
            }
            End::Return => *back = self.host.sets.or(*back, taken)?,
            End::Anything => {
                self.may_do_anything(taken, place)?;
                return Ok(taken);
            }
        }
        Ok(Bdd::NONE)
    }

    fn called(
        &mut self,
        name: &str,
        packets: PacketSet,
        place: Place<'a>,
        depth: usize,
    ) -> Decided<PacketSet> {
        if let Some(chain) = self.scope.table.chains.iter().find(|chain| chain.name == name) {
            return self.chain(chain, packets, depth + 1);
        }
        self.anything(packets, place, format!("chain {name} was not read"))?;
        Ok(packets)
    }

    fn anything(&mut self, packets: PacketSet, place: Place<'a>, why: String) -> Decided<()> {
        self.doubts.push(Doubt { packets, place: Some(place), why });
        self.forked = self.host.sets.or(self.forked, packets)?;
        self.may_do_anything(packets, place)
    }

    /// The packets may be accepted, stopped or let go on, and their marks written.
    fn may_do_anything(&mut self, packets: PacketSet, place: Place<'a>) -> Decided<()> {
        self.accepted = self.host.sets.or(self.accepted, packets)?;
        self.stops.push(Stop { packets, place, with: None });
        self.headers.forget_marks(&mut self.host.sets, packets)
    }
}
