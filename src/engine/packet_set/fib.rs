//! `fib`: the type of an address, or the device by which it is reached
//! (`net/ipv4/netfilter/nft_fib_ipv4.c`).

use std::net::{IpAddr, Ipv4Addr};

use kvmnet_probes::facts::{Hook, IfIndex, NextHop, RouteKind, RuleAction};

use super::bdd::{Bdd, Decided};
use super::field::{Field, IPV4, IPV6};
use super::lookup::chosen;
use super::octets::name;
use super::rule::{Loaded, Run};
use super::set::PacketSet;
use super::truth::Truth;
use crate::engine::route::{Answer, Query, address_types, in_prefix, link_local, look_up, way_back};

const DESTINATION: u32 = 2;
const MARK: u32 = 4;
const INPUT: u32 = 8;
const OUTPUT: u32 = 16;
const PRESENT: u32 = 32;

/// Data that are loaded, and for which packets.
type Found = Vec<(PacketSet, Vec<u8>)>;

impl Run<'_, '_> {
    /// `fib FLAGS RESULT`.
    pub(super) fn fib(&mut self, result: &str, flags: u32) -> Decided<Loaded> {
        let mut found = Found::new();
        for (ether_type, ipv6) in [(IPV4, false), (IPV6, true)] {
            let family = self.family(ether_type)?;
            if family == Truth::NO {
                continue;
            }
            let loaded = if result == "type" {
                self.address_types(flags, ipv6)?
            } else {
                self.devices(result, flags, ipv6)?
            };
            for (packets, data) in loaded {
                found.push((self.sets.and(packets, family.yes)?, data));
            }
        }
        let holds: Vec<Truth> =
            found.iter().map(|(packets, _)| Truth { yes: *packets, no: Bdd::NONE }).collect();
        let data: Vec<Option<&[u8]>> = found.iter().map(|(_, data)| Some(data.as_slice())).collect();
        // In `netdev` tables there are routes for IP alone (`nft_fib_netdev_eval`).
        Ok(Loaded { bits: chosen(self.sets, &holds, &data)?, there: self.ip()? })
    }

    fn asked(flags: u32) -> Field {
        if flags & DESTINATION != 0 { Field::Destination } else { Field::Source }
    }

    /// Every device has a route to every group of IPv6: what is said of groups there is not known.
    fn without_groups(&mut self, field: Field, ipv6: bool) -> Decided<PacketSet> {
        if !ipv6 {
            return Ok(Bdd::ALL);
        }
        Ok(self.headers.prefix(self.sets, field, u128::from(0xff_u8) << 120, 8)?.no)
    }

    /// The link that an address means which is of one link alone: that of the device that is asked for, else of the one
    /// by which the packets are here (`nft_fib6_flowi_init`). Also the packets of which it is known what is meant.
    fn on_its_link(&mut self, field: Field, flags: u32, ipv6: bool) -> Decided<(Option<IfIndex>, PacketSet)> {
        let within = self.without_groups(field, ipv6)?;
        if !ipv6 {
            return Ok((None, within));
        }
        let came = matches!(self.scope.hook, Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Ingress);
        let device = match flags {
            flags if flags & INPUT != 0 => Field::InputDevice,
            flags if flags & OUTPUT != 0 => Field::OutputDevice,
            _ if came => Field::InputDevice,
            _ => Field::OutputDevice,
        };
        let link = self.headers.constant(device).and_then(index).filter(|device| device.0 != 0);
        if link.is_some() {
            return Ok((link, within));
        }
        // One of several.
        let near = in_prefix(self.sets, &self.headers, field, link_local())?;
        Ok((None, self.sets.and(within, near.no)?))
    }

    fn address_types(&mut self, flags: u32, ipv6: bool) -> Decided<Found> {
        let field = Self::asked(flags);
        let limit = match flags {
            flags if flags & INPUT != 0 => Some(Field::InputDevice),
            flags if flags & OUTPUT != 0 => Some(Field::OutputDevice),
            _ => None,
        };
        let device = limit.map(|limit| self.headers.constant(limit).and_then(index));
        // One of several devices.
        if device == Some(None) {
            return Ok(Found::new());
        }
        let (link, within) = self.on_its_link(field, flags, ipv6)?;
        let device = device.flatten().filter(|device| device.0 != 0);
        if ipv6 && device.is_none() {
            return self.routed_types(field, flags & MARK != 0, link, within);
        }
        let types = address_types(self.sets, self.scope.world, (&self.headers, field), ipv6, device)?;
        types
            .into_iter()
            .map(|(kind, packets)| {
                Ok((self.sets.and(packets, within)?, u32::from(kind).to_ne_bytes().to_vec()))
            })
            .collect()
    }

