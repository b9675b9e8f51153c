//! Which way the kernel sends a packet: policy rules, tables, and what follows from them.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::rc::Rc;

use ipnet::{IpNet, Ipv6Net};
use kvmnet_probes::facts::{
    IfIndex, IfName, LinkKind, NextHop, Route, RouteKind, RoutingRule, RuleAction, Snapshot,
};

use super::Site;
use super::packet_set::field::address_value;
use super::packet_set::{Arena, Bdd, Decided, Field, Headers, Held, PacketSet, Truth};
use super::world::World;

/// The local table.
pub(super) const LOCAL: u32 = 255;

/// What is asked of the routing tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'q> {
    pub(super) ipv6: bool,
    /// What the packets hold.
    pub(super) headers: &'q Headers,
    /// The field that is the source; `None`: none is given.
    pub(super) source: Option<Field>,
    /// The field that is the destination.
    pub(super) destination: Field,
    /// The device that the packets came in by; `None`: from this host.
    pub(super) input: Option<IfIndex>,
    /// The device of the link that is meant where an address is of one link alone; `None`: whatever the routes say.
    pub(super) link: Option<IfIndex>,
    /// By the packets' marks; else as if they had none.
    pub(super) marked: bool,
    /// By protocol and ports, too.
    pub(super) transport: bool,
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

/// What the tables say of which packets.
pub(super) type Answers<'a> = Vec<(Answer<'a>, PacketSet)>;

/// What the answers to a query follow from.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Asked {
    ipv6: bool,
    fields: (Option<Field>, Field),
    input: Option<IfIndex>,
    by: (bool, bool),
    /// Where fields are not as they came.
    written: Vec<Option<Held>>,
}

/// Answers for all packets that were asked for before.
#[derive(Debug, Default)]
pub(super) struct Remembered<'a>(HashMap<Asked, Rc<Answers<'a>>>);

impl<'a> Remembered<'a> {
    /// As [`look_up`]. It is worth its while only where many packets are asked for: then the same is asked again
    /// and again.
    pub(super) fn look_up(
        &mut self,
        sets: &mut Arena,
        world: World<'a>,
        query: Query<'_>,
        within: PacketSet,
    ) -> Decided<Answers<'a>> {
        let fields = [
            Field::Source,
            Field::Destination,
            Field::Mark,
            Field::Protocol,
            Field::SourcePort,
            Field::DestinationPort,
        ];
        let asked = Asked {
            ipv6: query.ipv6,
            fields: (query.source, query.destination),
            input: query.input.filter(|_| depend_on_input(world)),
            by: (query.marked, query.transport),
            written: fields.into_iter().map(|field| query.headers.written(field)).collect(),
        };
        let all = if let Some(all) = self.0.get(&asked) {
            Rc::clone(all)
        } else {
            let all = Rc::new(look_up(sets, world, Query { link: None, ..query }, Bdd::ALL)?);
            self.0.insert(asked, Rc::clone(&all));
            all
        };
        // For addresses of one link alone each link has answers of its own.
        let near = match query.link {
            Some(_) => !in_prefix(sets, query.headers, query.destination, link_local())?.no,
            None => Bdd::NONE,
        };
        let far = sets.minus(within, near)?;
        let near = sets.and(within, near)?;
        let mut answers = if near == Bdd::NONE { Vec::new() } else { look_up(sets, world, query, near)? };
        for (answer, packets) in all.iter() {
            let packets = sets.and(*packets, far)?;
            if packets == Bdd::NONE {
                continue;
            }
            match answers.iter_mut().find(|(other, _)| near != Bdd::NONE && other == answer) {
                Some((_, same)) => *same = sets.or(*same, packets)?,
                None => answers.push((answer.clone(), packets)),
            }
        }
        Ok(answers)
    }
}

/// Whether policy rules ask by which device packets have come.
fn depend_on_input(world: World<'_>) -> bool {
    world.snapshot.rules.items().iter().any(|rule| rule.input_device.is_some() || rule.l3mdev)
}

