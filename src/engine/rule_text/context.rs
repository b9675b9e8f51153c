//! What a rule has said so far of the packet's headers, by which later offsets have a name.

use kvmnet_probes::facts::{Family, PayloadBase};

use super::field::Header;

/// A layer whose protocol a statement settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Ether,
    Vlan,
    Network,
    Transport,
}

/// What the rule said of the link layer; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    Unknown,
    Ether,
    /// An Ethernet address was asked for, so that nft asks for the Ethernet protocol too.
    Addressed,
    /// Frames have a VLAN tag.
    Vlan,
}

/// The headers of the packets that come this far in the rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) family: Family,
    link: Link,
    pub(super) network: Option<Header>,
    transport: Option<Header>,
    /// The rule said which transport protocol, also if it is one without a header here.
    protocol: bool,
}

impl Context {
    pub(super) fn new(family: Family) -> Self {
        let network = match family {
            Family::Ip => Some(Header::Ip),
            Family::Ip6 => Some(Header::Ip6),
            Family::Arp => Some(Header::Arp),
            Family::Inet | Family::Netdev | Family::Bridge => None,
        };
        let link = if family == Family::Bridge { Link::Ether } else { Link::Unknown };
        Self { family, link, network, transport: None, protocol: false }
    }

    /// The header at a base, for an offset in bits; `None` if the rule did not say.
    pub(super) fn header(self, base: PayloadBase, at: u32) -> Option<Header> {
        match base {
            PayloadBase::Link if self.link == Link::Vlan && at >= Header::Vlan.begin() => Some(Header::Vlan),
            PayloadBase::Link => (self.link > Link::Unknown).then_some(Header::Ether),
            PayloadBase::Network => self.network,
            PayloadBase::Transport if self.protocol => self.transport,
            PayloadBase::Transport => Some(Header::Th),
            PayloadBase::Inner | PayloadBase::Tunnel => None,
        }
    }

    /// Learns that `meta KEY` is a number; gives the layer that this settles, if nft writes the
    /// same where a field of that layer's header is named alone.
    pub(super) fn meta_is(&mut self, key: &str, number: u64) -> Option<Layer> {
        match (key, self.family) {
            ("iiftype", _) if number == 1 => {
                self.link = self.link.max(Link::Ether);
                Some(Layer::Ether)
            }
            ("nfproto", family) => {
                self.network = match number {
                    2 => Some(Header::Ip),
                    10 => Some(Header::Ip6),
                    _ => None,
                };
                (family == Family::Inet).then_some(Layer::Network)
            }
            ("protocol", family) => {
                self.network = Header::of_ethertype(number);
                matches!(family, Family::Bridge | Family::Netdev).then_some(Layer::Network)
            }
            ("l4proto", _) => {
                self.transport_is(number);
                Some(Layer::Transport)
            }
            _ => None,
        }
    }

    /// Learns that a field is a number; gives the layer that this settles, as [`Self::meta_is`].
    pub(super) fn field_is(&mut self, header: Header, field: &str, number: u64) -> Option<Layer> {
        match (header, field) {
            (Header::Ether, "type") if number == 0x8100 => {
                self.link = Link::Vlan;
                Some(Layer::Vlan)
            }
            (Header::Ether, "type") => {
                self.network = Header::of_ethertype(number);
                (self.family == Family::Bridge || self.link >= Link::Addressed).then_some(Layer::Network)
            }
            (Header::Ether, _) => {
                self.link = self.link.max(Link::Addressed);
                None
            }
            (Header::Vlan, "type") => {
                self.network = Header::of_ethertype(number);
                Some(Layer::Network)
            }
            (Header::Ip, "protocol") => {
                self.transport_is(number);
                // Elsewhere it also says that the packet is IPv4.
                (self.family == Family::Ip).then_some(Layer::Transport)
            }
            (Header::Icmp, "type") if number == 3 => {
                self.transport = Some(Header::IcmpUnreachable);
                None
            }
            (Header::Icmpv6, "type") if number == 2 => {
                self.transport = Some(Header::Icmpv6TooBig);
                None
            }
            (Header::Ip6, "nexthdr") => {
                // It is not the transport protocol where there are extension headers.
                self.transport_is(number);
                None
            }
            _ => None,
        }
    }

    fn transport_is(&mut self, protocol: u64) {
        self.protocol = true;
        self.transport = Header::of_protocol(protocol);
    }

    /// TCP's header, if the rule said that it is there.
    pub(super) fn tcp(self) -> &'static [Header] {
        if self.transport == Some(Header::Tcp) { &[Header::Tcp] } else { &[] }
    }

    /// The layers that are settled where a field of the header is named.
    pub(super) fn implied(self, header: Header) -> &'static [Layer] {
        match header {
            Header::Ether => &[Layer::Ether],
            Header::Vlan => &[Layer::Ether, Layer::Vlan],
            Header::Arp | Header::Ip | Header::Ip6 => &[Layer::Network],
            Header::Icmp | Header::IcmpUnreachable if self.network == Some(Header::Ip) => {
                &[Layer::Transport, Layer::Network]
            }
            Header::Icmpv6 | Header::Icmpv6TooBig if self.network == Some(Header::Ip6) => {
                &[Layer::Transport, Layer::Network]
            }
            Header::Th => &[],
            Header::Tcp
            | Header::Udp
            | Header::Udplite
            | Header::Sctp
            | Header::Dccp
            | Header::Icmp
            | Header::IcmpUnreachable
            | Header::Icmpv6
            | Header::Icmpv6TooBig
            | Header::Igmp
            | Header::Esp
            | Header::Ah
            | Header::Comp => &[Layer::Transport],
        }
    }
}
