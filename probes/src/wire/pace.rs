//! How fast packets leave: in all, and to or from each VM.
//!
//! One queue for each VM, so that those who wait hold up nobody else.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Plan, Way};
use super::{Probe, Sender};
use crate::facts::{IfIndex, Mac};

const SECOND: Duration = Duration::from_secs(1);

/// So many packets may leave at once after a pause: a watcher that reads between them keeps up with these.
const MOST_AT_ONCE: u32 = 32;

/// How many packets may leave, and how long answers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long each attempt waits at most, counted from its own first packet.
    pub deadline: Duration,
    /// Packets in any second in all.
    pub rate: NonZeroU32,
    /// Packets in any second that are sent as one VM or, from elsewhere, to one VM.
    pub rate_per_vm: NonZeroU32,
}

impl Limits {
    /// 10,000 packets in a second: with the largest frame that is sent, less than 30 Mbit/s.
    pub const RATE: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not 0");

    /// 1,000 packets in a second and for one VM. A NIC of which nothing is known is asked twice for each of the 253
    /// addresses of an IPv4 subnet of the usual size; all else that is tried takes some dozens.
    pub const RATE_PER_VM: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not 0");

    /// The usual rates.
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, rate: Self::RATE, rate_per_vm: Self::RATE_PER_VM }
    }
}

/// One packet of one attempt: which attempt's, and which of its packets.
pub(super) type Packet = (usize, usize);

/// Whose packets one ceiling holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// They enter at the device, or are for the VM behind it.
    Device(IfIndex),
    /// They are for the NIC with this MAC, somewhere behind the device.
    Nic(IfIndex, Mac),
}

impl Lane {
    /// That of an attempt's packets: of the VM as which it is sent, or of the port that stands in for it, or else of
    /// the VM to which.
    pub(super) fn of(Plan { attempt, way, .. }: &Plan<'_>) -> Self {
        if let Way::Shadow(_, device) = way {
            return Self::Device(device.index);
        }
        match (&attempt.sender, &attempt.probe) {
            (Sender::AsVm { tap, .. }, _) => Self::Device(tap.index),
            (Sender::AsHost { device, .. }, Probe::Discover { mac, .. }) => Self::Nic(device.index, *mac),
            (Sender::AsHost { device, .. } | Sender::AsOutside { uplink: device, .. }, _) => {
                Self::Device(attempt.arrival.as_ref().unwrap_or(device).index)
            }
        }
    }
}

/// The packets that are to leave.
#[derive(Debug)]
pub(super) struct Queue {
    /// When the next packet may leave, whosever it is.
    next: Instant,
    /// The time between two packets of a row.
    interval: Duration,
    /// So much time of a pause is made up for.
    credit: Duration,
    per_vm: usize,
    lanes: HashMap<Lane, Waiting>,
    /// Lanes with packets that wait, by when the first may leave; of those that may, the one that has waited longest.
    due: BinaryHeap<Reverse<(Instant, u64, Lane)>>,
    turns: u64,
}

/// What waits in one lane.
#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Packet>,
    /// When packets left within the last second.
    left: VecDeque<Instant>,
}

