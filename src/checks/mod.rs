//! The diagnoses: what a site of the path means, and the hazards that facts alone show.
//!
//! A gap's cause is the site that stops the packet; the first check that knows the site explains it.
//! Checks exclude one another by what they ask, not by their order.

mod check;
mod retired;
mod wrong_way;

mod address_on_port;
mod bridge_down;
mod bridge_missing;
mod bridge_netfilter_drop;
mod bridge_no_address;
mod bridge_not_persistent;
mod bridge_port_filter;
mod bridge_port_state;
mod conntrack_full;
mod device_forwarding_off;
mod dhcp_range_full;
mod dnsmasq_dead;
mod domain_config_differs;
mod duplicate_ip;
mod duplicate_mac;
mod duplicate_machine_id;
mod firewall_generations;
mod firewalld_zone;
mod foreign_port;
mod forward_dev_pinned;
mod forward_drop_spared;
mod forward_policy_drop;
mod forward_rule_drop;
mod guest_silent;
mod host_has_vm_address;
mod input_drop;
mod ip_forward_off;
mod ipv6_open;
mod ipv6_ra_ignored;
mod isolation_leak;
mod libvirt_rules_missing;
mod libvirt_rules_stale;
mod mac_differs;
mod manager_takes_device;
mod masquerade_missing;
mod missing_source;
mod mtu_differs;
mod netfilter_drop;
mod network_config_differs;
mod network_inactive;
mod network_not_autostarted;
mod next_hop_silent;
mod no_default_route;
mod no_way_back;
mod notrack;
mod opaque_drop;
mod pmtu_blackhole;
mod policy_against_mode;
mod policy_leak;
mod policy_table_first;
mod route_drop;
mod rp_filter;
mod static_entry;
mod subnet_overlap;
mod subnet_route_missing;
mod sysctl_file_differs;
mod sysctl_refuses;
mod tap_down;
mod tap_has_guest_mac;
mod tap_missing;
mod unexplained_gap;
mod uplink_down;
mod uplink_not_in_bridge;
mod upstream_silent;
mod vm_in_wrong_bridge;
mod vnet_not_in_bridge;
mod wire_disagrees;

pub use check::{Category, Check, Diagnosis, Gap, Scene};
pub use pmtu_blackhole::LargeLoss;
pub use retired::{Meant, RETIRED, Retired, meant};

use std::net::IpAddr;

use crate::engine::Step;
use crate::model::{Claim, NetworkZone, Nic};

/// Every check, by id.
pub const CHECKS: &[&Check] = &[
    &address_on_port::CHECK,
    &bridge_down::CHECK,
    &bridge_missing::CHECK,
    &bridge_netfilter_drop::CHECK,
    &bridge_no_address::CHECK,
    &bridge_not_persistent::CHECK,
    &bridge_port_filter::CHECK,
    &bridge_port_state::CHECK,
    &conntrack_full::CHECK,
    &device_forwarding_off::CHECK,
    &dhcp_range_full::CHECK,
    &dnsmasq_dead::CHECK,
    &domain_config_differs::CHECK,
    &duplicate_ip::CHECK,
    &duplicate_mac::CHECK,
    &duplicate_machine_id::CHECK,
    &firewall_generations::CHECK,
    &firewalld_zone::CHECK,
    &foreign_port::CHECK,
    &forward_dev_pinned::CHECK,
    &forward_drop_spared::CHECK,
    &forward_policy_drop::CHECK,
    &forward_rule_drop::CHECK,
    &guest_silent::CHECK,
    &host_has_vm_address::CHECK,
    &input_drop::CHECK,
    &ip_forward_off::CHECK,
    &ipv6_open::CHECK,
    &ipv6_ra_ignored::CHECK,
    &isolation_leak::CHECK,
    &libvirt_rules_missing::CHECK,
    &libvirt_rules_stale::CHECK,
    &mac_differs::CHECK,
    &manager_takes_device::CHECK,
    &masquerade_missing::CHECK,
    &missing_source::CHECK,
    &mtu_differs::CHECK,
    &netfilter_drop::CHECK,
    &network_config_differs::CHECK,
    &network_inactive::CHECK,
    &network_not_autostarted::CHECK,
    &next_hop_silent::CHECK,
    &no_default_route::CHECK,
    &no_way_back::CHECK,
    &notrack::CHECK,
    &opaque_drop::CHECK,
    &pmtu_blackhole::CHECK,
    &policy_against_mode::CHECK,
    &policy_leak::CHECK,
    &policy_table_first::CHECK,
    &route_drop::CHECK,
    &rp_filter::CHECK,
    &static_entry::CHECK,
    &subnet_overlap::CHECK,
    &subnet_route_missing::CHECK,
    &sysctl_file_differs::CHECK,
    &sysctl_refuses::CHECK,
    &tap_down::CHECK,
    &tap_has_guest_mac::CHECK,
    &tap_missing::CHECK,
    &unexplained_gap::CHECK,
    &uplink_down::CHECK,
    &uplink_not_in_bridge::CHECK,
    &upstream_silent::CHECK,
    &vm_in_wrong_bridge::CHECK,
    &vnet_not_in_bridge::CHECK,
    &wire_disagrees::CHECK,
];

