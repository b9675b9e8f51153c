//! The state of one attempt, from its first packet to its end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Complaint, Heard, Role, Token};
use super::plan::{Plan, Way};
use super::{Answer, Attempt, Device, EchoForm, Observation, Outcome, Probe, Sighting};
use crate::facts::{Mac, VlanId};
use crate::sys::packet::Caught;

/// How long silence is listened to after a probe that wants none to answer was first sent, or after one that
/// should have come out of this host was last sent. Where a way exists it shows within a millisecond (a bridge
/// and a router) or a few (a guest).
const QUIET: Duration = Duration::from_millis(400);

/// How long an answer is waited for. A new connection's first retransmission comes after 1 s (RFC 6298,
/// 2.1): a way that takes twice that is broken to whoever uses it. Only a DHCP server may take longer,
/// since dnsmasq first asks for 3 s whether somebody has the address.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a NIC is waited for after the last address it was asked for.
const SETTLE: Duration = Duration::from_millis(200);

/// What a packet that was heard means for the run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is to be done.
    Wait,
    /// The MAC of the next hop is known now: the probe can leave.
    Resolved(Mac),
    /// The attempt has ended.
    End,
}

/// One attempt under way.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) plan: Plan<'a>,
    /// Packets that wait for their turn.
    pub(super) queued: usize,
    /// The MAC of the next hop, once it is known.
    pub(super) hop: Option<Mac>,
    started: Option<Instant>,
    last_sent: Option<Instant>,
    /// When its packets were sent by the kernel's clock, for the times of sightings.
    sent: Vec<Duration>,
    /// When it is looked after, from its start on: each time but the last it is sent again.
    marks: Vec<Duration>,
    passed: usize,
    holds: BTreeSet<Ipv4Addr>,
    sightings: Vec<(Duration, Sighting)>,
    end: Option<Outcome>,
}

impl<'a> Exchange<'a> {
    /// An attempt that has not begun and waits for at most `deadline` once it has.
    pub(super) fn new(plan: Plan<'a>, deadline: Duration) -> Self {
        let marks = marks(plan.attempt, deadline);
        Self {
            plan,
            queued: 0,
            hop: None,
            started: None,
            last_sent: None,
            sent: Vec::new(),
            marks,
            passed: 0,
            holds: BTreeSet::new(),
            sightings: Vec::new(),
            end: None,
        }
    }