impl Queue {
    /// Nothing waits yet.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        // What leaves at once and what leaves in the second after it are together no more than the rate.
        let at_once = MOST_AT_ONCE.min(limits.rate.get() / 2).max(1);
        let interval = SECOND / (limits.rate.get() - at_once).max(1);
        Self {
            next: now,
            interval,
            credit: interval * (at_once - 1),
            per_vm: usize::try_from(limits.rate_per_vm.get()).unwrap_or(usize::MAX),
            lanes: HashMap::new(),
            due: BinaryHeap::new(),
            turns: 0,
        }
    }

    /// Puts packets at the end of a lane.
    pub(super) fn extend(&mut self, lane: Lane, packets: impl IntoIterator<Item = Packet>, now: Instant) {
        let waiting = self.lanes.entry(lane).or_default();
        let was_empty = waiting.packets.is_empty();
        waiting.packets.extend(packets);
        if was_empty {
            self.schedule(lane, now);
        }
    }

    /// When the next packet may leave, if one waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, ..))| self.next.max(*due))
    }

    /// The next packet if it may leave by now. What became of it is told with [`Self::done`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(Lane, Packet)> {
        self.next = self.next.max(now.checked_sub(self.credit).unwrap_or(now));
        if self.next()? > now {
            return None;
        }
        let Reverse((.., lane)) = self.due.pop()?;
        let packet = self.lanes.get_mut(&lane)?.packets.pop_front()?;
        Some((lane, packet))
    }

    /// What was taken has left, or has not. The lane's next packet waits for its turn.
    pub(super) fn done(&mut self, lane: Lane, has_left: bool, now: Instant) {
        if has_left {
            self.next += self.interval;
            if let Some(waiting) = self.lanes.get_mut(&lane) {
                waiting.left.push_back(now);
            }
        }
        self.schedule(lane, now);
    }

    fn schedule(&mut self, lane: Lane, now: Instant) {
        let Some(waiting) = self.lanes.get_mut(&lane) else { return };
        while waiting.left.front().is_some_and(|&left| left + SECOND <= now) {
            waiting.left.pop_front();
        }
        if waiting.packets.is_empty() {
            return;
        }
        let full = waiting.left.len().checked_sub(self.per_vm);
        let due = full.map_or(now, |first| waiting.left[first] + SECOND);
        self.due.push(Reverse((due, self.turns, lane)));
        self.turns += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM1: Lane = Lane::Device(IfIndex(1));
    const VM2: Lane = Lane::Device(IfIndex(2));

    fn limits(rate: u32, rate_per_vm: u32) -> Limits {
        let number = |number| NonZeroU32::new(number).unwrap();
        Limits { deadline: SECOND, rate: number(rate), rate_per_vm: number(rate_per_vm) }
    }

    /// When each packet of `lanes` leaves if it leaves as soon as it may, counted from the start.
    fn departures(limits: &Limits, lanes: &[(Lane, usize)]) -> Vec<(Duration, Lane)> {
        let start = Instant::now();
        let mut queue = Queue::new(limits, start);
        for &(lane, packets) in lanes {
            queue.extend(lane, (0..packets).map(|item| (0, item)), start);
        }
        let (mut now, mut left) = (start, Vec::new());
        while let Some(next) = queue.next() {
            now = now.max(next);
            let (lane, _) = queue.take(now).unwrap();
            queue.done(lane, true, now);
            left.push((now - start, lane));
        }
        left
    }

    /// The most that leave in any second.
    fn most_in_a_second(departures: &[(Duration, Lane)], of: impl Fn(Lane) -> bool) -> usize {
        let times: Vec<_> = departures.iter().filter(|(_, lane)| of(*lane)).map(|(at, _)| *at).collect();
        let within = |from: &Duration| times.iter().filter(|&at| at >= from && *at < *from + SECOND).count();
        times.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_second_has_more_than_the_rate() {
        for rate in [1, 2, 3, 10, 63, 64, 100, 1000] {
            let left = departures(&limits(rate, 1_000_000), &[(VM1, 2500.min(rate as usize * 3)), (VM2, 3)]);
            let most = most_in_a_second(&left, |_| true);
            assert!(most <= rate as usize, "{most} of {rate}");
            let least = rate.saturating_sub(MOST_AT_ONCE).max(1) as usize;
            assert!(most >= least, "{most} of {rate}");
        }
    }

    #[test]
    fn no_vm_has_more_than_its_own_and_nobody_else_waits_for_it() {
        let left = departures(&limits(10_000, 10), &[(VM1, 35), (VM2, 10)]);
        assert_eq!(most_in_a_second(&left, |lane| lane == VM1), 10);
        let last = |lane| left.iter().filter(|(_, of)| *of == lane).map(|(at, _)| *at).max().unwrap();
        assert!(last(VM2) < Duration::from_millis(10), "{:?}", last(VM2));
        assert!(last(VM1) >= SECOND * 3, "{:?}", last(VM1));
    }

    #[test]
    fn what_does_not_leave_costs_nothing() {
        let start = Instant::now();
        let mut queue = Queue::new(&limits(1, 1), start);
        queue.extend(VM1, (0..3).map(|item| (0, item)), start);
        for item in 0..3 {
            assert_eq!(queue.take(start), Some((VM1, (0, item))));
            queue.done(VM1, false, start);
        }
        assert_eq!((queue.take(start), queue.next()), (None, None));
    }
}
