use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::address::AddressMap;
use crate::facts::*;

const KEY: u64 = 0x0123_4567_89ab_cdef;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn prefixes_are_shared_as_before_and_no_two_addresses_become_one() {
    let map = AddressMap::new(KEY);
    let addresses =
        ["81.2.69.142", "81.2.69.160", "81.2.70.1", "10.1.2.3", "10.1.2.4", "10.200.0.1", "203.0.113.9"];
    let shared = |a: &IpAddr, b: &IpAddr| match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    for a in addresses.map(ip) {
        for b in addresses.map(ip) {
            assert_eq!(shared(&a, &b), shared(&map.ip(a), &map.ip(b)), "{a} {b}");
        }
    }
    assert_ne!(map.ip(ip("81.2.69.142")), ip("81.2.69.142"));
    assert_ne!(map.ip(ip("81.2.69.142")), AddressMap::new(1).ip(ip("81.2.69.142")));
}

#[test]
fn the_nature_of_an_address_stays() {
    let map = AddressMap::new(KEY);
    for kept in
        ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "169.254.1.2", "198.51.100.10", "1.1.1.1"]
    {
        assert_eq!(map.ip(ip(kept)), ip(kept));
    }
    for kept in ["::", "::1", "ff02::fb", "2001:db8::1", "2606:4700:4700::1111", "::ffff:10.0.0.1"] {
        assert_eq!(map.ip(ip(kept)), ip(kept));
    }
    for (net, inside) in [
        ("10.0.0.0/8", "10.9.8.7"),
        ("172.16.0.0/12", "172.31.255.1"),
        ("192.168.0.0/16", "192.168.122.77"),
        ("100.64.0.0/10", "100.100.100.100"),
        ("fe80::/64", "fe80::5054:ff:feaa:1"),
        ("fd00::/8", "fd12:3456:789a::1"),
        ("2000::/3", "2a00:1450::1"),
    ] {
        let net: IpNet = net.parse().unwrap();
        assert!(net.contains(&map.ip(ip(inside))), "{inside} leaves {net}");
    }
    for public in [
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "172.32.0.1",
        "192.169.0.1",
        "100.128.0.1",
        "223.255.255.255",
    ] {
        let IpAddr::V4(address) = map.ip(ip(public)) else { panic!("another family") };
        assert!(
            !address.is_private() && !address.is_multicast() && !address.is_loopback(),
            "{public} became {address}"
        );
    }
}

#[test]
fn ranges_and_broadcast_addresses_keep_their_ends() {
    for key in 0..50 {
        let mut map = AddressMap::new(key);
        let (first, last) = (ip("10.3.7.100"), ip("10.3.9.20"));
        map.keep_range(first, last);
        let (new_first, new_last) = (map.ip(first), map.ip(last));
        for inside in ["10.3.7.101", "10.3.8.0", "10.3.9.19"] {
            assert!((new_first..=new_last).contains(&map.ip(ip(inside))), "{key} {inside}");
        }
        for outside in ["10.3.7.99", "10.3.9.21", "10.3.200.1", "10.4.0.0"] {
            assert!(!(new_first..=new_last).contains(&map.ip(ip(outside))), "{key} {outside}");
        }
    }
}

#[test]
fn macs_keep_what_libvirt_makes_of_them() {
    let mut map = AddressMap::new(KEY);
    let mut of = |text: &str| map.mac(text.parse().unwrap()).to_string();
    let (nic, tap) = (of("52:54:00:12:34:56"), of("fe:54:00:12:34:56"));
    assert_eq!(nic, "52:54:00:00:00:01");
    assert_eq!(tap, "fe:54:00:00:00:01");
    assert_eq!(of("00:1b:21:aa:bb:cc"), "00:00:01:00:00:02");
    for kept in [
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "01:80:c2:00:00:00",
        "33:33:00:00:00:fb",
        "fe:ff:ff:ff:ff:ff",
    ] {
        assert_eq!(of(kept), kept);
    }
}

