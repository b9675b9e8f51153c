//! Addresses replaced so that everything that the kernel asks of them keeps its answer.
//!
//! Bit by bit, from the front: whether a bit is turned over depends on the bits before it and on the key
//! alone. Two addresses that share a prefix therefore share one of the same length afterwards: what
//! contained an address still does, and no two become one. A bit is left as it is where turning
//! it would move an address out of its special range, or would change the order of the ends of a
//! range that something compares with.
//!
//! The construction is that of Xu, Fan, Ammar and Moon, "Prefix-preserving IP address anonymization"
//! (ICNP 2002), with a weaker hash: it hides, it does not withstand a cryptanalyst.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use crate::facts::Mac;

/// Ranges of a nature of their own (IANA's special-purpose registries).
struct Special {
    net: &'static str,
    /// Its addresses are the same everywhere and stay as they are.
    kept: bool,
}

const fn kept(net: &'static str) -> Special {
    Special { net, kept: true }
}

const fn shuffled(net: &'static str) -> Special {
    Special { net, kept: false }
}

const SPECIAL: &[Special] = &[
    kept("0.0.0.0/8"),
    shuffled("10.0.0.0/8"),
    shuffled("100.64.0.0/10"),
    kept("127.0.0.0/8"),
    kept("169.254.0.0/16"),
    shuffled("172.16.0.0/12"),
    kept("192.0.0.0/24"),
    kept("192.0.2.0/24"),
    kept("192.88.99.0/24"),
    shuffled("192.168.0.0/16"),
    kept("198.18.0.0/15"),
    kept("198.51.100.0/24"),
    kept("203.0.113.0/24"),
    kept("224.0.0.0/3"),
    kept("::/8"),
    kept("64:ff9b::/96"),
    shuffled("2000::/3"),
    kept("2001:db8::/32"),
    shuffled("fc00::/8"),
    shuffled("fd00::/8"),
    shuffled("fe80::/64"),
    kept("ff00::/8"),
    // What stands for the internet unless the user names another.
    kept("1.1.1.1/32"),
    kept("2606:4700:4700::1111/128"),
];

/// A run of leading bits: the family's width, the bits, how many they are.
type Prefix = (u8, u128, u8);

/// The replacements of all addresses.
pub(super) struct AddressMap {
    key: u64,
    special: Vec<(Prefix, bool)>,
    /// The bit after each of these is not turned over.
    pinned: HashSet<Prefix>,
    /// The last five octets of each MAC, and the number that stands for them.
    macs: BTreeMap<[u8; 5], u32>,
}

/// The address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(address) => (32, u32::from(address).into()),
        IpAddr::V6(address) => (128, address.into()),
    }
}

