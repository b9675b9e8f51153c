//! The attempts, side by side.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until};

use super::answer::{RunId, Token};
use super::exchange::{Exchange, Step};
use super::listen::{Ears, Event};
use super::pace::{Lane, Limits, Queue};
use super::plan::{Plan, Trouble, Way};
use super::send::{Senders, Sent};
use super::shadow::{self, Port};
use super::{Attempt, Observation, Outcome, Sender};
use crate::facts::{IfIndex, Mac};

/// A request for the same MAC by the same sender within this time serves all who wait for it.
const SAME_REQUEST: Duration = Duration::from_millis(20);

/// An answer that came in time counts also if it is read late, on a machine that is busy. Longer than
/// this nobody's traffic keeps a run from ending.
const PATIENCE: Duration = Duration::from_secs(1);

/// So much is heard before more is sent: more than [`Queue`] lets leave at once causes, and never so much that
/// others' traffic holds up what is to be sent.
const MOST_HEARD_AT_ONCE: usize = 1024;

/// The numbers of attempts fit into 16 bits.
const MOST_ATTEMPTS: u16 = u16::MAX - 1;

/// Attempts that can be sent: every socket is open and every program loaded. From here on no capability is
/// needed (from Linux 5.19 on; 5.18 wants `CAP_BPF` for each packet that is sent as a VM).
#[derive(Debug)]
pub struct Ready<'a> {
    run: Result<Box<Run<'a>>, Trouble>,
    attempts: usize,
}

/// Opens what the attempts need. What cannot be opened is told by their observations.
///
/// Must be called in the tokio runtime that will run them.
pub fn open<'a>(attempts: &'a [Attempt], limits: &Limits) -> Ready<'a> {
    Ready { run: Run::new(attempts, limits).map(Box::new), attempts: attempts.len() }
}

/// [`open()`]s what the attempts need, and sends them.
pub async fn run(attempts: &[Attempt], limits: &Limits) -> Vec<Observation> {
    open(attempts, limits).run().await
}

impl Ready<'_> {
    /// Sends every attempt, all side by side, and says what became of each, in the same order.
    ///
    /// Each waits for at most the limits' deadline, counted from its own first packet, and for no more than
    /// 2 s unless a DHCP server is asked. While nothing answers it is sent again after a quarter and half of
    /// that, since a first packet may be lost while a neighbour is being resolved, and each time from another
    /// port or with another identifier, as a new flow. What by 0.4 s after that has not been seen where it arrives
    /// is waited for no longer. An attempt that wants no answer is sent twice and waits
    /// 0.4 s at most. No more packets leave in any second than the limits say, in all and for each VM; a VM whose
    /// packets wait holds up no other's.
    ///
    /// What is sent is real traffic: MAC tables, connection tracking and the kernel's neighbour tables
    /// see it as they see the VM's own, and forget it as they forget that. Nothing else is left, also if
    /// the process is killed: what it holds are sockets, taps that are gone when it is, and an XDP program that is
    /// attached to nothing.
    pub async fn run(self) -> Vec<Observation> {
        let mut run = match self.run {
            Ok(run) => run,
            Err(trouble) => return (0..self.attempts).map(|_| not_tried(&trouble)).collect(),
        };
        run.settle().await;
        let trouble = run.drive().await.err();
        let trouble = trouble.or_else(|| match run.ears.lost() {
            Ok(0) => None,
            Ok(lost) => Some(Trouble::Lost(lost)),
            Err(trouble) => Some(trouble),
        });
        let observe = |attempt| match (attempt, &trouble) {
            (Err(refused), _) => not_tried(&refused),
            (Ok(exchange), None) => Exchange::observation(exchange),
            (Ok(exchange), Some(trouble)) => {
                let mut observation = exchange.observation();
                // What was heard was heard. Silence means nothing if one could not listen.
                if observation.outcome == Outcome::Silent {
                    observation.outcome = Outcome::NotTried { reason: trouble.to_string() };
                }
                observation
            }
        };
        let observations: Vec<_> = run.attempts.into_iter().map(observe).collect();
        run.served_by.into_iter().map(|at| observations[at].clone()).collect()
    }
}

/// Plans the attempt with this number and opens what it needs: if frames cannot enter at a VM's tap, a port of our own.
fn prepared<'a>(
    attempt: &'a Attempt,
    run: RunId,
    number: usize,
    senders: &mut Senders,
) -> Result<Plan<'a>, Trouble> {
    let number = u16::try_from(number).ok().filter(|&number| number <= MOST_ATTEMPTS);
    let mut plan = Plan::new(attempt, run, number.ok_or(Trouble::TooMany(MOST_ATTEMPTS))?)?;
    let Err(since) = senders.prepare(&plan, run) else { return Ok(plan) };
    match &attempt.sender {
        Sender::AsVm { instead: Ok(shadow), .. } => match senders.port(shadow, run) {
            Ok(number) => {
                plan.stand_in(number, &senders.ports[number], &since);
                Ok(plan)
            }
            Err(why) => Err(Trouble::Unplugged {
                since: since.to_string(),
                bridge: shadow.bridge.name.to_string(),
                why: why.to_string(),
            }),
        },
        Sender::AsVm { instead: Err(why), .. } => {
            Err(Trouble::NoStandIn { since: Box::new(since), why: why.clone() })
        }
        Sender::AsHost { .. } | Sender::AsOutside { .. } => Err(since),
    }
}