/// Asks the policy rules in order, and the tables that they name, for the packets of `within`; the
/// answers part them.
pub(super) fn look_up<'a>(
    sets: &mut Arena,
    world: World<'a>,
    query: Query<'_>,
    within: PacketSet,
) -> Decided<Answers<'a>> {
    let unknown = |text: &str| Ok(vec![(Answer::Unknown(text.to_owned()), within)]);
    let Some(rules) = world.snapshot.rules.known() else {
        return unknown("policy rules were not read");
    };
    if world.snapshot.routes.known().is_none() {
        return unknown("routes were not read");
    }
    let mut rules: Vec<&RoutingRule> = rules.iter().filter(|rule| rule.ipv6 == query.ipv6).collect();
    rules.sort_by_key(|rule| rule.priority);
    let mut answers = Vec::new();
    let mut here = within;
    // Packets that a rule has sent on to a later priority.
    let mut ahead: Vec<(u32, PacketSet)> = Vec::new();
    for rule in rules {
        let arrived: Vec<PacketSet> =
            ahead.extract_if(.., |(from, _)| *from <= rule.priority).map(|(_, packets)| packets).collect();
        here = sets.any_of(&[arrived.as_slice(), &[here]].concat())?;
        if here == Bdd::NONE {
            if ahead.is_empty() {
                break;
            }
            continue;
        }
        let holds = selects(sets, world, rule, query)?;
        let (selected, perhaps) = (sets.and(here, holds.yes)?, open(sets, here, holds)?);
        if perhaps != Bdd::NONE {
            answers.push((Answer::Unknown(rule_text(rule)), perhaps));
        }
        let gone = match rule.action {
            _ if selected == Bdd::NONE => Bdd::NONE,
            RuleAction::Nop => Bdd::NONE,
            RuleAction::Goto { priority } => {
                ahead.push((priority, selected));
                selected
            }
            RuleAction::Unknown(_) => {
                answers.push((Answer::Unknown(rule_text(rule)), selected));
                selected
            }
            RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                answers.push((Answer::Rule(rule), selected));
                selected
            }
            RuleAction::Lookup { table } => {
                let mut answered = Vec::new();
                for (answer, packets) in
                    in_table(sets, world, table_of(world, rule, table, query.input), query, selected)?
                {
                    if !passed_over(world, rule, &answer) {
                        answered.push(packets);
                        answers.push((answer, packets));
                    }
                }
                sets.any_of(&answered)?
            }
        };
        here = sets.minus(here, gone)?;
        here = sets.minus(here, perhaps)?;
    }
    let rest: Vec<PacketSet> = ahead.into_iter().map(|(_, packets)| packets).chain([here]).collect();
    let rest = sets.any_of(&rest)?;
    if rest != Bdd::NONE {
        answers.push((Answer::Nothing, rest));
    }
    Ok(answers)
}

/// Packets of the set for which it is not known whether it holds.
fn open(sets: &mut Arena, within: PacketSet, holds: Truth) -> Decided<PacketSet> {
    if holds.is_known() {
        return Ok(Bdd::NONE);
    }
    let rest = sets.minus(within, holds.yes)?;
    sets.minus(rest, holds.no)
}

/// The longest prefix of one table; `Nothing` also for `throw`.
fn in_table<'a>(
    sets: &mut Arena,
    world: World<'a>,
    table: u32,
    query: Query<'_>,
    within: PacketSet,
) -> Decided<Answers<'a>> {
    let to = query.headers.constant_address(query.destination, query.ipv6);
    let applies = |route: &&&Route| {
        route.tos == 0
            && to.is_none_or(|to| route.destination.contains(&to))
            && query.link.is_none_or(|link| !is_of_another_link(route, link))
    };
    let mut answers = Vec::new();
    let mut here = within;
    for &route in world.routes(table, query.ipv6).iter().filter(applies) {
        if here == Bdd::NONE {
            break;
        }
        let mut holds = in_prefix(sets, query.headers, query.destination, route.destination)?;
        if let Some(net) = route.source {
            let source = match query.source {
                Some(source) => in_prefix(sets, query.headers, source, net)?,
                None => Truth::NO,
            };
            holds = sets.both(holds, source)?;
        }
        let (selected, perhaps) = (sets.and(here, holds.yes)?, open(sets, here, holds)?);
        if perhaps != Bdd::NONE {
            answers.push((Answer::Unknown(route_text(world, route)), perhaps));
            here = sets.minus(here, perhaps)?;
        }
        if selected != Bdd::NONE
            && let Some(answer) = answer(world, query, route)
        {
            answers.push((answer, selected));
            here = sets.minus(here, selected)?;
        }
    }
    if here != Bdd::NONE {
        answers.push((Answer::Nothing, here));
    }
    Ok(answers)
}