    /// Whether it has ended.
    pub(super) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// Ends it, if it has not ended yet.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        self.end.get_or_insert(outcome);
    }

    /// How often it was sent before.
    pub(super) fn round(&self) -> u16 {
        u16::try_from(self.passed).unwrap_or(u16::MAX)
    }

    /// Whose MAC it waits for before the probe can leave.
    pub(super) fn resolving(&self) -> Option<IpAddr> {
        self.plan.resolve.filter(|_| self.hop.is_none())
    }

    /// A packet of it leaves now. Gives the time of the first mark if it is the first one.
    pub(super) fn leaves(&mut self, now: Instant, clock: Duration) -> Option<Instant> {
        self.last_sent = Some(now);
        self.sent.push(clock);
        if self.started.is_some() {
            return None;
        }
        self.started = Some(now);
        self.marks.first().map(|&mark| now + mark)
    }

    /// A mark has come. Gives when to look again, and whether to send again; `None` if it has ended.
    pub(super) fn mark(&mut self, now: Instant) -> Option<(Instant, bool)> {
        if self.ended() {
            return None;
        }
        if self.queued > 0 {
            return Some((now + Duration::from_millis(10), false));
        }
        if !self.holds.is_empty() {
            // The time of the last packet counts, as many are sent and each may be answered.
            let settled = self.last_sent.map_or(now, |sent| sent + SETTLE);
            if now < settled {
                return Some((settled, false));
            }
        }
        if let (Some(end), Some(sent)) = (self.end_of_wait(), self.last_sent) {
            let until = if self.may_be_answered_yet() { end } else { end.min(sent + QUIET) };
            if now < until {
                return Some((until, false));
            }
        }
        self.passed += 1;
        let next = self.started.zip(self.marks.get(self.passed));
        if let Some((started, &mark)) = next.filter(|_| self.holds.is_empty()) {
            let at = started + mark;
            return Some((if self.end_of_wait().is_some() { at.min(now + QUIET) } else { at }, true));
        }
        let holds: Vec<_> = self.holds.iter().copied().collect();
        self.finish(match self.sightings.last() {
            Some((_, seen)) if !holds.is_empty() => {
                Outcome::Answered { after_us: seen.after_us, answer: Answer::Holds(holds) }
            }
            _ => Outcome::Silent,
        });
        None
    }

    /// When it is given up, if it wants an answer and is not sent again before.
    fn end_of_wait(&self) -> Option<Instant> {
        let waits = self.plan.attempt.wants_answer && self.passed + 1 == self.marks.len();
        let waits = waits && !matches!(self.plan.attempt.probe, Probe::Discover { .. });
        self.started.zip(self.marks.last()).filter(|_| waits).map(|(started, &end)| started + end)
    }

    /// Whether somebody may have it: what has never come out where it arrives nobody has beyond.
    fn may_be_answered_yet(&self) -> bool {
        self.plan.attempt.arrival.as_ref().is_none_or(|arrival| {
            let mut seen = self.sightings.iter().map(|(_, sighting)| sighting);
            seen.any(|seen| !seen.answer && seen.device.index == arrival.index)
        })
    }

    /// The MAC of the next hop is known: what was seen so far belonged to the request for it.
    pub(super) fn resolved(&mut self, mac: Mac) {
        self.hop = Some(mac);
        self.sent.clear();
        self.sightings.clear();
    }

    /// A device saw a packet that carries a token of this attempt.
    pub(super) fn see(&mut self, caught: &Caught, heard: &Heard) -> Step {
        if self.ended() || self.started.is_none() || !self.expects(&heard.token) {
            return Step::Wait;
        }
        let own = self.plan.way.device();
        let Some(device) = self.device(caught.ifindex) else { return Step::Wait };
        let answer = match &heard.role {
            Role::Probe { asker } if asker.is_none_or(|asker| asker == self.plan.mac) => false,
            Role::Answer { to, .. }
                if to.is_none_or(|to| self.plan.is(to)) && !self.plan.is_strange(heard.source) =>
            {
                true
            }
            Role::Error { .. } => true,
            Role::Probe { .. } | Role::Answer { .. } => return Step::Wait,
        };
        let device = device.clone();
        let at_own = device.index == own.index;
        if !matches!(heard.role, Role::Error { .. }) || self.wanted(heard).is_some() {
            self.record(device.clone(), caught, heard, answer);
        }
        if answer {
            // Answers to what was injected leave by the device, answers to the host come in by it.
            let back = match &self.plan.way {
                Way::Inject(..) | Way::Shadow(..) => {
                    at_own && caught.outgoing && takes(self.plan.mac, caught)
                }
                Way::Frame(_) => at_own && !caught.outgoing,
                // The host's sockets say what reached the host.
                Way::Host(_) => false,
            };
            return if back { self.answered(heard, caught.at) } else { Step::Wait };
        }
        let attempt = self.plan.attempt;
        let arrived = attempt.arrival.as_ref().is_some_and(|arrival| arrival.index == device.index);
        if arrived && !at_own && !attempt.wants_answer && self.resolving().is_none() {
            self.finish(Outcome::Silent);
            return Step::End;
        }
        Step::Wait
    }

    /// The host's own socket got a packet that carries a token of this attempt.
    pub(super) fn deliver(&mut self, heard: &Heard, clock: Duration) -> Step {
        let host = matches!(self.plan.way, Way::Host(_));
        if self.ended() || self.started.is_none() || !host {
            return Step::Wait;
        }
        // The device saw it at a time that is free of our own delay.
        let seen = self.sightings.iter().rev().find(|(_, sighting)| sighting.answer);
        let at = seen.map_or(clock, |&(at, _)| at);
        self.answered(heard, at)
    }

    /// What became of it.
    pub(super) fn observation(mut self) -> Observation {
        self.sightings.sort_by_key(|&(at, _)| at);
        Observation {
            outcome: self.end.unwrap_or(Outcome::Silent),
            sightings: self.sightings.into_iter().map(|(_, sighting)| sighting).collect(),
            stand_in: self.plan.stand_in,
        }
    }

    /// Whether a packet with this token belongs to what is done now: the search for the next hop,
    /// or the probe.
    fn expects(&self, token: &Token) -> bool {
        match (token, self.resolving()) {
            (Token::Neighbour(target), Some(hop)) => *target == hop,
            (Token::Neighbour(_), None) => {
                matches!(self.plan.attempt.probe, Probe::Resolve { .. } | Probe::Discover { .. })
            }
            (Token::Echo(_) | Token::Tcp(_) | Token::Dhcp(_) | Token::Dns(..) | Token::Router, resolving) => {
                resolving.is_none()
            }
        }
    }

    fn device(&self, ifindex: u32) -> Option<&Device> {
        let attempt = self.plan.attempt;
        std::iter::once(self.plan.way.device())
            .chain(&attempt.watch)
            .chain(&attempt.arrival)
            .find(|device| device.index.0 == ifindex)
    }

    fn record(&mut self, device: Device, caught: &Caught, heard: &Heard, answer: bool) {
        let sighting = Sighting {
            device,
            outgoing: caught.outgoing,
            answer,
            source: heard.source,
            to: caught.destination.map(Mac),
            vlan: caught.vlan.map(VlanId),
            after_us: self.after_us(caught.at),
        };
        // What is sent again is seen again: the first time says it.
        let known = self.sightings.iter().any(|(_, seen)| {
            (&seen.device, seen.outgoing, seen.answer, seen.source, seen.to, seen.vlan)
                == (&sighting.device, sighting.outgoing, answer, sighting.source, sighting.to, sighting.vlan)
        });
        if !known {
            self.sightings.push((caught.at, sighting));
        }
    }

    /// An answer or error has come back to the sender.
    fn answered(&mut self, heard: &Heard, at: Duration) -> Step {
        let answer = match &heard.role {
            Role::Probe { .. } => return Step::Wait,
            Role::Error { error, .. } => {
                if let (Some(by), None) = (heard.source, self.resolving()) {
                    let after_us = self.after_us(at);
                    self.finish(match self.wanted(heard) {
                        Some(answer) => Outcome::Answered { after_us, answer },
                        None => Outcome::Refused { by, error: error.clone() },
                    });
                    return Step::End;
                }
                return Step::Wait;
            }
            Role::Answer { says, .. } => says,
        };
        if let (Some(_), Answer::Mac(mac)) = (self.resolving(), answer) {
            return Step::Resolved(*mac);
        }
        if let Probe::Discover { mac: nic, .. } = &self.plan.attempt.probe {
            if let (Answer::Mac(mac), Some(IpAddr::V4(held))) = (answer, heard.source)
                && mac == nic
            {
                self.holds.insert(held);
            }
            return Step::Wait;
        }
        if *answer == (Answer::RouterAdvertisement { to_all: true }) && !self.came_up() {
            return Step::Wait;
        }
        // A client takes no answer from anyone else.
        if self.plan.answerer().is_some_and(|whom| heard.source != Some(whom)) {
            return Step::Wait;
        }
        self.finish(Outcome::Answered { after_us: self.after_us(at), answer: answer.clone() });
        Step::End
    }

    /// Whether a watched device got the probe. What comes to all nodes before may be somebody else's answer.
    fn came_up(&self) -> bool {
        let own = self.plan.way.device().index;
        let mut watched = self.plan.attempt.watch.iter().filter(|device| device.index != own).peekable();
        let came =
            |(_, seen): &(Duration, Sighting)| !seen.answer && !seen.outgoing && seen.device.index != own;
        watched.peek().is_none() || self.sightings.iter().any(came)
    }

    /// What an error says to the question that the probe asks, if it is the answer to that.
    fn wanted(&self, heard: &Heard) -> Option<Answer> {
        let (Role::Error { says, .. }, Probe::Echo { form, .. }) = (&heard.role, &self.plan.attempt.probe)
        else {
            return None;
        };
        let by = heard.source?;
        match (*form, *says) {
            (EchoForm::Expiring { .. }, Complaint::Expired) => Some(Answer::Expired { by }),
            (EchoForm::Filled { .. }, Complaint::TooBig(mtu)) => Some(Answer::TooBig { by, mtu }),
            (EchoForm::Plain, _)
            | (EchoForm::Expiring { .. }, Complaint::TooBig(_) | Complaint::Other)
            | (EchoForm::Filled { .. }, Complaint::Expired | Complaint::Other) => None,
        }
    }

    /// Microseconds from the last packet that had left by then.
    fn after_us(&self, at: Duration) -> u64 {
        let sent = self.sent.iter().rev().find(|&&sent| sent <= at);
        sent.map_or(0, |&sent| microseconds(at.saturating_sub(sent)))
    }
}

