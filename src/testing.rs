//! A recorded host for tests: the demonstration host, which is two VMs behind NAT, one isolated and one
//! on the LAN, on real kernel state.

use kvmnet_probes::facts::{Fact, IfIndex, Link, Snapshot};

/// The healthy host.
pub(crate) fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../tests/hosts/demo.json")).expect("the fixture is a snapshot")
}

/// What a source said, to be changed.
pub(crate) fn known<T>(fact: &mut Fact<T>) -> &mut T {
    match fact {
        Fact::Read { value, .. } => value,
        Fact::Missing { reason } => panic!("the fixture has every source, but: {reason}"),
    }
}

pub(crate) fn link<'a>(snapshot: &'a mut Snapshot, name: &str) -> &'a mut Link {
    let links = known(&mut snapshot.links);
    links.iter_mut().find(|link| link.name.as_str() == name).expect("a device of the fixture")
}

pub(crate) fn index(snapshot: &Snapshot, name: &str) -> IfIndex {
    snapshot.link_named(name).expect("a device of the fixture").index
}
