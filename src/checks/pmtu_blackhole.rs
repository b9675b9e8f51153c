//! Large packets are lost without a word where small ones are answered.

use std::net::IpAddr;

use kvmnet_probes::facts::Family;
use kvmnet_reports::{Fix, Severity};

use super::check::{Category, Check, Diagnosis, Scene, fix, network};
use crate::engine::admit::{family_word, iptables};
use crate::engine::quoted;
use crate::model::Claim;

pub(super) const CHECK: Check = Check {
    id: "pmtu-blackhole",
    severity: Severity::Warning,
    category: Category::Wire,
    summary: "large packets are lost without a word between VM and internet, small ones are answered",
    explanation: "Somewhere on the way fits less than the VM sends. Whoever cannot pass a packet on must say so \
                  (fragmentation needed, packet too big), and the sender then sends smaller ones. Here nobody says it, or \
                  it is lost on its way back: a firewall that drops ICMP, or lets only answers to established \
                  connections in and not what is related to them. Pings and the beginning of connections pass; pages do \
                  not load, ssh hangs after the login, downloads stall. Tunnels and PPPoE carry less than 1500 bytes. \
                  It is a warning where the host itself fares the same: then the cause lies behind it. It can be wrong where \
                  the target answers small pings only, and where the guest itself was told to send smaller packets.",
    needs: &[],
    basis: "RFC 1191, RFC 8201, RFC 2923 section 2.1; measured with a narrow way behind the router and dropped errors",
    since: "0.1.0",
    // Made from observations when the report is put together.
    cause: None,
    facts: None,
};

/// How far a large packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LargeLoss {
    /// It never left the host.
    OnHost,
    /// It left, and an answer of this address, the target's or one that says that it is too big, came to the host and
    /// not to the VM.
    OnReturn(Option<IpAddr>),
    /// It left and nothing came back; whether the host's own fare the same, if that was tried.
    Beyond(Option<bool>),
}

/// `bytes`: how long the packet was.
pub(super) fn diagnose(scene: &Scene<'_>, claim: &Claim, bytes: u16, loss: LargeLoss) -> Diagnosis {
    let zone = scene.networks_of(claim).next();
    let name = zone.map_or("", |zone| zone.name.as_str());
    let bridge = zone.and_then(|zone| zone.bridge.as_ref()).map_or("virbr0", |bridge| bridge.as_str());
    let ip = if claim.ipv6 { "IPv6" } else { "IPv4" };
    let (how, fix) = match loss {
        LargeLoss::OnHost => (
            "they never leave the host".to_owned(),
            fix(
                None::<String>,
                "look for rules by length (`nft list ruleset | grep length`) and for devices with a smaller MTU",
            ),
        ),
        LargeLoss::OnReturn(by) => {
            let by = by.map_or_else(|| "somebody behind the host".to_owned(), |by| by.to_string());
            (
                format!("{by} answers them, and the host does not pass that on to the VM"),
                accept_related(claim, bridge),
            )
        }
        LargeLoss::Beyond(Some(true)) => (
            "they leave the host and nothing comes back, while the host's own are answered".to_owned(),
            smaller(claim, "look for a filter behind the host"),
        ),
        LargeLoss::Beyond(Some(false)) => (
            "they leave the host and nothing comes back, nor does it for the host's own".to_owned(),
            smaller(claim, "whoever is behind the host must let ICMP errors through"),
        ),
        LargeLoss::Beyond(None) => (
            "they leave the host and nothing comes back".to_owned(),
            smaller(claim, "whoever is behind the host must let ICMP errors through"),
        ),
    };
    Diagnosis {
        key: format!("{name} {ip}"),
        subjects: if name.is_empty() { Vec::new() } else { vec![network(name)] },
        title: format!("{name}: packets of {bytes} bytes are lost without a word between VM and internet"),
        cause: format!("small {ip} packets are answered, those of {bytes} bytes are not: {how}."),
        evidence: Vec::new(),
        fix,
    }
}

/// Lets the errors in that belong to what the VMs sent.
fn accept_related(claim: &Claim, bridge: &str) -> Fix {
    let family = if claim.ipv6 { Family::Ip6 } else { Family::Ip };
    let (iptables, family) = (iptables(family, false), family_word(family));
    fix(
        [format!("{iptables} -I FORWARD -o {} -m conntrack --ctstate RELATED -j ACCEPT", quoted(bridge))],
        &format!(
            "if another table drops them, put `ct state related accept` before the rule that does: `nft list ruleset {family}` \
             and `nft list ruleset inet` show it"
        ),
    )
}

/// Makes the VMs send what fits.
fn smaller(claim: &Claim, first: &str) -> Fix {
    let iptables = iptables(if claim.ipv6 { Family::Ip6 } else { Family::Ip }, false);
    let note = format!(
        "{first}; until then `<mtu size='1400'/>` in the network or the interface lets the VMs send smaller packets once they \
         are started anew, and `{iptables} -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1300` \
         their TCP at once. Another target is set by --internet-target"
    );
    fix(None::<String>, &note)
}
