//! NICs that no site can tell apart.
//!
//! What the host knows of two NICs of one network is compared, but for what names them: the number and
//! name of their taps, their MACs and addresses. Those count only if something on the host mentions them.

use std::collections::HashSet;

use kvmnet_probes::facts::{BridgePort, Data, Element, Expr, IfIndex, IfName, Link, Table, TcHook, XtTest};
use kvmnet_probes::wire::SHADOW_OUI;

use super::world::{Facts, World};
use crate::model::{Nic, Topology};

/// For each NIC the first one that is like it.
pub fn representatives(facts: &Facts<'_>, topology: &Topology) -> Vec<usize> {
    let world = World::new(facts);
    let mentioned = Mentioned::on(world);
    let mut kinds: Vec<(usize, Kind<'_>)> = Vec::new();
    (0..topology.nics.len())
        .map(|at| {
            let Some(kind) = Kind::of(world, &mentioned, &topology.nics[at]) else { return at };
            let like = kinds.iter().find(|(_, other)| *other == kind).map(|(first, _)| *first);
            like.unwrap_or_else(|| {
                kinds.push((at, kind));
                at
            })
        })
        .collect()
}

/// For each NIC whether something on the host means its tap or its MAC, so that a port of kvmnet's own with the same
/// switches would not meet the same. What means libvirt's taps in general, by the beginning of their names, tells it
/// apart too. Rules for addresses are not looked at.
pub fn set_apart(facts: &Facts<'_>, topology: &Topology) -> Vec<bool> {
    let world = World::new(facts);
    let mentioned = Mentioned::on(world);
    let hooked =
        |link: &Link| world.snapshot.traffic_control.items().iter().any(|hook| hook.device == link.index);
    let apart = |nic: &Nic| {
        let Some(link) = nic.tap_index.and_then(|tap| world.link(tap)) else { return true };
        !link.xdp.is_empty()
            || link.group != 0
            || hooked(link)
            || is_set_apart(world, nic)
            || mentioned.names(link, nic)
            || mentioned.names_all_like(link, nic)
    };
    topology.nics.iter().map(apart).collect()
}

/// What the host knows of a NIC beside its names.
#[expect(clippy::struct_excessive_bools, reason = "what is known of a NIC, one each")]
#[derive(PartialEq)]
struct Kind<'a> {
    network: Option<usize>,
    expected_bridge: Option<&'a str>,
    active: bool,
    link_up: bool,
    up: bool,
    carrier: bool,
    group: u32,
    /// Its tap is called as libvirt calls taps, so that what asks for all of those means it, too.
    customary: bool,
    bridge: Option<IfIndex>,
    port: Option<&'a BridgePort>,
    traffic_control: Vec<(&'a str, &'a str, Option<&'a str>)>,
}

impl<'a> Kind<'a> {
    /// `None` if something names the NIC, so that it is like no other.
    fn of(world: World<'a>, mentioned: &Mentioned, nic: &'a Nic) -> Option<Self> {
        let link = world.link(nic.tap_index?)?;
        if !link.xdp.is_empty() || mentioned.names(link, nic) || is_set_apart(world, nic) {
            return None;
        }
        let hooks = world.snapshot.traffic_control.items().iter().filter(|hook| hook.device == link.index);
        let said = |hook: &'a TcHook| (hook.kind.as_str(), hook.parent.as_str(), hook.detail.as_deref());
        Some(Self {
            network: nic.network,
            expected_bridge: nic.expected_bridge.as_ref().map(IfName::as_str),
            active: nic.active,
            link_up: nic.link_up,
            up: link.up,
            carrier: link.carrier,
            group: link.group,
            customary: link.name.as_str().starts_with("vnet"),
            bridge: link.master,
            port: link.port.as_ref(),
            traffic_control: hooks.map(said).collect(),
        })
    }
}

/// A MAC table or a neighbour table has an entry of its own for the NIC, made by hand.
fn is_set_apart(world: World<'_>, nic: &Nic) -> bool {
    let fixed = |state: &str| matches!(state, "permanent" | "noarp");
    let neighbours = world.snapshot.neighbours.items();
    let at = |address| nic.addresses.iter().any(|known| known.address == address);
    world.snapshot.fdb.items().iter().any(|entry| entry.mac == nic.mac && (entry.permanent || entry.sticky))
        || neighbours.iter().any(|entry| fixed(&entry.state) && at(entry.address))
}

/// Everything that rules compare with, whatever they compare.
#[derive(Default)]
struct Mentioned {
    /// Constants of at most 16 octets, as they stand in rules and sets.
    words: HashSet<Vec<u8>>,
    /// Longer ones: keys of several fields.
    long: Vec<Vec<u8>>,
    /// Names of devices, and beginnings of names.
    devices: HashSet<String>,
    beginnings: Vec<String>,
}

impl Mentioned {
    fn on(world: World<'_>) -> Self {
        let mut mentioned = Self::default();
        let tables = world.snapshot.nf_tables.items().iter();
        for table in tables.chain(world.snapshot.xtables_legacy.items()) {
            mentioned.table(table);
        }
        for rule in world.snapshot.rules.items() {
            let named = [&rule.input_device, &rule.output_device];
            named.into_iter().flatten().for_each(|name| mentioned.device(name.as_str()));
        }
        mentioned
    }

    fn table(&mut self, table: &Table) {
        for chain in &table.chains {
            for name in chain.base.iter().flat_map(|base| &base.devices) {
                self.device(name.as_str());
            }
            chain.rules.iter().flat_map(|rule| &rule.exprs).for_each(|expr| self.expression(expr));
        }
        for element in table.sets.iter().flat_map(|set| &set.elements) {
            self.element(element);
        }
    }

    fn element(&mut self, element: &Element) {
        [&element.key, &element.key_end].into_iter().flatten().for_each(|key| self.word(&key.0));
    }

    fn expression(&mut self, expr: &Expr) {
        match expr {
            Expr::Cmp { data, .. } => self.word(&data.0),
            Expr::Range { from, to, .. } => {
                self.word(&from.0);
                self.word(&to.0);
            }
            Expr::Immediate { data: Data::Value(bytes), .. } => self.word(&bytes.0),
            Expr::Match(test) => match &test.test {
                XtTest::Physdev { input, output, .. } => {
                    [input, output].into_iter().flatten().for_each(|name| self.device(name.value.as_str()));
                }
                XtTest::Mac { source } => self.word(&source.value.0),
                XtTest::EbArp { source_mac, target_mac, .. } => {
                    let macs = [source_mac, target_mac].into_iter().flatten();
                    macs.for_each(|mac| self.word(&mac.value.0.0));
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn word(&mut self, bytes: &[u8]) {
        if bytes.len() <= 16 {
            self.words.insert(bytes.to_vec());
        } else {
            self.long.push(bytes.to_vec());
        }
    }

    fn device(&mut self, name: &str) {
        match name.strip_suffix(['*', '+']) {
            Some(beginning) => self.beginnings.push(beginning.to_owned()),
            None => {
                self.devices.insert(name.to_owned());
            }
        }
    }

    /// Whether anything names taps that are called as the NIC's is, or MACs that begin as its own does but for QEMU's
    /// beginning, with which ports of kvmnet's own begin too.
    fn names_all_like(&self, link: &Link, nic: &Nic) -> bool {
        let name = link.name.as_str();
        let shorter = (1..name.len()).map(|length| &name.as_bytes()[..length]);
        let own = nic.mac.0[..3] != SHADOW_OUI;
        let macs = (3..6).filter(|length| own || *length > 3).flat_map(|length| {
            let beginning = nic.mac.0[..length].to_vec();
            let mut masked = beginning.clone();
            masked.resize(6, 0);
            [beginning, masked]
        });
        shorter.into_iter().any(|beginning| self.words.contains(beginning))
            || macs.into_iter().any(|mac| self.words.contains(&mac))
            || self.beginnings.iter().any(|beginning| name.starts_with(beginning.as_str()))
    }

    /// Whether anything names the NIC: its tap, by name, the beginning of its name or number, or its MAC.
    /// What begins the name of every tap of libvirt tells none of those from another.
    fn names(&self, link: &Link, nic: &Nic) -> bool {
        let name = link.name.as_str().as_bytes();
        let mut padded = name.to_vec();
        padded.resize(16, 0);
        let beginnings = (1..=16).map(|length| &padded[..length]);
        let number = link.index.0.to_ne_bytes();
        let whole = |bytes: &[u8]| self.words.contains(bytes);
        let within = |long: &[u8], part: &[u8]| long.windows(part.len()).any(|window| window == part);
        let shared = |beginning: &[u8]| b"vnet".starts_with(beginning);
        beginnings.into_iter().any(|beginning| whole(beginning) && !shared(beginning))
            || whole(&number)
            || whole(&nic.mac.0)
            || self.long.iter().any(|long| within(long, name) || within(long, &nic.mac.0))
            || self.devices.contains(link.name.as_str())
            || self.beginnings.iter().any(|beginning| {
                link.name.as_str().starts_with(beginning.as_str()) && !shared(beginning.as_bytes())
            })
    }
}
