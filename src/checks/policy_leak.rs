//! Something passes that the policy denies and the models allow.

use kvmnet_probes::facts::IfName;
use kvmnet_reports::{Expected, Fix, Severity};

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, vm};
use crate::engine::quoted;
use crate::model::{Claim, Nic, Protocol, Zone};

pub(super) const CHECK: Check = Check {
    id: "policy-leak",
    severity: Severity::Error,
    category: Category::Isolation,
    summary: "packets pass that the policy denies",
    explanation: "An assertion of the policy denies what the mode of the network allows, and nothing on this host \
                  stops it. The cell names a packet that passes; `kvmnet trace` with its addresses shows the way that \
                  it takes. A rule that drops it in a table of its own is enough: a drop in any table is final.",
    needs: &["nf-tables", "xtables-legacy", "routes"],
    basis: "nft(8): an accept ends one base chain, a drop ends all",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let claim = gap.claim;
    if gap.step.is_some()
        || claim.expected != Expected::Deny
        || claim.assertion.is_none()
        || scene.mode_denies(claim)
    {
        return None;
    }
    let (from, to) = (scene.in_words(claim.from), scene.in_words(claim.to));
    let address = |address: Option<std::net::IpAddr>| {
        address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string())
    };
    let shown = format!(
        "{} from {} to {}",
        claim.traffic_in_words(),
        address(claim.source),
        address(claim.destination)
    );
    let what = claim.selection.protocol.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string);
    let nics = scene.nics_of(claim);
    Some(Diagnosis {
        key: format!("{:?} {:?} {what}", claim.from, claim.to),
        subjects: nics.map(|nic| vm(&nic.vm)).collect(),
        title: format!("{from} reaches {to} with {}, which the policy denies", claim.traffic_in_words()),
        cause: format!(
            "the policy denies {what} from {from} to {to}, and nothing on this host drops {shown}."
        ),
        evidence: vec![fact("proof", format!("{shown} passes"))],
        fix: stop(scene, claim),
    })
}

/// A rule that drops what the policy denies, where it passes.
fn stop(scene: &Scene<'_>, claim: &Claim) -> Fix {
    let nic = |zone: Zone| match zone {
        Zone::Nic(at) => scene.topology.nics.get(at),
        Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
    };
    let (from, to) = (nic(claim.from), nic(claim.to));
    let mut matches = Vec::new();
    let (family, hook) = if let Some(ports) = bridged(scene, claim, from, to) {
        for (key, port) in ["iifname", "oifname"].into_iter().zip(ports) {
            matches.push(format!("{key} {}", quoted(port.as_str())));
        }
        ("bridge", "forward")
    } else {
        let ip = if claim.ipv6 { "ip6" } else { "ip" };
        let uplink = scene.topology.uplinks.iter().find(|uplink| uplink.ipv6 == claim.ipv6);
        let mut side = |zone: Zone, device: &str, field: &str| match zone {
            Zone::Nic(_) => {
                let nic = nic(zone);
                let bridge = nic.and_then(|nic| nic.bridge.as_ref());
                matches.extend(bridge.map(|(_, bridge)| format!("{device} {}", quoted(bridge.as_str()))));
                let address = nic.and_then(|nic| nic.address(claim.ipv6));
                matches.extend(address.map(|address| format!("{ip} {field} {address}")));
            }
            Zone::Internet | Zone::Outside => {
                matches.extend(uplink.map(|uplink| format!("{device} {}", quoted(uplink.name.as_str()))));
            }
            Zone::Gateway(_) | Zone::Host => {}
        };
        side(claim.from, "iifname", "saddr");
        side(claim.to, "oifname", "daddr");
        let hook = match (claim.from, claim.to) {
            (Zone::Host, _) => "output",
            (_, Zone::Host | Zone::Gateway(_)) => "input",
            _ => "forward",
        };
        ("inet", hook)
    };
    let ip = if claim.ipv6 { "ip6" } else { "ip" };
    for (field, net) in [("saddr", claim.selection.source), ("daddr", claim.selection.destination)] {
        matches.extend(net.map(|net| format!("{ip} {field} {net}")));
    }
    matches.extend(claim.selection.protocol.as_ref().map(|protocol| words(protocol, claim.ipv6)));
    let forged = if family == "inet" && from.is_some() {
        ". A rule that goes by the source means one VM alone, and is got past by who forges it: without `ip saddr` it \
         holds for the whole network; `<filterref filter='clean-traffic'/>` in the interface keeps a VM from forging"
    } else {
        ". Two ports that need not reach one another at all: `<port isolated='yes'/>` in the interface of both"
    };
    // A denial is of new flows: answers to what others ask are none.
    matches.extend((family == "inet").then(|| "ct state new,invalid".to_owned()));
    let fix = fix(
        [
            format!("nft add table {family} kvmnet_policy"),
            format!(
                "nft add chain {family} kvmnet_policy {hook} '{{ type filter hook {hook} priority -1; }}'"
            ),
            format!("nft add rule {family} kvmnet_policy {hook} {} drop", matches.join(" ")),
        ],
        &format!(
            "write the rules into /etc/nftables.conf for them to last; a rule for a tap holds until the VM is started \
             anew{forged}"
        ),
    );
    // In a bridge answers are not told from questions.
    Fix { disruptive: family == "bridge", ..fix }
}

/// The ports by which the packets go through one bridge, if the host does not route them.
fn bridged<'a>(
    scene: &Scene<'a>,
    claim: &Claim,
    from: Option<&'a Nic>,
    to: Option<&'a Nic>,
) -> Option<[&'a IfName; 2]> {
    let lan = |nic: &Nic| {
        let network = scene.topology.network_of(nic).filter(|network| network.is_lan())?;
        network.uplink.as_ref().map(|(_, port)| port)
    };
    match (from, to, claim.from, claim.to) {
        (Some(from), Some(to), ..) if from.bridge.is_some() && from.bridge == to.bridge => {
            Some([from.tap.as_ref()?, to.tap.as_ref()?])
        }
        (Some(from), None, _, Zone::Internet) => Some([from.tap.as_ref()?, lan(from)?]),
        (None, Some(to), Zone::Outside, _) => Some([lan(to)?, to.tap.as_ref()?]),
        _ => None,
    }
}

/// What matches a protocol in a rule of nft.
fn words(protocol: &Protocol, ipv6: bool) -> String {
    let (name, ports) = match protocol {
        Protocol::Icmp if ipv6 => return "meta l4proto ipv6-icmp icmpv6 type != 133-137".to_owned(),
        Protocol::Icmp => return "meta l4proto icmp".to_owned(),
        Protocol::Tcp(ports) => ("tcp", ports),
        Protocol::Udp(ports) => ("udp", ports),
    };
    match (*ports.start(), *ports.end()) {
        (0, u16::MAX) => format!("meta l4proto {name}"),
        (first, last) if first == last => format!("{name} dport {first}"),
        (first, last) => format!("{name} dport {first}-{last}"),
    }
}