fn register(number: u32) -> Register {
    Register(number)
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes(bytes.to_vec())
}

fn v4(text: &str) -> Bytes {
    let IpAddr::V4(address) = ip(text) else { panic!("IPv4") };
    bytes(&address.octets())
}

fn source() -> Expr {
    Expr::Payload { destination: register(1), base: PayloadBase::Network, offset: 12, length: 4 }
}

fn rule(exprs: Vec<Expr>) -> Rule {
    Rule { handle: 1, comment: Some("for Acme's office".into()), counter: None, exprs }
}

fn set(name: &str, interval: bool, elements: Vec<Element>) -> Set {
    Set {
        name: name.into(),
        handle: 1,
        anonymous: false,
        interval,
        map: false,
        dynamic: false,
        key_length: 4,
        key_fields: Vec::new(),
        verdicts: false,
        elements,
    }
}

fn element(key: Bytes, interval_end: bool) -> Element {
    Element { key: Some(key), key_end: None, interval_end, data: None, object: None, exprs: Vec::new() }
}

fn table(rules: Vec<Rule>, sets: Vec<Set>) -> Table {
    let base = BaseChain {
        kind: "filter".into(),
        hook: Hook::Forward,
        priority: 0,
        policy: Policy::Accept,
        devices: Vec::new(),
    };
    Table {
        generation: Generation::NfTables,
        family: Family::Ip,
        name: "t".into(),
        handle: 1,
        dormant: false,
        owner: None,
        comment: None,
        chains: vec![Chain { name: "c".into(), handle: 1, base: Some(base), rules }],
        sets,
        objects: Vec::new(),
        flowtables: Vec::new(),
    }
}

/// A host that gives away whose it is wherever it can.
fn telltale() -> Snapshot {
    let mut snapshot: Snapshot = serde_json::from_str(include_str!("telltale.json")).expect("a snapshot");
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    snapshot.addresses = Fact::read(
        1,
        vec![Address {
            device: IfIndex(7),
            net: net("10.77.5.1/24"),
            peer: None,
            scope: "global".into(),
            flags: Vec::new(),
        }],
    );
    snapshot.nf_tables = Fact::read(1, vec![table(rules(), sets())]);
    snapshot
}

fn rules() -> Vec<Rule> {
    vec![
        rule(vec![source(), Expr::Cmp { source: register(1), op: Compare::Eq, data: v4("81.2.69.142") }]),
        rule(vec![
            source(),
            Expr::Bitwise {
                source: register(1),
                destination: register(1),
                length: 4,
                mask: bytes(&[255, 255, 240, 0]),
                xor: bytes(&[0; 4]),
            },
            Expr::Cmp { source: register(1), op: Compare::Eq, data: v4("81.2.64.0") },
        ]),
        rule(vec![
            Expr::Payload { destination: register(1), base: PayloadBase::Network, offset: 16, length: 3 },
            Expr::Cmp { source: register(1), op: Compare::Ne, data: bytes(&[10, 77, 5]) },
        ]),
        rule(vec![
            source(),
            Expr::Lookup { set: "office".into(), source: register(1), destination: None, invert: false },
        ]),
        rule(vec![
            Expr::Immediate { destination: register(1), data: Data::Value(v4("10.77.5.20")) },
            Expr::Nat {
                kind: NatKind::Destination,
                family: Family::Ip,
                address_min: Some(register(1)),
                address_max: Some(register(1)),
                port_min: None,
                port_max: None,
                flags: 0,
            },
        ]),
        rule(vec![source(), Expr::Opaque { name: "secret".into(), data: v4("81.2.69.142") }]),
    ]
}

fn sets() -> Vec<Set> {
    vec![
        set(
            "office",
            true,
            vec![
                element(v4("81.2.70.20"), true),
                element(v4("81.2.69.100"), false),
                element(v4("10.77.6.0"), true),
                element(v4("10.77.5.0"), false),
                element(v4("0.0.0.0"), true),
            ],
        ),
        set("unused", false, vec![element(v4("81.2.69.142"), false)]),
    ]
}

