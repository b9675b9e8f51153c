//! Networks of every kind beside the usual three: a healthy one raises no alarm, and what libvirt's two backends
//! write for it lets the same packets through.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use kvmnet_reports::{Observed, Predicted};
use serde_json::Value;

use crate::host::{Backend, Host, INTERNET};
use crate::shared_host::{assert_healthy, on_shared_host, shown};

/// A network and how many guests are plugged into it.
struct Network {
    name: &'static str,
    guests: usize,
    /// What its XML has besides the name and the bridge.
    xml: &'static str,
}

const NETWORKS: &[Network] = &[
    Network {
        name: "nat6",
        guests: 2,
        xml: "<forward mode='nat'><nat ipv6='yes'/></forward>
              <ip address='192.168.155.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.155.100' end='192.168.155.200'/></dhcp></ip>
              <ip family='ipv6' address='fd00:155::1' prefix='64'/>",
    },
    // libvirt routes IPv6 that it is not asked to translate, and lets it in.
    Network {
        name: "natplain6",
        guests: 1,
        xml: "<forward mode='nat'/>
              <ip address='192.168.162.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.162.100' end='192.168.162.200'/></dhcp></ip>
              <ip family='ipv6' address='fd00:162::1' prefix='64'/>",
    },
    Network {
        name: "natdev",
        guests: 1,
        xml: "<forward mode='nat' dev='eth0'/>
              <ip address='192.168.156.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.156.100' end='192.168.156.200'/></dhcp></ip>",
    },
    Network {
        name: "ranged",
        guests: 1,
        xml: "<forward mode='nat'><nat><address start='203.0.113.20' end='203.0.113.29'/>
                <port start='2000' end='3000'/></nat></forward>
              <ip address='192.168.161.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.161.100' end='192.168.161.200'/></dhcp></ip>",
    },
    Network {
        name: "routed",
        guests: 1,
        xml: "<forward mode='route'/>
              <ip address='192.0.2.129' netmask='255.255.255.192'>
                <dhcp><range start='192.0.2.140' end='192.0.2.180'/></dhcp></ip>",
    },
    Network {
        name: "opened",
        guests: 1,
        xml: "<forward mode='open'/>
              <ip address='192.168.157.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.157.100' end='192.168.157.200'/></dhcp></ip>",
    },
    Network { name: "bare", guests: 2, xml: "" },
    Network {
        name: "apart",
        guests: 2,
        xml: "<forward mode='nat'/><port isolated='yes'/>
              <ip address='192.168.158.1' netmask='255.255.255.0'>
                <dhcp><range start='192.168.158.100' end='192.168.158.200'/></dhcp></ip>",
    },
    Network {
        name: "twonets",
        guests: 1,
        xml: "<forward mode='nat'/>
              <ip address='192.168.159.1' netmask='255.255.255.0'/>
              <ip address='192.168.160.1' netmask='255.255.255.0'/>",
    },
];

/// The shell script that starts the networks and their guests, which stay paused: they show what the
/// facts alone prove, and their ports are real.
fn start() -> String {
    let mut script = String::from("set -e\n");
    let mut number = 0;
    for (at, network) in NETWORKS.iter().enumerate() {
        let Network { name, guests, xml } = network;
        let bridge = at + 10;
        let _ = write!(
            script,
            "virsh -q net-define /dev/stdin <<XML\n<network><name>{name}</name><bridge name='virbr{bridge}'/>{xml}</network>\n\
             XML\nvirsh -q net-start {name}; virsh -q net-autostart {name}\n"
        );
        for guest in 1..=*guests {
            number += 1;
            let _ = write!(
                script,
                "virsh -q create --paused /dev/stdin <<XML\n<domain type='qemu'><name>{name}{guest}</name>\
                 <memory unit='MiB'>32</memory><os><type machine='pc'>hvm</type></os><devices>\
                 <interface type='network'><source network='{name}'/><mac address='52:54:00:bb:00:{number:02x}'/>\
                 <model type='virtio'/></interface></devices></domain>\nXML\n"
            );
        }
    }
    script
}

