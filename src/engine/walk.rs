//! The trace that packets leave.

use std::net::IpAddr;

use kvmnet_reports::Predicted;

use super::packet_set::{Arena, Bdd, Decided, HostSets, PacketSet, Truth};
use super::route::{Answers, Query, look_up};
use super::world::World;
use super::{Decision, Fate, Proof, Site, Step};
use crate::model::Topology;

/// A step, and the packets that it is about.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) step: Step,
    pub(super) packets: PacketSet,
    /// Of these it is not sure, as something before may have changed them or taken them elsewhere.
    diverted: PacketSet,
}

/// One walk along the path, there and back.
#[derive(Debug)]
pub(super) struct Walk<'w, 'a> {
    pub(super) world: World<'a>,
    pub(super) topology: &'a Topology,
    /// Where the sets are.
    pub(super) host: &'w mut HostSets<'a>,
    /// The packets that are walked with, as they are sent. All of them go all the way: what a site stops
    /// is noted, and carried on as if it had passed.
    pub(super) asked: PacketSet,
    /// Packets that a site stops go on as if it had not, so that all are named that stop them.
    pub(super) all_sites: bool,
    /// It is one packet: what is free in `asked` is not known of it.
    pub(super) one: bool,
    pub(super) taken: Vec<Taken>,
    /// How many of the first steps have left out of `asked` what they stop.
    pub(super) left: usize,
    pub(super) reply: bool,
    /// Which of several equal ways is taken wherever there is a choice.
    pub(super) pick: usize,
    /// The greatest number of equal ways met.
    pub(super) ways: usize,
    pub(super) leaves_as: Option<IpAddr>,
    /// Packets that something before may have changed or taken past everything that follows.
    pub(super) diverted: PacketSet,
}

impl<'w, 'a> Walk<'w, 'a> {
    /// A walk with one packet, which takes the given one of several equal ways, or with many.
    pub(super) fn new(
        host: &'w mut HostSets<'a>,
        world: World<'a>,
        topology: &'a Topology,
        asked: PacketSet,
        pick: Option<usize>,
    ) -> Self {
        Self {
            world,
            topology,
            host,
            asked,
            all_sites: true,
            one: pick.is_some(),
            taken: Vec::new(),
            left: 0,
            reply: false,
            pick: pick.unwrap_or(0),
            ways: 1,
            leaves_as: None,
            diverted: Bdd::NONE,
        }
    }

    pub(super) fn sets(&mut self) -> &mut Arena {
        &mut self.host.sets
    }

    /// Adds a step of the way that is being walked, by all packets.
    pub(super) fn step(&mut self, place: &str, site: Site, decision: Decision, text: impl Into<String>) {
        self.step_of(self.asked, place, site, decision, text);
    }

    /// Adds a step of some of the packets.
    pub(super) fn step_of(
        &mut self,
        packets: PacketSet,
        place: &str,
        site: Site,
        decision: Decision,
        text: impl Into<String>,
    ) {
        let place = place.to_owned();
        self.add(packets, Step { reply: self.reply, place, site, decision, text: text.into() });
    }

    /// Adds a step, which is one of the way that is being walked.
    fn add(&mut self, packets: PacketSet, step: Step) {
        if packets == Bdd::NONE {
            return;
        }
        // What stops the packets there and back is named once.
        let again = |earlier: &Taken| {
            let stops = !matches!(step.decision, Decision::Pass | Decision::Rewrite);
            let same = earlier.step.site == step.site && earlier.step.decision == step.decision;
            (earlier.step == step || stops && same) && earlier.packets == packets
        };
        if !self.taken.iter().any(again) {
            self.taken.push(Taken { step, packets, diverted: self.diverted });
        }
    }

    /// Takes a step back.
    pub(super) fn take_back(&mut self, at: usize) {
        self.taken.remove(at);
        self.left = 0;
    }

    /// A source of facts on which the way depends could not be read.
    pub(super) fn missing(&mut self, place: &str, source: &str) {
        let site = Site::MissingFact { source: source.to_owned() };
        self.step(place, site, Decision::Unknown, format!("{source} could not be read"));
    }

    /// Something that is not understood may take the packets.
    pub(super) fn opaque(&mut self, place: &str, what: impl Into<String>) {
        self.opaque_to(self.asked, place, what);
    }

