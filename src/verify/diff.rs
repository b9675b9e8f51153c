//! Two snapshots of one host, held against each other: which pairs of ends gained or lost which packets, and what did it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kvmnet_probes::facts::{Mac, Snapshot, Table};
use kvmnet_reports::Expected;
use kvmnet_reports::diff::{Change, ChangedPair, Diff, Direction, Pair, SCHEMA, State};

use super::report::zone;
use crate::engine::owner::{rules_at, table_at};
use crate::engine::{Decision, Engine, Facts, Fate, Site, Step, representatives, rule_text};
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
    let (claims, alike) = claims(&facts, [&then, &now], after, &both);
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
            let (was, is) = (first.fate(&witness(&old)), second.fate(&witness(claim)));
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
                likewise: likewise(&now, &alike, claim, &both),
            };
            changes.push(direction, Cause::of(direction, (before, &was), (after, &is)), pair);
        }
        if difference.undecided {
            undecided.push(pair);
        }
    }
    singles(&mut changes, &mut engines, [(before, &then), (after, &now)], &both);
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
        changes: changes.in_order(),
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

/// A claim for every pair of ends that are on both hosts; of pairs that are alike on both, one. For each NIC also the one
/// that stands for it.
fn claims(
    facts: &[Facts<'_>; 2],
    [then, now]: [&Topology; 2],
    after: &Snapshot,
    both: &impl Fn(usize) -> Option<usize>,
) -> (Vec<Claim>, Vec<usize>) {
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
    let claims = expanded.claims.into_iter().filter(|claim| stays(claim.from) && stays(claim.to)).collect();
    (claims, alike)
}

/// The other VMs of which the same holds, as no rule tells them from the claim's.
fn likewise(
    now: &Topology,
    alike: &[usize],
    claim: &Claim,
    both: &impl Fn(usize) -> Option<usize>,
) -> Vec<String> {
    let ends = [claim.from, claim.to].into_iter().filter_map(|zone| match zone {
        Zone::Nic(at) => Some(at),
        Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
    });
    let ends: Vec<usize> = ends.collect();
    let same = |at: &usize| ends.iter().any(|end| alike[*end] == alike[*at]);
    let others = (0..now.nics.len()).filter(|at| !ends.contains(at) && both(*at).is_some()).filter(same);
    let names: BTreeSet<String> = others.map(|at| now.nics[at].label()).collect();
    names.into_iter().collect()
}

/// What the models want to pass: whether somebody serves it, and whether an answer to its source finds back, is told
/// by one packet alone.
fn singles(
    changes: &mut Changes,
    engines: &mut [Engine<'_>; 2],
    [(before, then), (after, now)]: [(&Snapshot, &Topology); 2],
    both: &impl Fn(usize) -> Option<usize>,
) {
    let told: HashSet<(Direction, Cause)> = changes.0.keys().cloned().collect();
    let alike: Vec<usize> = (0..now.nics.len()).collect();
    let claims = crate::model::claims(now, &Scope::default(), &alike);
    for claim in claims.iter().filter(|claim| claim.expected == Expected::Allow) {
        let Some(earlier) = earlier(claim, [then, now], both) else { continue };
        let [first, second] = engines;
        let (was, is) = (first.fate(&earlier), second.fate(claim));
        let direction = match (was.blockers().next(), is.blockers().next()) {
            (None, Some(_)) => Direction::Lost,
            (Some(_), None) => Direction::Gained,
            (None, None) | (Some(_), Some(_)) => continue,
        };
        let cause = Cause::of(direction, (before, &was), (after, &is));
        let from = zone(now, claim.from, claim.source);
        let to = zone(now, claim.to, claim.destination);
        let words = claim.traffic_in_words();
        if !told.contains(&(direction, cause.clone())) {
            let (packets, witness) = (words.clone(), words);
            let pair = ChangedPair { from, to, packets, witness, answered: true, likewise: Vec::new() };
            changes.push(direction, cause, pair);
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

/// What did it: something that breaks a device or its place in a bridge comes first, as the rest may follow from that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Cause {
    is_device: bool,
    state: State,
    text: String,
}

impl Cause {
    fn of(direction: Direction, (before, was): (&Snapshot, &Fate), (after, is): (&Snapshot, &Fate)) -> Self {
        let cause = |state, step: &Step| Self {
            is_device: step.site.device().is_some() || step.site.stops_all(),
            state,
            text: step.to_string(),
        };
        let found = match direction {
            Direction::Lost => {
                let new: Vec<&Step> = is.blockers().filter(|step| !was.steps.contains(step)).collect();
                let device = new.iter().find(|step| step.site.device().is_some() || step.site.stops_all());
                let stops = device.or(new.first()).copied().or_else(|| is.blockers().next());
                stops.map(|step| cause(State::After, step))
            }
            Direction::Gained => {
                let gone = was.blockers().find(|step| !is.blockers().any(|other| other == *step));
                gone.and_then(|blocker| {
                    if is_there(blocker, before, after) {
                        passed_by(blocker, was, is).map(|step| cause(State::After, step))
                    } else {
                        Some(cause(State::Before, blocker))
                    }
                })
            }
        };
        found.unwrap_or_else(|| Self {
            is_device: false,
            state: State::After,
            text: "another way is taken".to_owned(),
        })
    }
}

/// What lets pass now in front of a rule or policy that stopped before and is still there: it decides in the same base
/// chain, as no other one takes a drop back.
fn passed_by<'a>(blocker: &Step, was: &Fate, is: &'a Fate) -> Option<&'a Step> {
    let base = |step: &Step| match &step.site {
        Site::Netfilter { family, table, hook, legacy, .. } => Some((*family, table.clone(), *hook, *legacy)),
        _ => None,
    };
    let place = base(blocker)?;
    // Steps past a drop are those of a packet that it would have let through.
    let came_before: Vec<&Step> = was.steps.iter().take_while(|step| *step != blocker).collect();
    let lets = |step: &&Step| {
        matches!(step.decision, Decision::Pass | Decision::Rewrite)
            && step.reply == blocker.reply
            && base(step).is_some_and(|base| base == place)
            && !came_before.contains(step)
    };
    is.steps.iter().find(lets)
}

/// Whether what stopped before is in the later state, too, whatever its handle is there.
fn is_there(blocker: &Step, before: &Snapshot, after: &Snapshot) -> bool {
    let Site::Netfilter { chain, handle, .. } = &blocker.site else { return false };
    let (Some(old), Some(new)) = (table_at(before, &blocker.site), table_at(after, &blocker.site)) else {
        return false;
    };
    let policy = |table: &Table| {
        let chain = table.chains.iter().find(|candidate| candidate.name == *chain);
        chain.and_then(|chain| chain.base.as_ref()).map(|base| base.policy)
    };
    let Some(handle) = handle else { return policy(old) == policy(new) };
    let Some(rule) = rules_at(before, &blocker.site).iter().find(|rule| rule.handle == *handle) else {
        return false;
    };
    let text = rule_text(before, old, rule);
    rules_at(after, &blocker.site).iter().any(|rule| rule_text(after, new, rule) == text)
}

/// What has changed, by what did it.
#[derive(Default)]
struct Changes(BTreeMap<(Direction, Cause), Vec<ChangedPair>>);

impl Changes {
    fn push(&mut self, direction: Direction, cause: Cause, pair: ChangedPair) {
        self.0.entry((direction, cause)).or_default().push(pair);
    }

    /// Losses before gains, devices before what may follow from them, what concerns many before what concerns few.
    fn in_order(self) -> Vec<Change> {
        let mut changes: Vec<_> = self.0.into_iter().collect();
        changes.sort_by_key(|((direction, cause), pairs)| {
            (*direction != Direction::Lost, !cause.is_device, Reverse(pairs.len()))
        });
        let change = |((direction, cause), pairs)| {
            let Cause { state, text, .. } = cause;
            Change { direction, state, cause: text, pairs }
        };
        changes.into_iter().map(change).collect()
    }
}
