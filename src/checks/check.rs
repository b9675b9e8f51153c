//! What a check is, and the words in which it answers.

use kvmnet_probes::facts::{IfName, Link, LinkKind, Snapshot};
use kvmnet_reports::{Evidence, Fix, Severity};

use crate::engine::admit::{Flow, Service};
use crate::engine::{Site, Step};
use crate::model::{Attachment, Claim, NetworkZone, Nic, Topology, Traffic, Zone};

/// One diagnosis that kvmnet can make.
pub struct Check {
    /// Its permanent name, kebab-case; the file has the same in `snake_case`.
    pub id: &'static str,
    /// How bad it is where it breaks no claim; a broken claim is always an error.
    pub severity: Severity,
    /// What it is about.
    pub category: Category,
    /// One line.
    pub summary: &'static str,
    /// A paragraph for whoever has to mend it.
    pub explanation: &'static str,
    /// The sources without which it cannot be told.
    pub needs: &'static [&'static str],
    /// Where the knowledge comes from: kernel or libvirt source, documentation, or a measurement.
    pub basis: &'static str,
    /// The version that has it first.
    pub since: &'static str,
    /// Whether it is the cause of a gap.
    pub cause: Option<fn(&Scene<'_>, &Gap<'_>) -> Option<Diagnosis>>,
    /// What the facts alone show, whether or not a claim is broken by it.
    pub facts: Option<fn(&Scene<'_>) -> Vec<Diagnosis>>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Taps, bridges and their ports.
    Link,
    /// Addresses, routes and sysctls.
    Routing,
    /// Netfilter.
    Firewall,
    /// libvirt's networks and what serves them.
    Libvirt,
    /// Paths that the model forbids and that are open.
    Isolation,
    /// What the wire showed.
    Wire,
}

impl Category {
    /// The category in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Routing => "routing",
            Self::Firewall => "firewall",
            Self::Libvirt => "libvirt",
            Self::Isolation => "isolation",
            Self::Wire => "wire",
        }
    }
}

/// The host that is diagnosed.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The facts.
    pub snapshot: &'a Snapshot,
    /// The networks and NICs.
    pub topology: &'a Topology,
}

/// A claim that does not hold, and the site that stops it.
#[derive(Debug, Clone, Copy)]
pub struct Gap<'a> {
    /// The claim.
    pub claim: &'a Claim,
    /// The step that stops the packet or its reply, or of which nothing can be said; `None` if the claim wants it
    /// stopped and nothing does.
    pub step: Option<&'a Step>,
    /// The whole path.
    pub steps: &'a [Step],
}

/// What a check says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Diagnoses of one check with the same key are one finding: the device, network or rule that is
    /// to be mended.
    pub key: String,
    /// Whom it is about besides the VMs whose claims it breaks: `network:default`, `link:virbr0`.
    pub subjects: Vec<String>,
    /// One line for the case that no claim is broken.
    pub title: String,
    /// Why, in a sentence or two.
    pub cause: String,
    /// What shows it, besides the proof and the wire.
    pub evidence: Vec<Evidence>,
    /// What puts it right.
    pub fix: Fix,
}

