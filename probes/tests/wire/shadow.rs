//! A port of kvmnet's own in place of a VM's.

use std::process::{Command, Stdio};
use std::time::Duration;

use kvmnet_probes::facts::{BridgePort, Mac, PortState};
use kvmnet_probes::wire::{
    Answer, EchoForm, Limits, NextHopMac, Observation, Outcome, Probe, Sender, Shadow, StandIn,
};

use crate::topology::{BRIDGE, GUEST1, GUEST2, Host, device, echo, ip, link_local, sh, unwanted, wanted};
use crate::{answer, try_all, try_one, try_within};

/// The program by which a VM's frames would enter; there is none with this id, so that none can.
const NO_PROGRAM: u32 = u32::MAX;

/// The switches of a port as a bridge makes it.
fn port() -> BridgePort {
    BridgePort {
        state: PortState::Forwarding,
        isolated: false,
        hairpin: false,
        learning: true,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        guard: false,
        neigh_suppress: false,
        locked: false,
        pvid: None,
        vlans: Vec::new(),
    }
}

fn shadow() -> Shadow {
    Shadow {
        bridge: device("br0"),
        mtu: 1500,
        port: port(),
        listens: Duration::ZERO,
        addresses: ["10.9.0.254", "10.9.0.253"].map(|address| address.parse().unwrap()).to_vec(),
        prefix: Some("fd00:9::/64".parse().unwrap()),
    }
}

/// As guest 1 with this address, for which the shadow must stand in.
fn as_guest1(address: &str, shadow: Shadow) -> Sender {
    Sender::AsVm {
        tap: device("tap1"),
        xdp: Some(NO_PROGRAM),
        mac: GUEST1,
        address: Some(ip(address)),
        vlan: None,
        instead: Ok(Box::new(shadow)),
    }
}

fn stand_in(observation: &Observation) -> &StandIn {
    observation.stand_in.as_ref().unwrap_or_else(|| panic!("nobody stood in: {observation:?}"))
}

/// What must be the same before and after: devices, addresses, and who has which MAC where. The groups in which the
/// kernel hears questions for its own addresses come and go while these are new.
fn bridge() -> String {
    sh(
        "ip -o link show; ip -o addr show | sed 's/ tentative//'; bridge fdb show br br0 | grep -v ^33:33:ff: | sort",
    )
}

#[test]
fn a_shadow_is_answered_as_a_guest_is() {
    let Some(host) = Host::new("a_shadow_is_answered_as_a_guest_is") else { return };
    let leases = Host::serve();
    let _open = host.inet.listen(443);
    // Somebody holds the address that it would take first.
    host.guest2.sh("ip addr add 10.9.0.254/24 dev eth0");
    // All who hold a MAC in the table are there before.
    try_one(wanted(crate::topology::as_host("10.9.0.1"), echo("10.9.0.12", "10.9.0.12")));
    let before = bridge();
    let (v4, v6) = (as_guest1("10.9.0.11", shadow()), as_guest1("fd00:9::11", shadow()));
    let via = NextHopMac::Known(BRIDGE);
    let resolve = |target: &str| Probe::Resolve { target: ip(target), only: None };
    let syn = Probe::TcpSyn { target: ip("198.51.100.10"), port: 443, via };
    let query = Probe::DnsQuery { server: ip("10.9.0.1"), via, name: "localhost".to_owned() };
    let to_guest2 =
        Probe::Echo { target: ip("10.9.0.12"), via: NextHopMac::Known(GUEST2), form: EchoForm::Plain };
    let cases = [
        (&v4, resolve("10.9.0.1"), Answer::Mac(BRIDGE)),
        (&v6, resolve("fd00:9::1"), Answer::Mac(BRIDGE)),
        (&v4, echo("10.9.0.1", "10.9.0.1"), Answer::Echo),
        (&v6, echo("fd00:9::1", "fd00:9::1"), Answer::Echo),
        (&v4, echo("198.51.100.10", "10.9.0.1"), Answer::Echo),
        (&v6, echo("2001:db8:2::10", "fd00:9::1"), Answer::Echo),
        (&v4, to_guest2, Answer::Echo),
        (&v4, syn, Answer::SynAck),
        (&v4, query, Answer::Dns(0)),
    ];
    let attempts: Vec<_> =
        cases.iter().map(|(sender, probe, _)| wanted((*sender).clone(), probe.clone())).collect();
    let observed = try_all(&attempts);
    for ((_, probe, expected), observed) in cases.iter().zip(&observed) {
        assert_eq!(answer(observed), expected, "{probe:?}");
        let stand_in = stand_in(observed);
        assert_eq!(stand_in.bridge, device("br0"));
        let address = stand_in.address.unwrap();
        assert!(
            address == ip("10.9.0.253") || address.to_string().starts_with("fd00:9::5054:ff:fe"),
            "{address}"
        );
    }
    let solicit = Probe::RouterSolicit { routers: vec![link_local("br0")] };
    let advertised = try_one(wanted(v6, solicit));
    assert_eq!(answer(&advertised), &Answer::RouterAdvertisement { to_all: true });
    let offered = try_one(wanted(v4, Probe::DhcpDiscover));
    assert!(matches!(answer(&offered), Answer::Offer { .. }), "{offered:?}");
    assert_eq!(std::fs::read_to_string(leases.path()).unwrap(), "", "a lease was taken");
    assert_eq!(bridge(), before, "something is left");
}

