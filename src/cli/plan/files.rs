//! What the files of a plan say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kvmnet_probes::facts::{IfName, Interface, InterfaceSource, Mac, NetworkConfig};
use kvmnet_probes::sources::libvirt_xml::{Definition, Error as XmlError};
use kvmnet_reports::text::printable;

use super::host::counted;
use crate::cli::read::{self, Limit};

/// libvirt's own name for the file that chooses its firewall backend.
pub(super) const NETWORK_CONF: &str = "network.conf";

/// How files of rules are loaded, by the end of their names.
const LOADERS: [(&str, Loader); 3] = [
    ("nft", Loader::Nft),
    ("v4", Loader::Restore("iptables-restore")),
    ("v6", Loader::Restore("ip6tables-restore")),
];

/// Names of rules that are loaded when libvirt's networks run: by a hook, a reload, or by hand.
const LATE: &str = "after-";

/// What may lie beside a plan: its policy, and words about it.
const BESIDE: [&str; 4] = ["json", "md", "yaml", "yml"];

/// What loads a file of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    /// `nft -f FILE`, in the file's directory.
    Nft,
    /// A program that reads what its counterpart saved from its standard input.
    Restore(&'static str),
}

/// A host that is to be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// libvirt's networks, by file.
    pub(super) networks: Vec<Network>,
    /// Its domains, by file.
    pub(super) domains: Vec<Domain>,
    /// The rules of others, by file.
    pub(super) rules: Vec<Rules>,
    /// libvirt's `network.conf`.
    pub(super) network_conf: Option<String>,
}

/// A network that is to be.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) config: Box<NetworkConfig>,
    /// What libvirt gets.
    pub(super) xml: String,
}

/// A domain that is to be.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) interfaces: Vec<Interface>,
    pub(super) tags: Vec<String>,
}

/// Rules that are to be.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) file: String,
    pub(super) loader: Loader,
    pub(super) text: String,
    /// They are loaded when libvirt's networks run, not before as at boot.
    pub(super) late: bool,
}