/// When an attempt is looked after, from its start on: each time but the last it is sent again.
pub(super) fn marks(attempt: &Attempt, deadline: Duration) -> Vec<Duration> {
    match (&attempt.probe, attempt.wants_answer) {
        (Probe::Discover { .. }, _) => vec![SETTLE.min(deadline / 2), (SETTLE * 2).min(deadline)],
        (Probe::DhcpDiscover, true) => vec![deadline / 4, deadline / 2, deadline],
        (_, true) => {
            let deadline = deadline.min(ANSWER);
            vec![deadline / 4, deadline / 2, deadline]
        }
        (_, false) => vec![QUIET.min(deadline) / 2, QUIET.min(deadline)],
    }
}

/// Whether who has the MAC takes the frame: it is for that MAC, or for a group.
fn takes(mac: Mac, caught: &Caught) -> bool {
    caught.destination.map(Mac).is_none_or(|to| to == mac || to.is_group())
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{IfIndex, IfName};
    use crate::wire::answer::RunId;
    use crate::wire::{NextHopMac, Sender};

    fn device(index: u32) -> Device {
        Device { index: IfIndex(index), name: IfName::from("device") }
    }

    /// An echo request as a VM behind device 1, which should arrive at device 2.
    fn attempt() -> Attempt {
        let (mac, address) = (Mac([2, 0, 0, 0, 0, 1]), Some(Ipv4Addr::new(10, 9, 0, 11).into()));
        let target = Ipv4Addr::new(198, 51, 100, 10).into();
        Attempt {
            sender: Sender::AsVm {
                tap: device(1),
                xdp: None,
                mac,
                address,
                vlan: None,
                instead: Err(String::new()),
            },
            probe: Probe::Echo { target, via: NextHopMac::Known(mac), form: EchoForm::Plain },
            watch: Vec::new(),
            arrival: Some(device(2)),
            wants_answer: true,
        }
    }

    /// After how many milliseconds it was sent, and after how many it was given up, if a device saw the first
    /// packet.
    fn course(attempt: &Attempt, seen_at: Option<u32>) -> (Vec<u128>, u128) {
        let plan = Plan::new(attempt, RunId(1), 0).unwrap();
        let mut exchange = Exchange::new(plan, Duration::from_secs(5));
        let (start, mut sent) = (Instant::now(), vec![0]);
        let mut at = exchange.leaves(start, Duration::ZERO).unwrap();
        if let Some(ifindex) = seen_at {
            let heard = Heard {
                token: exchange.plan.tokens[0].clone(),
                role: Role::Probe { asker: None },
                source: None,
            };
            let caught = Caught {
                length: 0,
                network: 0,
                ifindex,
                protocol: 0x0800,
                source: None,
                destination: None,
                outgoing: true,
                vlan: None,
                at: Duration::ZERO,
            };
            assert_eq!(exchange.see(&caught, &heard), Step::Wait);
        }
        while let Some((next, again)) = exchange.mark(at) {
            if again {
                exchange.leaves(at, Duration::ZERO);
                sent.push((at - start).as_millis());
            }
            at = next;
        }
        (sent, (at - start).as_millis())
    }

    #[test]
    fn what_never_came_out_is_sent_as_often_and_given_up_earlier() {
        let rounds = vec![0, 500, 1000];
        assert_eq!(course(&attempt(), Some(2)), (rounds.clone(), 2000));
        assert_eq!(course(&attempt(), Some(1)), (rounds.clone(), 1400));
        assert_eq!(course(&attempt(), None), (rounds.clone(), 1400));
        // Where nobody looks at where it arrives, it may be anywhere.
        assert_eq!(course(&Attempt { arrival: None, ..attempt() }, None), (rounds, 2000));
    }
}
