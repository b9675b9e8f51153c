//! One base chain against one packet.
//!
//! Where it cannot be said whether a rule matches, the chain is followed as if it had not, and what it would
//! have done is kept: a verdict stands only if no kept one contradicts it.

use kvmnet_probes::facts::{BaseChain, Chain, Policy};

use super::packet::Packet;
use super::{End, Scope, run};

/// What a rule may do, or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Stops,
    MayAccept,
    MayStop,
    MayDoAnything,
}

/// How a chain was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// By its end or a return.
    Through,
    /// By an accept.
    Accepted,
}

/// Whether the packet passes the base chain; `None`: that is undecided.
pub(in super::super) fn passes<'a>(
    scope: Scope<'a>,
    chain: &'a Chain,
    base: &'a BaseChain,
    packet: &mut Packet,
) -> Option<bool> {
    let mut events = Vec::new();
    let left = follow(scope, chain, packet, false, &mut events);
    if left == Left::Through && base.policy == Policy::Drop {
        events.push(Event::Stops);
    }
    let certain = |event: &&Event| !matches!(event, Event::MayAccept | Event::MayDoAnything);
    let stops = |event: &Event| *event == Event::Stops;
    let stopped = events.iter().any(stops);
    let surely = events.iter().take_while(certain).any(stops);
    let (mut open, mut unknown) = (false, false);
    for event in events {
        match event {
            Event::Stops if surely || !open => return Some(false),
            // Undecided, but it comes to the same in the end.
            Event::MayAccept if surely || !stopped => {}
            Event::MayStop if stopped => {}
            Event::MayDoAnything if surely => {}
            Event::Stops | Event::MayStop => unknown = true,
            Event::MayAccept | Event::MayDoAnything => (open, unknown) = (true, true),
        }
    }
    if unknown { None } else { Some(true) }
}

fn follow<'a>(
    scope: Scope<'a>,
    chain: &'a Chain,
    packet: &mut Packet,
    doubtful: bool,
    events: &mut Vec<Event>,
) -> Left {
    let mut doubtful = doubtful;
    // The packet may have gone back to the caller already.
    let mut escaped = false;
    let leave = |left, escaped| if escaped { Left::Through } else { left };
    for rule in &chain.rules {
        let outcome = run(scope, packet, rule, doubtful);
        let sure = !outcome.doubt;
        let perhaps = doubtful || !sure;
        match outcome.end {
            End::Next => {}
            End::Accept => {
                if perhaps {
                    events.push(Event::MayAccept);
                }
                if sure {
                    return leave(Left::Accepted, escaped);
                }
            }
            End::Drop | End::Reject => events.push(if perhaps { Event::MayStop } else { Event::Stops }),
            End::Jump(name) | End::Goto(name) => {
                let called = scope.table.chains.iter().find(|chain| chain.name == name);
                let left = if let Some(called) = called {
                    follow(scope, called, packet, perhaps, events)
                } else {
                    events.push(Event::MayDoAnything);
                    Left::Through
                };
                let goes = matches!(outcome.end, End::Goto(_));
                if sure && (goes || left == Left::Accepted) {
                    return leave(left, escaped);
                }
                if goes {
                    (doubtful, escaped) = (true, true);
                }
            }
            End::Return if sure => return Left::Through,
            End::Return => (doubtful, escaped) = (true, true),
            End::Anything => {
                packet.mark = None;
                events.push(Event::MayDoAnything);
            }
        }
    }
    Left::Through
}
