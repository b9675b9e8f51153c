//! `ip -j -d -N link`; -N shows hardware types and groups as numbers.

use kvmnet_probes::facts::{Bridge, BridgePort, Link, LinkKind, MacvlanMode, PortState, Snapshot};
use serde_json::{Value, json};

use super::{Names, Tool, has, name, number, on, rows};

pub(super) fn links(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot.links.items().iter().map(|link| ours(link, names)).collect();
    let theirs = rows(tool(&["ip", "-j", "-d", "-N", "link", "show"])).iter().map(theirs).collect();
    (ours, theirs)
}

fn ours(link: &Link, names: &Names) -> Value {
    let (kind, data) = kind(&link.kind);
    json!({
        "index": link.index,
        "name": link.name,
        "kind": kind,
        "data": data,
        "up": link.up,
        "carrier": link.carrier,
        "promiscuous": link.promiscuous,
        "mac": link.mac,
        "mtu": link.mtu,
        "qdisc": link.qdisc,
        "group": link.group,
        "master": link.master.map(|master| name(names, master)),
        "peer": link.peer.filter(|peer| peer.netns_id.is_none()).map(|peer| name(names, peer.index)),
        "foreign_peer": link.peer.filter(|peer| peer.netns_id.is_some()).map(|peer| (peer.index, peer.netns_id)),
        "alt_names": link.alt_names,
        "xdp": link.xdp.iter().map(|xdp| xdp.program_id).collect::<Vec<_>>(),
        "port": link.port.as_ref().map(port),
    })
}

fn theirs(row: &Value) -> Value {
    let info = &row["linkinfo"];
    let kind = info["info_kind"].as_str();
    let port = &info["info_slave_data"];
    json!({
        "index": row["ifindex"],
        "name": row["ifname"],
        "kind": kind,
        "data": kind.map(|kind| their_data(kind, &info["info_data"])),
        "up": has(row, "flags", "UP"),
        "carrier": has(row, "flags", "LOWER_UP"),
        "promiscuous": has(row, "flags", "PROMISC"),
        "mac": row["address"].as_str().filter(|_| row["link_type"] == "[1]"),
        "mtu": row["mtu"],
        "qdisc": row["qdisc"],
        "group": number(&row["group"]),
        "master": row["master"],
        "peer": row["link"],
        "foreign_peer": row.get("link_netnsid").map(|id| (&row["link_index"], id)),
        "alt_names": row.get("altnames").cloned().unwrap_or_else(|| json!([])),
        "xdp": programs(&row["xdp"]),
        "port": (info["info_slave_kind"] == "bridge").then(|| json!({
            "state": port["state"],
            "isolated": on(port, "isolated"),
            "hairpin": on(port, "hairpin"),
            "learning": on(port, "learning"),
            "unicast_flood": on(port, "flood"),
            "multicast_flood": on(port, "mcast_flood"),
            "broadcast_flood": on(port, "bcast_flood"),
            "guard": on(port, "guard"),
            "neigh_suppress": on(port, "neigh_suppress"),
            "locked": on(port, "locked"),
        })),
    })
}

/// The ids of attached XDP programs, one or several.
fn programs(xdp: &Value) -> Vec<&Value> {
    match xdp["attached"].as_array() {
        Some(attached) => attached.iter().map(|one| &one["prog"]["id"]).collect(),
        None => xdp.get("prog").map(|program| &program["id"]).into_iter().collect(),
    }
}

fn port(port: &BridgePort) -> Value {
    json!({
        "state": match port.state {
            PortState::Disabled => "disabled",
            PortState::Listening => "listening",
            PortState::Learning => "learning",
            PortState::Forwarding => "forwarding",
            PortState::Blocking => "blocking",
            PortState::Unknown(_) => "unknown",
        },
        "isolated": port.isolated,
        "hairpin": port.hairpin,
        "learning": port.learning,
        "unicast_flood": port.unicast_flood,
        "multicast_flood": port.multicast_flood,
        "broadcast_flood": port.broadcast_flood,
        "guard": port.guard,
        "neigh_suppress": port.neigh_suppress,
        "locked": port.locked,
    })
}

