//! Elements and attributes, read with an error that says where.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use roxmltree::{Document, Node};

use crate::facts::{IfName, VlanId};

/// XML that is not what libvirt writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not well-formed.
    #[error("parse libvirt's XML")]
    Malformed(#[from] roxmltree::Error),
    /// Another root element.
    #[error("libvirt's XML begins with <{found}> instead of <{expected}>")]
    Root {
        /// What was expected.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A needed element or attribute is absent.
    #[error("<{element}> without {what}")]
    Absent {
        /// Where.
        element: String,
        /// What is absent.
        what: &'static str,
    },
    /// A value that is not understood.
    #[error("<{element} {attribute}='{value}'> is not understood")]
    Value {
        /// Where.
        element: String,
        /// Which attribute.
        attribute: String,
        /// Its value, at most 60 characters of it.
        value: String,
    },
}

/// Parses a document whose root element must have this name.
pub(super) fn document<'a>(xml: &'a str, root: &'static str) -> Result<Document<'a>, Error> {
    let document = Document::parse(xml)?;
    let found = document.root_element().tag_name().name();
    if found == root {
        Ok(document)
    } else {
        Err(Error::Root { expected: root, found: found.chars().take(60).collect() })
    }
}

/// What libvirt's XML needs on top of `roxmltree`.
pub(super) trait Element<'a, 'input: 'a> {
    /// The first child element of this name.
    fn child(&self, name: &str) -> Option<Node<'a, 'input>>;
    /// All child elements of this name.
    fn children_named(&self, name: &'static str) -> impl Iterator<Item = Node<'a, 'input>>;
    /// The text of the first child element of this name.
    fn child_text(&self, name: &str) -> Option<&'a str>;
    /// An attribute of a child, if both exist.
    fn child_attribute(&self, child: &str, attribute: &str) -> Option<&'a str>;
    /// A parsed attribute.
    fn parsed<T: FromStr>(&self, attribute: &str) -> Result<Option<T>, Error>;
    /// A parsed attribute that must be there.
    fn required<T: FromStr>(&self, attribute: &'static str) -> Result<T, Error>;
    /// `yes` or `no`, `on` or `off`.
    fn switch(&self, attribute: &str) -> Result<Option<bool>, Error>;
    /// A device's name in an attribute.
    fn device(&self, attribute: &str) -> Option<IfName>;
    /// The error for an attribute's value.
    fn misunderstood(&self, attribute: &str) -> Error;
    /// The error for something that is absent.
    fn lacks(&self, what: &'static str) -> Error;
}

impl<'a, 'input: 'a> Element<'a, 'input> for Node<'a, 'input> {
    fn child(&self, name: &str) -> Option<Node<'a, 'input>> {
        self.children().find(|node| node.has_tag_name(name))
    }

    fn children_named(&self, name: &'static str) -> impl Iterator<Item = Node<'a, 'input>> {
        self.children().filter(move |node| node.has_tag_name(name))
    }

    fn child_text(&self, name: &str) -> Option<&'a str> {
        self.child(name).and_then(|node| node.text())
    }

    fn child_attribute(&self, child: &str, attribute: &str) -> Option<&'a str> {
        self.child(child).and_then(|node| node.attribute(attribute))
    }

    fn parsed<T: FromStr>(&self, attribute: &str) -> Result<Option<T>, Error> {
        self.attribute(attribute)
            .map(|value| value.parse().map_err(|_| self.misunderstood(attribute)))
            .transpose()
    }

    fn required<T: FromStr>(&self, attribute: &'static str) -> Result<T, Error> {
        self.parsed(attribute)?.ok_or_else(|| self.lacks(attribute))
    }

    fn switch(&self, attribute: &str) -> Result<Option<bool>, Error> {
        match self.attribute(attribute) {
            None => Ok(None),
            Some("yes" | "on") => Ok(Some(true)),
            Some("no" | "off") => Ok(Some(false)),
            Some(_) => Err(self.misunderstood(attribute)),
        }
    }

    fn device(&self, attribute: &str) -> Option<IfName> {
        self.attribute(attribute).map(IfName::from)
    }

    fn misunderstood(&self, attribute: &str) -> Error {
        Error::Value {
            element: self.tag_name().name().to_owned(),
            attribute: attribute.to_owned(),
            value: self.attribute(attribute).unwrap_or_default().chars().take(60).collect(),
        }
    }

    fn lacks(&self, what: &'static str) -> Error {
        Error::Absent { element: self.tag_name().name().to_owned(), what }
    }
}

/// The tags of `<vlan>`.
pub(super) fn vlans(parent: Node<'_, '_>) -> Result<Vec<VlanId>, Error> {
    let Some(vlan) = parent.child("vlan") else { return Ok(Vec::new()) };
    vlan.children_named("tag").map(|tag| tag.required("id").map(VlanId)).collect()
}

/// `<port isolated='yes'/>`.
pub(super) fn port_isolated(parent: Node<'_, '_>) -> Result<bool, Error> {
    let Some(port) = parent.child("port") else { return Ok(false) };
    Ok(port.switch("isolated")?.unwrap_or(false))
}

/// The attributes `address` and `prefix` or `netmask`.
pub(super) fn net(element: Node<'_, '_>) -> Result<IpNet, Error> {
    let address: IpAddr = element.required("address")?;
    let prefix = match (element.parsed::<u8>("prefix")?, element.parsed::<IpAddr>("netmask")?) {
        (Some(prefix), _) => prefix,
        (None, Some(netmask)) => {
            ipnet::ip_mask_to_prefix(netmask).map_err(|_| element.misunderstood("netmask"))?
        }
        (None, None) => prefix_of(address).ok_or_else(|| element.misunderstood("address"))?,
    };
    IpNet::new(address, prefix).map_err(|_| element.misunderstood("prefix"))
}

/// The prefix length that libvirt gives to an address without one: its class, 64 for IPv6; none for
/// class D and above (`virSocketAddrGetIPPrefix` in libvirt's src/util/virsocketaddr.c).
pub fn prefix_of(address: IpAddr) -> Option<u8> {
    match address {
        IpAddr::V6(_) => Some(64),
        IpAddr::V4(address) if address.is_unspecified() => Some(0),
        IpAddr::V4(address) => match address.octets()[0] {
            0..=127 => Some(8),
            128..=191 => Some(16),
            192..=223 => Some(24),
            224..=255 => None,
        },
    }
}
