//! The kernel as oracle: random hosts and rules are loaded for real in private network namespaces,
//! packets are really sent, and what becomes of them is compared with what the engine predicts.
//!
//! A trial is a seed. [`generate`] makes a configuration of it, [`trial`] loads, reads, predicts and
//! tries it, [`compare`] says whether proof and wire agree, and [`shrink`] makes a disagreement small.
//! `KVMNET_ORACLE_TRIALS=3000 cargo test --release --features lab --test oracle long -- --nocapture`
//! runs as many as it says; `KVMNET_ORACLE_SEED=N` begins at another seed than 1, and
//! `KVMNET_ORACLE_WORKERS=N` runs other than 3 side by side.
//!
//! Needs root; without it each test says that it was skipped, unless `KVMNET_LAB=require` is set.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests run programs, read files and say what they skip"
)]

mod campaign;
mod case;
mod compare;
mod config;
mod fragments;
mod generate;
mod host;
mod libvirt;
mod places;
mod random;
mod run;
mod shrink;
mod tally;
mod traps;
mod trial;

use compare::Comparison;
use host::Host;

/// Trials of `make test`.
const SHORT: u64 = 120;

/// Packets of which nothing is predicted: a test that compares nothing is worthless.
const MOST_UNDECIDED_PERCENT: usize = 5;

/// Whether the test can run here; says so if not.
fn can_run() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let required = std::env::var("KVMNET_LAB").is_ok_and(|value| value == "require");
    assert!(!required, "KVMNET_LAB=require, but the oracle needs root");
    eprintln!("skipped: the oracle needs root");
    false
}

#[test]
fn a_bare_host_does_what_is_predicted() {
    if can_run() {
        let trial = trial::Trial { items: Vec::new(), claims: trial::every_claim(false), lan_ipv6: false };
        std::thread::spawn(move || {
            let mut host = Host::build().unwrap();
            let result = trial.run(&mut host).unwrap();
            for tried in &result.tried {
                let agrees = matches!(tried.comparison, Comparison::Agree);
                assert!(agrees, "{}", shrink::report(&[], tried, "bare"));
            }
            assert!(result.tried.len() > 100, "{}", result.tried.len());
        })
        .join()
        .unwrap();
    }
}

#[test]
fn every_trap_is_avoided() {
    if can_run() {
        let wrong = std::thread::spawn(traps::wrong).join().unwrap().unwrap();
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn a_device_that_is_made_again_has_another_number() {
    if can_run() {
        let wrong = std::thread::spawn(traps::wrong_numbers).join().unwrap().unwrap();
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn an_address_of_one_link_is_not_there_by_another() {
    if can_run() {
        let wrong = std::thread::spawn(traps::wrong_links).join().unwrap().unwrap();
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn fragments_meet_what_is_stated() {
    if can_run() {
        let wrong = std::thread::spawn(fragments::wrong).join().unwrap().unwrap();
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn what_disagreed_once_agrees() {
    if can_run() {
        let cases = case::cases(include_str!("regressions.txt"));
        let tally = campaign::run_all(cases.len() * 2, |at| {
            let (case, lan_ipv6) = (&cases[at / 2], at % 2 == 1);
            let claims = trial::every_claim(lan_ipv6);
            (case.about.clone(), trial::Trial { items: case.items.clone(), claims, lan_ipv6 })
        });
        tally.unwrap();
    }
}

#[test]
fn fixed_seeds_agree() {
    if can_run() {
        let tally = campaign::run_seeds(1..=SHORT).unwrap();
        let percent = tally.undecided * 100 / tally.packets();
        assert!(percent <= MOST_UNDECIDED_PERCENT, "{percent} % of the packets are undecided");
    }
}

#[test]
fn long() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let Some(trials) = number("KVMNET_ORACLE_TRIALS").filter(|_| can_run()) else { return };
    let first = number("KVMNET_ORACLE_SEED").unwrap_or(1);
    campaign::run_seeds(first..first + trials).unwrap();
}