/// What explains a gap: the check and what it says. Every gap is explained, if need be by saying that
/// it is not.
pub fn explain(scene: &Scene<'_>, gap: &Gap<'_>) -> (&'static Check, Diagnosis) {
    let mut causes = CHECKS.iter().filter_map(|check| Some((*check, check.cause?)));
    causes
        .find_map(|(check, cause)| Some((check, cause(scene, gap)?)))
        .unwrap_or_else(|| (&unexplained_gap::CHECK, unexplained_gap::diagnose(scene, gap)))
}

/// What the facts alone show.
pub fn hazards(scene: &Scene<'_>) -> Vec<(&'static Check, Diagnosis)> {
    CHECKS
        .iter()
        .filter_map(|check| Some((*check, check.facts?)))
        .flat_map(|(check, facts)| facts(scene).into_iter().map(move |diagnosis| (check, diagnosis)))
        .collect()
}

/// A packet that passed although the facts say that it does not, or the other way round.
pub fn wire_disagrees(passed: bool) -> (&'static Check, Diagnosis) {
    (&wire_disagrees::CHECK, wire_disagrees::diagnose(passed))
}

/// Two guests that hold one address, if the claim is about one of them: what is sent to one may go to the other.
pub fn duplicate_ip(scene: &Scene<'_>, claim: &Claim) -> Option<(&'static Check, Diagnosis)> {
    Some((&duplicate_ip::CHECK, duplicate_ip::of_claim(scene, claim)?))
}

/// Packets that leave the host and are not answered by `target`; `host_too`: nor is the host itself, if it was tried;
/// `router`: who answers the VM's packets that expire behind the host.
pub fn upstream_silent(target: &str, host_too: bool, router: Option<IpAddr>) -> (&'static Check, Diagnosis) {
    (&upstream_silent::CHECK, upstream_silent::diagnose(target, host_too, router))
}

/// Packets of so many bytes that are lost where small ones are answered.
pub fn pmtu_blackhole(
    scene: &Scene<'_>,
    claim: &Claim,
    bytes: u16,
    loss: LargeLoss,
) -> (&'static Check, Diagnosis) {
    (&pmtu_blackhole::CHECK, pmtu_blackhole::diagnose(scene, claim, bytes, loss))
}

/// The ports of a LAN's bridge carry packets of different size.
pub fn mtu_differs(scene: &Scene<'_>, zone: &NetworkZone) -> Option<(&'static Check, Diagnosis)> {
    Some((&mtu_differs::CHECK, mtu_differs::of_lan(scene, zone)?))
}

/// The id of the finding that the policy allows what a mode forbids.
pub fn policy_against_mode() -> &'static str {
    policy_against_mode::CHECK.id
}

/// Packets that a guest gets and does not answer.
pub fn guest_silent(nic: &Nic) -> (&'static Check, Diagnosis) {
    (&guest_silent::CHECK, guest_silent::diagnose(nic))
}

/// Packets of which the host says that it finds no way to the next hop.
pub fn next_hop_silent(claim: &Claim, steps: &[Step]) -> (&'static Check, Diagnosis) {
    (&next_hop_silent::CHECK, next_hop_silent::diagnose(claim, steps))
}

/// Packets that leave the host with this source and are not answered, while the host itself is, by the target or at
/// least by this router.
pub fn no_way_back(
    scene: &Scene<'_>,
    claim: &Claim,
    steps: &[Step],
    source: Option<IpAddr>,
    router: Option<IpAddr>,
) -> (&'static Check, Diagnosis) {
    (&no_way_back::CHECK, no_way_back::diagnose(scene, claim, steps, source, router))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_sorted_unique_and_complete() {
        assert!(CHECKS.is_sorted_by(|a, b| a.id < b.id), "sorted by id, each once");
        for check in CHECKS {
            for (field, text) in [
                ("summary", check.summary),
                ("explanation", check.explanation),
                ("basis", check.basis),
                ("since", check.since),
            ] {
                assert!(!text.trim().is_empty(), "{}: {field} is empty", check.id);
            }
            assert!(!check.explanation.contains("  "), "{}: double space", check.id);
            assert!(!check.summary.ends_with('.'), "{}: a summary is no sentence", check.id);
        }
    }

    #[test]
    fn files_are_named_after_their_checks() {
        let source = include_str!("mod.rs");
        for check in CHECKS {
            let module = check.id.replace('-', "_");
            assert!(source.contains(&format!("\nmod {module};")), "{} is not in {module}.rs", check.id);
            assert!(source.contains(&format!("&{module}::CHECK,")), "{}", check.id);
        }
    }

    #[test]
    fn needs_name_sources() {
        let sources =
            crate::testing::snapshot().sources().iter().map(|source| source.name).collect::<Vec<_>>();
        for check in CHECKS {
            for need in check.needs {
                assert!(sources.contains(need), "{} needs {need}, which is no source", check.id);
            }
        }
    }
}