fn address(width: u8, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if width == 32 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// The first `length` bits.
fn head(width: u8, number: u128, length: u8) -> Prefix {
    (width, if length == 0 { 0 } else { number >> (width - length) }, length)
}

/// The second and third octet of the MACs that libvirt chooses (`52:54:00`).
const QEMU: [u8; 2] = [0x54, 0x00];

fn tail(mac: Mac) -> [u8; 5] {
    let [_, tail @ ..] = mac.0;
    tail
}

/// Groups, and what is a mask or nothing at all, stay.
fn is_replaced(mac: Mac) -> bool {
    !mac.is_group() && tail(mac).iter().any(|octet| !matches!(octet, 0 | 0xff))
}

impl AddressMap {
    pub(super) fn new(key: u64) -> Self {
        let prefix = |net: &IpNet| {
            let (width, number) = number(net.addr());
            head(width, number, net.prefix_len())
        };
        let parsed = |special: &Special| {
            (prefix(&special.net.parse().expect("the table holds prefixes")), special.kept)
        };
        Self {
            key,
            special: SPECIAL.iter().map(parsed).collect(),
            pinned: HashSet::new(),
            macs: BTreeMap::new(),
        }
    }

    /// What lies between the two addresses still lies between their replacements, and nothing else.
    pub(super) fn keep_range(&mut self, first: IpAddr, last: IpAddr) {
        let ((width, first), (other_width, last)) = (number(first), number(last));
        if width != other_width {
            return;
        }
        let common =
            (0..=width).rev().find(|length| head(width, first, *length) == head(width, last, *length));
        for length in common.unwrap_or(0)..width {
            self.pinned.insert(head(width, first, length));
            self.pinned.insert(head(width, last, length));
        }
    }

    /// A network's first and last addresses stay its first and last.
    fn keep_net(&mut self, net: IpNet) {
        self.keep_range(net.network(), net.broadcast());
    }

    /// Whether the bit after the prefix is turned over.
    fn turns(&self, prefix: Prefix) -> bool {
        let (width, bits, length) = prefix;
        let held = self.special.iter().any(|((special_width, special, special_length), kept)| {
            *special_width == width
                && if *special_length > length {
                    special >> (special_length - length) == bits
                } else {
                    *kept && bits >> (length - special_length) == *special
                }
        });
        if held || self.pinned.contains(&prefix) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (self.key, prefix).hash(&mut hasher);
        hasher.finish() & 1 == 1
    }

    pub(super) fn ip(&self, original: IpAddr) -> IpAddr {
        let (width, number) = number(original);
        let turned = (0..width)
            .filter(|length| self.turns(head(width, number, *length)))
            .fold(0, |turned: u128, length| turned | 1 << (width - 1 - length));
        address(width, number ^ turned)
    }

    fn net(&self, net: IpNet) -> IpNet {
        IpNet::new(self.ip(net.addr()), net.prefix_len()).expect("the prefix length is the same")
    }

    /// The first octet stays, because libvirt makes a tap's MAC of the NIC's by changing it; so do the
    /// two of QEMU's prefix that come next.
    pub(super) fn mac(&mut self, mac: Mac) -> Mac {
        if is_replaced(mac) {
            let next = u32::try_from(self.macs.len()).unwrap_or(u32::MAX) + 1;
            self.macs.entry(tail(mac)).or_insert(next);
        }
        self.known_mac(mac)
    }

    /// The replacement of a MAC that was met before.
    pub(super) fn known_mac(&self, mac: Mac) -> Mac {
        let Some(number) = self.macs.get(&tail(mac)).filter(|_| is_replaced(mac)) else { return mac };
        let middle = if tail(mac).starts_with(&QEMU) { QEMU } else { [0x00, 0x01] };
        let mut octets = [mac.0[0]; 6];
        octets[1..3].copy_from_slice(&middle);
        octets[3..].copy_from_slice(&number.to_be_bytes()[1..]);
        Mac(octets)
    }

    /// The replacement of a text that is an address, a prefix or a MAC.
    pub(super) fn text(&mut self, text: &str) -> Option<String> {
        if let Ok(address) = text.parse() {
            return Some(self.ip(address).to_string());
        }
        if let Ok(net) = text.parse() {
            return Some(self.net(net).to_string());
        }
        Some(self.mac(text.parse().ok()?).to_string())
    }
}

/// Finds every prefix, and every pair of addresses that are the ends of a range.
pub(super) fn keep_ranges(value: &Value, map: &mut AddressMap) {
    match value {
        Value::Object(fields) => {
            if let (Some(Value::String(address)), Some(Value::String(mask))) =
                (fields.get("address"), fields.get("mask"))
                && let (Ok(address), Ok(mask)) = (address.parse(), mask.parse())
                && let Ok(net) = IpNet::with_netmask(address, mask)
            {
                map.keep_net(net);
            }
            fields.values().for_each(|value| keep_ranges(value, map));
        }
        Value::Array(items) => {
            if let [Value::String(first), Value::String(last)] = items.as_slice()
                && let (Ok(first), Ok(last)) = (first.parse(), last.parse())
            {
                map.keep_range(first, last);
            }
            for item in items {
                keep_ranges(item, map);
            }
        }
        Value::String(text) => {
            if let Ok(net) = text.parse() {
                map.keep_net(net);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
