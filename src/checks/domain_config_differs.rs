//! A running domain has other NICs than its saved configuration.

use kvmnet_probes::facts::{Domain, Interface, InterfaceSource, Mac};
use kvmnet_reports::Severity;

use super::check::{Category, Check, Diagnosis, Scene, fact, fix, vm};
use crate::engine::quoted;

pub(super) const CHECK: Check = Check {
    id: "domain-config-differs",
    severity: Severity::Warning,
    category: Category::Libvirt,
    summary: "a running VM has other NICs than are saved",
    explanation: "Nothing is broken now. `virsh attach-interface --live` and `detach-interface --live` change the \
                  running VM alone, `virsh edit` the saved one alone. After the VM has been powered off and on it has \
                  the NICs that are saved: one that was plugged in for the moment is gone, one that was taken out is \
                  back, one is in another network.",
    needs: &["libvirt"],
    basis: "libvirt's VIR_DOMAIN_XML_INACTIVE; measured",
    since: "0.1.0",
    cause: None,
    facts: Some(facts),
};

fn facts(scene: &Scene<'_>) -> Vec<Diagnosis> {
    let domains = scene.snapshot.libvirt.known().map_or(&[][..], |libvirt| &libvirt.domains);
    domains.iter().filter(|domain| domain.state.is_active()).filter_map(diagnose).collect()
}

fn diagnose(domain: &Domain) -> Option<Diagnosis> {
    let (now, saved) = (&domain.interfaces, domain.saved_interfaces.as_ref()?);
    let with = |nics: &[Interface], mac: Mac| nics.iter().position(|nic| nic.mac == mac);
    let mut differences = Vec::new();
    let mut commands = Vec::new();
    let name = quoted(&domain.name);
    for nic in now {
        let Some(at) = with(saved, nic.mac) else {
            differences.push(format!("{} in {} runs and is not saved", nic.mac, place(nic)));
            if let InterfaceSource::Network { network, .. } = &nic.source {
                let model = nic
                    .model
                    .as_ref()
                    .map_or_else(String::new, |model| format!(" --model {}", quoted(model)));
                commands.push(format!(
                    "virsh attach-interface {name} network {} --mac {}{model} --config",
                    quoted(network),
                    nic.mac
                ));
            }
            continue;
        };
        if place(nic) != place(&saved[at]) {
            differences.push(format!(
                "{} is in {} now, in {} as saved",
                nic.mac,
                place(nic),
                place(&saved[at])
            ));
        }
        if nic.link_up != saved[at].link_up {
            let state = |up| if up { "up" } else { "down" };
            differences.push(format!(
                "{}: link {} now, {} as saved",
                nic.mac,
                state(nic.link_up),
                state(saved[at].link_up)
            ));
        }
    }
    for nic in saved.iter().filter(|nic| with(now, nic.mac).is_none()) {
        differences.push(format!("{} in {} is saved and not plugged in", nic.mac, place(nic)));
        if let InterfaceSource::Network { network, .. } = &nic.source {
            let model =
                nic.model.as_ref().map_or_else(String::new, |model| format!(" --model {}", quoted(model)));
            commands.push(format!(
                "virsh attach-interface {name} network {} --mac {}{model} --live",
                quoted(network),
                nic.mac
            ));
        }
    }
    if differences.is_empty() {
        return None;
    }
    Some(Diagnosis {
        key: domain.uuid.clone(),
        subjects: vec![vm(&domain.name)],
        title: format!("{}: its NICs are not those that are saved", domain.name),
        cause: format!("{} runs with other NICs than it has after the next power cycle.", domain.name),
        evidence: differences.into_iter().map(|words| fact("libvirt", words)).collect(),
        fix: fix(
            commands,
            &format!(
                "compare `virsh dumpxml {name}` with `virsh dumpxml --inactive {name}`: the commands save what runs \
                 and plug in what is saved; if it is the other way round, `virsh detach-interface`"
            ),
        ),
    })
}

/// What the NIC is plugged into, in words.
fn place(nic: &Interface) -> String {
    match &nic.source {
        InterfaceSource::Network { network, portgroup: Some(group), .. } => {
            format!("network {network}, group {group}")
        }
        InterfaceSource::Network { network, portgroup: None, .. } => format!("network {network}"),
        InterfaceSource::Bridge { bridge } => format!("bridge {bridge}"),
        InterfaceSource::Direct { device, mode } => {
            format!("macvtap ({mode}) on {}", device.as_ref().map_or("?", |device| device.as_str()))
        }
        InterfaceSource::Hostdev => "a host device".to_owned(),
        InterfaceSource::Ethernet => "nothing".to_owned(),
        InterfaceSource::User => "user networking".to_owned(),
        InterfaceSource::VhostUser => "vhost-user".to_owned(),
        InterfaceSource::Other { kind } => kind.clone(),
    }
}
