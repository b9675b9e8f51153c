//! One base chain against one packet.
//!
//! Where it cannot be said whether a rule matches, the chain is followed as if it had not, and what
//! it would have done is kept: a verdict stands only if no kept one contradicts it. Past a rule that
//! drops, the chain is followed as if the rule were not there.

use std::net::IpAddr;

use kvmnet_probes::facts::{BaseChain, Chain, Family, Generation, Policy, Rule};

use super::eval::{End, Scope, run};
use super::hooks::place;
use super::packet::{Connection, Packet, Translation};
use super::rule_text::rule_text;
use super::{Decision, Site, Step};

/// Deeper than any kernel follows (`NFT_JUMP_STACK_SIZE` is 16): a snapshot written by hand may loop.
const DEPTH: usize = 64;
/// Rules that are run for one packet in one base chain before it is given up.
const BUDGET: usize = 1_000_000;

/// What a rule may do, or does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Accepts,
    Rewrites,
    Stops(Decision),
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

struct Run<'a> {
    scope: Scope<'a>,
    base: &'a BaseChain,
    events: Vec<(Event, Site, String)>,
    budget: usize,
}

/// Runs the base chain; gives the steps that decide something, without the first column of the
/// trace. `doubtful`: the chain may not be run at all.
pub(super) fn run_base<'a>(
    scope: Scope<'a>,
    chain: &'a Chain,
    base: &'a BaseChain,
    packet: &mut Packet,
    doubtful: bool,
) -> Vec<Step> {
    let mut run = Run { scope, base, events: Vec::new(), budget: BUDGET };
    let left = run.chain(chain, packet, doubtful, 0);
    if left == Left::Through && base.policy == Policy::Drop {
        let event = if doubtful { Event::MayStop } else { Event::Stops(Decision::Drop) };
        let (site, text) = run.policy(chain);
        run.events.push((event, site, text));
    }
    run.verdict()
}

impl<'a> Run<'a> {
    fn chain(&mut self, chain: &'a Chain, packet: &mut Packet, doubtful: bool, depth: usize) -> Left {
        let mut doubtful = doubtful;
        // The packet may have gone back to the caller already.
        let mut escaped = false;
        let leave = |left, escaped| if escaped { Left::Through } else { left };
        for rule in &chain.rules {
            if self.budget == 0 {
                return Left::Through;
            }
            self.budget -= 1;
            if self.budget == 0 || depth > DEPTH {
                self.budget = 0;
                self.event(Event::MayDoAnything, chain, rule, "too deep or too long to follow");
                return Left::Through;
            }
            let before = (packet.connection.source_nat, packet.connection.destination_nat);
            let outcome = run(self.scope, packet, rule, doubtful);
            let sure = outcome.doubt.is_none();
            let perhaps = doubtful || !sure;
            let why = outcome.doubt.as_deref().unwrap_or("it is not known whether the packet comes here");
            match outcome.end {
                End::Next => {}
                End::Accept => {
                    match translated(before, &packet.connection) {
                        _ if perhaps => self.event(Event::MayAccept, chain, rule, why),
                        Some(text) => self.event(Event::Rewrites, chain, rule, &text),
                        None => self.event(Event::Accepts, chain, rule, ""),
                    }
                    if sure {
                        return leave(Left::Accepted, escaped);
                    }
                }
                End::Drop | End::Reject(_) if perhaps => self.event(Event::MayStop, chain, rule, why),
                End::Drop => self.event(Event::Stops(Decision::Drop), chain, rule, ""),
                End::Reject(_) => self.event(Event::Stops(Decision::Reject), chain, rule, ""),
                End::Jump(name) => {
                    let left = self.called(name, chain, rule, packet, perhaps, depth);
                    if left == Left::Accepted && sure {
                        return leave(left, escaped);
                    }
                }
                End::Goto(name) => {
                    let left = self.called(name, chain, rule, packet, perhaps, depth);
                    if sure {
                        return leave(left, escaped);
                    }
                    (doubtful, escaped) = (true, true);
                }
                End::Return if sure => return Left::Through,
                End::Return => (doubtful, escaped) = (true, true),
                End::Anything => {
                    packet.mark = None;
                    self.event(Event::MayDoAnything, chain, rule, why);
                }
            }
        }
        Left::Through
    }