/// The route's addresses are of one link alone, and not of this device's. Who sends to one says which link is meant, what
/// comes by one means that; the kernel takes no other (`rt6_need_strict`).
fn is_of_another_link(route: &Route, link: IfIndex) -> bool {
    link_local().contains(&route.destination) && route.next_hops.iter().all(|hop| hop.device != Some(link))
}

/// `fe80::/10`.
pub(super) const fn link_local() -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10))
}

/// What the route says to packets for which it is the best; `None`: nothing, as none of its ways is alive.
fn answer<'a>(world: World<'a>, query: Query<'_>, route: &'a Route) -> Option<Answer<'a>> {
    match route.kind {
        RouteKind::Throw => Some(Answer::Nothing),
        RouteKind::Unknown(_) => Some(Answer::Unknown(route_text(world, route))),
        RouteKind::Unicast if route.next_hops.is_empty() => Some(Answer::Unknown(route_text(world, route))),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => {
            Some(Answer::Route(route, Vec::new()))
        }
        RouteKind::Unicast
        | RouteKind::Local
        | RouteKind::Broadcast
        | RouteKind::Anycast
        | RouteKind::Multicast => {
            let hops: Vec<&NextHop> =
                route.next_hops.iter().filter(|hop| alive(world, query.ipv6, hop)).collect();
            (!hops.is_empty() || route.next_hops.is_empty()).then_some(Answer::Route(route, hops))
        }
    }
}

/// Whether the address in the field is of the network.
pub(super) fn in_prefix(sets: &mut Arena, headers: &Headers, field: Field, net: IpNet) -> Decided<Truth> {
    headers.prefix(sets, field, address_value(net.addr()), net.prefix_len().into())
}

fn alive(world: World<'_>, ipv6: bool, hop: &NextHop) -> bool {
    let flag = |name: &str| hop.flags.iter().any(|flag| flag == name);
    let ignores_linkdown = || {
        let device = hop.device.map(|device| world.name(device));
        let value = |device: &str| world.sysctls()?.per_device(ipv6, device, "ignore_routes_with_linkdown");
        device.is_some_and(|device| value(device.as_str()).unwrap_or(0).max(value("all").unwrap_or(0)) > 0)
    };
    !(flag("dead") || flag("linkdown") && ignores_linkdown())
}