impl<'a> Scene<'a> {
    /// The NICs that run and belong to a network.
    pub fn members(self, network: &NetworkZone) -> impl Iterator<Item = &'a Nic> {
        let at = self.topology.networks.iter().position(|zone| zone.name == network.name);
        self.topology.nics.iter().filter(move |nic| nic.active && nic.network.is_some() && nic.network == at)
    }

    /// The network whose bridge has this name.
    pub fn network_on(self, bridge: &str) -> Option<&'a NetworkZone> {
        let named = |zone: &&NetworkZone| zone.bridge.as_ref().is_some_and(|name| name.as_str() == bridge);
        self.topology.networks.iter().find(named)
    }

    /// The NIC that runs behind this tap.
    pub fn nic_behind(self, tap: &str) -> Option<&'a Nic> {
        let has = |nic: &&Nic| nic.tap.as_ref().is_some_and(|name| name.as_str() == tap);
        self.topology.nics.iter().find(has)
    }

    /// The NIC's tap is in another bridge than its network's, and that bridge exists.
    pub fn is_astray(self, nic: &Nic) -> bool {
        let (Some(expected), Some((_, now))) = (&nic.expected_bridge, &nic.bridge) else { return false };
        let exists = self.snapshot.link_named(expected.as_str()).is_some();
        now != expected && exists && nic.active && nic.attachment == Attachment::Tap
    }

    /// The NICs that a claim is about, the sender first.
    pub fn nics_of(self, claim: &Claim) -> impl Iterator<Item = &'a Nic> {
        let nics = &self.topology.nics;
        [claim.from, claim.to].into_iter().filter_map(|zone| match zone {
            Zone::Nic(at) => nics.get(at),
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
        })
    }

    /// The modes of the networks promise that nothing passes; what the policy denies besides, they may allow.
    pub fn mode_denies(self, claim: &Claim) -> bool {
        claim.assertion.is_none() || crate::model::is_denied(self.topology, claim)
    }

    /// An end of a claim in words.
    pub fn in_words(self, zone: Zone) -> String {
        match zone {
            Zone::Nic(at) => self.topology.nics.get(at).map_or_else(|| "a VM".to_owned(), Nic::label),
            Zone::Gateway(_) => "the gateway".to_owned(),
            Zone::Host => "the host".to_owned(),
            Zone::Internet => "the internet".to_owned(),
            Zone::Outside => "the outside".to_owned(),
        }
    }

    /// The NIC that the packet is meant for which is stopped: the answer, the one that asked.
    pub fn meant_for(self, gap: &Gap<'_>) -> Option<&'a Nic> {
        let zone = if gap.step?.reply { gap.claim.from } else { gap.claim.to };
        match zone {
            Zone::Nic(at) => self.topology.nics.get(at),
            Zone::Gateway(_) | Zone::Host | Zone::Internet | Zone::Outside => None,
        }
    }

    /// The networks that a claim is about, the sender's first.
    pub fn networks_of(self, claim: &Claim) -> impl Iterator<Item = &'a NetworkZone> {
        self.nics_of(claim).filter_map(move |nic| self.topology.network_of(nic))
    }

    /// The claim is about what lies behind the host, and the host knows no way there.
    pub fn lacks_default_route(self, gap: &Gap<'_>) -> bool {
        let outward = gap.claim.to == Zone::Internet || gap.claim.from == Zone::Outside;
        outward && self.topology.uplinks.iter().all(|uplink| uplink.ipv6 != gap.claim.ipv6)
    }

    /// The device that a network is bound to, and the one that the default route uses in its place.
    pub fn bound_elsewhere(self, zone: &NetworkZone, ipv6: bool) -> Option<(&'a IfName, &'a IfName)> {
        let networks = &self.snapshot.libvirt.known()?.networks;
        let bound = &networks.iter().find(|network| network.name == zone.name)?.config.forward_devices;
        let used = self.topology.uplinks.iter().find(|uplink| uplink.ipv6 == ipv6)?;
        let only = bound.first().filter(|_| !bound.contains(&used.name))?;
        Some((only, &used.name))
    }

    /// What has to be let through a netfilter site for the claim to hold.
    pub fn flow(self, gap: &Gap<'_>) -> Option<Flow<'a>> {
        let bridge = self.networks_of(gap.claim).find_map(|zone| zone.bridge.as_ref())?.as_str();
        match (gap.claim.from, gap.claim.to) {
            (Zone::Nic(_), Zone::Gateway(_)) => Some(Flow::ToHost(
                bridge,
                match gap.claim.traffic {
                    Traffic::Dhcp => Service::Dhcp,
                    Traffic::Dns => Service::Dns,
                    Traffic::Tcp(port) => Service::Tcp(port),
                    Traffic::Udp(port) => Service::Udp(port),
                    Traffic::Icmp | Traffic::FullSize | Traffic::Resolve | Traffic::RouterAdvertisement => {
                        Service::Icmp
                    }
                },
            )),
            (Zone::Host, _) => Some(Flow::RepliesToHost(bridge)),
            (Zone::Outside, _) => Some(Flow::ToBridge(bridge)),
            (Zone::Nic(_), _) => Some(Flow::FromBridge(bridge)),
            (Zone::Gateway(_) | Zone::Internet, _) => None,
        }
    }

    /// The bridge device of a network, if the device exists.
    pub fn bridge(self, network: &NetworkZone) -> Option<&'a Link> {
        self.snapshot.link(network.bridge_index?).filter(|link| matches!(link.kind, LinkKind::Bridge(_)))
    }
}

impl<'a> Gap<'a> {
    /// The site that stops the packet, if one does.
    pub fn site(self) -> Option<&'a Site> {
        Some(&self.step?.site)
    }
}

/// Evidence from a source of facts.
pub(super) fn fact(source: &str, text: impl Into<String>) -> Evidence {
    Evidence { source: source.to_owned(), text: text.into() }
}

/// A fix of commands that interrupt nobody.
pub(super) fn fix(commands: impl IntoIterator<Item = impl Into<String>>, note: &str) -> Fix {
    Fix {
        commands: commands.into_iter().map(Into::into).collect(),
        note: (!note.is_empty()).then(|| note.to_owned()),
        disruptive: false,
    }
}

/// `link:NAME`.
pub(super) fn link(name: impl std::fmt::Display) -> String {
    format!("link:{name}")
}

/// `network:NAME`.
pub(super) fn network(name: &str) -> String {
    format!("network:{name}")
}

/// `vm:NAME`.
pub(super) fn vm(name: &str) -> String {
    format!("vm:{name}")
}
