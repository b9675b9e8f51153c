//! What libvirt owns on a host: its tables and chains, which of its rules are in place, and which
//! daemon writes them.
//!
//! Sources: src/network/network_nftables.c and network_iptables.c of libvirt 11.3, and rules read from
//! a running one.

use kvmnet_probes::facts::{
    Bytes, Chain, Compare, Daemon, Data, Expr, Family, ForwardMode, IfIndex, IfName, Rule, Snapshot, Table,
    Verdict, XtAction,
};

use crate::model::NetworkZone;

/// The table of the nftables backend.
pub const NFTABLES_TABLE: &str = "libvirt_network";

/// The prefix of the chains of the iptables backend.
pub const IPTABLES_PREFIX: &str = "LIBVIRT_";

/// The systemd service whose restart puts libvirt's rules, addresses of its bridges' servers and its
/// DHCP and DNS servers back without touching a running guest. Measured with libvirt 11.3: neither
/// SIGHUP nor stopping and starting the network does.
pub fn network_service(snapshot: &Snapshot) -> &'static str {
    match snapshot.libvirt.known().map(|libvirt| libvirt.daemon) {
        Some(Daemon::Modular) => "virtnetworkd",
        Some(Daemon::Libvirtd | Daemon::TestDriver | Daemon::Unknown) | None => "libvirtd",
    }
}

/// Whether libvirt writes rules for a network of this mode.
pub fn writes_rules(mode: ForwardMode) -> bool {
    matches!(mode, ForwardMode::Nat | ForwardMode::Isolated | ForwardMode::Route)
}

/// Whether libvirt wrote this chain.
pub fn is_libvirts(table: &str, chain: &str) -> bool {
    table == NFTABLES_TABLE || chain.starts_with(IPTABLES_PREFIX)
}

/// The iptables backend's chains to which the rules of `chain` jump, in their order; and whether nothing stands in
/// front of these jumps.
pub fn jumps<'a>(chain: &'a Chain) -> (Vec<&'a str>, bool) {
    let target = |rule: &'a Rule| {
        rule.exprs.iter().find_map(|expr| match expr {
            Expr::Immediate { data: Data::Verdict(Verdict::Jump { chain }), .. } => Some(chain.as_str()),
            _ => None,
        })
    };
    let own = |rule: &&'a Rule| target(rule).is_some_and(|to| to.starts_with(IPTABLES_PREFIX));
    let jumps: Vec<&str> = chain.rules.iter().filter(own).filter_map(target).collect();
    let first = chain.rules.iter().take(jumps.len()).filter(own).count();
    let in_front = first == jumps.len();
    (jumps, in_front)
}

/// What libvirt's rules say about one network in one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRules {
    /// A rule that decides about packets to the guests.
    pub input: bool,
    /// A rule that decides about packets from the guests.
    pub output: bool,
}

impl NetworkRules {
    /// Nothing can slip past them.
    pub fn complete(&self) -> bool {
        self.input && self.output
    }
}

/// The rules that libvirt has in place for a network's bridge; `None` if rules could not be read.
pub fn rules_for(snapshot: &Snapshot, network: &NetworkZone, ipv6: bool) -> Option<NetworkRules> {
    let mut found = NetworkRules::default();
    for table in tables(snapshot, ipv6)? {
        for chain in &table.chains {
            let mentions = |outgoing| {
                let mut rules = chain.rules.iter();
                rules.any(|rule| names_bridge(rule, network, outgoing))
            };
            match chain_part(table, chain) {
                Some(Part::Input) => found.input |= mentions(true),
                Some(Part::Output) => found.output |= mentions(false),
                None => {}
            }
        }
    }
    Some(found)
}

/// Part of the rules that libvirt writes for a network is not there, as far as rules could be read.
pub fn rules_are_gone(snapshot: &Snapshot, network: &NetworkZone, ipv6: bool) -> bool {
    rules_for(snapshot, network, ipv6).is_some_and(|rules| !rules.complete())
}

/// Whether libvirt's rules translate sources: of some network, as far as rules could be read.
pub fn masquerades(snapshot: &Snapshot, ipv6: bool) -> bool {
    let translates = |expr: &Expr| match expr {
        Expr::Masquerade { .. } => true,
        Expr::Target(target) => matches!(target.action, XtAction::Masquerade { .. }),
        _ => false,
    };
    let own = |table: &Table, chain: &Chain| table.name == NFTABLES_TABLE || chain.name == "LIBVIRT_PRT";
    tables(snapshot, ipv6).is_some_and(|mut tables| {
        tables.any(|table| {
            let mut chains = table.chains.iter().filter(|chain| own(table, chain));
            chains.any(|chain| chain.rules.iter().flat_map(|rule| &rule.exprs).any(translates))
        })
    })
}

