//! From a host's networks and NICs to nodes.

use std::collections::BTreeMap;

use super::{Kind, Map, Node, State};
use crate::text::{count, printable};
use crate::{LinkState, Network, Nic, NicState};

/// NICs of a host that are drawn one by one wherever they are.
const ALL_NICS: usize = 48;
/// NICs in one place that are drawn one by one, and of a host with more than that.
const NICS: usize = 12;
const NICS_OF_MANY: usize = 4;
/// Of many NICs in one place those in a state of which packets suffer that are drawn one by one.
const FEW: usize = 4;
/// Networks behind one uplink that are drawn one by one.
const NETWORKS: usize = 24;
/// Addresses and subnets that are shown of one box.
const LINES: usize = 4;
/// Names that are shown of what is one box.
const NAMES: usize = 3;

impl Map {
    /// The picture of a host, and what of it may be missing ([`super::unread`]).
    pub fn new(host: &str, networks: &[Network], nics: &[Nic], unread: &[(String, String)]) -> Self {
        let mut drawing = Builder { networks, nics, placed: vec![false; nics.len()], nodes: Vec::new() };
        for (source, reason) in unread {
            let why = Some((State::Odd, reason.clone()));
            drawing.push(node(Kind::Unread, source.clone(), why));
        }
        let mut uplinks: Vec<Option<&str>> = Vec::new();
        for network in networks {
            let uplink = network.uplink.as_deref();
            if !uplinks.contains(&uplink) {
                uplinks.push(uplink);
            }
        }
        // What leads nowhere comes last.
        uplinks.sort_by_key(Option::is_none);
        for uplink in uplinks {
            drawing.behind(uplink);
        }
        drawing.leftovers();
        Self { host: printable(host).into_owned(), nodes: drawing.nodes }
    }
}

struct Builder<'a> {
    networks: &'a [Network],
    nics: &'a [Nic],
    placed: Vec<bool>,
    nodes: Vec<Node>,
}

impl<'a> Builder<'a> {
    fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// An uplink and all that is behind it; without one, all that is behind none.
    fn behind(&mut self, uplink: Option<&'a str>) {
        let here: Vec<&Network> =
            self.networks.iter().filter(|network| network.uplink.as_deref() == uplink).collect();
        let parent = uplink.map(|name| self.push(node(Kind::Uplink, printable(name).into_owned(), None)));
        let (folded, shown) = self.fold(here);
        let mut bridges: Vec<Option<&str>> = Vec::new();
        for network in &shown {
            let bridge = network.bridge.as_deref();
            if !bridges.contains(&bridge) {
                bridges.push(bridge);
            }
        }
        for bridge in bridges {
            let networks: Vec<_> =
                shown.iter().copied().filter(|network| network.bridge.as_deref() == bridge).collect();
            self.on(bridge, &networks, parent);
        }
        for networks in folded {
            self.crowd(&networks, parent);
        }
    }

    /// Many networks of one mode in which nothing is odd, and the others.
    fn fold(&self, networks: Vec<&'a Network>) -> (Vec<Vec<&'a Network>>, Vec<&'a Network>) {
        if networks.len() <= NETWORKS {
            return (Vec::new(), networks);
        }
        let quiet = |network: &&Network| {
            let mut nics = self.nics.iter();
            let odd = |nic: &Nic| {
                nic.network.as_ref() == Some(&network.name)
                    && state(nic).is_some_and(|(state, _)| state == State::Odd)
            };
            network.active && bridge_state(&[network]).is_none() && !nics.any(odd)
        };
        let (quiet, mut shown): (Vec<_>, Vec<_>) = networks.into_iter().partition(quiet);
        let mut folded: BTreeMap<&str, Vec<&Network>> = BTreeMap::new();
        for network in quiet {
            folded.entry(&network.mode).or_default().push(network);
        }
        let (alone, many): (Vec<_>, Vec<_>) = folded.into_values().partition(|group| group.len() == 1);
        shown.extend(alone.into_iter().flatten());
        (many, shown)
    }

