//! A file will set a sysctl to a value that cuts guests off.

use kvmnet_probes::facts::{ForwardMode, SysctlSetting};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix};
use crate::engine::quoted;
use crate::model::NetworkZone;

pub(super) const CHECK: Check = Check {
    id: "sysctl-file-differs",
    severity: Severity::Warning,
    category: Category::Routing,
    summary: "a file sets a sysctl to what cuts guests off",
    explanation: "Nothing is broken now: the sysctl has another value. But the files are applied at the next boot, and \
                  whenever somebody calls `sysctl --system` or a package does. libvirt switches forwarding on when it \
                  starts a network, and never looks again.",
    needs: &["sysctls", "sysctl-files", "libvirt"],
    basis: "sysctl.d(5); libvirt src/network/bridge_driver.c networkEnableIPForwarding",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

/// A value of a sysctl that cuts guests off, and of which networks.
struct Cut {
    name: &'static str,
    value: i64,
    what: &'static str,
    concerns: fn(&NetworkZone) -> bool,
}

const CUTS: [Cut; 6] = [
    Cut {
        name: "net/ipv4/ip_forward",
        value: 0,
        what: "the host forwards no IPv4",
        concerns: |zone| routed(zone) && zone.gateway(false).is_some(),
    },
    Cut {
        name: "net/ipv4/conf/all/forwarding",
        value: 0,
        what: "the host forwards no IPv4",
        concerns: |zone| routed(zone) && zone.gateway(false).is_some(),
    },
    Cut {
        name: "net/ipv6/conf/all/forwarding",
        value: 0,
        what: "the host forwards no IPv6",
        concerns: |zone| routed(zone) && zone.gateway(true).is_some(),
    },
    Cut {
        name: "net/bridge/bridge-nf-call-iptables",
        value: 1,
        what: "bridged IPv4 passes the host's rules for forwarding",
        concerns: NetworkZone::is_lan,
    },
    Cut {
        name: "net/bridge/bridge-nf-call-ip6tables",
        value: 1,
        what: "bridged IPv6 passes the host's rules for forwarding",
        concerns: NetworkZone::is_lan,
    },
    Cut {
        name: "net/ipv4/icmp_echo_ignore_all",
        value: 1,
        what: "the host answers no ping",
        concerns: |zone| !zone.is_lan(),
    },
];

fn routed(zone: &NetworkZone) -> bool {
    matches!(zone.mode, ForwardMode::Nat | ForwardMode::Route | ForwardMode::Open)
}

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let Some(sysctls) = scene.snapshot.sysctls.known() else { return Vec::new() };
    let settings = scene.snapshot.sysctl_files.items().iter();
    let cuts = settings.filter_map(|setting| {
        let cut = CUTS.iter().find(|cut| cut.name == setting.name)?;
        let will = setting.value.parse() == Ok(cut.value);
        let now = sysctls.number(cut.name).filter(|now| *now != cut.value)?;
        let concerned = scene.topology.networks.iter().any(|zone| zone.active && (cut.concerns)(zone));
        (will && concerned).then(|| diagnose(setting, now, cut))
    });
    cuts.collect()
}

fn diagnose(setting: &SysctlSetting, now: i64, cut: &Cut) -> Diagnosis {
    let SysctlSetting { name, value, path } = setting;
    let dotted = name.replace('/', ".");
    Diagnosis {
        key: name.clone(),
        subjects: vec!["host".to_owned()],
        title: format!("{path} sets {dotted} to {value}"),
        cause: format!(
            "{dotted} is {now}, but {path} sets it to {value}: once the files are applied again {}.",
            cut.what
        ),
        evidence: vec![
            fact("sysctls", format!("{name} = {now}")),
            fact("sysctl-files", format!("{path}: {dotted} = {value}")),
        ],
        fix: fix(
            [format!(
                "sed -i -E 's|^[[:space:]]*-?{}[[:space:]=].*|{dotted} = {now}|' {}",
                pattern(name),
                quoted(path)
            )],
            "if a program or package owns the file, write the same into a file of /etc/sysctl.d whose name sorts later",
        ),
    }
}

/// The name by either way of writing it, as an extended regular expression.
fn pattern(name: &str) -> String {
    name.replace('/', "[./]")
}
