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
mod bpf_object;
mod degraded;
mod diff;
mod facts;
mod healthy;
mod host;
mod live;
mod modes;
mod plan;
mod ports;
mod privileges;
mod sees;
mod shared_host;
mod snapshot;
mod topology;
mod untouched;
