//! The lab: the whole program on private hosts with a real libvirt, real dnsmasq and real guests.
//!
//! Needs root and what `tests/lab/packages test` installs. Without them each test says that it was
//! skipped, unless `KVMNET_LAB=require` is set.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests run programs, read files and say what they skip"
)]

/// The facts' comparison with `ip` and `bridge`, which the facts' own tests use too.
#[path = "../../probes/tests/agree/mod.rs"]
mod agree;
mod degraded;
mod facts;
mod faults;
mod host;
mod live;
mod modes;
mod ports;
mod scenario;
mod snapshot;
mod topology;
mod untouched;

/// Whether the lab can be set up here; says so if not.
fn can_run() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let required = std::env::var("KVMNET_LAB").is_ok_and(|v| v == "require");
    assert!(!required, "KVMNET_LAB=require, but the lab needs root");
    eprintln!("skipped: the lab needs root");
    false
}
