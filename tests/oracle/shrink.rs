//! From a configuration with a disagreement to a small one.

use std::fmt::Write as _;

use kvmnet::engine::Step;

use crate::compare::{Comparison, Kind};
use crate::config::Item;
use crate::host::Host;
use crate::trial::{Trial, Tried};

/// A trial that is not run again more often than this.
const RUNS: usize = 200;

/// The claim that disagreed, on a configuration of which no item can be left out.
pub(crate) fn shrink(host: &mut Host, trial: &Trial, tried: &Tried) -> anyhow::Result<String> {
    let Comparison::Disagree(kind) = tried.comparison else { return Ok("no disagreement".to_owned()) };
    let mut smallest =
        Trial { items: trial.items.clone(), claims: vec![tried.claim.clone()], lan_ipv6: trial.lan_ipv6 };
    let mut runs = 0;
    let Some((mut shown, taken)) = disagrees(host, &smallest, kind)? else {
        return Ok(report(&trial.items, tried, "alone, without the other packets, it agrees"));
    };
    smallest.items = taken;
    let mut chunk = smallest.items.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < smallest.items.len() && runs < RUNS {
            let mut smaller = smallest.clone();
            smaller.items.drain(at..(at + chunk).min(smaller.items.len()));
            runs += 1;
            if let Some((tried, taken)) = disagrees(host, &smaller, kind)? {
                (shown, smallest.items, removed) = (tried, taken, true);
            } else {
                at += chunk;
            }
        }
        if runs >= RUNS || chunk == 1 && !removed {
            break;
        }
        chunk = if removed { chunk } else { chunk.div_ceil(2) };
    }
    Ok(report(&smallest.items, &shown, "smallest"))
}

/// The claim and what the kernel took of the configuration, if it disagrees in the same way.
fn disagrees(host: &mut Host, trial: &Trial, kind: Kind) -> anyhow::Result<Option<(Tried, Vec<Item>)>> {
    let result = trial.run(host)?;
    let first = result.tried.into_iter().next();
    let same = first.filter(|tried| tried.comparison == Comparison::Disagree(kind));
    Ok(same.map(|tried| (tried, result.taken)))
}

/// What is said of a claim that disagrees.
pub(crate) fn report(items: &[Item], tried: &Tried, note: &str) -> String {
    let Tried { claim, fate, attempt, observation, comparison } = tried;
    let mut text = format!("{comparison:?} ({note})\nconfiguration:\n");
    for item in items {
        let _ = writeln!(text, "  {item}");
    }
    let _ = writeln!(
        text,
        "claim: {:?} -> {:?} {} {:?} -> {:?}\npredicted {:?}, leaves as {:?}:",
        claim.from,
        claim.to,
        claim.traffic_in_words(),
        claim.source,
        claim.destination,
        fate.predicted,
        fate.leaves_as,
    );
    for Step { reply, place, decision, text: words, .. } in &fate.steps {
        let way = if *reply { "reply " } else { "" };
        let _ = writeln!(text, "  {way}{place}: {decision:?}: {words}");
    }
    let _ = writeln!(text, "sent: {:?} {:?}\nseen: {:?}", attempt.sender, attempt.probe, observation.outcome);
    for seen in &observation.sightings {
        let _ = writeln!(
            text,
            "  {} {} {}{} after {} us",
            if seen.answer { "answer" } else { "probe" },
            if seen.outgoing { "out of" } else { "into" },
            seen.device.name,
            seen.source.map_or_else(String::new, |source| format!(" from {source}")),
            seen.after_us
        );
    }
    text
}
