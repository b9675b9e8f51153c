//! Nobody serves DHCP or DNS on a network for which libvirt should.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link, network};
use crate::engine::{Site, libvirt};

pub(super) const CHECK: Check = Check {
    id: "dnsmasq-dead",
    severity: Severity::Error,
    category: Category::Libvirt,
    summary: "the DHCP and DNS server of a network does not run",
    explanation: "libvirt starts one dnsmasq for each network and does not watch over it. If it was killed \
                  (`killall dnsmasq`, out of memory, another DNS server's installation), libvirt goes on \
                  calling the network active. Guests keep their address until the lease ends, but find no \
                  names and get no new address; in a network with IPv6 they lose their router within half an hour. \
                  Restarting the network daemon starts the server again and leaves the guests alone.",
    needs: &["listeners", "libvirt"],
    basis: "measured with libvirt 11.3: a restart of the daemon starts dnsmasq again",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::NoService { service, device } = gap.site()? else { return None };
    let missed = match service.as_str() {
        "dhcp" | "dns" => format!("nobody listens for {} on {device}", service.to_uppercase()),
        other => format!("nobody sends {other} on {device}"),
    };
    let name = scene.network_on(device.as_str()).map_or(device.as_str(), |zone| zone.name.as_str());
    Some(Diagnosis {
        key: device.to_string(),
        subjects: vec![network(name), link(device)],
        title: format!("{name}: nobody serves DHCP and DNS"),
        cause: format!(
            "the DHCP and DNS server (dnsmasq) that libvirt started for network {name} is not running any more."
        ),
        evidence: vec![fact("listeners", missed)],
        fix: fix(
            [format!("systemctl restart {}", libvirt::network_service(scene.snapshot))],
            "running guests stay as they are. If dnsmasq ends again at once, another server holds port 53 or 67: see \
             `ss -lunp`",
        ),
    })
}
