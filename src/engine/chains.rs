//! A base chain as steps of a trace: what of all that packets meet there decides something.

use kvmnet_probes::facts::{BaseChain, Chain, Family, Generation, NatKind};

use super::admit::family_word;
use super::hooks::place;
use super::packet_set::{Bdd, Decided, Detail, Event, Headers, Met, Nat, PacketSet, Passage, Place};
use super::rule_text::rule_text;
use super::scope::Scope;
use super::walk::Walk;
use super::{Decision, Site};

/// Takes the packets through the base chain; gives what they met. Those of `perhaps` may pass it by.
pub(super) fn run_base<'a>(
    walk: &mut Walk<'_, 'a>,
    scope: Scope<'a>,
    (chain, base): (&'a Chain, &'a BaseChain),
    (packets, perhaps): (PacketSet, PacketSet),
    headers: &mut Headers,
) -> Decided<Passage<'a>> {
    let detail = if walk.all_sites || walk.one { Detail::Rules } else { Detail::Chains };
    let passage = walk.host.run(scope, (chain, base), (packets, perhaps), detail, headers)?;
    for (at, met) in passage.met.iter().enumerate() {
        let why = passage.met[..at].iter().rev().find_map(|earlier| match &earlier.what {
            Event::Doubt(why) | Event::Anything(why) if earlier.place == met.place => Some(why.as_str()),
            _ => None,
        });
        for (packets, decision) in decided(walk, &passage, at)? {
            // A doubt about a rule that may stop the packets is told with what it may do.
            let stops = |later: &Met<'_>| matches!(later.what, Event::Stop(_)) && later.place == met.place;
            if matches!(met.what, Event::Doubt(_)) && passage.met[at..].iter().any(stops) {
                continue;
            }
            let note = match (&met.what, decision) {
                (Event::Doubt(why) | Event::Anything(why), _) => format!(" → undecided: {why}"),
                // It stops them if nothing before does otherwise.
                (_, Decision::Unknown) if met.plainly == met.packets => String::new(),
                (_, Decision::Unknown) => {
                    format!(
                        " → undecided: {}",
                        why.unwrap_or("it is not known whether the packet comes here")
                    )
                }
                (Event::Translate(nat), _) => format!(" → {}", words(nat, scope, headers)),
                _ => String::new(),
            };
            let (site, text) = site(scope, base, met.place, chain);
            walk.step_of(packets, place(scope.family, scope.hook), site, decision, text + &note);
        }
    }
    // What is not understood can write into packets, so that later drops prove nothing.
    for met in passage.met.iter().filter(|met| matches!(met.what, Event::Anything(_))) {
        let open = walk.sets().and(met.packets, passage.either)?;
        walk.divert(open)?;
    }
    Ok(passage)
}

/// What an event decides, for which packets.
fn decided(walk: &mut Walk<'_, '_>, passage: &Passage<'_>, at: usize) -> Decided<Vec<(PacketSet, Decision)>> {
    let sets = walk.sets();
    let met = &passage.met[at];
    Ok(match &met.what {
        Event::Accept => vec![(met.surely, Decision::Pass)],
        // Of those that may be translated later steps tell what follows.
        Event::Translate(_) => vec![(met.surely, Decision::Rewrite)],
        Event::Stop(with) => {
            let decision = if with.is_some() { Decision::Reject } else { Decision::Drop };
            // Of those that are stopped in any case the rule is named that needs no doubt.
            let stopped = sets.and(met.plainly, passage.stopped)?;
            let either = sets.and(met.packets, passage.either)?;
            let mut decided = vec![(stopped, decision), (either, Decision::Unknown)];
            // Where a rule may refuse what a later one drops the sender may be told.
            let first =
                passage.met.iter().find(|met| matches!(met.what, Event::Stop(_)) && met.plainly != Bdd::NONE);
            let silent = first.is_some_and(|first| first.what == Event::Stop(None));
            if with.is_some() && silent {
                let perhaps = sets.minus(met.packets, met.plainly)?;
                decided.push((sets.and(perhaps, passage.stopped)?, Decision::Unknown));
            }
            decided
        }
        Event::Doubt(_) | Event::Anything(_) => {
            vec![(sets.and(met.packets, passage.either)?, Decision::Unknown)]
        }
    }
    .into_iter()
    .filter(|(packets, _)| *packets != Bdd::NONE)
    .collect())
}

fn site(scope: Scope<'_>, base: &BaseChain, place: Option<Place<'_>>, whole: &Chain) -> (Site, String) {
    let legacy = scope.table.generation == Generation::XtablesLegacy;
    let family = family_word(scope.table.family);
    let chain = place.map_or(whole, |place| place.chain);
    let generation = if legacy { " (legacy)" } else { "" };
    let at = format!("{family} {}{generation} {}", scope.table.name, chain.name);
    let (handle, rule, text) = match place {
        Some(Place { rule: Some(rule), .. }) => {
            let text = rule_text(scope.world.snapshot, scope.table, rule);
            let number = if legacy { "rule" } else { "handle" };
            (Some(rule.handle), text.clone(), format!("{at}, {number} {}: {text}", rule.handle))
        }
        Some(_) => (None, "policy drop".to_owned(), format!("{at}: policy drop")),
        None => (None, String::new(), at),
    };
    let site = Site::Netfilter {
        family: scope.table.family,
        table: scope.table.name.clone(),
        chain: chain.name.clone(),
        hook: base.hook,
        handle,
        text: rule,
        legacy,
    };
    (site, text)
}

/// What a rule translates to, in words.
fn words(nat: &Nat, scope: Scope<'_>, before: &Headers) -> String {
    use super::packet_set::Field::{Destination, DestinationPort, Source, SourcePort};
    let (end, address, port) = match nat.kind {
        NatKind::Source => ("source", Source, SourcePort),
        NatKind::Destination => ("destination", Destination, DestinationPort),
    };
    let mut after = before.clone();
    for (field, bits) in [(address, &nat.address), (port, &nat.port)] {
        if let Some(bits) = bits {
            after.set_bits(field, bits);
        }
    }
    let address = after.constant_address(address, scope.family == Family::Ip6);
    let port = nat.port.as_ref().and_then(|_| after.constant(port)).and_then(|port| u16::try_from(port).ok());
    let to = match (address, port) {
        (None, _) => "one of several".to_owned(),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
    };
    format!("{end} {to}")
}
