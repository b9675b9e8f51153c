//! The addresses of a port of our own: found without taking anybody's, and answered for.

use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::time::timeout;

use super::{BUFFER, Port};
use crate::facts::Mac;
use crate::wire::frame::{self, Link};

/// How long an address is listened for after each of the questions who has it. On a bridge of this host an answer
/// takes less than a millisecond, and a guest that is busy some tens.
const LISTEN: Duration = Duration::from_millis(200);

/// How often it is asked.
pub(super) const QUESTIONS: usize = 2;

/// What a frame says of addresses.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// Somebody holds it.
    Held(IpAddr),
    /// Somebody at this MAC asks who does, as this address.
    Asked { address: IpAddr, by: IpAddr, mac: Mac },
}

impl Port {
    /// Takes the first address that nobody answers for (as RFC 5227, 2.1.1 asks, but in less time, since nothing is
    /// kept).
    pub(super) async fn take_addresses(&mut self) -> io::Result<()> {
        let own = self.shadow.prefix.map(|prefix| in_prefix(prefix.addr(), self.mac));
        if own.is_none() && self.shadow.addresses.is_empty() {
            return Ok(());
        }
        let mut held = HashSet::new();
        for _ in 0..QUESTIONS {
            for &address in &self.shadow.addresses {
                let link = Link { source: self.mac, destination: Mac::BROADCAST, vlan: None };
                self.send(&frame::arp_request(link, Ipv4Addr::UNSPECIFIED, address))?;
            }
            if let Some(address) = own {
                self.send(&frame::solicitation(self.mac, None, None, Ipv6Addr::UNSPECIFIED, address))?;
            }
            let listening = async {
                let mut buffer = [0; BUFFER];
                loop {
                    let length = poll_fn(|cx| self.tap.poll_receive(cx, &mut buffer)).await?;
                    match read(&buffer[..length.min(BUFFER)]) {
                        Some(Word::Held(address)) => _ = held.insert(address),
                        // Who asks as it holds it, and who asks as nobody wants it.
                        Some(Word::Asked { by, .. }) if !by.is_unspecified() => _ = held.insert(by),
                        Some(Word::Asked { address, mac, .. }) if mac != self.mac => _ = held.insert(address),
                        Some(Word::Asked { .. }) | None => {}
                    }
                }
            };
            // It listens until the time is up, unless it cannot.
            if let Ok(failed) = timeout(LISTEN, listening).await {
                return failed;
            }
        }
        self.ipv4 = self.shadow.addresses.iter().copied().find(|&address| !held.contains(&address.into()));
        self.ipv6 = own.filter(|&address| !held.contains(&address.into()));
        Ok(())
    }

    /// The answer to a frame that asks for the port's own MAC.
    pub(super) fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let Word::Asked { address, by, mac } = read(frame)? else { return None };
        let link = Link { source: self.mac, destination: mac, vlan: None };
        match (address, by) {
            (IpAddr::V4(address), IpAddr::V4(by)) if self.ipv4 == Some(address) => {
                Some(frame::arp_reply(link, address, by))
            }
            (IpAddr::V6(address), IpAddr::V6(by)) if self.ipv6 == Some(address) && !by.is_unspecified() => {
                Some(frame::advertisement(link, address, by))
            }
            _ => None,
        }
    }
}

/// The address of a MAC in a /64 (RFC 4291, appendix A).
fn in_prefix(prefix: Ipv6Addr, Mac(mac): Mac) -> Ipv6Addr {
    let mut octets = prefix.octets();
    octets[8..11].copy_from_slice(&mac[..3]);
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&mac[3..]);
    octets[8] ^= 2;
    octets.into()
}

/// Reads an untagged frame of ARP or neighbour discovery. Guests write these: nothing is taken on trust.
fn read(frame: &[u8]) -> Option<Word> {
    let mac = |at: usize| Some(Mac(*frame.get(at..)?.first_chunk()?));
    let ipv4 = |at: usize| Some(IpAddr::from(*frame.get(at..)?.first_chunk::<4>()?));
    let ipv6 = |at: usize| Some(IpAddr::from(*frame.get(at..)?.first_chunk::<16>()?));
    match *frame.get(12..)?.first_chunk::<2>()? {
        // Ethernet and IPv4, lengths 6 and 4, then the operation.
        [0x08, 0x06] => match *frame.get(14..)?.first_chunk::<8>()? {
            [0, 1, 8, 0, 6, 4, 0, 1] => {
                Some(Word::Asked { address: ipv4(38)?, by: ipv4(28)?, mac: mac(22)? })
            }
            [0, 1, 8, 0, 6, 4, 0, 2] => ipv4(28).map(Word::Held),
            _ => None,
        },
        // ICMPv6 right behind the IPv6 header, of which nobody outside the link can make the hop limit 255.
        [0x86, 0xdd] if frame.get(20..22)? == [58, 255] => match *frame.get(54)? {
            135 => Some(Word::Asked { address: ipv6(62)?, by: ipv6(22)?, mac: mac(6)? }),
            136 => ipv6(62).map(Word::Held),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    const OWN: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

    #[test]
    fn questions_and_answers_are_told_apart() {
        let (held, by) = (Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 1));
        let question =
            frame::arp_request(Link { source: ASKER, destination: Mac::BROADCAST, vlan: None }, by, held);
        let asked = Word::Asked { address: held.into(), by: by.into(), mac: ASKER };
        assert_eq!(read(&question), Some(asked));
        let back = Link { source: OWN, destination: ASKER, vlan: None };
        assert_eq!(read(&frame::arp_reply(back, held, by)), Some(Word::Held(held.into())));

        let held = in_prefix("fd00:9::".parse().unwrap(), OWN);
        assert_eq!(held, "fd00:9::5054:ff:fe00:2".parse::<Ipv6Addr>().unwrap());
        let by = "fd00:9::1".parse().unwrap();
        let asked = Word::Asked { address: held.into(), by: IpAddr::V6(by), mac: ASKER };
        assert_eq!(read(&frame::solicitation(ASKER, None, None, by, held)), Some(asked));
        assert_eq!(read(&frame::advertisement(back, held, by)), Some(Word::Held(held.into())));
    }

    #[test]
    fn no_length_makes_it_panic() {
        let back = Link { source: OWN, destination: ASKER, vlan: None };
        let (held, by) = ("fd00:9::2".parse().unwrap(), "fd00:9::1".parse().unwrap());
        for frame in [
            frame::advertisement(back, held, by),
            frame::arp_reply(back, Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST),
        ] {
            for length in 0..frame.len() {
                let _ = read(&frame[..length]);
            }
        }
    }
}