/// What is wrong with a plan.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadPlan {
    #[error("cannot read {}", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{0}: not understood")]
    Xml(String, #[source] XmlError),
    #[error("{0}: no file of a plan, whose names end with .xml, .nft, .v4 or .v6 (or are network.conf)")]
    Stranger(String),
    #[error("{file} and {other} both define the {kind} {name}")]
    Twice { kind: &'static str, name: String, file: String, other: String },
    #[error("{file}: domain {domain} is in the network {network}, which no file defines")]
    NoNetwork { file: String, domain: String, network: String },
    #[error("{file}: `{name}` cannot be the name of a device")]
    DeviceName { file: String, name: String },
    #[error("there is no network and no domain in it")]
    Empty,
}

impl Plan {
    /// Reads every file of the directory, in the order of their names.
    pub(super) fn read(directory: &Path) -> Result<Self, BadPlan> {
        let unreadable = |error| BadPlan::Unreadable(directory.to_owned(), error);
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut names = entries
            .map(|entry| Ok(entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, _>>()?;
        names.sort();
        let mut plan = Self::default();
        // Far from where people begin to count.
        let mut macs = (0..).map(|number| counted(0xfd, number));
        for name in names.into_iter().filter(|name| !name.starts_with('.')) {
            plan.take(directory, &name, &mut macs)?;
        }
        plan.check()?;
        Ok(plan)
    }

    fn take(
        &mut self,
        directory: &Path,
        file: &str,
        macs: &mut impl Iterator<Item = Mac>,
    ) -> Result<(), BadPlan> {
        let end = file.rsplit_once('.').map_or("", |(_, end)| end);
        let loader = LOADERS.iter().find(|(suffix, _)| *suffix == end);
        if BESIDE.contains(&end) || file.starts_with("README") {
            return Ok(());
        }
        if end != "xml" && loader.is_none() && file != NETWORK_CONF {
            return Err(BadPlan::Stranger(printable(file).into_owned()));
        }
        let path = directory.join(file);
        let text = read::text(&path, Limit::PLAN).map_err(|error| BadPlan::Unreadable(path, error))?;
        let file = file.to_owned();
        if let Some(&(_, loader)) = loader {
            let late = file.starts_with(LATE);
            self.rules.push(Rules { file, loader, text, late });
            return Ok(());
        }
        if file == NETWORK_CONF {
            self.network_conf = Some(text);
            return Ok(());
        }
        match Definition::parse(&text, macs).map_err(|error| BadPlan::Xml(file.clone(), error))? {
            Definition::Network { name, config, xml } => {
                self.networks.push(Network { file, name, config, xml });
            }
            Definition::Domain { name, interfaces, tags } => {
                self.domains.push(Domain { file, name, interfaces, tags });
            }
        }
        Ok(())
    }

    /// The files fit together.
    fn check(&self) -> Result<(), BadPlan> {
        if self.networks.is_empty() && self.domains.is_empty() {
            return Err(BadPlan::Empty);
        }
        once("network", self.networks.iter().map(|network| (network.name.as_str(), network.file.as_str())))?;
        once("domain", self.domains.iter().map(|domain| (domain.name.as_str(), domain.file.as_str())))?;
        for network in &self.networks {
            devices(&network.file, network.config.bridge.iter().chain(&network.config.forward_devices))?;
        }
        for Domain { file, name, interfaces, .. } in &self.domains {
            for interface in interfaces {
                let plugged = match &interface.source {
                    InterfaceSource::Network { network, .. } => {
                        if self.network(network).is_none() {
                            let [domain, network] = [name, network].map(|name| printable(name).into_owned());
                            return Err(BadPlan::NoNetwork { file: file.clone(), domain, network });
                        }
                        None
                    }
                    InterfaceSource::Bridge { bridge } => Some(bridge),
                    InterfaceSource::Direct { device, .. } => device.as_ref(),
                    InterfaceSource::Hostdev
                    | InterfaceSource::Ethernet
                    | InterfaceSource::User
                    | InterfaceSource::VhostUser
                    | InterfaceSource::Other { .. } => None,
                };
                devices(file, plugged.into_iter().chain(&interface.target))?;
            }
        }
        Ok(())
    }

    /// The network of this name.
    pub(super) fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    /// Bridges that others than libvirt make.
    pub(super) fn foreign_bridges(&self) -> BTreeSet<IfName> {
        let own: BTreeSet<_> = self
            .networks
            .iter()
            .filter(|network| network.config.mode.has_bridge_of_libvirt())
            .filter_map(|network| network.config.bridge.clone())
            .collect();
        let joined = self.networks.iter().filter(|network| !network.config.mode.has_bridge_of_libvirt());
        let joined = joined.filter_map(|network| network.config.bridge.clone());
        let plugged = self.interfaces().filter_map(|interface| match &interface.source {
            InterfaceSource::Bridge { bridge } => Some(bridge.clone()),
            _ => None,
        });
        joined.chain(plugged).filter(|bridge| !own.contains(bridge)).collect()
    }

    /// Devices that lead out of the host and are named.
    pub(super) fn outer_devices(&self) -> BTreeSet<IfName> {
        let forward = self.networks.iter().flat_map(|network| network.config.forward_devices.clone());
        let direct = self.interfaces().filter_map(|interface| match &interface.source {
            InterfaceSource::Direct { device, .. } => device.clone(),
            _ => None,
        });
        forward.chain(direct).collect()
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.domains.iter().flat_map(|domain| &domain.interfaces)
    }
}

/// No name is there twice.
fn once<'a>(kind: &'static str, named: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), BadPlan> {
    let mut seen = std::collections::BTreeMap::new();
    for (name, file) in named {
        if let Some(other) = seen.insert(name, file) {
            let [name, file, other] = [name, file, other].map(|text| printable(text).into_owned());
            return Err(BadPlan::Twice { kind, name, file, other });
        }
    }
    Ok(())
}

/// The kernel takes these names (`dev_valid_name` in net/core/dev.c), and so do lines for `ip -batch`.
fn devices<'a>(file: &str, names: impl Iterator<Item = &'a IfName>) -> Result<(), BadPlan> {
    for name in names.map(IfName::as_str) {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "/:\"'\\#%".contains(c);
        if name.is_empty() || name.len() > 15 || name.starts_with(['.', '-']) || name.contains(bad) {
            let [file, name] = [file, name].map(|text| printable(text).into_owned());
            return Err(BadPlan::DeviceName { file, name });
        }
    }
    Ok(())
}

/// A device's name from the command line.
pub(super) fn device(name: &str) -> Result<IfName, String> {
    let device = IfName::from(name);
    devices("", std::iter::once(&device)).map_err(|_| "this cannot be the name of a device".to_owned())?;
    Ok(device)
}