/// A kind by the kernel's name, and what is compared of it.
fn kind(kind: &LinkKind) -> (Option<&str>, Option<Value>) {
    let (name, data) = match kind {
        LinkKind::Physical | LinkKind::Loopback => return (None, None),
        LinkKind::Bridge(bridge) => ("bridge", bridge_data(bridge)),
        LinkKind::Tun(tun) => (
            "tun",
            json!({
                "type": if tun.tap { "tap" } else { "tun" },
                "persist": tun.persistent,
                "multi_queue": tun.multi_queue,
                "vnet_hdr": tun.vnet_header,
            }),
        ),
        LinkKind::Veth => ("veth", Value::Null),
        LinkKind::Vlan { id, .. } => ("vlan", json!(id)),
        LinkKind::Vxlan { vni } => ("vxlan", json!(vni)),
        LinkKind::Macvlan { mode } => ("macvlan", json!(macvlan(*mode))),
        LinkKind::Macvtap { mode } => ("macvtap", json!(macvlan(*mode))),
        LinkKind::Bond => ("bond", Value::Null),
        LinkKind::Dummy => ("dummy", Value::Null),
        LinkKind::Wireguard => ("wireguard", Value::Null),
        LinkKind::Ifb => ("ifb", Value::Null),
        LinkKind::Vrf { table } => ("vrf", json!(table)),
        LinkKind::Other { kind } => (kind.as_str(), Value::Null),
    };
    (Some(name), Some(data))
}

fn their_data(kind: &str, data: &Value) -> Value {
    match kind {
        "bridge" => json!({
            "stp": data["stp_state"],
            "forward_delay": data["forward_delay"],
            "ageing": data["ageing_time"],
            "vlan_filtering": on(data, "vlan_filtering"),
            "default_pvid": number(&data["vlan_default_pvid"]).filter(|&id| id != 0),
            "multicast_snooping": on(data, "mcast_snooping"),
            "nf_call_iptables": on(data, "nf_call_iptables"),
            "nf_call_ip6tables": on(data, "nf_call_ip6tables"),
            "nf_call_arptables": on(data, "nf_call_arptables"),
            "group_fwd_mask": number(&data["group_fwd_mask"]),
        }),
        "tun" => json!({
            "type": data["type"],
            "persist": on(data, "persist"),
            "multi_queue": on(data, "multi_queue"),
            "vnet_hdr": on(data, "vnet_hdr"),
        }),
        "vlan" | "vxlan" => data["id"].clone(),
        "macvlan" | "macvtap" => data["mode"].clone(),
        "vrf" => data["table"].clone(),
        _ => Value::Null,
    }
}

fn bridge_data(bridge: &Bridge) -> Value {
    json!({
        "stp": bridge.stp,
        "forward_delay": bridge.forward_delay_cs,
        "ageing": bridge.ageing_cs,
        "vlan_filtering": bridge.vlan_filtering,
        "default_pvid": bridge.default_pvid,
        "multicast_snooping": bridge.multicast_snooping,
        "nf_call_iptables": bridge.nf_call_iptables,
        "nf_call_ip6tables": bridge.nf_call_ip6tables,
        "nf_call_arptables": bridge.nf_call_arptables,
        "group_fwd_mask": bridge.group_fwd_mask,
    })
}

/// A mode as `ip` names it.
fn macvlan(mode: MacvlanMode) -> &'static str {
    match mode {
        MacvlanMode::Private => "private",
        MacvlanMode::Vepa => "vepa",
        MacvlanMode::Bridge => "bridge",
        MacvlanMode::Passthrough => "passthru",
        MacvlanMode::Source => "source",
        MacvlanMode::Unknown(_) => "unknown",
    }
}