    fn called(
        &mut self,
        name: &str,
        caller: &'a Chain,
        rule: &'a Rule,
        packet: &mut Packet,
        doubtful: bool,
        depth: usize,
    ) -> Left {
        if let Some(chain) = self.scope.table.chains.iter().find(|chain| chain.name == name) {
            return self.chain(chain, packet, doubtful, depth + 1);
        }
        self.event(Event::MayDoAnything, caller, rule, &format!("chain {name} was not read"));
        Left::Through
    }

    fn event(&mut self, event: Event, chain: &Chain, rule: &Rule, note: &str) {
        let place = self.place(chain);
        let text = rule_text(self.scope.world.snapshot, self.scope.table, rule);
        let site = self.site(chain, Some(rule.handle), text.clone());
        let end = match event {
            Event::Accepts | Event::Stops(_) => String::new(),
            Event::Rewrites => format!(" → {note}"),
            Event::MayAccept | Event::MayStop | Event::MayDoAnything => format!(" → undecided: {note}"),
        };
        let number = if self.scope.table.generation == Generation::XtablesLegacy { "rule" } else { "handle" };
        self.events.push((event, site, format!("{place}, {number} {}: {text}{end}", rule.handle)));
    }

    fn policy(&self, chain: &Chain) -> (Site, String) {
        (self.site(chain, None, "policy drop".to_owned()), format!("{}: policy drop", self.place(chain)))
    }

    fn place(&self, chain: &Chain) -> String {
        let family = match self.scope.table.family {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Arp => "arp",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
            Family::Ip6 => "ip6",
        };
        let legacy = if self.scope.table.generation == Generation::XtablesLegacy { " (legacy)" } else { "" };
        format!("{family} {}{legacy} {}", self.scope.table.name, chain.name)
    }

    fn site(&self, chain: &Chain, handle: Option<u64>, text: String) -> Site {
        Site::Netfilter {
            family: self.scope.table.family,
            table: self.scope.table.name.clone(),
            chain: chain.name.clone(),
            hook: self.base.hook,
            handle,
            text,
            legacy: self.scope.table.generation == Generation::XtablesLegacy,
        }
    }

    /// What stands of all that was met: a stop that no undecided rule before could have forestalled,
    /// or else whatever is undecided.
    fn verdict(self) -> Vec<Step> {
        let certain =
            |(event, ..): &&(Event, Site, String)| !matches!(event, Event::MayAccept | Event::MayDoAnything);
        let stops = |(event, ..): &(Event, Site, String)| matches!(event, Event::Stops(_));
        let stopped = self.events.iter().any(stops);
        let surely = self.events.iter().take_while(certain).any(stops);
        let mut open = false;
        let mut steps = Vec::new();
        for (event, site, text) in self.events {
            let decision = match event {
                Event::Accepts => Decision::Pass,
                Event::Rewrites => Decision::Rewrite,
                Event::Stops(decision) if surely || !open => decision,
                Event::Stops(_) => Decision::Unknown,
                // Undecided, but it comes to the same in the end.
                Event::MayAccept if surely || !stopped => continue,
                Event::MayStop if stopped => continue,
                Event::MayDoAnything if surely => continue,
                Event::MayAccept | Event::MayStop | Event::MayDoAnything => {
                    open |= event != Event::MayStop;
                    Decision::Unknown
                }
            };
            let place = place(self.scope.family, self.scope.hook).to_owned();
            steps.push(Step { reply: false, place, site, decision, text });
        }
        steps
    }
}

/// What a rule translated, in words.
fn translated(before: (Option<Translation>, Option<Translation>), now: &Connection) -> Option<String> {
    let words = |address: Option<IpAddr>, port: Option<u16>| match (address, port) {
        (None, _) => "one of several".to_owned(),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
    };
    let changed = |before, now| if before == now { None } else { now };
    let source = changed(before.0, now.source_nat);
    let destination = changed(before.1, now.destination_nat);
    source
        .map(|nat| format!("source {}", words(nat.address, nat.port)))
        .or_else(|| destination.map(|nat| format!("destination {}", words(nat.address, nat.port))))
}
