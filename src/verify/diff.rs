//! Two snapshots of one host, held against each other: which pairs of ends gained or lost which packets, and what did it.

use std::collections::{BTreeMap, HashMap, HashSet};

use kvmnet_probes::facts::{Mac, Snapshot};
use kvmnet_reports::Expected;
use kvmnet_reports::diff::{Change, ChangedPair, Diff, Direction, Pair, SCHEMA};

use super::report::zone;
use crate::engine::{Engine, Facts, Step, representatives};
use crate::model::policy::{self, Assertion};
use crate::model::{Claim, NicAddress, Scope, Topology, Zone};

/// What the change from one snapshot to the other changes for packets.
pub fn diff(before: &Snapshot, after: &Snapshot) -> Diff {
    let mut then = Topology::from_snapshot(before);
    let mut now = Topology::from_snapshot(after);
    share_addresses(&mut then, &mut now);
    let old_nics: Vec<Option<usize>> = now
        .nics
        .iter()
        .map(|nic| then.nics.iter().position(|old| (&old.vm, old.mac) == (&nic.vm, nic.mac)))
        .collect();
    let both = |at: usize| {
        let old = old_nics.get(at).copied().flatten()?;
        (now.nics[at].active && then.nics[old].active).then_some(old)
    };
    let facts = [Facts::new(before), Facts::new(after)];
    let claims = claims(&facts, [&then, &now], after, &both);
    let mut engines = [Engine::new(&facts[0], &then), Engine::new(&facts[1], &now)];
    let mut changes = Changes::default();
    let mut undecided = Vec::new();
    for claim in &claims {
        let Some(old) = earlier(claim, [&then, &now], &both) else { continue };
        let [first, second] = &mut engines;
        let pair =
            Pair { from: zone(&now, claim.from, claim.source), to: zone(&now, claim.to, claim.destination) };
        // What no bridge carries cannot be followed.
        let Some(difference) = second.difference(claim, (first, &old)) else {
            undecided.push(pair);
            continue;
        };
        for (direction, packets) in
            [(Direction::Lost, &difference.lost), (Direction::Gained, &difference.gained)]
        {
            let Some(packets) = packets else { continue };
            let witness = |claim: &Claim| Claim {
                source: Some(packets.ends.0),
                destination: Some(packets.ends.1),
                traffic: packets.traffic.unwrap_or(claim.traffic),
                expected: Expected::Allow,
                ..claim.clone()
            };
            let [first, second] = &mut engines;
            // What stops the packet where it does not pass.
            let fate = match direction {
                Direction::Lost => second.fate(&witness(claim)),
                Direction::Gained => first.fate(&witness(&old)),
            };
            let what = match packets.traffic {
                Some(_) => witness(claim).traffic_in_words(),
                None => "a packet".to_owned(),
            };
            let pair = ChangedPair {
                from: pair.from.clone(),
                to: pair.to.clone(),
                packets: packets.packets.clone(),
                witness: format!("{what} from {} to {}", packets.ends.0, packets.ends.1),
                answered: packets.answered,
            };
            changes.push(direction, fate.blockers().next(), pair);
        }
        if difference.undecided {
            undecided.push(pair);
        }
    }
    singles(&mut changes, &mut engines, [&then, &now], &both);
    let gone = |nics: &Topology, other: &Topology| -> Vec<String> {
        let runs = |topology: &Topology, vm: &str, mac: Mac| {
            topology.nics.iter().any(|nic| nic.active && nic.vm == vm && nic.mac == mac)
        };
        let nics = nics.nics.iter().filter(|nic| nic.active && !runs(other, &nic.vm, nic.mac));
        nics.map(crate::model::Nic::label).collect()
    };
    let readable = |snapshot: &Snapshot| -> BTreeMap<&'static str, bool> {
        snapshot.sources().iter().map(|source| (source.name, source.missing.is_none())).collect()
    };
    let (read_before, read_after) = (readable(before), readable(after));
    Diff {
        schema: SCHEMA.to_owned(),
        host_before: before.host.name.clone(),
        host: after.host.name.clone(),
        before_ms: before.taken_ms,
        after_ms: after.taken_ms,
        compared: claims.iter().map(|claim| (claim.from, claim.to)).collect::<HashSet<_>>().len(),
        came: gone(&now, &then),
        went: gone(&then, &now),
        changes: changes.0.into_values().collect(),
        undecided,
        missing: read_after
            .iter()
            .filter(|(name, read)| read_before.get(*name) != Some(read))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    }
}

