//! Which way the kernel sends a packet: policy rules, tables, and what follows from them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use kvmnet_probes::facts::{IfIndex, IfName, LinkKind, NextHop, Route, RouteKind, RoutingRule, RuleAction};

use super::packet::Packet;
use super::registers::Truth;
use super::world::World;

/// The local table.
pub(super) const LOCAL: u32 = 255;

/// What is asked of the routing tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) ipv6: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    /// The device that the packet came in by; `None`: from this host.
    pub(super) input: Option<IfIndex>,
    pub(super) mark: Option<u32>,
    /// IP protocol and, if it has them, ports.
    pub(super) protocol: Option<u8>,
    pub(super) ports: Option<(u16, u16)>,
}

impl Query {
    pub(super) fn of(packet: &Packet) -> Self {
        Self {
            ipv6: packet.ipv6,
            source: packet.source,
            destination: packet.destination,
            input: packet.input.as_ref().map(|device| device.index),
            mark: packet.mark,
            protocol: packet.protocol(),
            ports: packet.ports(),
        }
    }
}

/// What the routing tables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// A route, with the ways on that are alive.
    Route(&'a Route, Vec<&'a NextHop>),
    /// A policy rule refuses the packet.
    Rule(&'a RoutingRule),
    /// Nothing leads there.
    Nothing,
    /// It depends on what is not known.
    Unknown(String),
}

/// Asks the policy rules in order, and the tables that they name.
pub(super) fn look_up<'a>(world: World<'a>, query: &Query) -> Answer<'a> {
    let Some(destination) = query.destination else {
        return Answer::Unknown("the destination is not known".to_owned());
    };
    let Some(rules) = world.snapshot.rules.known() else {
        return Answer::Unknown("policy rules were not read".to_owned());
    };
    if world.snapshot.routes.known().is_none() {
        return Answer::Unknown("routes were not read".to_owned());
    }
    let mut rules: Vec<&RoutingRule> = rules.iter().filter(|rule| rule.ipv6 == query.ipv6).collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut from = 0;
    for rule in rules {
        if rule.priority < from {
            continue;
        }
        let mut answer = match selects(world, rule, query) {
            Truth::No => continue,
            Truth::Maybe => return Answer::Unknown(rule_text(rule)),
            Truth::Yes => match rule.action {
                RuleAction::Nop => continue,
                RuleAction::Goto { priority } => {
                    from = priority;
                    continue;
                }
                RuleAction::Unknown(_) => return Answer::Unknown(rule_text(rule)),
                RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                    return Answer::Rule(rule);
                }
                RuleAction::Lookup { table } => {
                    in_table(world, table_of(world, rule, table, query), query, destination)
                }
            },
        };
        if let Answer::Route(route, hops) = &answer
            && suppressed(world, rule, route, hops)
        {
            answer = Answer::Nothing;
        }
        if answer != Answer::Nothing {
            return answer;
        }
    }
    Answer::Nothing
}

/// The longest prefix of one table; `Nothing` also for `throw`.
pub(super) fn in_table<'a>(world: World<'a>, table: u32, query: &Query, destination: IpAddr) -> Answer<'a> {
    let applies = |route: &&Route| {
        route.table == table
            && route.destination.contains(&destination)
            && route.tos == 0
            && route.source.is_none_or(|source| query.source.is_some_and(|address| source.contains(&address)))
    };
    let mut routes: Vec<&Route> = world.snapshot.routes.items().iter().filter(applies).collect();
    routes.sort_by_key(|route| (std::cmp::Reverse(route.destination.prefix_len()), route.metric));
    for route in routes {
        match route.kind {
            RouteKind::Throw => return Answer::Nothing,
            RouteKind::Unknown(_) => return Answer::Unknown(route_text(world, route)),
            RouteKind::Unicast if route.next_hops.is_empty() => {
                return Answer::Unknown(route_text(world, route));
            }
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
                return Answer::Route(route, Vec::new());
            }
            RouteKind::Unicast
            | RouteKind::Local
            | RouteKind::Broadcast
            | RouteKind::Anycast
            | RouteKind::Multicast => {
                let hops: Vec<&NextHop> =
                    route.next_hops.iter().filter(|hop| alive(world, query, hop)).collect();
                if !hops.is_empty() || route.next_hops.is_empty() {
                    return Answer::Route(route, hops);
                }
            }
        }
    }
    Answer::Nothing
}

