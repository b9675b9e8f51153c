//! `ip -j` `addr`, `route`, `rule` and `neigh`.

use std::net::IpAddr;

use ipnet::IpNet;
use kvmnet_probes::facts::{Address, NextHop, Route, RouteKind, RoutingRule, RuleAction, Snapshot};
use serde_json::{Value, json};

use super::{Names, Tool, has, name, number, on, rows};

pub(super) fn addresses(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot.addresses.items().iter().map(|address| our_address(address, names)).collect();
    let mut theirs = Vec::new();
    for device in rows(tool(&["ip", "-j", "-d", "addr", "show"])) {
        for row in rows(device["addr_info"].clone()) {
            let local: IpAddr = row["local"].as_str().unwrap().parse().unwrap();
            let prefix = u8::try_from(number(&row["prefixlen"]).unwrap()).unwrap();
            theirs.push(json!({
                "device": device["ifname"],
                "net": IpNet::new(local, prefix).unwrap(),
                "peer": row["address"],
                "scope": row["scope"],
                "secondary": on(&row, "secondary") || on(&row, "temporary"),
                "tentative": on(&row, "tentative"),
                "dadfailed": on(&row, "dadfailed"),
                "deprecated": on(&row, "deprecated"),
                "noprefixroute": on(&row, "noprefixroute"),
                "permanent": !on(&row, "dynamic"),
            }));
        }
    }
    (ours, theirs)
}

fn our_address(address: &Address, names: &Names) -> Value {
    let flag = |name: &str| address.flags.iter().any(|flag| flag == name);
    json!({
        "device": name(names, address.device),
        "net": address.net,
        "peer": address.peer,
        "scope": address.scope,
        "secondary": flag("secondary") || flag("temporary"),
        "tentative": flag("tentative"),
        "dadfailed": flag("dadfailed"),
        "deprecated": flag("deprecated"),
        "noprefixroute": flag("noprefixroute"),
        "permanent": flag("permanent"),
    })
}

pub(super) fn routes(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot.routes.items().iter().map(|route| our_route(route, names)).collect();
    let mut theirs = Vec::new();
    for family in ["-4", "-6"] {
        let answer = tool(&["ip", family, "-j", "-d", "-N", "route", "show", "table", "all"]);
        theirs.extend(rows(answer).iter().map(|row| their_route(row, family == "-6")));
    }
    (ours, theirs)
}

fn our_route(route: &Route, names: &Names) -> Value {
    let kind = match route.kind {
        RouteKind::Unicast => 1,
        RouteKind::Local => 2,
        RouteKind::Broadcast => 3,
        RouteKind::Anycast => 4,
        RouteKind::Multicast => 5,
        RouteKind::Blackhole => 6,
        RouteKind::Unreachable => 7,
        RouteKind::Prohibit => 8,
        RouteKind::Throw => 9,
        RouteKind::Unknown(kind) => kind,
    };
    json!({
        "destination": route.destination,
        "source": route.source,
        "kind": kind,
        "table": route.table,
        "tos": route.tos,
        "metric": route.metric,
        "preferred_source": route.preferred_source,
        "protocol": route.protocol,
        "scope": route.scope,
        "mtu": route.mtu,
        "nexthop_id": route.nexthop_id,
        "next_hops": route.next_hops.iter().map(|hop| our_hop(hop, names)).collect::<Vec<_>>(),
    })
}

fn our_hop(hop: &NextHop, names: &Names) -> Value {
    json!({
        "device": hop.device.map(|device| name(names, device)),
        "gateway": hop.gateway,
        "weight": hop.weight,
        "onlink": hop.flags.iter().any(|flag| flag == "onlink"),
        "linkdown": hop.flags.iter().any(|flag| flag == "linkdown"),
        "dead": hop.flags.iter().any(|flag| flag == "dead"),
    })
}

fn their_route(row: &Value, ipv6: bool) -> Value {
    let kind = number(&row["type"]);
    let next_hops = match row["nexthops"].as_array() {
        // Kinds that drop: IPv6 shows the loopback device.
        _ if matches!(kind, Some(6..=9)) => Vec::new(),
        Some(hops) => hops.iter().map(their_hop).collect(),
        None => vec![their_hop(row)],
    };
    json!({
        "destination": prefix(&row["dst"], ipv6),
        "source": row.get("from").map(|from| prefix(from, ipv6)),
        "kind": kind,
        "table": number(&row["table"]),
        "tos": number(&row["tos"]).unwrap_or(0),
        "metric": number(&row["metric"]).unwrap_or(0),
        "preferred_source": row["prefsrc"],
        "protocol": number(&row["protocol"]),
        "scope": number(&row["scope"]),
        "mtu": row["metrics"].as_array().and_then(|metrics| metrics.iter().find_map(|metric| number(&metric["mtu"]))),
        "nexthop_id": row["nhid"],
        "next_hops": next_hops,
    })
}

fn their_hop(row: &Value) -> Value {
    json!({
        "device": row["dev"],
        "gateway": row.get("gateway").unwrap_or(&row["via"]["host"]),
        "weight": number(&row["weight"]).unwrap_or(1),
        "onlink": has(row, "flags", "onlink"),
        "linkdown": has(row, "flags", "linkdown"),
        "dead": has(row, "flags", "dead"),
    })
}

