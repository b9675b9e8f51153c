//! `kvmnet snapshot` against `ip`, `bridge`, `nft` and `virsh` on the same host, item by item.
//!
//! Both sides are brought into the same rows; a row that only one side has is a difference.

use std::collections::BTreeMap;

use kvmnet_probes::facts::{
    BaseChain, Domain, DomainState, ForwardMode, Interface, InterfaceSource, Libvirt, Snapshot, Table,
};
use serde_json::{Value, json};

use crate::agree;
use crate::host::{Backend, Host};
use crate::shared_host::{let_guests_speak, on_shared_host};

/// What a healthy host of the lab lacks: rules with sets, a network and a domain that do not run. It
/// changes nothing for the guests.
const MORE: &str = "
set -e
nft -f - <<'NFT'
table inet lab {
  set ports { type inet_service; elements = { 22, 80, 443 } }
  set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 172.16.0.0-172.16.0.9, 192.168.0.0/16 } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 1-9 } }
  map marks { type ipv4_addr : mark; elements = { 10.0.0.1 : 1, 10.0.0.2 : 2 } }
  set empty { type ether_addr; }
  chain early { type filter hook prerouting priority -350; policy accept; ip daddr @nets tcp dport @ports counter; }
  chain out { type route hook output priority 5; tcp dport { 1, 2 } jump in_turn; }
  chain in_turn { counter; return; meta mark set ip saddr map @marks; }
  chain unused { }
}
table netdev lab {
  chain in { type filter hook ingress device eth0 priority 0; policy accept; counter; }
}
NFT
virsh -q net-define /dev/stdin <<'XML'
<network><name>spare</name><bridge name='virbr9'/><ip address='192.168.9.1' netmask='255.255.255.0'/></network>
XML
virsh -q define /dev/stdin <<'XML'
<domain type='qemu'>
  <name>spare</name><memory unit='MiB'>96</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <interface type='bridge'><source bridge='br0'/><mac address='52:54:00:aa:09:01'/><model type='e1000'/></interface>
    <interface type='network'><source network='spare'/><mac address='52:54:00:aa:09:02'/></interface>
  </devices>
</domain>
XML
virsh -q autostart spare";

/// Takes [`MORE`] back.
const LESS: &str = "nft delete table inet lab && nft delete table netdev lab && virsh -q undefine spare && \
                    virsh -q net-undefine spare";

type Rows = Vec<Value>;

