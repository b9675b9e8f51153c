//! A host made by hand: two VMs behind NAT, one isolated, one on the LAN.

use std::net::IpAddr;

use kvmnet_probes::facts::*;
use kvmnet_reports::Expected;

use crate::model::{Attachment, Claim, NetworkZone, Nic, Topology, Traffic, Uplink, Zone};

pub(super) const ETH0: IfIndex = IfIndex(2);
pub(super) const VIRBR0: IfIndex = IfIndex(3);
pub(super) const VNET0: IfIndex = IfIndex(4);
pub(super) const VNET1: IfIndex = IfIndex(5);
pub(super) const VIRBR1: IfIndex = IfIndex(6);
pub(super) const VNET2: IfIndex = IfIndex(7);
pub(super) const BR0: IfIndex = IfIndex(8);
pub(super) const ETH1: IfIndex = IfIndex(9);
pub(super) const VNET3: IfIndex = IfIndex(10);

/// The NICs, by what they are in.
pub(super) const NAT0: Zone = Zone::Nic(0);
pub(super) const NAT1: Zone = Zone::Nic(1);
pub(super) const ISOLATED: Zone = Zone::Nic(2);
pub(super) const LAN: Zone = Zone::Nic(3);

pub(super) struct Host {
    pub(super) snapshot: Snapshot,
    pub(super) topology: Topology,
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Host {
    /// The host as libvirt's nftables backend leaves it.
    pub(super) fn healthy() -> Self {
        let bridge = || LinkKind::Bridge(Bridge::default());
        let tap = || {
            let tun =
                Tun { tap: true, persistent: false, multi_queue: false, vnet_header: true, owner: None };
            LinkKind::Tun(tun)
        };
        let links = vec![
            link(1, "lo", LinkKind::Loopback, None),
            link(2, "eth0", LinkKind::Physical, None),
            link(3, "virbr0", bridge(), None),
            link(4, "vnet0", tap(), Some(VIRBR0)),
            link(5, "vnet1", tap(), Some(VIRBR0)),
            link(6, "virbr1", bridge(), None),
            link(7, "vnet2", tap(), Some(VIRBR1)),
            link(8, "br0", bridge(), None),
            link(9, "eth1", LinkKind::Physical, Some(BR0)),
            link(10, "vnet3", tap(), Some(BR0)),
        ];
        let owned = [(ETH0, "203.0.113.2/24"), (VIRBR0, "192.168.122.1/24"), (VIRBR1, "192.168.150.1/24")];
        let mut routes = vec![route(254, "0.0.0.0/0", ETH0, Some("203.0.113.1"))];
        for (device, net) in owned {
            let net: ipnet::IpNet = net.parse().unwrap();
            routes.push(route(254, &net.trunc().to_string(), device, None));
            let local = route(255, &net.addr().to_string(), device, None);
            routes.push(Route { kind: RouteKind::Local, ..local });
        }
        let mut sysctls = Sysctls::default();
        for device in ["all", "lo", "eth0", "virbr0", "virbr1", "br0"] {
            for (key, value) in [
                ("forwarding", "1"),
                ("rp_filter", "0"),
                ("arp_ignore", "0"),
                ("accept_local", "0"),
                ("src_valid_mark", "0"),
            ] {
                sysctls.0.insert(format!("net/ipv4/conf/{device}/{key}"), value.to_owned());
            }
        }
        sysctls.0.insert("net/ipv4/ip_forward".to_owned(), "1".to_owned());
        let rules = [(0, 255), (32766, 254), (32767, 253)].map(|(priority, table)| rule_to(priority, table));
        let listener = |port, address: &str, device| Listener {
            protocol: "udp".to_owned(),
            address: ip(address),
            port,
            device,
            process: None,
        };
        let snapshot = Snapshot {
            schema: SCHEMA.to_owned(),
            taken_ms: 0,
            host: HostIdentity { name: "kvm1".to_owned(), kernel: "6.18".to_owned() },
            links: Fact::read(0, links),
            addresses: Fact::read(0, owned.into_iter().map(|(device, net)| address(device, net)).collect()),
            routes: Fact::read(0, routes),
            rules: Fact::read(0, rules.to_vec()),
            neighbours: Fact::read(0, Vec::new()),
            fdb: Fact::read(0, Vec::new()),
            mdb: Fact::read(0, Vec::new()),
            traffic_control: Fact::read(0, Vec::new()),
            nf_tables: Fact::read(0, vec![libvirt_table()]),
            xtables_legacy: Fact::read(0, Vec::new()),
            sysctls: Fact::read(0, sysctls),
            sysctl_files: Fact::read(0, Vec::new()),
            libvirt: Fact::missing("not needed here"),
            listeners: Fact::read(
                0,
                vec![listener(67, "0.0.0.0", Some(VIRBR0)), listener(53, "192.168.122.1", None)],
            ),
            managers: Fact::read(0, Vec::new()),
            bridge_config: Fact::read(0, Vec::new()),
        };
        let lan = (ETH1, IfName::from("eth1"));
        let uplink = (ETH0, IfName::from("eth0"));
        let topology = Topology {
            networks: vec![
                zone("default", ForwardMode::Nat, ("virbr0", VIRBR0), Some("192.168.122.1/24"), Some(uplink)),
                zone("iso", ForwardMode::Isolated, ("virbr1", VIRBR1), Some("192.168.150.1/24"), None),
                zone("lan", ForwardMode::Bridge, ("br0", BR0), None, Some(lan)),
            ],
            nics: vec![
                nic("web1", 1, 0, ("vnet0", VNET0), ("virbr0", VIRBR0)),
                nic("web2", 2, 0, ("vnet1", VNET1), ("virbr0", VIRBR0)),
                nic("vault", 3, 1, ("vnet2", VNET2), ("virbr1", VIRBR1)),
                nic("edge", 4, 2, ("vnet3", VNET3), ("br0", BR0)),
            ],
            uplinks: vec![Uplink {
                device: ETH0,
                name: "eth0".into(),
                gateway: Some(ip("203.0.113.1")),
                ipv6: false,
            }],
        };
        Self { snapshot, topology }
    }

    pub(super) fn link(&mut self, index: IfIndex) -> &mut Link {
        known(&mut self.snapshot.links).iter_mut().find(|link| link.index == index).unwrap()
    }

    pub(super) fn port(&mut self, index: IfIndex) -> &mut BridgePort {
        self.link(index).port.as_mut().unwrap()
    }

    pub(super) fn routes(&mut self) -> &mut Vec<Route> {
        known(&mut self.snapshot.routes)
    }

    pub(super) fn policy_rules(&mut self) -> &mut Vec<RoutingRule> {
        known(&mut self.snapshot.rules)
    }

    pub(super) fn tables(&mut self) -> &mut Vec<Table> {
        known(&mut self.snapshot.nf_tables)
    }

    pub(super) fn sysctl(&mut self, name: &str, value: &str) {
        let Fact::Read { value: sysctls, .. } = &mut self.snapshot.sysctls else { panic!("sysctls") };
        sysctls.0.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn fdb(&mut self, entry: FdbEntry) {
        known(&mut self.snapshot.fdb).push(entry);
    }

    #[expect(clippy::unused_self, reason = "the addresses are those of this host")]
    pub(super) fn claim(&self, from: Zone, to: Zone, traffic: Traffic) -> Claim {
        let ipv6 = traffic == Traffic::RouterAdvertisement;
        let address = |zone| match zone {
            _ if ipv6 => None,
            Zone::Nic(0) => Some(ip("192.168.122.102")),
            Zone::Nic(1) => Some(ip("192.168.122.103")),
            Zone::Nic(2) => Some(ip("192.168.150.102")),
            Zone::Internet | Zone::Outside => Some(ip("198.51.100.10")),
            Zone::Nic(_) | Zone::Gateway(_) | Zone::Host => None,
        };
        Claim {
            from,
            to,
            source: address(from),
            destination: address(to),
            ipv6,
            traffic,
            expected: Expected::Allow,
            selection: crate::model::Selection::default(),
            assertion: None,
        }
    }

    pub(super) fn fate(&self, from: Zone, to: Zone, traffic: Traffic) -> crate::engine::Fate {
        let claim = self.claim(from, to, traffic);
        let facts = crate::engine::Facts::new(&self.snapshot);
        crate::engine::Engine::new(&facts, &self.topology).fate(&claim)
    }
}

fn known<T>(fact: &mut Fact<Vec<T>>) -> &mut Vec<T> {
    match fact {
        Fact::Read { value, .. } => value,
        Fact::Missing { reason } => panic!("{reason}"),
    }
}

fn mac(last: u32) -> Mac {
    Mac([0x52, 0x54, 0, 0xaa, 0, u8::try_from(last).unwrap()])
}

pub(super) fn link(index: u32, name: &str, kind: LinkKind, master: Option<IfIndex>) -> Link {
    let port = BridgePort {
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
    };
    Link {
        index: IfIndex(index),
        name: name.into(),
        kind,
        mac: Some(mac(100 + index)),
        mac_fixed: None,
        up: true,
        carrier: true,
        promiscuous: false,
        mtu: 1500,
        master,
        peer: None,
        qdisc: None,
        xdp: Vec::new(),
        port: master.map(|_| port),
        alt_names: Vec::new(),
        group: 0,
    }
}

pub(super) fn address(device: IfIndex, net: &str) -> Address {
    let scope = "global".to_owned();
    Address { device, net: net.parse().unwrap(), peer: None, scope, flags: Vec::new() }
}

pub(super) fn route(table: u32, destination: &str, device: IfIndex, gateway: Option<&str>) -> Route {
    let host = destination.parse::<IpAddr>().map(ipnet::IpNet::from);
    let hop = NextHop { device: Some(device), gateway: gateway.map(ip), weight: 1, flags: Vec::new() };
    Route {
        table,
        kind: RouteKind::Unicast,
        destination: host.unwrap_or_else(|_| destination.parse().unwrap()),
        source: None,
        tos: 0,
        metric: 0,
        preferred_source: None,
        protocol: 2,
        scope: 0,
        next_hops: vec![hop],
        mtu: None,
        nexthop_id: None,
    }
}

pub(super) fn rule_to(priority: u32, table: u32) -> RoutingRule {
    RoutingRule {
        ipv6: false,
        priority,
        action: RuleAction::Lookup { table },
        invert: false,
        source: None,
        destination: None,
        input_device: None,
        output_device: None,
        mark: None,
        tos: 0,
        ip_protocol: None,
        source_ports: None,
        destination_ports: None,
        uids: None,
        suppress_prefix_length: None,
        suppress_group: None,
        l3mdev: false,
        opaque: Vec::new(),
    }
}

pub(super) fn fdb_entry(last: u32, bridge: IfIndex, port: IfIndex) -> FdbEntry {
    FdbEntry {
        mac: mac(last),
        port,
        bridge: Some(bridge),
        vlan: None,
        permanent: false,
        is_static: false,
        own: false,
        extern_learned: false,
        sticky: false,
        other_flags: Vec::new(),
    }
}

fn zone(
    name: &str,
    mode: ForwardMode,
    (bridge, index): (&str, IfIndex),
    gateway: Option<&str>,
    uplink: Option<(IfIndex, IfName)>,
) -> NetworkZone {
    NetworkZone {
        name: name.to_owned(),
        mode,
        in_libvirt: true,
        active: true,
        bridge: Some(bridge.into()),
        bridge_index: Some(index),
        gateways: gateway.iter().map(|net| net.parse().unwrap()).collect(),
        nat_ipv6: false,
        dhcp: gateway.is_some(),
        dns: gateway.is_some(),
        router_advertisements: false,
        uplink,
        lan_gateway: None,
    }
}

fn nic(vm: &str, last: u32, network: usize, tap: (&str, IfIndex), bridge: (&str, IfIndex)) -> Nic {
    Nic {
        vm: vm.to_owned(),
        position: 0,
        active: true,
        paused: false,
        mac: mac(last),
        network: Some(network),
        plugged_into: "network".to_owned(),
        attachment: Attachment::Tap,
        tap: Some(tap.0.into()),
        tap_index: Some(tap.1),
        tap_mac: None,
        expected_bridge: Some(bridge.0.into()),
        bridge: Some((bridge.1, bridge.0.into())),
        learned_macs: Vec::new(),
        mac_seen_at: Vec::new(),
        addresses: Vec::new(),
        link_local: None,
        link_up: true,
        isolated: false,
        vlans: Vec::new(),
        filter: None,
        tags: Vec::new(),
    }
}

pub(super) fn table(name: &str, chains: Vec<Chain>) -> Table {
    Table {
        generation: Generation::NfTables,
        family: Family::Ip,
        name: name.to_owned(),
        handle: 1,
        dormant: false,
        owner: None,
        comment: None,
        chains,
        sets: Vec::new(),
        objects: Vec::new(),
        flowtables: Vec::new(),
    }
}

pub(super) fn base(name: &str, kind: &str, hook: Hook, priority: i32, policy: Policy) -> Chain {
    let base = BaseChain { kind: kind.to_owned(), hook, priority, policy, devices: Vec::new() };
    Chain { name: name.to_owned(), handle: 1, base: Some(base), rules: Vec::new() }
}

pub(super) fn chain(name: &str) -> Chain {
    Chain { name: name.to_owned(), handle: 1, base: None, rules: Vec::new() }
}

impl ChainExt for Chain {
    fn rule(mut self, exprs: impl IntoIterator<Item = Vec<Expr>>) -> Self {
        let handle = self.rules.len() as u64 + 1;
        let exprs = exprs.into_iter().flatten().collect();
        self.rules.push(Rule { handle, comment: None, counter: None, exprs });
        self
    }
}

/// Lets a chain be written down rule by rule.
pub(super) trait ChainExt {
    fn rule(self, exprs: impl IntoIterator<Item = Vec<Expr>>) -> Self;
}

const REGISTER: Register = Register(1);

pub(super) fn cmp(data: &[u8]) -> Expr {
    Expr::Cmp { source: REGISTER, op: Compare::Eq, data: Bytes(data.to_vec()) }
}

pub(super) fn meta(key: &str, data: &[u8]) -> Vec<Expr> {
    vec![Expr::Meta { destination: REGISTER, key: key.to_owned() }, cmp(data)]
}

pub(super) fn device(key: &str, index: IfIndex) -> Vec<Expr> {
    meta(key, &index.0.to_ne_bytes())
}

pub(super) fn payload(base: PayloadBase, offset: u32, data: &[u8]) -> Vec<Expr> {
    let length = u32::try_from(data.len()).unwrap();
    vec![Expr::Payload { destination: REGISTER, base, offset, length }, cmp(data)]
}

pub(super) fn saddr(prefix: &[u8]) -> Vec<Expr> {
    payload(PayloadBase::Network, 12, prefix)
}

pub(super) fn daddr(prefix: &[u8]) -> Vec<Expr> {
    payload(PayloadBase::Network, 16, prefix)
}

/// `ct state` as nft writes it: a test of bits.
pub(super) fn state(bits: u32) -> Vec<Expr> {
    let (mask, xor) = (Bytes(bits.to_ne_bytes().to_vec()), Bytes(vec![0; 4]));
    vec![
        Expr::Ct { destination: REGISTER, key: "state".to_owned(), direction: None },
        Expr::Bitwise { source: REGISTER, destination: REGISTER, length: 4, mask, xor },
        Expr::Cmp { source: REGISTER, op: Compare::Ne, data: Bytes(vec![0; 4]) },
    ]
}

pub(super) fn verdict(verdict: Verdict) -> Vec<Expr> {
    vec![Expr::Immediate { destination: Register(0), data: Data::Verdict(verdict) }]
}

pub(super) fn jump(chain: &str) -> Vec<Expr> {
    verdict(Verdict::Jump { chain: chain.to_owned() })
}

pub(super) fn goto(chain: &str) -> Vec<Expr> {
    verdict(Verdict::Goto { chain: chain.to_owned() })
}

pub(super) fn reject() -> Vec<Expr> {
    vec![Expr::Reject(RejectWith::Icmp { code: 3 })]
}

pub(super) fn accept() -> Vec<Expr> {
    verdict(Verdict::Accept)
}

pub(super) fn drop() -> Vec<Expr> {
    verdict(Verdict::Drop)
}

pub(super) fn masquerade() -> Vec<Expr> {
    vec![Expr::Masquerade { port_min: None, port_max: None, flags: 0 }]
}

pub(super) fn opaque(name: &str) -> Vec<Expr> {
    vec![Expr::Opaque { name: name.to_owned(), data: Bytes(Vec::new()) }]
}

pub(super) fn limit() -> Vec<Expr> {
    vec![Expr::Limit { over: false }]
}

pub(super) fn element(key: &[u8]) -> Element {
    Element {
        key: Some(Bytes(key.to_vec())),
        key_end: None,
        interval_end: false,
        data: None,
        object: None,
        exprs: Vec::new(),
    }
}

pub(super) fn set(name: &str, key_length: u32) -> Set {
    Set {
        name: name.to_owned(),
        handle: 1,
        anonymous: false,
        interval: false,
        map: false,
        dynamic: false,
        key_length,
        key_fields: Vec::new(),
        verdicts: false,
        elements: Vec::new(),
    }
}

/// What libvirt's nftables backend writes for one NAT and one isolated network.
fn libvirt_table() -> Table {
    let (nat, isolated) = (VIRBR0, VIRBR1);
    let subnet = &[192, 168, 122];
    let forward = base("forward", "filter", Hook::Forward, 0, Policy::Accept)
        .rule([jump("guest_cross")])
        .rule([jump("guest_input")])
        .rule([jump("guest_output")]);
    let cross = chain("guest_cross").rule([device("iif", nat), device("oif", nat), accept()]).rule([
        device("iif", isolated),
        device("oif", isolated),
        accept(),
    ]);
    let input = chain("guest_input")
        .rule([device("oif", nat), daddr(subnet), state(6), accept()])
        .rule([device("oif", nat), reject()])
        .rule([device("oif", isolated), reject()]);
    let output = chain("guest_output")
        .rule([saddr(subnet), device("iif", nat), accept()])
        .rule([device("iif", nat), reject()])
        .rule([device("iif", isolated), reject()]);
    let inverted = |mut exprs: Vec<Expr>| {
        if let Some(Expr::Cmp { op, .. }) = exprs.last_mut() {
            *op = Compare::Ne;
        }
        exprs
    };
    let guest_nat = base("guest_nat", "nat", Hook::Postrouting, 100, Policy::Accept)
        .rule([saddr(subnet), daddr(&[224, 0, 0]), verdict(Verdict::Return)])
        .rule([saddr(subnet), inverted(daddr(subnet)), masquerade()]);
    table("libvirt_network", vec![forward, cross, input, output, guest_nat])
}
