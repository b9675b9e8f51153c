//! A guest's search for its router.

use std::net::Ipv6Addr;

use kvmnet_probes::wire::{Answer, Attempt, Observation, Outcome, Probe, Sender};

use crate::topology::{GUEST1, GUEST2, Host, as_guest1, as_host, device, link_local, nobody, sh, wanted};
use crate::{answer, path, try_all, try_one};

/// What the kernel of guest 1 calls itself, by its MAC.
const OF_GUEST1: &str = "fe80::5054:ff:fe00:1";

fn solicit(routers: &[Ipv6Addr]) -> Probe {
    Probe::RouterSolicit { routers: routers.to_vec() }
}

/// As a guest of which no address is known.
fn nameless(tap: &str, mac: kvmnet_probes::facts::Mac) -> Sender {
    Sender::AsVm { tap: device(tap), xdp: None, mac, address: None, vlan: None, instead: nobody() }
}

/// Where the advertisement came out.
fn came_out(observation: &Observation) -> Vec<String> {
    let answers = observation.sightings.iter().filter(|seen| seen.answer && seen.outgoing);
    answers.map(|seen| seen.device.name.to_string()).collect()
}

#[test]
fn a_router_advertises_itself_to_who_asks() {
    let Some(_host) = Host::new("a_router_advertises_itself_to_who_asks") else { return };
    let router = link_local("br0");
    let _server = Host::serve();
    let to_one = try_one(wanted(as_guest1(OF_GUEST1), solicit(&[router])));
    assert_eq!(answer(&to_one), &Answer::RouterAdvertisement { to_all: false });
    assert!(path(&to_one).contains(&"into br0".to_owned()), "{to_one:?}");
    assert_eq!(came_out(&to_one), ["br0", "tap1"], "nobody else is bothered");
    let to_all = try_one(wanted(nameless("tap1", GUEST1), solicit(&[router])));
    assert_eq!(answer(&to_all), &Answer::RouterAdvertisement { to_all: true });
    // An address that is no link-local one would be answered from such a one, too, which no guest heeds.
    let global = try_one(wanted(as_guest1("fd00:9::11"), solicit(&[router])));
    assert_eq!(answer(&global), &Answer::RouterAdvertisement { to_all: true });
}

#[test]
fn no_other_router_is_heeded() {
    let Some(_host) = Host::new("no_other_router_is_heeded") else { return };
    let router = link_local("br0");
    let _server = Host::serve();
    let strangers: [Attempt; 2] = [vec!["fe80::1".parse().unwrap()], Vec::new()]
        .map(|routers| wanted(nameless("tap1", GUEST1), solicit(&routers)));
    for observed in try_all(&strangers) {
        assert_eq!(observed.outcome, Outcome::Silent);
        assert!(came_out(&observed).is_empty(), "{observed:?}");
    }
    let routers = ["fe80::1".parse().unwrap(), router];
    answer(&try_one(wanted(nameless("tap1", GUEST1), solicit(&routers))));
}

#[test]
fn an_advertisement_that_is_dropped_is_missed() {
    let Some(_host) = Host::new("an_advertisement_that_is_dropped_is_missed") else { return };
    let router = link_local("br0");
    let _server = Host::serve();
    sh("nft 'add table ip6 f; add chain ip6 f out { type filter hook output priority 0; }'
        nft add rule ip6 f out icmpv6 type nd-router-advert drop");
    let senders = [as_guest1(OF_GUEST1), nameless("tap1", GUEST1)];
    for observed in try_all(&senders.map(|sender| wanted(sender, solicit(&[router])))) {
        assert_eq!(observed.outcome, Outcome::Silent);
        assert!(path(&observed).contains(&"into br0".to_owned()), "{observed:?}");
    }
}

/// The bridge lets no question of guest 1's up to the host. What guest 2 is told comes to guest 1 as well.
#[test]
fn what_comes_to_all_is_no_answer_to_a_question_that_never_came_up() {
    let Some(_host) = Host::new("what_comes_to_all_is_no_answer_to_a_question_that_never_came_up") else {
        return;
    };
    let router = link_local("br0");
    let _server = Host::serve();
    sh("nft 'add table bridge f; add chain bridge f up { type filter hook input priority 0; }'
        nft add rule bridge f up iifname tap1 icmpv6 type nd-router-solicit drop");
    let senders = [nameless("tap1", GUEST1), nameless("tap2", GUEST2)];
    let observed = try_all(&senders.map(|sender| wanted(sender, solicit(&[router]))));
    assert_eq!(observed[0].outcome, Outcome::Silent);
    assert!(came_out(&observed[0]).contains(&"tap1".to_owned()), "{:?}", observed[0]);
    assert_eq!(answer(&observed[1]), &Answer::RouterAdvertisement { to_all: true });
}

#[test]
fn only_a_vm_asks() {
    let Some(_host) = Host::new("only_a_vm_asks") else { return };
    let observed = try_one(wanted(as_host("10.9.0.1"), solicit(&[])));
    assert_eq!(observed.outcome, Outcome::NotTried { reason: "only a VM asks for its router".to_owned() });
}