/// Where a NIC's addresses are known from may differ; that is no change for packets.
fn share_addresses(then: &mut Topology, now: &mut Topology) {
    for new in &mut now.nics {
        let Some(old) = then.nics.iter_mut().find(|old| (&old.vm, old.mac) == (&new.vm, new.mac)) else {
            continue;
        };
        let add = |to: &mut Vec<NicAddress>, from: &[NicAddress]| {
            for known in from {
                if to.iter().all(|have| have.address != known.address) {
                    to.push(known.clone());
                }
            }
        };
        add(&mut new.addresses, &old.addresses);
        add(&mut old.addresses, &new.addresses);
    }
}

/// A claim for every pair of ends that are on both hosts; of pairs that are alike on both, one.
fn claims(
    facts: &[Facts<'_>; 2],
    [then, now]: [&Topology; 2],
    after: &Snapshot,
    both: &impl Fn(usize) -> Option<usize>,
) -> Vec<Claim> {
    let (kinds_then, kinds_now) = (representatives(&facts[0], then), representatives(&facts[1], now));
    let mut first: HashMap<(usize, usize), usize> = HashMap::new();
    let alike: Vec<usize> = (0..now.nics.len())
        .map(|at| match both(at) {
            Some(old) => *first.entry((kinds_now[at], kinds_then[old])).or_insert(at),
            None => at,
        })
        .collect();
    let everything = Assertion {
        name: None,
        from: Vec::new(),
        to: Vec::new(),
        expected: Expected::Deny,
        traffic: Vec::new(),
        line: 0,
    };
    // Where no two ends are left there is nothing to compare.
    let expanded = policy::expand(&[everything], (after, now), &[], &alike).unwrap_or_default();
    let stays = |zone: Zone| match zone {
        Zone::Nic(at) => both(at).is_some(),
        Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => true,
    };
    expanded.claims.into_iter().filter(|claim| stays(claim.from) && stays(claim.to)).collect()
}

/// What the models want to pass: whether somebody serves it, and whether an answer to its source finds back, is told
/// by one packet alone.
fn singles(
    changes: &mut Changes,
    engines: &mut [Engine<'_>; 2],
    [then, now]: [&Topology; 2],
    both: &impl Fn(usize) -> Option<usize>,
) {
    let told: HashSet<(Direction, String)> = changes.0.keys().cloned().collect();
    let alike: Vec<usize> = (0..now.nics.len()).collect();
    let claims = crate::model::claims(now, &Scope::default(), &alike);
    for claim in claims.iter().filter(|claim| claim.expected == Expected::Allow) {
        let Some(earlier) = earlier(claim, [then, now], both) else { continue };
        let [first, second] = engines;
        let (was, is) = (first.fate(&earlier), second.fate(claim));
        let (direction, blocked) = match (was.blockers().next(), is.blockers().next()) {
            (None, Some(blocker)) => (Direction::Lost, blocker),
            (Some(blocker), None) => (Direction::Gained, blocker),
            (None, None) | (Some(_), Some(_)) => continue,
        };
        let from = zone(now, claim.from, claim.source);
        let to = zone(now, claim.to, claim.destination);
        let words = claim.traffic_in_words();
        if !told.contains(&(direction, blocked.to_string())) {
            let pair = ChangedPair { from, to, packets: words.clone(), witness: words, answered: true };
            changes.push(direction, Some(blocked), pair);
        }
    }
}

/// The same claim about the host as it was.
fn earlier(
    claim: &Claim,
    [then, now]: [&Topology; 2],
    both: &impl Fn(usize) -> Option<usize>,
) -> Option<Claim> {
    let moved = |zone: Zone| match zone {
        Zone::Nic(at) => both(at).map(Zone::Nic),
        Zone::Gateway(at) => {
            let name = &now.networks[at].name;
            then.networks.iter().position(|network| network.name == *name).map(Zone::Gateway)
        }
        Zone::Host | Zone::Internet | Zone::Outside => Some(zone),
    };
    Some(Claim { from: moved(claim.from)?, to: moved(claim.to)?, ..claim.clone() })
}

/// What has changed, by what did it.
#[derive(Default)]
struct Changes(BTreeMap<(Direction, String), Change>);

impl Changes {
    fn push(&mut self, direction: Direction, blocker: Option<&Step>, pair: ChangedPair) {
        let cause = blocker.map_or_else(|| "another way is taken".to_owned(), ToString::to_string);
        let change = self.0.entry((direction, cause.clone())).or_insert_with(|| Change {
            direction,
            cause,
            pairs: Vec::new(),
        });
        change.pairs.push(pair);
    }
}
