//! A host whose libvirt does not answer: each tap in a bridge stands for a VM.

use kvmnet_probes::facts::{
    Daemon, Domain, DomainState, FdbEntry, Interface, InterfaceSource, Libvirt, Link, LinkKind, Mac, Snapshot,
};

/// Locally administered, as libvirt and QEMU choose a guest's first three octets.
const QEMU: [u8; 3] = [0x52, 0x54, 0x00];

/// What libvirt would have said as far as the kernel shows it: no network, and for each tap that is in
/// a bridge a domain of the tap's name, plugged into that bridge. Of the intent nothing is known but
/// that the guests of one bridge, and the host's address on it, are there for one another.
pub(super) fn stand_ins(snapshot: &Snapshot) -> Libvirt {
    let domains = snapshot.links.items().iter().filter_map(|link| domain(snapshot, link)).collect();
    Libvirt {
        uri: String::new(),
        daemon: Daemon::Unknown,
        version: String::new(),
        firewall_backend: None,
        networks: Vec::new(),
        domains,
        filters: Vec::new(),
        filter_bindings: Vec::new(),
        unread: Vec::new(),
    }
}

fn domain(snapshot: &Snapshot, link: &Link) -> Option<Domain> {
    let LinkKind::Tun(tun) = &link.kind else { return None };
    let bridge = snapshot.link(link.master?)?;
    if !tun.tap || !matches!(bridge.kind, LinkKind::Bridge(_)) {
        return None;
    }
    let interface = Interface {
        source: InterfaceSource::Ethernet,
        mac: guest_mac(snapshot, link)?,
        target: Some(link.name.clone()),
        model: None,
        link_up: true,
        filter: None,
        vlans: Vec::new(),
        virtualport: None,
        isolated: link.port.as_ref().is_some_and(|port| port.isolated),
        mtu: None,
        addresses: Vec::new(),
        alias: None,
    };
    Some(Domain {
        name: link.name.to_string(),
        uuid: String::new(),
        state: DomainState::Running,
        autostart: false,
        persistent: false,
        interfaces: vec![interface],
        saved_interfaces: None,
        tags: Vec::new(),
        agent_addresses: None,
    })
}

/// The MAC that the bridge learned behind the tap; before the guest was heard, the one that libvirt
/// made the tap's of by putting 0xfe in front.
fn guest_mac(snapshot: &Snapshot, tap: &Link) -> Option<Mac> {
    let learned = |entry: &&FdbEntry| {
        entry.port == tap.index && !entry.permanent && !entry.own && !entry.mac.is_group()
    };
    let heard = snapshot.fdb.items().iter().filter(learned).map(|entry| entry.mac).min();
    heard.or_else(|| {
        let Mac([0xfe, second, third, rest @ ..]) = tap.mac? else { return None };
        let [a, b, c] = rest;
        ([second, third] == QEMU[1..]).then_some(Mac([QEMU[0], second, third, a, b, c]))
    })
}

#[cfg(test)]
mod tests {
    use kvmnet_probes::facts::{Fact, ForwardMode, Tun};
    use kvmnet_reports::Expected;

    use crate::model::{Scope, Topology, Zone, claims};
    use crate::testing::{known, snapshot};

    use super::*;

    /// The demonstration host with real taps and without libvirt.
    fn host() -> Snapshot {
        let mut snapshot = snapshot();
        for link in
            known(&mut snapshot.links).iter_mut().filter(|link| link.name.as_str().starts_with("tap-"))
        {
            link.kind = LinkKind::Tun(Tun {
                tap: true,
                persistent: false,
                multi_queue: false,
                vnet_header: true,
                owner: None,
            });
        }
        snapshot.libvirt = Fact::missing("the daemon does not answer");
        snapshot
    }

    #[test]
    fn taps_in_bridges_stand_for_vms() {
        let topology = Topology::from_snapshot(&host());
        let nics: Vec<_> = topology
            .nics
            .iter()
            .map(|nic| {
                format!("{} {} {}", nic.vm, nic.mac, topology.network_of(nic).map_or("–", |zone| &zone.name))
            })
            .collect();
        assert_eq!(
            nics,
            [
                "tap-db1 52:54:00:aa:01:01 virbr1",
                "tap-lan1 52:54:00:aa:02:01 br0",
                "tap-web1 52:54:00:aa:00:01 virbr0",
                "tap-web2 52:54:00:aa:00:02 virbr0",
            ]
        );
        let modes: Vec<_> = topology.networks.iter().map(|zone| (zone.name.as_str(), zone.mode)).collect();
        assert_eq!(
            modes,
            [("br0", ForwardMode::Bridge), ("virbr0", ForwardMode::Open), ("virbr1", ForwardMode::Open)]
        );
    }

    #[test]
    fn before_a_guest_was_heard_its_tap_tells_its_mac() {
        let mut snapshot = host();
        known(&mut snapshot.fdb).clear();
        let topology = Topology::from_snapshot(&snapshot);
        assert_eq!(topology.nics[0].mac.to_string(), "52:54:00:aa:01:01");
    }

    #[test]
    fn what_only_libvirt_knows_is_not_claimed() {
        let topology = Topology::from_snapshot(&host());
        let claims = claims(&topology, &Scope::default(), &[]);
        assert!(
            !claims.is_empty() && claims.iter().all(|claim| claim.expected == Expected::Allow),
            "{claims:?}"
        );
        let routed = |claim: &&crate::model::Claim| match claim.from {
            Zone::Nic(nic) => topology.nics[nic].vm != "tap-lan1" && claim.to == Zone::Internet,
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => false,
        };
        assert_eq!(claims.iter().filter(routed).count(), 0);
    }
}
