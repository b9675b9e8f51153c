//! The commands that let wanted traffic past somebody else's netfilter rules.

use kvmnet_probes::facts::{Chain, Data, Expr, Family, Snapshot, Table, Verdict};

use super::libvirt::jumps;
use super::owner::{Owner, is_iptables, owner, table_at};
use super::{Site, quoted};

/// What is to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow<'a> {
    /// New flows from a bridge to the rest of the world, and the replies to them.
    FromBridge(&'a str),
    /// New flows from the rest of the world to a bridge, and the replies to them.
    ToBridge(&'a str),
    /// To the host itself: this protocol and port, or all of ICMP.
    ToHost(&'a str, Service),
    /// Replies to what the host asked guests on a bridge.
    RepliesToHost(&'a str),
}

/// What the host serves on a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// ICMP or ICMPv6.
    Icmp,
    /// UDP port 67.
    Dhcp,
    /// UDP and TCP port 53.
    Dns,
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
}

/// The commands that let a flow past the base chain of a netfilter site; none if the site is none.
pub fn admit(snapshot: &Snapshot, site: &Site, flow: Flow<'_>) -> Vec<String> {
    let Site::Netfilter { family, table, chain, handle, legacy, .. } = site else { return Vec::new() };
    if owner(snapshot, site) == Owner::Ufw
        && let Some(command) = flow.ufw()
    {
        return vec![command];
    }
    let base = base_chain(snapshot, site).map_or(chain, |base| &base.name);
    if *legacy || is_iptables(*family, table, base) {
        let tool = iptables(*family, *legacy);
        let docker =
            handle.is_none() && table_at(snapshot, site).is_some_and(|table| docker_user(table, base));
        let chain = if docker { "DOCKER-USER" } else { base };
        let table = if table == "filter" { String::new() } else { format!("-t {} ", quoted(table)) };
        return flow
            .iptables(*family == Family::Ip6)
            .into_iter()
            .map(|test| format!("{tool} {table}-I {} {test} -j ACCEPT", quoted(chain)))
            .collect();
    }
    let family = family_word(*family);
    flow.nft()
        .into_iter()
        .map(|test| format!("nft insert rule {family} {} {} {test} accept", quoted(table), quoted(base)))
        .collect()
}

/// The command that deletes the rule of a netfilter site; none if the site is no rule. A rule of a legacy table
/// has but its place in the chain for a name.
pub fn remove(site: &Site) -> Option<String> {
    let Site::Netfilter { family, table, chain, handle: Some(handle), legacy, .. } = site else {
        return None;
    };
    Some(if *legacy {
        format!("{} -t {} -D {} {handle}", iptables(*family, true), quoted(table), quoted(chain))
    } else {
        remove_rule(*family, table, chain, *handle)
    })
}

/// The command that deletes a rule of nf_tables.
pub fn remove_rule(family: Family, table: &str, chain: &str, handle: u64) -> String {
    format!("nft delete rule {} {} {} handle {handle}", family_word(family), quoted(table), quoted(chain))
}

/// The tool of iptables' for the tables of a family.
pub fn iptables(family: Family, legacy: bool) -> &'static str {
    match (family, legacy) {
        (Family::Ip6, true) => "ip6tables-legacy",
        (Family::Ip6, false) => "ip6tables",
        (_, true) => "iptables-legacy",
        (_, false) => "iptables",
    }
}

/// nft's word for a family.
pub fn family_word(family: Family) -> &'static str {
    match family {
        Family::Inet => "inet",
        Family::Ip => "ip",
        Family::Arp => "arp",
        Family::Netdev => "netdev",
        Family::Bridge => "bridge",
        Family::Ip6 => "ip6",
    }
}

/// The base chain of a netfilter site's table at its hook.
pub fn base_chain<'a>(snapshot: &'a Snapshot, site: &Site) -> Option<&'a Chain> {
    let Site::Netfilter { hook, .. } = site else { return None };
    let at_hook = |chain: &&Chain| chain.base.as_ref().is_some_and(|base| base.hook == *hook);
    table_at(snapshot, site)?.chains.iter().find(at_hook)
}

/// The commands that put libvirt's jumps in front of whatever stands there in the base chain of a netfilter site;
/// none if they are, or if there are none.
pub fn libvirt_first(snapshot: &Snapshot, site: &Site) -> Vec<String> {
    let Site::Netfilter { family, legacy, .. } = site else { return Vec::new() };
    let Some(base) = base_chain(snapshot, site) else { return Vec::new() };
    let (jumps, in_front) = jumps(base);
    if in_front {
        return Vec::new();
    }
    let (tool, chain) = (iptables(*family, *legacy), quoted(&base.name));
    let move_up = |to: &&str| [format!("{tool} -D {chain} -j {to}"), format!("{tool} -I {chain} -j {to}")];
    jumps.iter().rev().flat_map(move_up).collect()
}

