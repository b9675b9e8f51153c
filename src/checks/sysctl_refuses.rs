//! A sysctl makes the host deaf to what guests ask of it.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "sysctl-refuses",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "a sysctl keeps the host from answering guests",
    explanation: "Some sysctls make the host pass over packets that it would answer otherwise: arp_ignore questions \
                  for its MAC, so that guests do not even find their gateway, icmp_echo_ignore_all pings, and \
                  disable_ipv6 all of IPv6 on a device. Hardening guides and load balancers set them for all \
                  devices; the bridges of guests have to be left out.",
    needs: &["sysctls"],
    basis: "net/ipv4/arp.c arp_ignore, net/ipv4/icmp.c icmp_echo, net/ipv6/ip6_input.c; measured",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

/// Ends of the names of sysctls that are off at 0.
const DEAF: [&str; 4] = ["/arp_ignore", "/icmp_echo_ignore_all", "/icmp/echo_ignore_all", "/disable_ipv6"];

fn cause(_: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Sysctl { name, value } = gap.site()? else { return None };
    DEAF.iter().find(|end| name.ends_with(**end))?;
    Some(Diagnosis {
        key: name.clone(),
        subjects: vec!["host".to_owned()],
        title: format!("{name} = {value} keeps the host from answering"),
        cause: format!("{name} is {value}: the host does not answer."),
        evidence: vec![fact("sysctls", format!("{name} = {value}"))],
        fix: fix(
            [format!("sysctl -w {}=0", quoted(name))],
            "find what sets it: `grep -r` for its name in /etc/sysctl.conf, /etc/sysctl.d and /usr/lib/sysctl.d",
        ),
    })
}
