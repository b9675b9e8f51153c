//! The host drops packets because the way back to their source is another.

use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Gap, Scene, fact, fix, link};
use crate::engine::{Site, quoted};

pub(super) const CHECK: Check = Check {
    id: "rp-filter",
    severity: Severity::Error,
    category: Category::Routing,
    summary: "reverse-path filtering drops a guest's packets",
    explanation: "With rp_filter=1 the host drops a packet whose source it would reach by another device than \
                  the one that it came in by. The larger of the values for `all` and for the device counts. \
                  Usually the route back is what is wrong: an overlapping subnet, a VPN's table, a VM with two \
                  NICs. Loose filtering (2) asks only that some route exists.",
    needs: &["sysctls", "routes"],
    basis: "net/ipv4/fib_frontend.c fib_validate_source; Documentation/networking/ip-sysctl.rst",
    since: "0.1.0",
    cause: Some(cause),
    facts: None,
};

fn cause(_scene: &Scene<'_>, gap: &Gap<'_>) -> Option<Diagnosis> {
    let Site::Sysctl { name, value } = gap.site()? else { return None };
    let device = name.strip_prefix("net/ipv4/conf/")?.strip_suffix("/rp_filter")?;
    Some(Diagnosis {
        key: name.clone(),
        subjects: vec![link(device)],
        title: format!("{device}: reverse-path filtering drops packets"),
        cause: format!("{name} is {value}, and the way back to the packet's source is by another device."),
        evidence: vec![fact("sysctls", format!("{name} = {value}"))],
        fix: fix(
            [format!("sysctl -w {}=2", quoted(name))],
            "better: mend the route back to the source, if it is not meant to be by another device",
        ),
    })
}
