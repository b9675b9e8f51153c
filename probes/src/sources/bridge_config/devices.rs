//! The devices of this host, for files that name theirs by pattern or MAC.

use std::collections::BTreeMap;
use std::io;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::LinkAddr;

use crate::facts::{IfName, Mac};

/// The names of this network namespace's devices, with their MACs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Devices(BTreeMap<IfName, Option<Mac>>);

impl From<Vec<(IfName, Option<Mac>)>> for Devices {
    fn from(devices: Vec<(IfName, Option<Mac>)>) -> Self {
        Self(devices.into_iter().collect())
    }
}

impl Devices {
    /// Those of this network namespace.
    pub(super) fn of_this_host() -> io::Result<Self> {
        let mut devices = BTreeMap::new();
        for address in getifaddrs()? {
            let link = address.address.as_ref().and_then(|address| address.as_link_addr());
            let mac = link.filter(|link| link.halen() == 6).and_then(LinkAddr::addr).map(Mac);
            let known: &mut Option<Mac> = devices.entry(IfName(address.interface_name)).or_default();
            *known = known.or(mac);
        }
        Ok(Self(devices))
    }

    /// The devices that a name or shell pattern means: a name means itself, also if there is no such
    /// device now.
    pub(super) fn named(&self, pattern: &str) -> Vec<IfName> {
        if is_pattern(pattern) {
            self.0.keys().filter(|name| matches(pattern, name.as_str())).cloned().collect()
        } else {
            vec![pattern.into()]
        }
    }

    /// The devices with this MAC but the bridge, which often has that of its first port.
    pub(super) fn with_mac(&self, mac: Mac, bridge: &IfName) -> Vec<IfName> {
        let found = self.0.iter().filter(|(name, of)| **of == Some(mac) && *name != bridge);
        found.map(|(name, _)| name.clone()).collect()
    }
}

/// Whether a word is a shell pattern rather than a name.
pub(super) fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Shell patterns as `fnmatch(3)` knows them, without escapes: `*`, `?`, `[a-c]`, `[!x]`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where to go on if the rest does not match: the last star swallows one character more.
    let mut retry = None;
    while in_name < name.len() {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, in_name));
        } else if let Some(next) = one(&pattern[at..], name[in_name]) {
            at += next;
            in_name += 1;
        } else if let Some((after_star, swallowed)) = retry {
            at = after_star;
            in_name = swallowed + 1;
            retry = Some((after_star, in_name));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

/// The length of the pattern's first element if it matches the character.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '[' => {
            // A bracket right after the opening one is a member.
            let end = 2 + pattern.get(2..)?.iter().position(|&close| close == ']')?;
            let members = &pattern[1..end];
            let (negated, members) = match members {
                ['!' | '^', members @ ..] => (true, members),
                members => (false, members),
            };
            (in_set(members, character) != negated).then_some(end + 1)
        }
        literal => (literal == character).then_some(1),
    }
}

fn in_set(members: &[char], character: char) -> bool {
    match members {
        [first, '-', last, rest @ ..] => (*first..=*last).contains(&character) || in_set(rest, character),
        [member, rest @ ..] => *member == character || in_set(rest, character),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, name, expected) in [
            ("eth*", "eth0", true),
            ("eth*", "br0", false),
            ("*", "", true),
            ("e*0*1", "eth0.101", true),
            ("e*0*2", "eth0.101", false),
            ("eth?", "eth", false),
            ("eth[0-2]", "eth2", true),
            ("eth[!0-2]", "eth2", false),
            ("eth[!0-2]", "eth3", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("[]]", "]", true),
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn this_host_has_a_loopback_device() {
        assert!(Devices::of_this_host().unwrap().0.contains_key(&"lo".into()));
    }
}
