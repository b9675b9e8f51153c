//! The fault benchmark: failures from the field, each made on a healthy private host with real guests.
//! The doctor must find it, name its cause and nothing else, and print the commands that heal it.
//!
//! A fault is data, one entry in a file of [`CATALOGUE`]. `docs/faults.md` is the scoreboard; it is made
//! from the same entries, and rewritten with `KVMNET_UPDATE=1`. `KVMNET_FAULTS=all` runs every fault with
//! both of libvirt's firewall backends and pairs of them, `KVMNET_FAULTS=vnet,leak-accept` those whose names begin so; without
//! it the faults that do the same with either backend run with one.
//!
//! Needs root and what `tests/lab/packages test` installs. Without them each fault says that it was
//! skipped, unless `KVMNET_LAB=require` is set.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests run programs, read files and say what they skip"
)]

mod fault;
#[expect(dead_code, reason = "the lab's tests ask more of a host")]
#[path = "../lab/host.rs"]
mod host;
mod scoreboard;
#[path = "../lab/shared_host.rs"]
mod shared_host;

mod bridge;
mod firewall;
mod healthy;
mod isolation;
mod pairs;
mod routing;
mod services;

use std::process::ExitCode;

use fault::Fault;
use host::Backend;
use libtest_mimic::{Arguments, Trial};

/// Every fault, by chapter.
const CATALOGUE: &[(&str, &[Fault])] = &[
    ("Host firewall", firewall::FAULTS),
    ("Bridges, ports and MACs", bridge::FAULTS),
    ("Addresses, routes and forwarding", routing::FAULTS),
    ("libvirt and what serves the guests", services::FAULTS),
    ("Isolation", isolation::FAULTS),
    ("Odd, and healthy", healthy::FAULTS),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One host per backend: more at once would only wait for one another.
    arguments.test_threads.get_or_insert(2);
    let chosen = std::env::var("KVMNET_FAULTS").unwrap_or_default();
    let mut trials = vec![Trial::test("the_scoreboard_is_up_to_date", || {
        scoreboard::check();
        Ok(())
    })];
    let faults = CATALOGUE.iter().flat_map(|(_, faults)| *faults);
    for (at, fault) in faults.enumerate() {
        for backend in fault.backends() {
            // One that does the same with either backend takes turns.
            let turn = [Backend::Nftables, Backend::Iptables][at % 2];
            let is_due = match chosen.as_str() {
                "" => fault.depends_on_backend() || backend == turn,
                "all" => true,
                names => names.split(',').any(|name| fault.id.starts_with(name)),
            };
            if is_due {
                trials.push(Trial::test(format!("{}::{}", fault.id, backend.name()), move || {
                    fault.run(backend);
                    Ok(())
                }));
            }
        }
    }
    let every: Vec<&'static Fault> = CATALOGUE.iter().flat_map(|(_, faults)| *faults).collect();
    for pair in pairs::draw(&every) {
        if chosen == "all" || chosen.split(',').any(|name| name == "pair") {
            trials.push(Trial::test(pair.name(), move || {
                pair.run();
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