/// A prefix as `ip` shortens it: `default`, an address without a length.
fn prefix(value: &Value, ipv6: bool) -> IpNet {
    let any = if ipv6 { "::/0" } else { "0.0.0.0/0" };
    let text = value.as_str().filter(|&text| text != "default").unwrap_or(any);
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .unwrap_or_else(|_| panic!("a prefix: {text}"))
}

pub(super) fn rules(snapshot: &Snapshot, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot.rules.items().iter().map(our_rule).collect();
    let mut theirs = Vec::new();
    for family in ["-4", "-6"] {
        let answer = tool(&["ip", family, "-j", "-N", "rule", "show"]);
        theirs.extend(rows(answer).iter().map(|row| their_rule(row, family == "-6")));
    }
    (ours, theirs)
}

fn our_rule(rule: &RoutingRule) -> Value {
    json!({
        "ipv6": rule.ipv6,
        "priority": rule.priority,
        "action": match rule.action {
            RuleAction::Lookup { table } => format!("lookup {table}"),
            RuleAction::Goto { priority } => format!("goto {priority}"),
            RuleAction::Nop => "nop".to_owned(),
            RuleAction::Blackhole => "blackhole".to_owned(),
            RuleAction::Unreachable => "unreachable".to_owned(),
            RuleAction::Prohibit => "prohibit".to_owned(),
            RuleAction::Unknown(action) => action.to_string(),
        },
        "invert": rule.invert,
        "source": rule.source,
        "destination": rule.destination,
        "input_device": rule.input_device,
        "output_device": rule.output_device,
        "mark": rule.mark,
        "tos": rule.tos,
        "ip_protocol": rule.ip_protocol,
        "source_ports": rule.source_ports,
        "destination_ports": rule.destination_ports,
        "uids": rule.uids,
        "suppress_prefix_length": rule.suppress_prefix_length,
        "suppress_group": rule.suppress_group,
        "l3mdev": rule.l3mdev,
        "opaque": rule.opaque,
    })
}

fn their_rule(row: &Value, ipv6: bool) -> Value {
    let action = match (row["action"].as_str(), number(&row["goto"]), number(&row["table"])) {
        // By number with -N: RTN_BLACKHOLE and the two after it.
        (Some("6"), ..) => "blackhole".to_owned(),
        (Some("7"), ..) => "unreachable".to_owned(),
        (Some("8"), ..) => "prohibit".to_owned(),
        (Some(action), ..) => action.to_owned(),
        (None, Some(priority), _) => format!("goto {priority}"),
        // `lookup [l3mdev-table]` has no number.
        (None, None, table) => format!("lookup {}", table.unwrap_or(0)),
    };
    let mark =
        row.get("fwmark").map(|mark| (number(mark), number(&row["fwmask"]).unwrap_or(u64::from(u32::MAX))));
    let pair = |one: &str, first: &str, last: &str| match number(&row[one]) {
        Some(port) => Some((port, port)),
        None => number(&row[first]).zip(number(&row[last])),
    };
    json!({
        "ipv6": ipv6,
        "priority": row["priority"],
        "action": action,
        "invert": on(row, "not"),
        "source": selector(row, "src", "srclen", ipv6),
        "destination": selector(row, "dst", "dstlen", ipv6),
        "input_device": row["iif"],
        "output_device": row["oif"],
        "mark": mark,
        "tos": number(&row["tos"]).unwrap_or(0),
        // `ipproto-6` with -N.
        "ip_protocol": row["ipproto"].as_str().map(|name| name.trim_start_matches("ipproto-").parse::<u8>().unwrap()),
        "source_ports": pair("sport", "sport_start", "sport_end"),
        "destination_ports": pair("dport", "dport_start", "dport_end"),
        "uids": pair("", "uid_start", "uid_end"),
        "suppress_prefix_length": row["suppress_prefixlen"],
        "suppress_group": number(&row["suppress_ifgroup"]),
        "l3mdev": on(row, "l3mdev"),
        "opaque": [],
    })
}

/// A prefix in two fields; `all` is none.
fn selector(row: &Value, address: &str, length: &str, ipv6: bool) -> Option<IpNet> {
    let text = row[address].as_str().filter(|&text| text != "all")?;
    let whole = if ipv6 { 128 } else { 32 };
    let length = row.get(length).map_or(whole, |length| number(length).unwrap());
    Some(IpNet::new(text.parse().unwrap(), u8::try_from(length).unwrap()).unwrap())
}

pub(super) fn neighbours(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let row = |device: &Value, address: &Value, mac: &Value, proxy: bool| {
        let mac = mac.as_str().filter(|&mac| mac != "00:00:00:00:00:00");
        json!({ "device": device, "address": address, "mac": mac, "proxy": proxy })
    };
    let ours = snapshot
        .neighbours
        .items()
        .iter()
        .map(|one| row(&name(names, one.device), &json!(one.address), &json!(one.mac), one.proxy))
        .collect();
    let mut theirs = Vec::new();
    for family in ["-4", "-6"] {
        for (selection, proxy) in [(["nud", "all"].as_slice(), false), (&["proxy"], true)] {
            let command = [&["ip", family, "-j", "neigh", "show"], selection].concat();
            theirs.extend(
                rows(tool(&command)).iter().map(|one| row(&one["dev"], &one["dst"], &one["lladdr"], proxy)),
            );
        }
    }
    (ours, theirs)
}