fn not_tried(trouble: &Trouble) -> Observation {
    let outcome = Outcome::NotTried { reason: trouble.to_string() };
    Observation { outcome, sightings: Vec::new(), stand_in: None }
}

/// Who asks for whose MAC, and where.
type Request = (IfIndex, Mac, Option<IpAddr>, IpAddr);

#[derive(Debug)]
struct Run<'a> {
    /// For each attempt of the caller's which of these stands for it: what one port of our own sends in place of
    /// several VMs is sent once.
    served_by: Vec<usize>,
    attempts: Vec<Result<Exchange<'a>, Trouble>>,
    waiting: HashMap<Token, Vec<usize>>,
    senders: Senders,
    ears: Ears,
    queue: Queue,
    marks: BinaryHeap<Reverse<(Instant, usize)>>,
    requested: HashMap<Request, Instant>,
    resolved: HashMap<Request, Mac>,
    unfinished: usize,
}

impl<'a> Run<'a> {
    fn new(attempts: &'a [Attempt], limits: &Limits) -> Result<Self, Trouble> {
        let id = RunId(RandomState::new().build_hasher().finish());
        // Who cannot watch sends nothing, and needs no port.
        let mut ears = Ears::open(id)?;
        let mut senders = Senders::default();
        let mut planned: Vec<Result<Exchange<'a>, Trouble>> = Vec::new();
        let mut served_by = Vec::new();
        for attempt in attempts {
            let exchange = prepared(attempt, id, planned.len(), &mut senders)
                .map(|plan| Exchange::new(plan, limits.deadline));
            let stands_in = exchange.as_ref().ok().filter(|new| new.plan.stand_in.is_some());
            let known = stands_in.and_then(|new| {
                planned
                    .iter()
                    .position(|known| known.as_ref().is_ok_and(|known| new.plan.is_same(&known.plan)))
            });
            served_by.push(known.unwrap_or(planned.len()));
            if known.is_none() {
                planned.push(exchange);
            }
        }
        let attempts = planned;
        for (kind, socket) in senders.raw_sockets() {
            ears.add_raw(kind, socket)?;
        }
        let mut waiting: HashMap<Token, Vec<usize>> = HashMap::new();
        for (index, exchange) in attempts.iter().enumerate() {
            for token in exchange.iter().flat_map(|exchange| &exchange.plan.tokens) {
                waiting.entry(token.clone()).or_default().push(index);
            }
        }
        let mut run = Self {
            served_by,
            unfinished: attempts.iter().flatten().count(),
            attempts,
            waiting,
            senders,
            ears,
            queue: Queue::new(limits, Instant::now()),
            marks: BinaryHeap::new(),
            requested: HashMap::new(),
            resolved: HashMap::new(),
        };
        for index in 0..run.attempts.len() {
            run.enqueue(index);
        }
        Ok(run)
    }

    /// Waits until the ports of our own can be used. Attempts by those that cannot be are not tried.
    async fn settle(&mut self) {
        let settling = self.senders.ports.iter_mut().map(Port::settle);
        let settled = futures_util::future::join_all(settling).await;
        for index in 0..self.attempts.len() {
            let Ok(exchange) = &mut self.attempts[index] else { continue };
            let Way::Shadow(number, _) = exchange.plan.way else { continue };
            let port = &self.senders.ports[number];
            let usable = match &settled[number] {
                Ok(()) => exchange.plan.settled(port),
                Err(why) => Err(exchange.plan.unplugged(&port.shadow, why)),
            };
            if let Err(trouble) = usable {
                self.finish(index, Outcome::NotTried { reason: trouble.to_string() });
            }
        }
    }

    async fn drive(&mut self) -> Result<(), Trouble> {
        while self.unfinished > 0 {
            self.send_due()?;
            if self.unfinished == 0 {
                break;
            }
            let mark = self.marks.peek().map(|Reverse((at, _))| *at);
            let wake = self.queue.next().into_iter().chain(mark).min();
            let wake = wake.expect("an attempt that has not ended has a packet or a mark before it");
            tokio::select! {
                biased;
                () = shadow::serve(&self.senders.ports) => {}
                event = self.ears.next() => {
                    self.hear(event?.as_ref());
                    // What is there is read before more is sent: what is not read in time is lost.
                    for _ in 0..MOST_HEARD_AT_ONCE {
                        let Some(event) = self.ears.next().now_or_never() else { break };
                        self.hear(event?.as_ref());
                    }
                    let long_ago = Instant::now().checked_sub(PATIENCE);
                    long_ago.inspect(|&then| self.pass_marks(then));
                }
                // Nothing is left to be heard: what has not come by now has not come in time.
                () = sleep_until(wake) => self.pass_marks(Instant::now()),
            }
        }
        Ok(())
    }