    /// Many networks as one.
    fn crowd(&mut self, networks: &[&Network], parent: Option<usize>) {
        let of = |nic: &Nic| networks.iter().any(|network| nic.network.as_ref() == Some(&network.name));
        let here: Vec<usize> =
            (0..self.nics.len()).filter(|&at| !self.placed[at] && of(&self.nics[at])).collect();
        let Some(first) = networks.first() else { return };
        let title = several(&networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>());
        let number = here.len();
        for at in here {
            self.placed[at] = true;
        }
        let lines = vec![printable(&first.mode).into_owned(), count(number, "NIC")];
        let routed = is_routed(first);
        self.push(Node { lines, parent, routed, ..node(Kind::Network, title, None) });
    }

    /// A bridge, or none, and the networks that it carries.
    fn on(&mut self, bridge: Option<&'a str>, networks: &[&'a Network], parent: Option<usize>) {
        let routed = networks.iter().any(|network| is_routed(network));
        // A bridge that NICs are plugged into directly is its own network.
        let plain = networks.iter().find(|network| Some(network.name.as_str()) == bridge);
        let place = bridge.map_or(parent, |name| {
            let lines = plain.map(|network| describe(network)).unwrap_or_default();
            let title = printable(name).into_owned();
            Some(self.push(Node {
                lines,
                parent,
                routed,
                ..node(Kind::Bridge, title, bridge_state(networks))
            }))
        });
        for network in networks {
            let is_plain = plain.is_some_and(|plain| plain.name == network.name);
            let under = if is_plain {
                place
            } else {
                let off = (!network.active).then(|| (State::Off, "off".to_owned()));
                Some(self.push(Node {
                    lines: describe(network),
                    parent: place,
                    routed: routed && bridge.is_none(),
                    ..node(Kind::Network, printable(&network.name).into_owned(), off)
                }))
            };
            let its = |nic: &Nic| {
                nic.network.as_ref() == Some(&network.name)
                    && (nic.bridge == network.bridge
                        || nic.bridge.is_none() && nic.state != Some(NicState::WrongBridge))
            };
            self.hang(its, under);
        }
        if bridge.is_some() {
            self.hang(|nic| nic.bridge.as_deref() == bridge, place);
        }
    }

    /// What is on a bridge that no network names, or on none.
    fn leftovers(&mut self) {
        let mut bridges: Vec<Option<&str>> = Vec::new();
        for (nic, _) in self.nics.iter().zip(&self.placed).filter(|(_, placed)| !**placed) {
            let bridge = nic.bridge.as_deref();
            if !bridges.contains(&bridge) {
                bridges.push(bridge);
            }
        }
        for bridge in bridges {
            let parent = bridge.map(|name| self.push(node(Kind::Bridge, printable(name).into_owned(), None)));
            self.hang(|nic| nic.bridge.as_deref() == bridge, parent);
        }
    }

    /// Hangs the NICs of which this is so, and that hang nowhere else, on a node. Of many those in one state are one.
    fn hang(&mut self, which: impl Fn(&Nic) -> bool, parent: Option<usize>) {
        let here: Vec<usize> =
            (0..self.nics.len()).filter(|&at| !self.placed[at] && which(&self.nics[at])).collect();
        let network =
            parent.filter(|&at| self.nodes[at].kind == Kind::Network).map(|at| self.nodes[at].title.clone());
        let mut by_state: BTreeMap<Option<NicState>, Vec<usize>> = BTreeMap::new();
        for &at in &here {
            self.placed[at] = true;
            by_state.entry(self.nics[at].state).or_default().push(at);
        }
        let most = if self.nics.len() > ALL_NICS { NICS_OF_MANY } else { NICS };
        let many = here.len() > most;
        let apart = |group: &[usize]| {
            let odd = state(&self.nics[group[0]]).is_some_and(|(state, _)| state == State::Odd);
            !many || group.len() == 1 || odd && group.len() <= FEW
        };
        let alone = |at: &usize| apart(&by_state[&self.nics[*at].state]);
        let single: Vec<Node> = here
            .iter()
            .filter(|at| alone(at))
            .map(|&at| single(&self.nics[at], network.as_deref(), parent))
            .collect();
        let folded: Vec<Node> = by_state
            .values()
            .filter(|group| !apart(group))
            .filter_map(|group| {
                let nics: Vec<_> = group.iter().map(|&at| &self.nics[at]).collect();
                let first = nics.first()?;
                let lines = vec![several(&nics.iter().map(|nic| nic.vm.as_str()).collect::<Vec<_>>())];
                let title = count(nics.len(), "NIC");
                Some(Node { lines, parent, ..node(Kind::Nic, title, state(first)) })
            })
            .collect();
        self.nodes.extend(single);
        self.nodes.extend(folded);
    }
}

