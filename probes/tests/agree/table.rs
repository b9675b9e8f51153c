//! `bridge -j` `fdb`, `mdb` and `vlan`.

use std::net::IpAddr;

use kvmnet_probes::facts::{LinkKind, PortVlan, Snapshot, VlanId};
use serde_json::{Value, json};

use super::{Names, Tool, has, name, number, rows};

pub(super) fn fdb(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot
        .fdb
        .items()
        .iter()
        .map(|entry| {
            json!({
                "mac": entry.mac,
                "port": name(names, entry.port),
                "bridge": entry.bridge.map(|bridge| name(names, bridge)),
                "vlan": entry.vlan,
                "permanent": entry.permanent,
                "static": entry.is_static,
                "own": entry.own,
                "extern_learned": entry.extern_learned,
                "sticky": entry.sticky,
            })
        })
        .collect();
    let theirs = rows(tool(&["bridge", "-j", "fdb", "show"]))
        .iter()
        .map(|row| {
            json!({
                "mac": row["mac"],
                "port": row["ifname"],
                "bridge": row["master"],
                "vlan": row["vlan"],
                "permanent": row["state"] == "permanent",
                "static": row["state"] == "static",
                "own": has(row, "flags", "self"),
                "extern_learned": has(row, "flags", "extern_learn"),
                "sticky": has(row, "flags", "sticky"),
            })
        })
        .collect();
    (ours, theirs)
}

pub(super) fn mdb(snapshot: &Snapshot, names: &Names, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let ours = snapshot
        .mdb
        .items()
        .iter()
        .map(|entry| {
            json!({
                "bridge": name(names, entry.bridge),
                "port": name(names, entry.port),
                "group": entry.group,
                "vlan": entry.vlan,
                "permanent": entry.permanent,
            })
        })
        .collect();
    let mut theirs = Vec::new();
    for answer in rows(tool(&["bridge", "-j", "mdb", "show"])) {
        for row in rows(answer["mdb"].clone()) {
            theirs.push(json!({
                "bridge": row["dev"],
                "port": row["port"],
                // A MAC group is shown by its MAC.
                "group": row["grp"].as_str().and_then(|group| group.parse::<IpAddr>().ok()),
                "vlan": row["vid"],
                "permanent": row["state"] == "permanent",
            }));
        }
    }
    (ours, theirs)
}

/// The VLANs of bridges that filter by VLAN and of their ports.
pub(super) fn vlans(snapshot: &Snapshot, tool: Tool<'_>) -> (Vec<Value>, Vec<Value>) {
    let row = |device: &str, id: VlanId, pvid: bool, untagged: bool| json!({ "device": device, "id": id, "pvid": pvid, "untagged": untagged });
    let links = snapshot.links.items();
    let filters = |index| {
        links.iter().any(|link| {
            link.index == index && matches!(&link.kind, LinkKind::Bridge(bridge) if bridge.vlan_filtering)
        })
    };
    let mut ours = Vec::new();
    let mut filtered = Vec::new();
    for link in links {
        let mut add = |pvid: Option<VlanId>, vlans: &[PortVlan]| {
            filtered.push(link.name.as_str());
            ours.extend(
                vlans
                    .iter()
                    .map(|vlan| row(link.name.as_str(), vlan.id, pvid == Some(vlan.id), vlan.untagged)),
            );
        };
        match (&link.kind, &link.port) {
            (LinkKind::Bridge(bridge), _) if bridge.vlan_filtering => add(bridge.pvid, &bridge.vlans),
            (_, Some(port)) if link.master.is_some_and(filters) => add(port.pvid, &port.vlans),
            _ => {}
        }
    }
    let mut theirs = Vec::new();
    for device in rows(tool(&["bridge", "-j", "vlan", "show"])) {
        let Some(name) = device["ifname"].as_str().filter(|name| filtered.contains(name)) else { continue };
        for vlan in rows(device["vlans"].clone()) {
            let first = number(&vlan["vlan"]).unwrap();
            let last = number(&vlan["vlanEnd"]).unwrap_or(first);
            for id in first..=last {
                let id = VlanId(u16::try_from(id).unwrap());
                theirs.push(row(
                    name,
                    id,
                    has(&vlan, "flags", "PVID"),
                    has(&vlan, "flags", "Egress Untagged"),
                ));
            }
        }
    }
    (ours, theirs)
}