    /// Puts a round of the attempt's packets into the queue.
    fn enqueue(&mut self, index: usize) {
        let Ok(exchange) = &mut self.attempts[index] else { return };
        let packets = if exchange.resolving().is_some() { 1 } else { exchange.plan.packets() };
        if packets == 0 {
            // No address to ask for: nothing is held, and nothing is to be waited for.
            self.finish(index, Outcome::Silent);
            return;
        }
        exchange.queued += packets;
        let lane = Lane::of(&exchange.plan);
        self.queue.extend(lane, (0..packets).map(|item| (index, item)), Instant::now());
    }

    /// Sends what may leave by now.
    fn send_due(&mut self) -> Result<(), Trouble> {
        let now = Instant::now();
        while let Some((lane, (index, item))) = self.queue.take(now) {
            let mut has_left = false;
            if let Ok(exchange) = &mut self.attempts[index] {
                exchange.queued -= 1;
                has_left = !exchange.ended() && self.send(index, item)?;
            }
            self.queue.done(lane, has_left, Instant::now());
        }
        Ok(())
    }

    /// Sends one packet of an attempt; says whether one left.
    fn send(&mut self, index: usize, item: usize) -> Result<bool, Trouble> {
        let Ok(exchange) = &mut self.attempts[index] else { return Ok(false) };
        let now = Instant::now();
        let (way, round) = (exchange.plan.way.clone(), exchange.round());
        let mut frame = None;
        let mut asked_already = false;
        if let Some(hop) = exchange.resolving() {
            let request = (way.device().index, exchange.plan.mac, exchange.plan.asks_as(), hop);
            if let Some(&mac) = self.resolved.get(&request) {
                exchange.resolved(mac);
            } else {
                frame = Some(exchange.plan.resolving_frame(hop));
                let asked = self.requested.insert(request, now);
                asked_already = asked.is_some_and(|asked| now < asked + SAME_REQUEST);
            }
        }
        if exchange.resolving().is_none() && !matches!(way, Way::Host(_)) {
            frame = exchange.plan.frame(item, exchange.hop, round);
        }
        if let Some(mark) = exchange.leaves(now, clock()) {
            self.marks.push(Reverse((mark, index)));
        }
        if asked_already {
            return Ok(false);
        }
        let sent = match frame {
            Some(frame) => self.senders.send_frame(&way, &frame).map(|()| Sent::Away),
            None => self.senders.send_from_host(&exchange.plan, round),
        };
        match sent {
            Ok(Sent::Away) => {}
            Ok(Sent::From { socket, server }) => self.ears.add_dns(server, socket)?,
            Ok(Sent::RefusedHere { by, error }) => {
                self.finish(index, Outcome::Refused { by, error: format!("by the host itself: {error}") });
            }
            Err(trouble) => self.finish(index, Outcome::NotTried { reason: trouble.to_string() }),
        }
        Ok(true)
    }

    fn finish(&mut self, index: usize, outcome: Outcome) {
        if let Ok(exchange) = &mut self.attempts[index]
            && !exchange.ended()
        {
            exchange.finish(outcome);
            self.unfinished -= 1;
        }
    }

    /// Looks after the attempts whose time has come by `now`.
    fn pass_marks(&mut self, now: Instant) {
        while let Some(&Reverse((at, index))) = self.marks.peek()
            && at <= now
        {
            self.marks.pop();
            let Ok(exchange) = &mut self.attempts[index] else { continue };
            let ended = exchange.ended();
            match exchange.mark(now) {
                Some((next, again)) => {
                    self.marks.push(Reverse((next, index)));
                    if again {
                        self.enqueue(index);
                    }
                }
                None => self.unfinished -= usize::from(!ended),
            }
        }
    }

    fn hear(&mut self, event: Option<&Event>) {
        let Some(event) = event else { return };
        let heard = match event {
            Event::Seen(_, heard) | Event::Delivered(heard) => heard,
        };
        let Some(waiting) = self.waiting.get(&heard.token) else { return };
        for &index in waiting {
            let Ok(exchange) = &mut self.attempts[index] else { continue };
            let step = match event {
                Event::Seen(caught, heard) => exchange.see(caught, heard),
                Event::Delivered(heard) => exchange.deliver(heard, clock()),
            };
            match step {
                Step::Wait => {}
                Step::End => self.unfinished -= 1,
                Step::Resolved(mac) => {
                    if let Some(hop) = exchange.resolving() {
                        let device = exchange.plan.way.device().index;
                        self.resolved.insert((device, exchange.plan.mac, exchange.plan.asks_as(), hop), mac);
                    }
                    exchange.resolved(mac);
                    exchange.queued += 1;
                    let lane = Lane::of(&exchange.plan);
                    self.queue.extend(lane, [(index, 0)], Instant::now());
                }
            }
        }
    }
}

/// The clock that the kernel stamps packets with.
fn clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