    /// Something that is not understood may take some of the packets.
    pub(super) fn opaque_to(&mut self, packets: PacketSet, place: &str, what: impl Into<String>) {
        let what = what.into();
        let text = format!("{what}: not understood");
        self.step_of(packets, place, Site::Opaque { what }, Decision::Unknown, text);
    }

    /// A program may take the packets past all that follows, so that a later drop proves nothing.
    pub(super) fn program(&mut self, place: &str, what: impl Into<String>) {
        self.opaque(place, what);
        self.diverted = self.asked;
    }

    /// What stops these packets later proves nothing.
    pub(super) fn divert(&mut self, packets: PacketSet) -> Decided<()> {
        self.diverted = self.host.sets.or(self.diverted, packets)?;
        Ok(())
    }

    /// The packets for which something surely holds, and those for which it may.
    pub(super) fn parted(&mut self, holds: Truth) -> Decided<(PacketSet, PacketSet)> {
        let surely = self.host.sets.and(self.asked, holds.yes)?;
        Ok((surely, self.host.sets.minus(self.asked, holds.no)?))
    }

    /// Whether something holds for all packets or for none; `None`: that differs, or is not known.
    pub(super) fn is(&mut self, holds: Truth) -> Decided<Option<bool>> {
        let (surely, perhaps) = self.parted(holds)?;
        Ok(match () {
            () if surely == self.asked => Some(true),
            () if perhaps == Bdd::NONE => Some(false),
            () => None,
        })
    }

    /// What the routing tables say.
    pub(super) fn look_up(&mut self, query: Query<'_>) -> Decided<Answers<'a>> {
        let HostSets { sets, routes, .. } = &mut *self.host;
        if self.one {
            return look_up(sets, self.world, query, self.asked);
        }
        routes.look_up(sets, self.world, query, self.asked)
    }

    /// Whether all packets are in the set.
    pub(super) fn are_all_in(&mut self, set: PacketSet) -> Decided<bool> {
        self.host.sets.is_subset(self.asked, set)
    }

    /// Goes on with those packets alone that may come through, unless every site that stops them is asked for.
    pub(super) fn leave_stopped(&mut self) -> Decided<()> {
        if !self.all_sites {
            for taken in &self.taken[self.left..] {
                if let Decision::Drop | Decision::Reject = taken.step.decision {
                    let sets = &mut self.host.sets;
                    let surely = sets.minus(taken.packets, taken.diverted)?;
                    self.asked = sets.minus(self.asked, surely)?;
                }
            }
            self.left = self.taken.len();
        }
        Ok(())
    }

    /// Packets that surely do not come through, and those that may not.
    pub(super) fn stopped(&mut self) -> Decided<(PacketSet, PacketSet)> {
        let sets = &mut self.host.sets;
        let (mut stopped, mut open) = (Bdd::NONE, Bdd::NONE);
        for taken in &self.taken {
            match taken.step.decision {
                Decision::Pass | Decision::Rewrite => {}
                Decision::Unknown => open = sets.or(open, taken.packets)?,
                Decision::Drop | Decision::Reject => {
                    let surely = sets.minus(taken.packets, taken.diverted)?;
                    stopped = sets.or(stopped, surely)?;
                    let perhaps = sets.minus(taken.packets, surely)?;
                    open = sets.or(open, perhaps)?;
                }
            }
        }
        Ok((stopped, sets.minus(open, stopped)?))
    }

    /// The fate that the steps amount to, for a packet of which all that matters is known.
    pub(super) fn fate(mut self) -> Decided<Fate> {
        let (stopped, open) = self.stopped()?;
        let through = self.host.sets.minus(self.asked, stopped)?;
        let surely = self.host.sets.minus(through, open)?;
        let predicted = match () {
            () if through == Bdd::NONE => Predicted::Deny,
            () if surely == self.asked => Predicted::Allow,
            () => Predicted::Unknown,
        };
        // What stops only some depends on what is not known of the packet.
        let asked = self.asked;
        let step = |taken: Taken| match taken.step.decision {
            Decision::Drop | Decision::Reject if taken.packets != asked || taken.diverted != Bdd::NONE => {
                Step { decision: Decision::Unknown, ..taken.step }
            }
            _ => taken.step,
        };
        Ok(Fate {
            predicted,
            steps: self.taken.into_iter().map(step).collect(),
            leaves_as: self.leaves_as,
            proof: Proof::One,
        })
    }
}
