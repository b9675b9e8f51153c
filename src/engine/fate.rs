//! Fates, sites and traces.

use std::fmt;
use std::net::IpAddr;

use kvmnet_probes::facts::{Family, Hook, IfName, Mac};
use kvmnet_reports::Predicted;

/// A place that can decide a packet's fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// A NIC has no device on the host: `missing` says whether the domain is off or the tap is gone.
    NoTap {
        /// Why.
        missing: String,
    },
    /// A device is down or has no carrier.
    Link {
        /// The device.
        device: IfName,
        /// `down` or `no-carrier` or `absent`.
        state: String,
    },
    /// A tap is in no bridge.
    NoMaster {
        /// The tap.
        device: IfName,
    },
    /// A tap is in another bridge than the destination.
    OtherBridge {
        /// The tap.
        device: IfName,
        /// The bridge that it is in.
        bridge: IfName,
        /// The bridge that it should be in.
        expected: IfName,
    },
    /// A bridge port's state or flag.
    BridgePort {
        /// The port.
        device: IfName,
        /// The bridge.
        bridge: IfName,
        /// `state disabled`, `isolated`, `vlan`, `locked`, `unicast flood off`, ….
        what: String,
    },
    /// A bridge has no port that leads to the LAN.
    NoLanPort {
        /// The bridge.
        bridge: IfName,
    },
    /// An entry of a MAC table.
    Fdb {
        /// The bridge.
        bridge: IfName,
        /// The port that the entry names.
        port: IfName,
    },
    /// A neighbour table entry, set by hand, that names another MAC than the NIC has.
    Neighbour {
        /// The device.
        device: IfName,
        /// The address.
        address: IpAddr,
        /// The MAC that the entry gives.
        mac: Mac,
    },
    /// The host has no such address where the guests look for their gateway.
    NoAddress {
        /// The device.
        device: IfName,
        /// The address.
        address: IpAddr,
    },
    /// A sysctl.
    Sysctl {
        /// Its name with slashes.
        name: String,
        /// Its value.
        value: String,
    },
    /// A route, or the lack of one.
    Route {
        /// The table, if one decided.
        table: Option<u32>,
        /// What it says, as `ip route` prints it, or that there is none.
        text: String,
    },
    /// A policy rule.
    Rule {
        /// Its priority.
        priority: u32,
        /// What it says, as `ip rule` prints it.
        text: String,
    },
    /// A netfilter rule or a base chain's policy.
    Netfilter {
        /// The table's family.
        family: Family,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The hook of the base chain through which the packet came here.
        hook: Hook,
        /// The rule; `None` for the base chain's policy.
        handle: Option<u64>,
        /// The rule as text.
        text: String,
        /// It is in a legacy table.
        legacy: bool,
    },
    /// The source should have been rewritten and was not: no rule translates it.
    NoNat {
        /// The source that leaves by the uplink.
        source: IpAddr,
        /// The device that it leaves by.
        device: IfName,
    },
    /// Nobody serves what is asked for (DHCP, DNS).
    NoService {
        /// `dhcp` or `dns`.
        service: String,
        /// The device on which it is asked for.
        device: IfName,
    },
    /// A program in the kernel that is not understood: eBPF, XDP, tc, nfqueue.
    Opaque {
        /// What and where.
        what: String,
    },
    /// A source of facts that could not be read.
    MissingFact {
        /// The source's name.
        source: String,
    },
}

/// `RT_TABLE_MAIN`.
const MAIN: u32 = 254;

impl Site {
    /// It stops every packet, whatever is in it.
    pub fn stops_all(&self) -> bool {
        matches!(
            self,
            Self::NoTap { .. } | Self::Link { .. } | Self::NoMaster { .. } | Self::NoLanPort { .. }
        )
    }

    /// The device that is broken itself, or that is not plugged in as it should be.
    pub fn device(&self) -> Option<&IfName> {
        match self {
            Self::Link { device, .. }
            | Self::NoMaster { device }
            | Self::OtherBridge { device, .. }
            | Self::BridgePort { device, .. } => Some(device),
            _ => None,
        }
    }

    /// No route, or the default one: what decides where a subnet's own route is gone. A more specific route, and
    /// one of another table, is there in any case.
    pub fn is_last_resort(&self) -> bool {
        match self {
            Self::Route { table, text } => {
                table.is_none() || *table == Some(MAIN) && text.starts_with("default")
            }
            _ => false,
        }
    }
}

/// What a site did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Let the packet pass.
    Pass,
    /// Changed it (NAT, mark) and let it pass.
    Rewrite,
    /// Dropped it in silence.
    Drop,
    /// Refused it with an error to the sender.
    Reject,
    /// Cannot be said.
    Unknown,
}

/// One step of a packet's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// It is on the way of the reply.
    pub reply: bool,
    /// Where on the path: a device, a hook, `route`.
    pub place: String,
    /// What decided there.
    pub site: Site,
    /// What it did.
    pub decision: Decision,
    /// The step in words, one line.
    pub text: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.text)
    }
}

/// What becomes of a packet and of its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// In a word.
    pub predicted: Predicted,
    /// The path, in order. Steps after the first drop are what would happen if it had passed.
    pub steps: Vec<Step>,
    /// The source address with which it leaves the host, if it leaves.
    pub leaves_as: Option<IpAddr>,
    /// Of which packets this is proved.
    pub proof: Proof,
}

/// Of which packets a fate is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Of the one that stands for the claim.
    One,
    /// Of all: whatever is sent does not arrive.
    All,
    /// These pass, as a rule would match them; the one that stands for the claim is one of them.
    Passing(String),
}

impl Fate {
    /// Every step that stops the packet or its reply, in order.
    pub fn blockers(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| matches!(step.decision, Decision::Drop | Decision::Reject))
    }

    /// Every step of which nothing can be said, in order.
    pub fn unknowns(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.decision == Decision::Unknown)
    }
}
