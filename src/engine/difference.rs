//! What of all packets arrives on one host and not on another: the same host before and after a change.

use std::collections::HashMap;

use kvmnet_probes::facts::Family;

use super::Leak;
use super::packet_set::{Bdd, Decided, Field, PacketSet, Undecided};
use super::packets::number;
use super::path::Engine;
use super::proof::Arrival;
use crate::model::Claim;

/// How two hosts differ in what gets from one end to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What surely arrives now and surely did not, or is answered now and was not.
    pub gained: Option<Box<Leak>>,
    /// The opposite.
    pub lost: Option<Box<Leak>>,
    /// What is not decided is not the same.
    pub undecided: bool,
}

/// What gets from one end to another, by IP, by whatever way.
struct Reached {
    surely: PacketSet,
    open: PacketSet,
    answered: PacketSet,
}

impl Engine<'_> {
    /// How what arrives here differs from what arrived `before`. The claims are about the same ends on either host.
    /// `None` if they cannot be followed on both.
    pub fn difference(
        &mut self,
        claim: &Claim,
        (before, earlier): (&mut Engine<'_>, &Claim),
    ) -> Option<Difference> {
        self.begin_question();
        before.begin_question();
        self.compare(claim, before, earlier).unwrap_or_else(|Undecided| {
            self.forget();
            before.forget();
            Some(Difference { gained: None, lost: None, undecided: true })
        })
    }

    fn compare(
        &mut self,
        claim: &Claim,
        before: &mut Engine<'_>,
        earlier: &Claim,
    ) -> Decided<Option<Difference>> {
        let (Some(now), Some(then)) = (self.reached(claim)?, before.reached(earlier)?) else {
            return Ok(None);
        };
        let mut known = HashMap::new();
        let mut copy = |set| self.host.sets.copy(&before.host.sets, set, &mut known);
        let then =
            Reached { surely: copy(then.surely)?, open: copy(then.open)?, answered: copy(then.answered)? };
        let own = self.own(claim)?;
        let gained = self.more(&now, &then, own)?;
        let lost = self.more(&then, &now, own)?;
        // What was open and is stopped now was perhaps no way before.
        let sets = &mut self.host.sets;
        let opened = sets.minus(now.open, then.open)?;
        let settled = sets.and(then.open, now.surely)?;
        let undecided = opened != Bdd::NONE || settled != Bdd::NONE;
        let family = if claim.ipv6 { Family::Ip6 } else { Family::Ip };
        let mut told = |set: PacketSet, answered: PacketSet| -> Decided<Option<Box<Leak>>> {
            if set == Bdd::NONE {
                return Ok(None);
            }
            let answered = self.host.sets.and(set, answered)?;
            let arrival = Arrival { family, asked: set, may: set, surely: set, answered, taken: Vec::new() };
            self.leak(claim, &arrival).map(Box::new).map(Some)
        };
        Ok(Some(Difference {
            gained: told(gained, now.answered)?,
            lost: told(lost, then.answered)?,
            undecided,
        }))
    }

    /// What surely arrives in one place and surely not in the other, and what the sender itself may send and is answered
    /// in one place alone.
    fn more(&mut self, here: &Reached, there: &Reached, own: PacketSet) -> Decided<PacketSet> {
        let sets = &mut self.host.sets;
        let arrives = sets.minus(here.surely, there.surely)?;
        let answered = sets.minus(here.answered, there.answered)?;
        let answered = sets.and(answered, own)?;
        let more = sets.or(arrives, answered)?;
        sets.minus(more, there.open)
    }

    fn reached(&mut self, claim: &Claim) -> Decided<Option<Reached>> {
        let Some(arrivals) = self.arrivals(claim, false)? else { return Ok(None) };
        let sets = &mut self.host.sets;
        let (mut surely, mut may, mut answered) = (Bdd::NONE, Bdd::NONE, Bdd::NONE);
        for arrival in arrivals.iter().filter(|arrival| arrival.family != Family::Arp) {
            for (all, some) in
                [(&mut surely, arrival.surely), (&mut may, arrival.may), (&mut answered, arrival.answered)]
            {
                // By which device they leave has another number on either host.
                let some = sets.exists(some, &Field::OutputDevice.variables())?;
                *all = sets.or(*all, some)?;
            }
        }
        let open = sets.minus(may, surely)?;
        Ok(Some(Reached { surely, open, answered }))
    }

    /// What the sender sends with its own MAC and address, as far as they are known, and from a client's port.
    fn own(&mut self, claim: &Claim) -> Decided<PacketSet> {
        let address = self.of(Field::Source, claim.source)?;
        let mac = match self.sender_mac(claim) {
            Some(mac) => self.host.sets.equal(Field::SourceMac, number(mac))?,
            None => Bdd::ALL,
        };
        // As who asks a service has it (`ip_local_port_range`).
        let port = self.host.sets.range(Field::SourcePort, &(32_768..=65_535))?;
        let own = self.host.sets.and(address, mac)?;
        self.host.sets.and(own, port)
    }
}
