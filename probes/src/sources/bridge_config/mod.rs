//! How bridges are configured to come back after a reboot.
//!
//! Every format is read as it stands in its files; whether its program is the one that runs is
//! another source's fact (`managers`).

mod devices;

mod ifcfg;
mod ifupdown;
mod ini;
mod netplan;
mod network_manager;
mod networkd;
mod read;

pub(crate) use read::{META, read, taken_by_networkd};