fn the_facts_agree_with_the_tools(backend: Backend) {
    on_shared_host(backend, |host| {
        host.sh(MORE);
        // What was heard just now does not age while it is compared.
        let_guests_speak(host);
        let ran = host.kvmnet(&["snapshot"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let snapshot: Snapshot = serde_json::from_str(&ran.stdout).expect("a snapshot is JSON of ours");
        let mut differences = agree::differences(&snapshot, &|command| host.json(command));
        let mut compare = |what: &str, least: usize, ours: Rows, theirs: Rows| {
            assert!(theirs.len() >= least, "the tool shows only {} {what}: {theirs:?}", theirs.len());
            differences.extend(agree::compare(what, &ours, &theirs));
        };
        let tables = snapshot.nf_tables.known().expect("nf_tables was read");
        let ruleset = host.json(&["nft", "-j", "list", "ruleset"]);
        let ruleset = ruleset["nftables"].as_array().expect("nft lists objects");
        compare("tables", 3, our_tables(tables), their_tables(ruleset));
        compare("chains", 12, our_chains(tables), their_chains(ruleset));
        compare("rules", 20, our_rules(tables), their_rules(ruleset));
        compare("sets", 5, our_sets(tables), their_sets(ruleset));
        let libvirt = snapshot.libvirt.known().expect("libvirt was read");
        compare("networks", 4, our_networks(libvirt), their_networks(host));
        compare("leases", 3, our_leases(libvirt, host), their_leases(host));
        compare("domains", 5, our_domains(libvirt), their_domains(host));
        compare("NICs", 6, our_nics(libvirt), their_nics(host));
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        host.sh(LESS);
    });
}

/// The objects of one kind in nft's list.
fn of_kind<'a>(ruleset: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ruleset.iter().filter_map(move |object| object.get(kind))
}

fn our_tables(tables: &[Table]) -> Rows {
    tables.iter().map(|table| json!([table.family, table.name, table.handle])).collect()
}

fn their_tables(ruleset: &[Value]) -> Rows {
    let row = |table: &Value| json!([table["family"], table["name"], table["handle"]]);
    of_kind(ruleset, "table").map(row).collect()
}

fn our_chains(tables: &[Table]) -> Rows {
    let base = |base: &BaseChain| json!([base.kind, base.hook, base.priority, base.policy]);
    let of_table = |table: &Table| -> Rows {
        let chains = table.chains.iter();
        chains
            .map(|chain| {
                json!([table.family, table.name, chain.name, chain.handle, chain.base.as_ref().map(base)])
            })
            .collect()
    };
    tables.iter().flat_map(of_table).collect()
}

fn their_chains(ruleset: &[Value]) -> Rows {
    of_kind(ruleset, "chain")
        .map(|chain| {
            let base =
                chain.get("hook").map(|hook| json!([chain["type"], hook, chain["prio"], chain["policy"]]));
            json!([chain["family"], chain["table"], chain["name"], chain["handle"], base])
        })
        .collect()
}

/// With their positions in their chains.
fn our_rules(tables: &[Table]) -> Rows {
    let mut rows = Rows::new();
    for table in tables {
        for chain in &table.chains {
            for (position, rule) in chain.rules.iter().enumerate() {
                rows.push(json!([table.family, table.name, chain.name, position, rule.handle]));
            }
        }
    }
    rows
}

fn their_rules(ruleset: &[Value]) -> Rows {
    let mut lengths: BTreeMap<String, usize> = BTreeMap::new();
    of_kind(ruleset, "rule")
        .map(|rule| {
            let (family, table, chain) = (&rule["family"], &rule["table"], &rule["chain"]);
            let length = lengths.entry(json!([family, table, chain]).to_string()).or_default();
            let position = *length;
            *length += 1;
            json!([family, table, chain, position, rule["handle"]])
        })
        .collect()
}

/// Sets and maps that have a name, with their numbers of elements: nft lists no anonymous ones.
fn our_sets(tables: &[Table]) -> Rows {
    let mut rows = Rows::new();
    for table in tables {
        for set in table.sets.iter().filter(|set| !set.anonymous) {
            // An interval is one element in nft's words.
            let elements = set.elements.iter().filter(|element| !element.interval_end).count();
            rows.push(json!([
                table.family,
                table.name,
                set.name,
                set.handle,
                set.map,
                set.interval,
                elements
            ]));
        }
    }
    rows
}

fn their_sets(ruleset: &[Value]) -> Rows {
    let row = |set: &Value, map: bool| {
        let interval = set["flags"].as_array().is_some_and(|flags| flags.contains(&json!("interval")));
        let elements = set["elem"].as_array().map_or(0, Vec::len);
        json!([set["family"], set["table"], set["name"], set["handle"], map, interval, elements])
    };
    let sets = of_kind(ruleset, "set").map(|set| row(set, false));
    sets.chain(of_kind(ruleset, "map").map(|map| row(map, true))).collect()
}

/// The lines that virsh prints, each as its words.
#[track_caller]
fn virsh(host: &Host, arguments: &str) -> Vec<Vec<String>> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let output = host.sh(&format!("virsh -q {arguments}"));
    output.lines().map(words).filter(|words| !words.is_empty()).collect()
}

/// The names that virsh lists.
#[track_caller]
fn names(host: &Host, command: &str) -> Vec<String> {
    virsh(host, command).into_iter().map(|words| words.join(" ")).collect()
}

/// What virsh says of one thing, by its words for it.
#[track_caller]
fn info(host: &Host, command: &str) -> BTreeMap<String, String> {
    let output = host.sh(&format!("virsh -q {command}"));
    let pair =
        |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    output.lines().filter_map(pair).collect()
}