/// Docker's chain for the administrator's rules is there and the base chain goes through it.
fn docker_user(table: &Table, base: &str) -> bool {
    let jumps = |expr: &Expr| matches!(expr, Expr::Immediate { data: Data::Verdict(Verdict::Jump { chain }), .. } if chain == "DOCKER-USER");
    let exists = table.chains.iter().any(|chain| chain.name == "DOCKER-USER");
    let reached = table
        .chains
        .iter()
        .filter(|chain| chain.name == base)
        .flat_map(|chain| &chain.rules)
        .any(|rule| rule.exprs.iter().any(jumps));
    exists && reached
}

impl<'a> Flow<'a> {
    fn bridge(self) -> &'a str {
        match self {
            Self::FromBridge(bridge)
            | Self::ToBridge(bridge)
            | Self::ToHost(bridge, _)
            | Self::RepliesToHost(bridge) => bridge,
        }
    }

    /// In ufw's words, which last. Replies and ICMP it accepts by itself, and has no words for.
    fn ufw(self) -> Option<String> {
        let bridge = quoted(self.bridge());
        let served = |what: String| Some(format!("ufw allow in on {bridge} to any port {what}"));
        match self {
            Self::FromBridge(_) => Some(format!("ufw route allow in on {bridge}")),
            Self::ToBridge(_) => Some(format!("ufw route allow out on {bridge}")),
            Self::ToHost(_, Service::Dhcp) => served("67 proto udp".to_owned()),
            Self::ToHost(_, Service::Dns) => served("53".to_owned()),
            Self::ToHost(_, Service::Tcp(port)) => served(format!("{port} proto tcp")),
            Self::ToHost(_, Service::Udp(port)) => served(format!("{port} proto udp")),
            Self::ToHost(_, Service::Icmp) | Self::RepliesToHost(_) => None,
        }
    }

    fn iptables(self, ipv6: bool) -> Vec<String> {
        let bridge = quoted(self.bridge());
        let replies = "-m conntrack --ctstate RELATED,ESTABLISHED";
        match self {
            Self::FromBridge(_) => vec![format!("-i {bridge}"), format!("-o {bridge} {replies}")],
            Self::ToBridge(_) => vec![format!("-o {bridge}"), format!("-i {bridge} {replies}")],
            Self::RepliesToHost(_) => vec![format!("-i {bridge} {replies}")],
            Self::ToHost(_, Service::Icmp) if ipv6 => vec![format!("-i {bridge} -p ipv6-icmp")],
            Self::ToHost(_, Service::Icmp) => vec![format!("-i {bridge} -p icmp")],
            Self::ToHost(_, Service::Dhcp) => vec![format!("-i {bridge} -p udp --dport 67")],
            Self::ToHost(_, Service::Dns) => {
                vec![format!("-i {bridge} -p udp --dport 53"), format!("-i {bridge} -p tcp --dport 53")]
            }
            Self::ToHost(_, Service::Tcp(port)) => vec![format!("-i {bridge} -p tcp --dport {port}")],
            Self::ToHost(_, Service::Udp(port)) => vec![format!("-i {bridge} -p udp --dport {port}")],
        }
    }

    fn nft(self) -> Vec<String> {
        let bridge = quoted(self.bridge());
        let replies = "ct state established,related";
        match self {
            Self::FromBridge(_) => {
                vec![format!("iifname {bridge}"), format!("oifname {bridge} {replies}")]
            }
            Self::ToBridge(_) => vec![format!("oifname {bridge}"), format!("iifname {bridge} {replies}")],
            Self::RepliesToHost(_) => vec![format!("iifname {bridge} {replies}")],
            Self::ToHost(_, Service::Icmp) => {
                // One rule per family: a set in braces would need quoting in the shell.
                ["icmp", "ipv6-icmp"]
                    .map(|protocol| format!("iifname {bridge} meta l4proto {protocol}"))
                    .to_vec()
            }
            Self::ToHost(_, Service::Dhcp) => vec![format!("iifname {bridge} udp dport 67")],
            Self::ToHost(_, Service::Dns) => {
                vec![format!("iifname {bridge} udp dport 53"), format!("iifname {bridge} tcp dport 53")]
            }
            Self::ToHost(_, Service::Tcp(port)) => vec![format!("iifname {bridge} tcp dport {port}")],
            Self::ToHost(_, Service::Udp(port)) => vec![format!("iifname {bridge} udp dport {port}")],
        }
    }
}