/// What is wrong with the bridge of these networks, if it is.
fn bridge_state(networks: &[&Network]) -> Option<(State, String)> {
    let wanted = if networks.iter().any(|network| network.active) { State::Odd } else { State::Off };
    let word = networks.iter().find_map(|network| match network.bridge_state? {
        LinkState::Up => None,
        LinkState::Down => Some("down"),
        LinkState::Missing => Some("missing"),
    });
    word.map(|word| (wanted, word.to_owned()))
}

/// The first names, and how many more there are.
fn several(names: &[&str]) -> String {
    let shown: Vec<_> = names.iter().take(NAMES).map(|name| printable(name)).collect();
    let more = names.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn node(kind: Kind, title: String, state: Option<(State, String)>) -> Node {
    Node { kind, title, lines: Vec::new(), state, parent: None, routed: false }
}

/// `network`: as the title of what it hangs on says it.
fn single(nic: &Nic, network: Option<&str>, parent: Option<usize>) -> Node {
    let name = printable(&nic.vm);
    let title = if nic.nic > 1 { format!("{name}, NIC {}", nic.nic) } else { name.into_owned() };
    let mut lines: Vec<String> = nic.tap.iter().map(|tap| printable(tap).into_owned()).collect();
    if let Some(own) = nic.network.as_deref().map(printable).filter(|own| Some(&**own) != network)
        && nic.network != nic.bridge
    {
        lines.push(format!("of network {own}"));
    }
    lines.extend(some(&nic.addresses));
    Node { lines, parent, ..node(Kind::Nic, title, state(nic)) }
}

/// Mode, subnets, gateways.
fn describe(network: &Network) -> Vec<String> {
    let mut lines = vec![printable(&network.mode).into_owned()];
    lines.extend(some(&network.subnets));
    lines.extend(some(&network.gateways).map(|gateway| format!("gateway {gateway}")));
    lines
}

/// The first ones, and how many more there are.
fn some(texts: &[String]) -> impl Iterator<Item = String> {
    let more = texts.len().saturating_sub(LINES);
    let more = (more > 0).then(|| format!("and {more} more"));
    texts.iter().take(LINES).map(|text| printable(text).into_owned()).chain(more)
}

fn is_routed(network: &Network) -> bool {
    matches!(network.mode.as_str(), "nat" | "route" | "open")
}

fn state(nic: &Nic) -> Option<(State, String)> {
    let (state, word) = match nic.state? {
        NicState::Up => (State::Up, "up"),
        NicState::Paused => (State::Off, "paused"),
        NicState::Off => (State::Off, "off"),
        NicState::Unplugged => (State::Off, "link set to down"),
        NicState::Unseen => (State::Off, "not seen by the host"),
        NicState::Down => (State::Odd, "down"),
        NicState::Missing => (State::Odd, "tap missing"),
        NicState::WrongBridge if nic.bridge.is_none() => (State::Odd, "in no bridge"),
        NicState::WrongBridge => (State::Odd, "in the wrong bridge"),
    };
    Some((state, word.to_owned()))
}