fn our_networks(libvirt: &Libvirt) -> Rows {
    let networks = libvirt.networks.iter();
    networks
        .map(|network| {
            let config = &network.config;
            json!({
                "Name": network.name,
                "UUID": network.uuid,
                "Active": yes(network.active),
                "Autostart": yes(network.autostart),
                "Persistent": yes(network.persistent),
                "Bridge": config.bridge,
                "mode": config.mode.word(),
                "addresses": config.ips.iter().map(|ip| ip.net.addr().to_string()).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn their_networks(host: &Host) -> Rows {
    let networks = names(host, "net-list --all --name").into_iter();
    networks
        .map(|name| {
            let attributes = |path: &str| -> Vec<String> {
                let found = host.sh(&format!("virsh -q net-dumpxml {name} --xpath '{path}'"));
                found.split('"').skip(1).step_by(2).map(str::to_owned).collect()
            };
            let mut row = json!(info(host, &format!("net-info {name}")));
            row["mode"] =
                attributes("/network/forward/@mode").first().map_or("isolated", String::as_str).into();
            row["addresses"] = attributes("/network/ip/@address").into();
            row
        })
        .collect()
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// With the end as virsh writes it: in the host's local time.
fn our_leases(libvirt: &Libvirt, host: &Host) -> Rows {
    let mut rows = Rows::new();
    for network in &libvirt.networks {
        for lease in &network.leases {
            let end = host.sh(&format!("date -d @{} '+%F %T'", lease.expires_s));
            let address = format!("{}/{}", lease.address, lease.prefix_length);
            rows.push(json!([network.name, end.trim(), lease.mac, address, lease.hostname]));
        }
    }
    rows
}

fn their_leases(host: &Host) -> Rows {
    let mut rows = Rows::new();
    for network in names(host, "net-list --name") {
        for words in virsh(host, &format!("net-dhcp-leases {network}")) {
            let [day, time, mac, _, address, hostname, _] = words.as_slice() else {
                panic!("a lease of {network} is {words:?}")
            };
            rows.push(json!([network, format!("{day} {time}"), mac, address, hostname]));
        }
    }
    rows
}

fn our_domains(libvirt: &Libvirt) -> Rows {
    let row = |domain: &Domain| {
        let state = match domain.state {
            DomainState::Running => "running",
            DomainState::ShutOff => "shut off",
            other => panic!("no domain of the lab is {other:?}"),
        };
        let autostart = if domain.autostart { "enable" } else { "disable" };
        json!([domain.name, domain.uuid, state, yes(domain.persistent), autostart])
    };
    libvirt.domains.iter().map(row).collect()
}

fn their_domains(host: &Host) -> Rows {
    let row = |name: String| {
        let info = info(host, &format!("dominfo {name}"));
        json!([name, info["UUID"], info["State"], info["Persistent"], info["Autostart"]])
    };
    names(host, "list --all --name").into_iter().map(row).collect()
}

fn our_nics(libvirt: &Libvirt) -> Rows {
    // libvirt calls a running NIC of such a network one of its bridge.
    let joined = |name: &str| {
        libvirt
            .networks
            .iter()
            .any(|network| network.name == name && network.config.mode == ForwardMode::Bridge)
    };
    let row = |domain: &Domain, interface: &Interface| {
        let (kind, source) = match &interface.source {
            InterfaceSource::Network { network, .. } if domain.state.is_active() && joined(network) => {
                ("bridge", network)
            }
            InterfaceSource::Network { network, .. } => ("network", network),
            InterfaceSource::Bridge { bridge } => ("bridge", &bridge.0),
            other => panic!("no NIC of the lab is {other:?}"),
        };
        let target = interface.target.as_ref().map_or("-", |target| target.as_str());
        let model = interface.model.as_deref().unwrap_or("-");
        json!([domain.name, target, kind, source, model, interface.mac])
    };
    let mut rows = Rows::new();
    for domain in &libvirt.domains {
        rows.extend(domain.interfaces.iter().map(|interface| row(domain, interface)));
    }
    rows
}

fn their_nics(host: &Host) -> Rows {
    let mut rows = Rows::new();
    for name in names(host, "list --all --name") {
        rows.extend(virsh(host, &format!("domiflist {name}")).into_iter().map(|words| {
            let [target, kind, source, model, mac] = words.as_slice() else {
                panic!("a NIC of {name} is {words:?}")
            };
            json!([name, target, kind, source, model, mac])
        }));
    }
    rows
}

#[test]
fn the_facts_agree_with_the_tools_nftables() {
    the_facts_agree_with_the_tools(Backend::Nftables);
}

#[test]
fn the_facts_agree_with_the_tools_iptables() {
    the_facts_agree_with_the_tools(Backend::Iptables);
}