fn alive(world: World<'_>, query: &Query, hop: &NextHop) -> bool {
    let flag = |name: &str| hop.flags.iter().any(|flag| flag == name);
    let ignores_linkdown = || {
        let device = hop.device.map(|device| world.name(device));
        let value =
            |device: &str| world.sysctls()?.per_device(query.ipv6, device, "ignore_routes_with_linkdown");
        device.is_some_and(|device| value(device.as_str()).unwrap_or(0).max(value("all").unwrap_or(0)) > 0)
    };
    !(flag("dead") || flag("linkdown") && ignores_linkdown())
}

fn suppressed(world: World<'_>, rule: &RoutingRule, route: &Route, hops: &[&NextHop]) -> bool {
    let short =
        rule.suppress_prefix_length.is_some_and(|length| u32::from(route.destination.prefix_len()) <= length);
    let group = rule.suppress_group.is_some_and(|group| {
        let device = hops.first().and_then(|hop| hop.device).and_then(|device| world.link(device));
        device.is_some_and(|link| link.group == group)
    });
    short || group
}

/// The VRF that a device belongs to.
fn vrf_table(world: World<'_>, device: Option<IfIndex>) -> Option<u32> {
    let link = world.link(device?)?;
    let table = |index| match world.link(index)?.kind {
        LinkKind::Vrf { table } => Some(table),
        _ => None,
    };
    table(link.index).or_else(|| table(link.master?))
}

fn table_of(world: World<'_>, rule: &RoutingRule, table: u32, query: &Query) -> u32 {
    if rule.l3mdev { vrf_table(world, query.input).unwrap_or(table) } else { table }
}

/// Whether the rule's selectors hold.
fn selects(world: World<'_>, rule: &RoutingRule, query: &Query) -> Truth {
    let prefix = |net: Option<IpNet>, address: Option<IpAddr>| match (net, address) {
        (Some(net), _) if net.prefix_len() == 0 => Truth::Yes,
        (None, _) => Truth::Yes,
        (Some(net), Some(address)) => net.contains(&address).into(),
        (Some(_), None) => Truth::Maybe,
    };
    let within = |range: Option<(u16, u16)>, port: Option<u16>| match (range, port) {
        (None, _) => Truth::Yes,
        (Some((first, last)), Some(port)) => (first <= port && port <= last).into(),
        (Some(_), None) => Truth::No,
    };
    let input = query.input.map_or_else(|| IfName::from("lo"), |index| world.name(index));
    let device = rule.input_device.as_ref().is_none_or(|name| *name == input);
    // No socket that stands for a claim is bound to a device.
    let bound = rule.output_device.is_none();
    let mark = match (rule.mark, query.mark) {
        (None | Some((0, 0)), _) => Truth::Yes,
        (Some((mark, mask)), Some(ours)) => (mark & mask == ours & mask).into(),
        (Some(_), None) => Truth::Maybe,
    };
    let protocol = rule.ip_protocol.is_none_or(|protocol| query.protocol == Some(protocol));
    // What the kernel sends or forwards counts as root's, and root sends for this host.
    let user = rule.uids.is_none_or(|(first, _)| first == 0);
    let domain = !rule.l3mdev || vrf_table(world, query.input).is_some();
    let truth = [
        prefix(rule.source, query.source),
        prefix(rule.destination, query.destination),
        mark,
        within(rule.source_ports, query.ports.map(|ports| ports.0)),
        within(rule.destination_ports, query.ports.map(|ports| ports.1)),
        Truth::from(user && device && bound && protocol && domain && rule.tos == 0),
    ]
    .into_iter()
    .fold(Truth::Yes, Truth::and)
    .negate(rule.invert);
    if rule.opaque.is_empty() { truth } else { truth.and(Truth::Maybe) }
}

