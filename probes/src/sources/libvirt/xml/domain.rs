//! The network interfaces of `<domain>`
//! (<https://libvirt.org/formatdomain.html#network-interfaces>).

use std::str::FromStr;

use roxmltree::Node;

use super::element::{Element, Error, document, net, port_isolated, vlans};
use crate::facts::{FilterRef, Interface, InterfaceSource, Mac};

/// What a domain's XML says about the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainXml {
    /// Its NICs, in order.
    pub interfaces: Vec<Interface>,
    /// The guest's agent has opened its channel: it can be asked.
    pub agent_connected: bool,
    /// Its tags.
    pub tags: Vec<String>,
}

impl FromStr for DomainXml {
    type Err = Error;

    /// Parses what `virDomainGetXMLDesc` returns.
    fn from_str(xml: &str) -> Result<Self, Error> {
        let document = document(xml, "domain")?;
        let root = document.root_element();
        let mut channels =
            root.child("devices").into_iter().flat_map(|devices| devices.children()).filter(|node| node.has_tag_name("channel"));
        let agent_connected = channels.any(|channel| {
            channel.child_attribute("target", "name") == Some("org.qemu.guest_agent.0")
                && channel.child_attribute("target", "state") == Some("connected")
        });
        Ok(Self { interfaces: interfaces(root, &mut std::iter::empty())?, agent_connected, tags: tags(root) })
    }
}

/// The namespace of `<tags>` in a domain's `<metadata>`.
const TAGS: &str = "urn:kvmnet:tags";

/// The words in `<tag>`, as `virsh metadata DOMAIN urn:kvmnet:tags --key kvmnet --set '<tags><tag>WORD</tag></tags>'`
/// leaves them.
pub(super) fn tags(domain: Node<'_, '_>) -> Vec<String> {
    let Some(metadata) = domain.child("metadata") else { return Vec::new() };
    let words = metadata
        .descendants()
        .filter(|node| node.tag_name().namespace() == Some(TAGS) && node.tag_name().name() == "tag")
        .filter_map(|tag| tag.text().map(str::trim).filter(|word| !word.is_empty()));
    words.map(str::to_owned).collect()
}

/// The NICs of a `<domain>`. One without a MAC, as before libvirt has chosen one, gets the next of `macs`.
pub(super) fn interfaces(
    domain: Node<'_, '_>,
    macs: &mut impl Iterator<Item = Mac>,
) -> Result<Vec<Interface>, Error> {
    let Some(devices) = domain.child("devices") else { return Ok(Vec::new()) };
    devices.children_named("interface").map(|element| interface(element, macs)).collect()
}

fn interface(element: Node<'_, '_>, macs: &mut impl Iterator<Item = Mac>) -> Result<Interface, Error> {
    let link_up = match element.child_attribute("link", "state") {
        None | Some("up") => true,
        Some("down") => false,
        Some(_) => return Err(element.child("link").unwrap_or(element).misunderstood("state")),
    };
    Ok(Interface {
        source: source(element)?,
        mac: match element.child("mac") {
            Some(mac) => mac.required("address")?,
            None => macs.next().ok_or_else(|| element.lacks("<mac>"))?,
        },
        target: element.child("target").and_then(|target| target.device("dev")),
        model: element.child_attribute("model", "type").map(str::to_owned),
        link_up,
        filter: element.child("filterref").map(filter).transpose()?,
        vlans: vlans(element)?,
        virtualport: element.child_attribute("virtualport", "type").map(str::to_owned),
        isolated: port_isolated(element)?,
        mtu: element.child("mtu").map(|mtu| mtu.required("size")).transpose()?,
        addresses: element.children_named("ip").map(net).collect::<Result<_, _>>()?,
        alias: element.child_attribute("alias", "name").map(str::to_owned),
    })
}

fn source(element: Node<'_, '_>) -> Result<InterfaceSource, Error> {
    let source = element.child("source");
    // A running NIC of a bridge or macvtap network has that type, and still names its network.
    if let Some(network) = source.and_then(|source| source.attribute("network")) {
        return Ok(InterfaceSource::Network {
            network: network.to_owned(),
            portgroup: source.and_then(|source| source.attribute("portgroup")).map(str::to_owned),
            bridge: source.and_then(|source| source.device("bridge")),
        });
    }
    let passt = element.child_attribute("backend", "type") == Some("passt");
    Ok(match element.required::<String>("type")?.as_str() {
        "network" => return Err(element.lacks("<source network>")),
        "bridge" => InterfaceSource::Bridge {
            bridge: source
                .and_then(|source| source.device("bridge"))
                .ok_or_else(|| element.lacks("<source bridge>"))?,
        },
        "direct" => InterfaceSource::Direct {
            device: source.and_then(|source| source.device("dev")),
            mode: source.and_then(|source| source.attribute("mode")).unwrap_or("vepa").to_owned(),
        },
        "hostdev" => InterfaceSource::Hostdev,
        "ethernet" => InterfaceSource::Ethernet,
        "user" => InterfaceSource::User,
        "vhostuser" if passt => InterfaceSource::User,
        "vhostuser" => InterfaceSource::VhostUser,
        kind => InterfaceSource::Other { kind: kind.to_owned() },
    })
}

fn filter(element: Node<'_, '_>) -> Result<FilterRef, Error> {
    let parameters = element
        .children_named("parameter")
        .map(|parameter| Ok((parameter.required("name")?, parameter.required("value")?)))
        .collect::<Result<_, Error>>()?;
    Ok(FilterRef { filter: element.required("filter")?, parameters })
}

/// Whether running NICs are what the saved ones become when they start: names that libvirt chose
/// and settings that come from the network or its port group are no difference.
pub fn runs_as_saved(running: &[Interface], saved: &[Interface]) -> bool {
    running.len() == saved.len()
        && running.iter().zip(saved).all(|(running, saved)| as_if_saved(running, saved) == *saved)
}

fn as_if_saved(running: &Interface, saved: &Interface) -> Interface {
    let mut interface = running.clone();
    interface.alias.clone_from(&saved.alias);
    if saved.target.is_none() {
        interface.target = None;
    }
    if let InterfaceSource::Network { bridge, .. } = &mut interface.source {
        *bridge = None;
        if saved.vlans.is_empty() {
            interface.vlans.clear();
        }
        if saved.virtualport.is_none() {
            interface.virtualport = None;
        }
        interface.isolated &= saved.isolated;
    }
    interface
}