fn stop() -> String {
    let mut script = String::from("set -e\n");
    for Network { name, guests, .. } in NETWORKS {
        for guest in 1..=*guests {
            let _ = writeln!(script, "virsh -q destroy {name}{guest}");
        }
        let _ = writeln!(script, "virsh -q net-destroy {name}; virsh -q net-undefine {name}");
    }
    script
}

fn every_kind_is_healthy(host: &Host) {
    host.sh(&start());
    assert_healthy(host);
    let (_, report) = host.doctor(&["--static"]);
    for Network { name, guests, .. } in NETWORKS {
        let zone = Some((*name).to_owned());
        let claimed = report.matrix.iter().any(|cell| cell.from.network == zone || cell.to.network == zone);
        let nics = report.nics.iter().filter(|nic| nic.network == zone).count();
        assert!(claimed && nics == *guests, "{name}: {nics} NICs, claims: {claimed}");
    }
    routers_are_heard(host);
    let ways = ways(host);
    host.sh(&stop());
    assert_healthy(host);
    let mut known = WAYS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_with(|| ways.clone());
    let differ = known.iter().zip(&ways).find(|(one, other)| one != other);
    assert_eq!(differ, None, "libvirt's backends differ");
}

/// Each guest of the networks with IPv6 hears libvirt's dnsmasq advertise itself, and of no other network that is claimed.
#[track_caller]
fn routers_are_heard(host: &Host) {
    let (_, report) = host.doctor(&["--local-only"]);
    let mut heard: Vec<_> = report
        .matrix
        .iter()
        .filter(|cell| cell.traffic == "router-advertisement")
        .map(|cell| (cell.from.vm.as_deref(), cell.predicted, cell.observed))
        .collect();
    heard.sort_by_key(|(vm, ..)| *vm);
    let of = |vm| (Some(vm), Predicted::Allow, Observed::Reply);
    assert_eq!(heard, [of("nat61"), of("nat62"), of("natplain61")], "{}", shown(&report));
}

/// The ends of a way, and which packets arrive, are answered and are undecided on it.
type Ways = Vec<([String; 2], Vec<[Value; 3]>)>;

/// What the first backend that came here lets through.
static WAYS: Mutex<Option<Ways>> = Mutex::new(None);

/// What of all packets arrives: between a guest of each network and the internet, the usual guests and a guest of
/// the next network, in both directions.
fn ways(host: &Host) -> Ways {
    let file = "/run/lab/every-kind.json";
    host.kvmnet(&["snapshot", "--output", file]).ok("snapshot");
    let guests: Vec<String> = NETWORKS.iter().map(|network| format!("vm:{}1", network.name)).collect();
    let mut ends: Vec<[String; 2]> = Vec::new();
    for (from, next) in guests.iter().zip(guests.iter().cycle().skip(1)) {
        let pair = |from: &str, to: &str| [from.to_owned(), to.to_owned()];
        ends.extend(["vm:web1", "vm:db1", "vm:lan1"].map(|usual| pair(from, usual)));
        ends.extend(["vm:web1", "vm:db1", "vm:lan1"].map(|usual| pair(usual, from)));
        ends.extend([pair(from, INTERNET), pair(from, "2001:db8:2::10"), pair("outside", from)]);
        ends.extend([pair(from, next), pair(next, from)]);
    }
    let ways = ends.into_iter().map(|[from, to]| {
        let ran = host.kvmnet(&[
            "trace",
            "--all",
            "--snapshot",
            file,
            "--format",
            "json",
            "--from",
            &from,
            "--to",
            &to,
        ]);
        let traced: Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|e| panic!("{from} → {to}: {e}: {}{}", ran.stdout, ran.stderr));
        let ways = traced["ways"].as_array().expect("ways").iter();
        let sets = ways.map(|way| ["arrive", "answered", "undecided"].map(|set| way[set].clone()));
        ([from, to], sets.collect())
    });
    ways.collect()
}

#[test]
fn nftables() {
    on_shared_host(Backend::Nftables, every_kind_is_healthy);
}

#[test]
fn iptables() {
    on_shared_host(Backend::Iptables, every_kind_is_healthy);
}
