//! The policy: what the models cannot know of a host, and who must reach whom there.
//!
//! A file of YAML that the user writes and keeps beside what it is about. It refines the models (a network's mode,
//! ports that are meant to be open, addresses that stand for the internet, findings that are accepted) and adds
//! assertions, each of which becomes claims.

mod draft;
mod expand;
mod read;
mod select;
mod wording;

pub use draft::draft;
pub use expand::{Expansion, Reading, Unmatched, expand};
pub use read::{Malformed, Misread, parse};
pub use select::{Beyond, Selector};

use std::net::IpAddr;

use jiff::civil::Date;
use kvmnet_probes::facts::ForwardMode;
use kvmnet_reports::{Expected, Expired, Finding, PolicyNote};
use wildmatch::WildMatch;

use super::{Claim, Protocol, Topology, Zone};

/// What a policy file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Addresses that stand for the internet; none: those that the command names.
    pub internet: Vec<IpAddr>,
    /// Networks that are meant to be of another mode than libvirt says.
    pub networks: Vec<Mode>,
    /// Ports of VMs that are meant to be reached from outside.
    pub forwards: Vec<Forward>,
    /// Findings that are known and accepted.
    pub accept: Vec<Accept>,
    /// Who must reach whom, or must not.
    pub assertions: Vec<Assertion>,
}

/// Something in the file, and the line on which it begins, from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// What stands there.
    pub value: T,
    /// Where.
    pub line: usize,
}

/// A network that is meant to be of this mode.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// Its name.
    pub network: At<String>,
    /// What it is to be.
    pub mode: ForwardMode,
}

/// A port of a VM that is meant to be reached from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Whose.
    pub to: At<Selector>,
    /// Which, as the VM gets it.
    pub traffic: Vec<Protocol>,
}

/// A finding that is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accept {
    /// Its id, or a pattern of ids.
    pub finding: At<WildMatch>,
    /// About whom, as in a finding's subjects; none: about anybody.
    pub on: Vec<At<WildMatch>>,
    /// Why.
    pub reason: String,
    /// The last day on which it is.
    pub until: Option<Date>,
    /// The line of the file, from 1.
    pub line: usize,
}

/// Who must reach whom with what, or must not.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// What the policy calls it.
    pub name: Option<String>,
    /// Where flows begin; none: in every zone.
    pub from: Vec<At<Selector>>,
    /// Where they go; none: to every zone.
    pub to: Vec<At<Selector>>,
    /// What is wanted.
    pub expected: Expected,
    /// Of what; for a denial none: of everything.
    pub traffic: Vec<Protocol>,
    /// The line of the file, from 1.
    pub line: usize,
}

impl Policy {
    /// Gives networks the modes that they are meant to have.
    pub fn refine(&self, topology: &mut Topology) -> Result<(), Unmatched> {
        for Mode { network, mode } in &self.networks {
            let known = topology.networks.iter_mut().find(|zone| zone.name == network.value);
            match known {
                Some(zone) => zone.mode = *mode,
                None => return Err(Unmatched::network(&network.value, network.line, topology)),
            }
        }
        Ok(())
    }

    /// Takes the ports that are meant to be open out of what the models deny.
    pub fn open(&self, topology: &Topology, claims: &mut [Claim]) -> Result<(), Unmatched> {
        for Forward { to, traffic } in &self.forwards {
            let nics = to.value.nics(topology, to.line)?;
            let denied = |claim: &&mut Claim| {
                let Zone::Nic(nic) = claim.to else { return false };
                claim.from == Zone::Outside && claim.expected == Expected::Deny && nics.contains(&nic)
            };
            for claim in claims.iter_mut().filter(denied) {
                claim.selection.except.extend(traffic.iter().cloned());
            }
        }
        Ok(())
    }

    /// What accepts the finding on this day.
    pub fn accepts(&self, finding: &Finding, today: Date) -> Option<&Accept> {
        self.accept.iter().find(|accept| {
            let about = |on: &At<WildMatch>| finding.subjects.iter().any(|subject| on.value.matches(subject));
            accept.finding.value.matches(&finding.id)
                && (accept.on.is_empty() || accept.on.iter().any(about))
                && accept.until.is_none_or(|until| today <= until)
        })
    }

    /// What accepts nothing any more on this day, and why.
    pub fn expired(&self, today: Date) -> impl Iterator<Item = PolicyNote> {
        self.accept.iter().filter_map(move |accept| {
            let until = accept.until.filter(|until| *until < today)?.to_string();
            let Accept { finding, reason, line, .. } = accept;
            let finding = finding.value.to_string();
            let text = format!("`{finding}` is not accepted any more, {until} was the last day: {reason}");
            Some(PolicyNote { line: *line, text, expired: Some(Expired { finding, until }) })
        })
    }

    /// Whether whom accepted findings are about is there. Devices are not looked for: that one is gone may be what is
    /// accepted.
    pub fn look_up(&self, topology: &Topology) -> Result<(), Unmatched> {
        for At { value, line } in self.accept.iter().flat_map(|accept| &accept.on) {
            let pattern = value.to_string();
            match pattern.split_once(':') {
                Some(("vm", name)) => {
                    let name = WildMatch::new(name);
                    if !topology.nics.iter().any(|nic| name.matches(&nic.vm)) {
                        return Err(Unmatched::vm(&name, *line, topology));
                    }
                }
                Some(("network", name)) => {
                    let wanted = WildMatch::new(name);
                    if !topology.networks.iter().any(|network| wanted.matches(&network.name)) {
                        return Err(Unmatched::network(name, *line, topology));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Assertion {
    /// What the policy calls it, or what it says: `vm:web* to vm:db1: allow tcp/5432`.
    pub fn title(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let ends = |ends: &[At<Selector>]| match ends {
            [] => "all".to_owned(),
            ends => ends.iter().map(|end| end.value.to_string()).collect::<Vec<_>>().join(", "),
        };
        let verb = match self.expected {
            Expected::Allow => "allow",
            Expected::Deny => "deny",
        };
        let traffic = match self.traffic.as_slice() {
            [] => "any".to_owned(),
            kinds => kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        format!("{} to {}: {verb} {traffic}", ends(&self.from), ends(&self.to))
    }
}

#[cfg(test)]
mod tests;