/// Whether the set's boundaries hold the address.
fn holds(set: &Set, address: IpAddr) -> bool {
    let key = v4(&address.to_string());
    let below = set.elements.iter().filter(|element| element.key.as_ref().is_some_and(|at| *at <= key));
    below
        .max_by_key(|element| (element.key.clone(), !element.interval_end))
        .is_some_and(|element| !element.interval_end)
}

#[test]
fn nothing_tells_whose_host_it_was() {
    let anonymous = serde_json::to_string(&telltale().anonymized(KEY)).unwrap();
    for secret in [
        "acme", "Acme", "carol", "payroll", "finance", "6f2b3c1e", "12:34:56", "12:34:00", "81.2.6",
        "10.77.5", "51024569", "5102458e",
    ] {
        assert!(!anonymous.contains(secret), "{secret} in {anonymous}");
    }
    for kept in [
        "no-mac-spoofing",
        "virbr7",
        "vnet3",
        "qemu+ssh:///system",
        ".nmconnection",
        "dnsmasq/network-0001.conf",
    ] {
        assert!(anonymous.contains(kept), "{kept} not in {anonymous}");
    }
}

#[test]
fn the_same_addresses_match_the_same_rules() {
    for key in 0..20 {
        let original = telltale();
        let snapshot = original.anonymized(key);
        let value: Value = serde_json::to_value(&snapshot).unwrap();
        let libvirt = &value["libvirt"]["value"];
        let gateway: IpNet =
            libvirt["networks"][0]["config"]["ips"][0]["net"].as_str().unwrap().parse().unwrap();
        assert_eq!(snapshot.addresses.items()[0].net, gateway);
        let guest = ip(libvirt["networks"][0]["leases"][0]["address"].as_str().unwrap());
        assert!(gateway.contains(&guest));

        let table = &snapshot.nf_tables.items()[0];
        let exprs = |rule: usize| &table.chains[0].rules[rule].exprs;
        let Expr::Cmp { data: Bytes(office), .. } = &exprs(0)[1] else { panic!("not a comparison") };
        let office = IpAddr::from(<[u8; 4]>::try_from(office.as_slice()).unwrap());
        let Expr::Cmp { data: Bytes(prefix), .. } = &exprs(1)[2] else { panic!("not a comparison") };
        let prefix = IpAddr::from(<[u8; 4]>::try_from(prefix.as_slice()).unwrap());
        assert_eq!(IpNet::new(office, 20).unwrap().network(), prefix);
        let Expr::Cmp { data: Bytes(head), .. } = &exprs(2)[1] else { panic!("not a comparison") };
        let IpAddr::V4(network) = gateway.network() else { panic!("not IPv4") };
        assert_eq!(head.as_slice(), &network.octets()[..3]);
        let Expr::Immediate { data: Data::Value(target), .. } = &exprs(4)[0] else {
            panic!("not a constant")
        };
        assert_eq!(*target, v4(&guest.to_string()));

        let set = &table.sets[0];
        assert!(holds(set, office) && holds(set, guest) && holds(set, gateway.broadcast()), "{key} {set:#?}");
        assert!(
            !holds(set, ip("8.8.8.8")) && !holds(set, ip("0.0.0.0")) && !holds(set, ip("255.255.255.255"))
        );
        assert_eq!(set.elements.iter().filter(|element| !element.interval_end).count(), 2);
        assert!(table.sets[1].elements.is_empty());
    }
}

#[test]
fn what_is_anonymous_already_has_the_same_form() {
    let once = telltale().anonymized(KEY);
    let twice = once.anonymized(KEY + 1);
    let lengths = |snapshot: &Snapshot| serde_json::to_string_pretty(snapshot).unwrap().lines().count();
    assert_eq!(lengths(&once), lengths(&twice));
}
