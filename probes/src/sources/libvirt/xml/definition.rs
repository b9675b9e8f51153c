//! Networks and domains as somebody wrote them down, for `virsh net-define` and `virsh define`.

use roxmltree::{Document, Node};

use super::domain::{interfaces, tags};
use super::element::{Element, Error};
use crate::facts::{Interface, Mac, NetworkConfig};

/// What a file of libvirt's XML defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// `<network>`.
    Network {
        /// Its name.
        name: String,
        /// What it says.
        config: Box<NetworkConfig>,
        /// The XML without lines for dnsmasq's own configuration.
        xml: String,
    },
    /// `<domain>`.
    Domain {
        /// Its name.
        name: String,
        /// Its NICs, in order.
        interfaces: Vec<Interface>,
        /// Its tags.
        tags: Vec<String>,
    },
}

/// The namespace of `<dnsmasq:options>`.
const DNSMASQ: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";

impl Definition {
    /// Parses a definition. A NIC without a MAC gets the next one of `macs`, as libvirt would choose one.
    pub fn parse(xml: &str, macs: &mut impl Iterator<Item = Mac>) -> Result<Self, Error> {
        let document = Document::parse(xml)?;
        let root = document.root_element();
        let name = || {
            let name = root.child_text("name").map(str::trim).filter(|name| !name.is_empty());
            name.map(str::to_owned).ok_or_else(|| root.lacks("<name>"))
        };
        match root.tag_name().name() {
            "network" => {
                Ok(Self::Network { name: name()?, config: Box::new(xml.parse()?), xml: without_options(xml, root) })
            }
            "domain" => Ok(Self::Domain { name: name()?, interfaces: interfaces(root, macs)?, tags: tags(root) }),
            other => {
                let found = other.chars().take(60).collect();
                Err(Error::Root { expected: "network> or <domain", found })
            }
        }
    }
}

/// Without `<dnsmasq:options>`: they have no part in a packet's fate, and can name programs for dnsmasq to run.
fn without_options(xml: &str, root: Node<'_, '_>) -> String {
    let mut kept = xml.to_owned();
    let options = root.children().filter(|node| node.tag_name().namespace() == Some(DNSMASQ));
    // From the end, so that earlier ranges stay right.
    for range in options.map(|node| node.range()).collect::<Vec<_>>().into_iter().rev() {
        kept.replace_range(range, "");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(xml: &str) -> Result<Definition, Error> {
        Definition::parse(xml, &mut (1..).map(|last| Mac([2, 0, 0, 0, 0, last])))
    }

    #[test]
    fn a_domain_without_macs_gets_the_next_ones() {
        let xml = "<domain><name> web1 </name><devices>\
            <interface type='network'><source network='default'/></interface>\
            <interface type='bridge'><mac address='52:54:00:00:00:07'/><source bridge='br0'/></interface>\
            <interface type='network'><source network='iso'/></interface></devices></domain>";
        let Ok(Definition::Domain { name, interfaces, .. }) = parse(xml) else { panic!("{:?}", parse(xml)) };
        let macs: Vec<_> = interfaces.iter().map(|interface| interface.mac.to_string()).collect();
        assert_eq!((name.as_str(), macs.join(" ").as_str()), ("web1", "02:00:00:00:00:01 52:54:00:00:00:07 02:00:00:00:00:02"));
    }

    #[test]
    fn tags_are_those_of_our_namespace() {
        let xml = "<domain><name>web1</name><metadata>\
            <kvmnet:tags xmlns:kvmnet='urn:kvmnet:tags'><kvmnet:tag>web</kvmnet:tag><kvmnet:tag> prod </kvmnet:tag>\
            <kvmnet:tag/></kvmnet:tags><other:tag xmlns:other='urn:other'>none</other:tag><tag>none</tag></metadata></domain>";
        let Ok(Definition::Domain { tags, .. }) = parse(xml) else { panic!("{:?}", parse(xml)) };
        assert_eq!(tags, ["web", "prod"]);
    }

    #[test]
    fn dnsmasq_gets_no_options() {
        let xml = "<network xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>n</name>\
            <d:options><d:option value='dhcp-script=/bin/true'/></d:options><bridge name='virbr7'/></network>";
        let Ok(Definition::Network { xml, config, .. }) = parse(xml) else { panic!("{:?}", parse(xml)) };
        assert!(!xml.contains("script") && xml.ends_with("<bridge name='virbr7'/></network>"), "{xml}");
        assert_eq!(config.bridge.expect("it has one").as_str(), "virbr7");
    }

    #[test]
    fn another_file_is_refused_by_its_root() {
        for (xml, said) in [
            ("<pool/>", "begins with <pool> instead of <network> or <domain>"),
            ("<network/>", "<network> without <name>"),
            ("<domain><name> </name></domain>", "<domain> without <name>"),
            ("no", "parse libvirt's XML"),
        ] {
            assert!(parse(xml).unwrap_err().to_string().contains(said), "{xml}");
        }
    }
}