/// The rule takes no notice of the answer: there is none, or the rule suppresses it.
fn passed_over(world: World<'_>, rule: &RoutingRule, answer: &Answer<'_>) -> bool {
    let (route, hops) = match answer {
        Answer::Nothing => return true,
        Answer::Rule(_) | Answer::Unknown(_) => return false,
        Answer::Route(route, hops) => (route, hops),
    };
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

fn table_of(world: World<'_>, rule: &RoutingRule, table: u32, input: Option<IfIndex>) -> u32 {
    if rule.l3mdev { vrf_table(world, input).unwrap_or(table) } else { table }
}

/// Whether the rule's selectors hold.
fn selects(sets: &mut Arena, world: World<'_>, rule: &RoutingRule, query: Query<'_>) -> Decided<Truth> {
    let input = query.input.map_or_else(|| IfName::from("lo"), |index| world.name(index));
    let device = rule.input_device.as_ref().is_none_or(|name| *name == input);
    // No socket that stands for a claim is bound to a device.
    let bound = rule.output_device.is_none();
    // What the kernel sends or forwards counts as root's, and root sends for this host.
    let user = rule.uids.is_none_or(|(first, _)| first == 0);
    let domain = !rule.l3mdev || vrf_table(world, query.input).is_some();
    let mut holds = Truth::from(user && device && bound && domain && rule.tos == 0);
    if let Some(net) = rule.source.filter(|net| net.prefix_len() != 0) {
        // The unspecified address where none is given.
        let within = match query.source {
            Some(source) => in_prefix(sets, query.headers, source, net)?,
            None => Truth::MAYBE,
        };
        holds = sets.both(holds, within)?;
    }
    if let Some(net) = rule.destination.filter(|net| net.prefix_len() != 0) {
        let within = in_prefix(sets, query.headers, query.destination, net)?;
        holds = sets.both(holds, within)?;
    }
    if let Some((mark, mask)) = rule.mark.filter(|mark| *mark != (0, 0)) {
        let marked = if query.marked {
            query.headers.masked(sets, Field::Mark, (mark & mask).into(), mask.into())?
        } else {
            Truth::from(mark & mask == 0)
        };
        holds = sets.both(holds, marked)?;
    }
    for (range, field) in
        [(rule.source_ports, Field::SourcePort), (rule.destination_ports, Field::DestinationPort)]
    {
        let Some((first, last)) = range else { continue };
        let within = if query.transport {
            let ported = with_ports(sets, query.headers)?;
            let within = query.headers.range(sets, field, &(first.into()..=last.into()))?;
            sets.both(ported, within)?
        } else {
            Truth::NO
        };
        holds = sets.both(holds, within)?;
    }
    if let Some(protocol) = rule.ip_protocol {
        let of = if query.transport {
            query.headers.equal(sets, Field::Protocol, protocol.into())?
        } else {
            Truth::NO
        };
        holds = sets.both(holds, of)?;
    }
    let holds = holds.negate(rule.invert);
    if rule.opaque.is_empty() { Ok(holds) } else { sets.both(holds, Truth::MAYBE) }
}

/// Whether it is of a protocol whose ports routing asks for: TCP or UDP.
fn with_ports(sets: &mut Arena, headers: &Headers) -> Decided<Truth> {
    let (tcp, udp) = (headers.equal(sets, Field::Protocol, 6)?, headers.equal(sets, Field::Protocol, 17)?);
    sets.either(tcp, udp)
}

/// `RTN_*` of the addresses in a field, as `fib type` and `addrtype` ask for it (`inet_dev_addr_type`):
/// what the local table says, else unicast. Of packets that are in none of the sets it is not known.
pub(super) fn address_types(
    sets: &mut Arena,
    world: World<'_>,
    (headers, field): (&Headers, Field),
    ipv6: bool,
    device: Option<IfIndex>,
) -> Decided<Vec<(u8, PacketSet)>> {
    let mut types = Vec::new();
    let mut rest = Bdd::ALL;
    let special: &[(&str, u8)] = if ipv6 {
        &[("ff00::/8", 5)]
    } else {
        &[("255.255.255.255/32", 3), ("0.0.0.0/32", 3), ("224.0.0.0/4", 5)]
    };
    for (net, kind) in special {
        let holds = in_prefix(sets, headers, field, net.parse().expect("a literal network"))?;
        types.push((*kind, sets.and(rest, holds.yes)?));
        rest = sets.and(rest, holds.no)?;
    }
    if world.snapshot.routes.known().is_none() {
        return Ok(types);
    }
    let query = Query {
        ipv6,
        headers,
        source: None,
        destination: field,
        input: None,
        link: None,
        marked: false,
        transport: false,
    };
    for (answer, packets) in in_table(sets, world, LOCAL, query, rest)? {
        let kind = match answer {
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
            Answer::Unknown(_) => continue,
            Answer::Route(..) | Answer::Rule(_) | Answer::Nothing => 1,
        };
        types.push((kind, packets));
    }
    Ok(types)
}

/// The query for the way by which answers would go: what `rp_filter` and `fib` ask. Answers come in by
/// `input`, by which the packets are to leave.
pub(super) fn way_back(headers: &Headers, ipv6: bool, marked: bool, input: Option<IfIndex>) -> Query<'_> {
    Query {
        ipv6,
        headers,
        source: Some(Field::Destination),
        destination: Field::Source,
        input,
        link: None,
        marked,
        transport: false,
    }
}

/// The route as `ip route` prints it.
pub(super) fn route_text(world: World<'_>, route: &Route) -> String {
    in_words(route, |device| world.name(device))
}

/// The route of the host that a site names.
pub fn route_at<'a>(snapshot: &'a Snapshot, site: &Site) -> Option<&'a Route> {
    let Site::Route { table: Some(table), text } = site else { return None };
    let name = |device| {
        snapshot.link(device).map_or_else(|| IfName(format!("if{device}")), |link| link.name.clone())
    };
    let mut routes = snapshot.routes.items().iter().filter(|route| route.table == *table);
    routes.find(|route| in_words(route, name) == *text)
}

fn in_words(route: &Route, name: impl Fn(IfIndex) -> IfName) -> String {
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
        via + &hop.device.map_or_else(String::new, |device| format!(" dev {}", name(device)))
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