/// `RTN_*` of an address, as `fib type` and `addrtype` ask for it (`inet_dev_addr_type`): what the
/// local table says, else unicast.
pub(super) fn address_type(world: World<'_>, address: IpAddr, device: Option<IfIndex>) -> Option<u8> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST | Ipv4Addr::UNSPECIFIED) => return Some(3),
        address if address.is_multicast() => return Some(5),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    world.snapshot.routes.known()?;
    let query = Query {
        ipv6: address.is_ipv6(),
        source: None,
        destination: Some(address),
        input: None,
        mark: Some(0),
        protocol: None,
        ports: None,
    };
    Some(match in_table(world, LOCAL, &query, address) {
        Answer::Route(route, hops)
            if device.is_none_or(|device| hops.iter().any(|hop| hop.device == Some(device))) =>
        {
            match route.kind {
                RouteKind::Local => 2,
                RouteKind::Broadcast => 3,
                RouteKind::Anycast => 4,
                RouteKind::Multicast => 5,
                _ => 1,
            }
        }
        Answer::Route(..) | Answer::Rule(_) | Answer::Nothing | Answer::Unknown(_) => 1,
    })
}

/// The devices by which `address` would be answered: what `rp_filter` and `fib` ask.
/// Answers come in by `out`, by which the packet is to leave.
pub(super) fn way_back<'a>(
    world: World<'a>,
    packet: &Packet,
    marked: bool,
    out: Option<IfIndex>,
) -> Answer<'a> {
    let query = Query {
        source: packet.destination,
        destination: packet.source,
        input: out,
        mark: if marked { packet.mark } else { Some(0) },
        protocol: None,
        ports: None,
        ipv6: packet.ipv6,
    };
    look_up(world, &query)
}

/// The route as `ip route` prints it.
pub(super) fn route_text(world: World<'_>, route: &Route) -> String {
    let kind = match route.kind {
        RouteKind::Unicast => String::new(),
        RouteKind::Local => "local ".to_owned(),
        RouteKind::Broadcast => "broadcast ".to_owned(),
        RouteKind::Anycast => "anycast ".to_owned(),
        RouteKind::Multicast => "multicast ".to_owned(),
        RouteKind::Blackhole => "blackhole ".to_owned(),
        RouteKind::Unreachable => "unreachable ".to_owned(),
        RouteKind::Prohibit => "prohibit ".to_owned(),
        RouteKind::Throw => "throw ".to_owned(),
        RouteKind::Unknown(kind) => format!("{kind} "),
    };
    let net = route.destination;
    let destination = match net.prefix_len() {
        0 => "default".to_owned(),
        length if length == net.max_prefix_len() => net.addr().to_string(),
        _ => net.to_string(),
    };
    let hops = route.next_hops.iter().map(|hop| {
        let via = hop.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        via + &hop.device.map_or_else(String::new, |device| format!(" dev {}", world.name(device)))
    });
    kind + &destination + &hops.collect::<String>()
}

/// The table by its well-known name.
pub(super) fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        254 => "main".to_owned(),
        LOCAL => "local".to_owned(),
        table => table.to_string(),
    }
}

/// The policy rule as `ip rule` prints it.
pub(super) fn rule_text(rule: &RoutingRule) -> String {
    fn word(name: &str, value: Option<impl std::fmt::Display>) -> String {
        value.map_or_else(String::new, |value| format!(" {name} {value}"))
    }
    let action = match rule.action {
        RuleAction::Lookup { table } => format!("lookup {}", table_name(table)),
        RuleAction::Goto { priority } => format!("goto {priority}"),
        RuleAction::Nop => "nop".to_owned(),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
        RuleAction::Unknown(action) => format!("action {action}"),
    };
    [
        format!("{}:", rule.priority),
        if rule.invert { " not".to_owned() } else { String::new() },
        rule.source.map_or_else(|| " from all".to_owned(), |net| format!(" from {net}")),
        word("to", rule.destination),
        word("fwmark", rule.mark.map(|(mark, mask)| format!("{mark:#x}/{mask:#x}"))),
        word("iif", rule.input_device.as_ref()),
        word("oif", rule.output_device.as_ref()),
        word("", (!rule.opaque.is_empty()).then(|| rule.opaque.join(" "))),
        format!(" {action}"),
    ]
    .concat()
}