/// The bridge's MAC is nobody's choice here, and is kept all the same. No frame is seen with the guest's MAC.
#[test]
fn a_shadow_changes_neither_the_bridges_mac_nor_the_place_of_the_guests() {
    let Some(host) = Host::new("a_shadow_changes_neither_the_bridges_mac_nor_the_place_of_the_guests") else {
        return;
    };
    sh("ip link add br1 type bridge; ip link add tap9 address fe:54:00:00:00:09 type veth peer name eth9
        ip link set tap9 master br1 up; ip link set eth9 up; ip link set br1 up; ip addr add 10.8.0.1/24 dev br1");
    host.guest1.sh("ping -c1 -W2 10.9.0.1 >/dev/null");
    let mac = || sh("ip -o link show br1 | grep -o 'ether [^ ]*'");
    assert_eq!(mac(), "ether fe:54:00:00:00:09\n");
    let other = Shadow {
        bridge: device("br1"),
        addresses: vec!["10.8.0.254".parse().unwrap()],
        prefix: None,
        ..shadow()
    };
    let resolve = |target: &str| Probe::Resolve { target: ip(target), only: None };
    let observed = try_all(&[
        wanted(as_guest1("10.8.0.11", other), resolve("10.8.0.1")),
        wanted(as_guest1("10.9.0.11", shadow()), resolve("10.9.0.1")),
    ]);
    // While the port is there the bridge answers with the MAC that it had.
    assert_eq!(answer(&observed[0]), &Answer::Mac(Mac([0xfe, 0x54, 0, 0, 0, 9])));
    assert_eq!(answer(&observed[1]), &Answer::Mac(BRIDGE));
    assert_eq!(mac(), "ether fe:54:00:00:00:09\n");
    let table = sh("bridge fdb show");
    let places: Vec<_> = table.lines().filter(|line| line.starts_with(&GUEST1.to_string())).collect();
    assert_eq!(places.len(), 1, "{table}");
    assert!(places[0].contains("dev tap1"), "{table}");
    assert!(!table.contains("kvmnet-"), "{table}");
}

/// What separates the guest's port from others separates the shadow too.
#[test]
fn a_shadow_is_isolated_as_the_guests_port_is() {
    let Some(_host) = Host::new("a_shadow_is_isolated_as_the_guests_port_is") else { return };
    sh("bridge link set dev tap1 isolated on; bridge link set dev tap2 isolated on");
    let isolated = Shadow { port: BridgePort { isolated: true, ..port() }, ..shadow() };
    let probe =
        || Probe::Echo { target: ip("10.9.0.12"), via: NextHopMac::Known(GUEST2), form: EchoForm::Plain };
    let observed = try_one(unwanted(as_guest1("10.9.0.11", isolated), probe(), "tap2"));
    assert_eq!(observed.outcome, Outcome::Silent);
    assert!(observed.sightings.iter().all(|seen| seen.device != device("tap2")), "{observed:?}");
    assert!(!observed.sightings.is_empty(), "it was not sent: {observed:?}");
    let open = try_one(wanted(as_guest1("10.9.0.11", shadow()), probe()));
    assert_eq!(answer(&open), &Answer::Echo, "an open port is let through: {open:?}");
}

#[test]
fn what_several_vms_would_send_one_shadow_sends_once() {
    let Some(_host) = Host::new("what_several_vms_would_send_one_shadow_sends_once") else { return };
    let attempts: Vec<_> = ["10.9.0.11", "10.9.0.12", "10.9.0.13"]
        .map(|address| wanted(as_guest1(address, shadow()), echo("198.51.100.10", "10.9.0.1")))
        .to_vec();
    let observed = try_all(&attempts);
    assert_eq!(observed[0], observed[1]);
    assert_eq!(observed[0], observed[2]);
    assert_eq!(answer(&observed[0]), &Answer::Echo);
}

#[test]
fn what_no_shadow_can_stand_in_for_says_why() {
    let Some(host) = Host::new("what_no_shadow_can_stand_in_for_says_why") else { return };
    let reason = |sender: Sender| match try_one(wanted(sender, echo("10.9.0.1", "10.9.0.1"))).outcome {
        Outcome::NotTried { reason } => reason,
        other => panic!("{other:?}"),
    };
    host.guest2.sh("ip addr add 10.9.0.254/24 dev eth0; ip addr add 10.9.0.253/24 dev eth0");
    let full = reason(as_guest1("10.9.0.11", shadow()));
    assert!(full.contains("no IPv4 address was found in br0 that is free"), "{full}");
    let Sender::AsVm { tap, xdp, mac, address, vlan, .. } = as_guest1("10.9.0.11", shadow()) else {
        unreachable!()
    };
    let instead = Err("br0 tells VLANs apart".to_owned());
    let none = reason(Sender::AsVm { tap, xdp, mac, address, vlan, instead });
    assert!(none.ends_with("nor by a port of kvmnet's own: br0 tells VLANs apart"), "{none}");
}

/// A port that a killed process had is gone with it.
#[test]
fn a_killed_process_leaves_no_port() {
    const TEST: &str = "a_killed_process_leaves_no_port";
    const CHILD: &str = "KVMNET_TEST_IS_TO_BE_KILLED";
    if std::env::var_os(CHILD).is_some() {
        // In the namespace of its parent, where nobody serves DHCP: it waits for ever.
        let limits = Limits::new(Duration::from_secs(600));
        try_within(&[wanted(as_guest1("10.9.0.11", shadow()), Probe::DhcpDiscover)], &limits);
        return;
    }
    let Some(_host) = Host::new(TEST) else { return };
    let before = bridge();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("shadow::{TEST}")])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // It has sent, so that the bridge has learned its MAC.
    sh("for i in $(seq 600); do bridge fdb show br br0 | grep -q '^52:54:00.*dev kvmnet-' && exit 0; sleep 0.05; done
        echo 'no port came' >&2; exit 1");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bridge(), before);
}