/// Device numbers in the nftables backend's rules that no device has: the bridge was deleted, and a
/// new one of the same name does not inherit them. Empty if rules or devices could not be read.
pub fn stale_indices(snapshot: &Snapshot) -> Vec<IfIndex> {
    let (Some(tables), Some(links)) = (snapshot.nf_tables.known(), snapshot.links.known()) else {
        return Vec::new();
    };
    let mut stale: Vec<IfIndex> = tables
        .iter()
        .filter(|table| table.name == NFTABLES_TABLE)
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules)
        .flat_map(device_tests)
        .filter_map(|test| match test {
            DeviceTest { by_index: Some(index), .. } => Some(index),
            DeviceTest { by_index: None, .. } => None,
        })
        .filter(|index| links.iter().all(|link| link.index != *index))
        .collect();
    stale.sort_unstable();
    stale.dedup();
    stale
}

/// Whether libvirt's private chains exist: starting a network fails without them.
pub fn chains_exist(snapshot: &Snapshot) -> bool {
    tables(snapshot, false).is_none_or(|mut tables| {
        tables.any(|table| table.chains.iter().any(|chain| chain_part(table, chain).is_some()))
    })
}

enum Part {
    Input,
    Output,
}

fn chain_part(table: &Table, chain: &Chain) -> Option<Part> {
    match (table.name.as_str(), chain.name.as_str()) {
        (NFTABLES_TABLE, "guest_input") | ("filter", "LIBVIRT_FWI") => Some(Part::Input),
        (NFTABLES_TABLE, "guest_output") | ("filter", "LIBVIRT_FWO") => Some(Part::Output),
        _ => None,
    }
}

fn tables(snapshot: &Snapshot, ipv6: bool) -> Option<impl Iterator<Item = &Table>> {
    let family = if ipv6 { Family::Ip6 } else { Family::Ip };
    let both = snapshot.nf_tables.known()?.iter().chain(snapshot.xtables_legacy.known()?);
    Some(both.filter(move |table| table.family == family && !table.dormant))
}

fn names_bridge(rule: &Rule, network: &NetworkZone, outgoing: bool) -> bool {
    device_tests(rule).into_iter().any(|test| {
        let by_name =
            test.by_name.is_some() && test.by_name.as_deref() == network.bridge.as_ref().map(IfName::as_str);
        let by_index = test.by_index.is_some() && test.by_index == network.bridge_index;
        test.outgoing == outgoing && (by_name || by_index)
    })
}

/// One comparison of a rule with a device.
struct DeviceTest {
    outgoing: bool,
    by_index: Option<IfIndex>,
    by_name: Option<String>,
}

fn device_tests(rule: &Rule) -> Vec<DeviceTest> {
    let mut tests = Vec::new();
    for pair in rule.exprs.windows(2) {
        // A register is used again by the next load: only the comparison that follows at once counts.
        let [Expr::Meta { destination, key }, Expr::Cmp { source, op: Compare::Eq, data }] = pair else {
            continue;
        };
        let (outgoing, by_index) = match key.as_str() {
            "iif" => (false, true),
            "oif" => (true, true),
            "iifname" => (false, false),
            "oifname" => (true, false),
            _ => continue,
        };
        if source == destination {
            tests.push(DeviceTest {
                outgoing,
                by_index: by_index.then(|| index_of(data)).flatten(),
                by_name: (!by_index).then(|| name_of(data)),
            });
        }
    }
    tests
}

/// Register contents are in the host's byte order.
fn index_of(data: &Bytes) -> Option<IfIndex> {
    Some(IfIndex(u32::from_ne_bytes(*data.0.first_chunk()?)))
}

fn name_of(data: &Bytes) -> String {
    let end = data.0.iter().position(|&byte| byte == 0).unwrap_or(data.0.len());
    String::from_utf8_lossy(&data.0[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use kvmnet_probes::facts::{PayloadBase, Register};

    use super::*;
    use crate::testing::{index, known, snapshot};

    /// `oif "virbr0" ip6 daddr fd00:155::/64`, with one register for both.
    #[test]
    fn what_a_register_is_used_for_afterwards_names_no_device() {
        let mut snapshot = snapshot();
        let bridge = index(&snapshot, "virbr0");
        let register = Register(1);
        let compare =
            |data: &[u8]| Expr::Cmp { source: register, op: Compare::Eq, data: Bytes(data.to_vec()) };
        let exprs = vec![
            Expr::Meta { destination: register, key: "oif".to_owned() },
            compare(&bridge.0.to_ne_bytes()),
            Expr::Payload { destination: register, base: PayloadBase::Network, offset: 24, length: 8 },
            compare(&[0xfd, 0, 1, 0x55, 0, 0, 0, 0]),
        ];
        let tables = known(&mut snapshot.nf_tables);
        let table = tables.iter_mut().find(|table| table.name == NFTABLES_TABLE).expect("libvirt's table");
        let chain = table.chains.first_mut().expect("a chain");
        chain.rules.push(Rule { handle: 99, comment: None, counter: None, exprs });
        assert_eq!(stale_indices(&snapshot), []);
        known(&mut snapshot.links).retain(|link| link.index != bridge);
        assert_eq!(stale_indices(&snapshot), [bridge]);
    }
}
