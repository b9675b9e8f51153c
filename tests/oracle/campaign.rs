//! Many trials, side by side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::compare::Comparison;
use crate::host::Host;
use crate::tally::Tally;
use crate::trial::Trial;
use crate::{generate, shrink};

/// Trials side by side: most of their time is waiting. A machine that does nothing else takes more with
/// `KVMNET_ORACLE_WORKERS`.
fn workers() -> usize {
    std::env::var("KVMNET_ORACLE_WORKERS").ok().and_then(|number| number.parse().ok()).unwrap_or(3)
}

/// One campaign after the other, also where tests run side by side: answers that are not read in time
/// would look like packets that were lost.
static ALONE: Mutex<()> = Mutex::new(());

/// Disagreements that are shrunk and shown; the others are counted.
const SHOWN: usize = 24;

/// Why a lock is never poisoned: who holds it calls nothing that fails.
const HELD: &str = "nothing fails while it is held";

/// Runs the trials of all seeds; fails with the disagreements, made small.
pub(crate) fn run_seeds(seeds: impl IntoIterator<Item = u64>) -> anyhow::Result<Tally> {
    let seeds: Vec<_> = seeds.into_iter().collect();
    run_all(seeds.len(), |at| (format!("seed {}", seeds[at]), generate::trial(seeds[at])))
}

/// Runs so many trials, each with its name.
pub(crate) fn run_all(
    count: usize,
    trial: impl Fn(usize) -> (String, Trial) + Sync,
) -> anyhow::Result<Tally> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..workers().min(count)).map(|_| scope.spawn(|| work(count, &trial, &next, &tally))).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let tally = tally.into_inner().expect(HELD);
    eprintln!("{tally}");
    anyhow::ensure!(tally.disagreements() == 0, "{}", tally.shown.join("\n\n"));
    Ok(tally)
}

fn work(
    count: usize,
    trial: &(impl Fn(usize) -> (String, Trial) + Sync),
    next: &AtomicUsize,
    tally: &Mutex<Tally>,
) -> anyhow::Result<()> {
    let mut host = Host::build()?;
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= count {
            return Ok(());
        }
        let (name, trial) = trial(at);
        let result = trial.run(&mut host)?;
        tally.lock().expect(HELD).count(&trial, &result);
        for tried in &result.tried {
            let Comparison::Disagree(kind) = tried.comparison else { continue };
            if tally.lock().expect(HELD).is_new(kind, tried, SHOWN) {
                let text = shrink::shrink(&mut host, &trial, tried)?;
                tally.lock().expect(HELD).shown.push(format!("{name}: {text}"));
            }
        }
    }
}
