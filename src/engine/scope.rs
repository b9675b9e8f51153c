//! Where a rule is run.

use std::net::IpAddr;

use kvmnet_probes::facts::{Family, Hook, Table};

use super::world::World;

/// Where a rule is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) world: World<'a>,
    pub(super) table: &'a Table,
    /// The family whose hook it is: never `inet`.
    pub(super) family: Family,
    pub(super) hook: Hook,
    /// To whom the packets go that leave this host: by that it chooses its source.
    pub(super) next_hop: Option<IpAddr>,
}