    /// IPv6 asks all tables for the type of an address, by the policy rules (`__nft_fib6_eval_type`).
    fn routed_types(
        &mut self,
        field: Field,
        marked: bool,
        link: Option<IfIndex>,
        within: PacketSet,
    ) -> Decided<Found> {
        let query = Query { link, ..way_back(&self.headers, true, marked, None) };
        let query = if field == Field::Source {
            query
        } else {
            Query { source: Some(Field::Source), destination: Field::Destination, ..query }
        };
        let mut found = Found::new();
        for (answer, packets) in look_up(self.sets, self.scope.world, query, within)? {
            // `RTN_*`.
            let kind: u32 = match answer {
                Answer::Unknown(_) => continue,
                Answer::Route(route, _) => match route.kind {
                    RouteKind::Local => 2,
                    RouteKind::Anycast => 4,
                    RouteKind::Blackhole => 6,
                    RouteKind::Unreachable => 7,
                    RouteKind::Prohibit => 8,
                    _ => 1,
                },
                Answer::Rule(rule) => match rule.action {
                    RuleAction::Blackhole => 6,
                    RuleAction::Prohibit => 8,
                    _ => 7,
                },
                Answer::Nothing => 7,
            };
            found.push((packets, kind.to_ne_bytes().to_vec()));
        }
        Ok(found)
    }

    fn devices(&mut self, result: &str, flags: u32, ipv6: bool) -> Decided<Found> {
        let field = Self::asked(flags);
        let world = self.scope.world;
        let data = |device: Option<IfIndex>| match (result, flags & PRESENT != 0) {
            (_, true) => vec![u8::from(device.is_some())],
            ("oifname", false) => {
                let name = name(device.map(|device| world.name(device)).as_ref());
                name.into_iter().map(Option::unwrap_or_default).collect()
            }
            (_, false) => device.map_or(0, |device| device.0).to_ne_bytes().to_vec(),
        };
        let mut found = Found::new();
        let (link, mut within) = self.on_its_link(field, flags, ipv6)?;
        if field == Field::Source && !ipv6 {
            // A guest without an address that asks for one comes by the device that it came by.
            let unspecified =
                self.headers.address(self.sets, field, Ipv4Addr::UNSPECIFIED.into(), all_ones())?;
            let group = self.headers.masked(self.sets, Field::DestinationMac, 1 << 40, 1 << 40)?;
            let asks = self.sets.both(unspecified, group)?;
            let packets = self.sets.and(within, asks.yes)?;
            for (device, packets) in self.parted_by_input(packets)? {
                found.push((packets, data(device)));
            }
            within = self.sets.and(within, asks.no)?;
        }
        // In FORWARD `saddr . iif` asks as if the answer came in by the device by which the packet leaves
        // (`nft_fib4_eval`, `nft_fib6_flowi_init`).
        let turns_back = self.scope.hook == Hook::Forward && field == Field::Source && flags & INPUT != 0;
        let by = match self.headers.constant(Field::OutputDevice) {
            _ if !turns_back => None,
            Some(number) => index(number).filter(|device| device.0 != 0),
            // By one of several devices.
            None => return Ok(found),
        };
        let query = Query { link, ..way_back(&self.headers, ipv6, flags & MARK != 0, by) };
        let query = if field == Field::Source {
            query
        } else {
            Query { source: Some(Field::Source), destination: Field::Destination, ..query }
        };
        for (answer, packets) in look_up(self.sets, world, query, within)? {
            let hops = match answer {
                Answer::Unknown(_) => continue,
                Answer::Route(route, hops) if route.kind == RouteKind::Unicast => hops,
                Answer::Route(..) | Answer::Rule(_) | Answer::Nothing => Vec::new(),
            };
            for (device, packets) in self.reached(&hops, flags, packets)? {
                found.push((packets, data(device)));
            }
        }
        Ok(found)
    }

    /// The device by which packets would leave, or whether it is the one that they came in by.
    fn reached(
        &mut self,
        hops: &[&NextHop],
        flags: u32,
        packets: PacketSet,
    ) -> Decided<Vec<(Option<IfIndex>, PacketSet)>> {
        let mut devices = hops.iter().filter_map(|hop| hop.device);
        if flags & INPUT == 0 {
            return Ok(vec![(devices.next(), packets)]);
        }
        let mut reached = Vec::new();
        let mut rest = packets;
        for device in devices {
            let here = self.headers.equal(self.sets, Field::InputDevice, device.0.into())?;
            reached.push((Some(device), self.sets.and(rest, here.yes)?));
            rest = self.sets.and(rest, here.no)?;
        }
        reached.push((None, rest));
        Ok(reached)
    }

    /// The packets, by the device that they came in by.
    fn parted_by_input(&mut self, packets: PacketSet) -> Decided<Vec<(Option<IfIndex>, PacketSet)>> {
        if packets == Bdd::NONE {
            return Ok(Vec::new());
        }
        let links = self.scope.world.snapshot.links.items();
        let mut parted = Vec::new();
        for device in links.iter().map(|link| Some(link.index)).chain([None]) {
            let number = device.map_or(0, |device| device.0);
            let here = self.headers.equal(self.sets, Field::InputDevice, number.into())?;
            parted.push((device, self.sets.and(packets, here.yes)?));
        }
        Ok(parted)
    }
}

fn index(number: u128) -> Option<IfIndex> {
    u32::try_from(number).ok().map(IfIndex)
}

fn all_ones() -> IpAddr {
    Ipv4Addr::BROADCAST.into()
}
