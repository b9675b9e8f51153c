//! `kvmnet ports` against those who know: the guests themselves, `virsh`, `ip`.

use serde_json::{Value, json};

use crate::host::{Backend, Host};
use crate::shared_host::{PLUGGED, assert_healthy, let_guests_speak, on_shared_host};

/// `kvmnet ports` on the host: exit code and list.
#[track_caller]
fn ports(host: &Host) -> (Option<i32>, Value) {
    let ran = host.kvmnet(&["ports", "--format", "json"]);
    let list = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|e| panic!("the list is no JSON ({e}): {}{}", ran.stdout, ran.stderr));
    (ran.code, list)
}

/// The tap of a guest's NIC, by libvirt.
#[track_caller]
fn tap(host: &Host, guest: &str) -> String {
    let list = host.sh(&format!("virsh -q domiflist {guest}"));
    list.split_whitespace().next().unwrap_or_else(|| panic!("{guest} has no NIC")).to_owned()
}

/// What must be said of a guest that has spoken: MAC and address as the guest itself says them.
#[track_caller]
fn expected(host: &Host, guest: &str, network: &str, bridge: &str) -> Value {
    let (status, said) = host.guest(
        guest,
        "cat /sys/class/net/eth0/address; ip -o -4 addr show dev eth0 | grep -o 'inet [0-9.]*'",
    );
    let lines: Vec<&str> = said.lines().collect();
    let (0, [mac, inet]) = (status, lines.as_slice()) else { panic!("{guest} says {said}") };
    let tap = tap(host, guest);
    let of_tap = host.json(&["ip", "-j", "link", "show", "dev", &tap]);
    assert_eq!(of_tap[0]["master"], bridge, "{guest} is behind {tap}");
    // The host has an address on every bridge and was pinged there; the LAN has no DHCP of libvirt's.
    let sources = if network == "lan" { json!(["neighbour"]) } else { json!(["lease", "neighbour"]) };
    json!({
        "vm": guest,
        "nic": 1,
        "tap": tap,
        "bridge": bridge,
        "expected_bridge": bridge,
        "network": network,
        "mac": { "xml": mac, "tap": of_tap[0]["address"], "learned": [mac] },
        "addresses": [{ "address": inet.trim_start_matches("inet "), "sources": sources }],
        "notes": [],
    })
}

fn every_nic_is_paired(backend: Backend) {
    on_shared_host(backend, |host| {
        let_guests_speak(host);
        let (code, list) = ports(host);
        let rows = list["ports"].as_array().expect("a list of NICs");
        assert_eq!(rows.len(), PLUGGED.len(), "{list:#}");
        for (row, (guest, network, bridge, _)) in rows.iter().zip(PLUGGED) {
            let expected = expected(host, guest, network, bridge);
            assert_eq!(*row, expected, "kvmnet ports says {row:#} of {guest}, it is {expected:#}");
        }
        assert_eq!((code, &list["unread"]), (Some(0), &json!([])), "{list:#}");
    });
}

/// What the list says of web1: exit code, the MACs behind its tap, notes of disagreement.
#[track_caller]
fn of_web1(host: &Host) -> (Option<i32>, Vec<String>, Vec<String>) {
    let (code, list) = ports(host);
    let texts = |list: &Value, of: &dyn Fn(&Value) -> Option<String>| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(of).collect()
    };
    let row = list["ports"].as_array().into_iter().flatten().find(|row| row["vm"] == "web1");
    let row = row.unwrap_or_else(|| panic!("no web1 in {list:#}"));
    let learned = texts(&row["mac"]["learned"], &|mac| Some(mac.as_str()?.to_owned()));
    let disagreements = texts(&row["notes"], &|note| {
        (note["disagreement"] == true).then(|| note["text"].as_str().unwrap_or_default().to_owned())
    });
    (code, learned, disagreements)
}

/// Gives web1's NIC a MAC, as its owner would from within, and lets it speak. The host forgets whom it
/// has known before.
#[track_caller]
fn readdress_web1(host: &Host, mac: &str) {
    let (status, said) = host.guest(
        "web1",
        &format!(
            "ip link set eth0 down && ip link set eth0 address {mac} && ip link set eth0 up && \
             ip route replace default via 192.168.122.1"
        ),
    );
    assert_eq!(status, 0, "{said}");
    host.sh("ip neigh flush dev virbr0");
    assert!(host.guest_reaches("web1", "192.168.122.1"), "{}", host.picture());
}

fn another_mac_than_in_the_xml_is_flagged(backend: Backend) {
    const OWN: &str = "52:54:00:aa:00:01";
    const OTHER: &str = "52:54:00:aa:00:99";
    on_shared_host(backend, |host| {
        let tap = tap(host, "web1");
        let forget = |mac: &str| host.sh(&format!("bridge fdb del {mac} dev {tap} master"));
        let_guests_speak(host);
        readdress_web1(host, OTHER);
        let both = [OWN.to_owned(), OTHER.to_owned()];
        assert_eq!(of_web1(host), (Some(1), both.into(), vec![format!("also sends from {OTHER}")]));
        // As if the table had aged.
        forget(OWN);
        assert_eq!(of_web1(host), (Some(1), vec![OTHER.to_owned()], vec![format!("sends from {OTHER}")]));
        let (_, report) = host.doctor(&["--static"]);
        let said: Vec<_> = report.findings.iter().map(|f| (f.id.as_str(), f.subjects.as_slice())).collect();
        assert_eq!(said, [("mac-differs", ["vm:web1".to_owned()].as_slice())]);

        readdress_web1(host, OWN);
        forget(OTHER);
        assert_eq!(of_web1(host), (Some(0), vec![OWN.to_owned()], Vec::new()));
        assert_healthy(host);
    });
}

#[test]
fn every_nic_is_paired_nftables() {
    every_nic_is_paired(Backend::Nftables);
}

#[test]
fn every_nic_is_paired_iptables() {
    every_nic_is_paired(Backend::Iptables);
}

#[test]
fn another_mac_than_in_the_xml_is_flagged_nftables() {
    another_mac_than_in_the_xml_is_flagged(Backend::Nftables);
}

#[test]
fn another_mac_than_in_the_xml_is_flagged_iptables() {
    another_mac_than_in_the_xml_is_flagged(Backend::Iptables);
}
