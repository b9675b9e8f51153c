//! What `payload`, `meta`, `ct` and `exthdr` load, for all packets at once.
//!
//! Headers are taken as whole: a packet that ends within its transport header is not told apart
//! from one that does not. ARP is that of IPv4 over Ethernet.

use std::collections::HashMap;

use kvmnet_probes::facts::{Family, Hook, PayloadBase};

use super::bdd::{Bdd, Decided};
use super::device::Devices;
use super::field::{ARP, FRAGMENT_OFFSET, Field, IPV4, IPV6};
use super::guard::is_told;
use super::octets::{is_at_a_device, may_have_vrfs, number, protocol_family};
use super::outcomes::Read;
use super::rule::{Loaded, Run, known};
use super::truth::{self, Truth, host_order};

/// Protocols that begin with a source and a destination port: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(super) const WITH_PORTS: [u128; 5] = [6, 17, 33, 132, 136];

const UNKNOWN: [Truth; 8] = [Truth::MAYBE; 8];

/// What was loaded before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Of devices.
    pub(super) devices: Devices,
    /// By the hook's family, base, offset and length; with what the fields held that it follows from.
    payload: HashMap<(Family, u8, u32, u32), (Read, Loaded)>,
}

/// Where the octets of a header come from.
#[derive(Clone, Copy)]
enum Part {
    /// A constant.
    Octet(u8),
    /// The first or the n-th octet of a field.
    Of(Field, usize),
    /// Not known.
    Unknown,
}

/// Whether the kernel loads this from a transport header without asking for a later fragment
/// (`nft_payload_fast_eval`, Linux 6.18): it then reads what lies there instead of one.
fn is_fast(offset: u32, length: u32) -> bool {
    matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length)
}

impl Run<'_, '_> {
    /// Whether packets are of this EtherType. A hook of one family sees no other.
    pub(super) fn family(&mut self, ether_type: u128) -> Decided<Truth> {
        Ok(match self.scope.family {
            Family::Ip => (ether_type == IPV4).into(),
            Family::Ip6 => (ether_type == IPV6).into(),
            Family::Arp => (ether_type == ARP).into(),
            Family::Inet | Family::Netdev | Family::Bridge => {
                self.headers.equal(self.sets, Field::EtherType, ether_type)?
            }
        })
    }

    /// Whether there is an IP header of either family.
    pub(super) fn ip(&mut self) -> Decided<Truth> {
        let (ipv4, ipv6) = (self.family(IPV4)?, self.family(IPV6)?);
        self.sets.either(ipv4, ipv6)
    }

    /// Whether there is a transport header: later fragments have none.
    pub(super) fn transport(&mut self) -> Decided<Truth> {
        let ip = self.ip()?;
        let first = self.is_first()?;
        self.sets.both(ip, first)
    }

    /// Whether it is no later fragment.
    fn is_first(&mut self) -> Decided<Truth> {
        self.headers.masked(self.sets, Field::Fragment, 0, FRAGMENT_OFFSET)
    }

    /// Whether there are ports.
    pub(super) fn ported(&mut self) -> Decided<Truth> {
        let (transport, protocol) = (self.transport()?, self.one_of(Field::Protocol, &WITH_PORTS)?);
        self.sets.both(transport, protocol)
    }

    /// Whether it is ICMP over IPv4 or ICMPv6 over IPv6.
    pub(super) fn icmp(&mut self) -> Decided<Truth> {
        let mut any = Vec::new();
        for (ether_type, protocol) in [(IPV4, 1), (IPV6, 58)] {
            let family = self.family(ether_type)?;
            let protocol = self.headers.equal(self.sets, Field::Protocol, protocol)?;
            any.push(self.sets.both(family, protocol)?);
        }
        let (transport, any) = (self.transport()?, self.sets.any_truth(&any)?);
        self.sets.both(transport, any)
    }

    /// `payload`.
    pub(super) fn payload(&mut self, base: PayloadBase, offset: u32, length: u32) -> Decided<Loaded> {
        let known_by = (self.scope.family, number_of(base), offset, length);
        if let Some((read, loaded)) = self.memory.payload.get(&known_by)
            && read.iter().all(|(field, held)| self.headers.asks_and_holds(*field, held.as_ref()))
        {
            return Ok(loaded.clone());
        }
        let before = self.headers.put_aside_reads();
        let loaded = self.load_payload(base, offset, length)?;
        if let Some(fields) = self.headers.fields_read() {
            let read = fields.map(|field| (field, self.headers.written(field))).collect();
            self.memory.payload.insert(known_by, (read, loaded.clone()));
        }
        self.headers.add_reads(&before);
        Ok(loaded)
    }

    fn load_payload(&mut self, base: PayloadBase, offset: u32, length: u32) -> Decided<Loaded> {
        let from = offset as usize;
        let span = from..from.saturating_add((length as usize).min(64));
        let there = match base {
            PayloadBase::Link => self.headers.equal(self.sets, Field::Framed, 1)?,
            PayloadBase::Network => Truth::YES,
            PayloadBase::Transport if is_fast(offset, length) => {
                // Of a later fragment that is long enough.
                let (ip, transport) = (self.ip()?, self.transport()?);
                Truth { yes: transport.yes, no: ip.no }
            }
            PayloadBase::Transport => self.transport()?,
            PayloadBase::Inner | PayloadBase::Tunnel => self.transport()?.doubted(),
        };
        let mut bits = Vec::with_capacity(span.len() * 8);
        for at in span {
            bits.extend(match base {
                PayloadBase::Link => self.link_octet(at)?,
                PayloadBase::Network => self.network_octet(at)?,
                PayloadBase::Transport => {
                    let (octet, first) = (self.transport_octet(at)?, self.is_first()?);
                    self.choose(first, &octet, &UNKNOWN)?
                }
                PayloadBase::Inner | PayloadBase::Tunnel => UNKNOWN.to_vec(),
            });
        }
        Ok(Loaded { bits, there })
    }

    fn octet(&mut self, part: Part) -> Decided<Vec<Truth>> {
        Ok(match part {
            Part::Octet(octet) => known(&[octet]),
            Part::Of(field, at) => self.headers.octet(self.sets, field, at)?,
            Part::Unknown => UNKNOWN.to_vec(),
        })
    }

    /// The first bits for packets of the set, the others for the rest.
    fn choose(&mut self, holds: Truth, then: &[Truth], otherwise: &[Truth]) -> Decided<Vec<Truth>> {
        let mut bits = Vec::with_capacity(then.len());
        for (then, otherwise) in then.iter().zip(otherwise) {
            let neither = self.sets.within(holds.no, *otherwise, Truth::MAYBE)?;
            bits.push(self.sets.within(holds.yes, *then, neither)?);
        }
        Ok(bits)
    }

    /// With a VLAN tag, also where the device took it off, type and tag stand before the EtherType.
    fn link_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        let plain = match at {
            0..6 => return self.octet(Part::Of(Field::DestinationMac, at)),
            6..12 => return self.octet(Part::Of(Field::SourceMac, at - 6)),
            12..14 => self.octet(Part::Of(Field::EtherType, at - 12))?,
            _ => UNKNOWN.to_vec(),
        };
        let tagged = match at {
            12 => known(&[0x81]),
            13 => known(&[0]),
            14 | 15 => {
                let id = self.headers.bits(self.sets, Field::Vlan)?;
                let tag = [&[Truth::MAYBE; 4], id.as_slice()].concat();
                tag[(at - 14) * 8..(at - 13) * 8].to_vec()
            }
            16 | 17 => self.octet(Part::Of(Field::EtherType, at - 16))?,
            _ => UNKNOWN.to_vec(),
        };
        let untagged = self.headers.equal(self.sets, Field::Vlan, 0)?;
        self.choose(untagged, &plain, &tagged)
    }

    fn network_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        // A hook of one family sees no other, and need not tell them apart.
        match self.scope.family {
            Family::Ip => return self.ipv4_octet(at),
            Family::Ip6 => return self.ipv6_octet(at),
            Family::Arp => return self.arp_octet(at),
            Family::Inet | Family::Netdev | Family::Bridge => {}
        }
        let mut bits = UNKNOWN.to_vec();
        for (ether_type, octet) in
            [(IPV4, self.ipv4_octet(at)?), (IPV6, self.ipv6_octet(at)?), (ARP, self.arp_octet(at)?)]
        {
            let family = self.family(ether_type)?;
            bits = self.choose(family, &octet, &bits)?;
        }
        Ok(bits)
    }

    fn ipv4_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        let part = match at {
            0 => {
                let plain = self.headers.equal(self.sets, Field::Extended, 0)?;
                let longer = [known(&[0x40])[..4].to_vec(), vec![Truth::MAYBE; 4]].concat();
                return self.choose(plain, &known(&[0x45]), &longer);
            }
            1 => Part::Of(Field::TrafficClass, 0),
            6 | 7 => Part::Of(Field::Fragment, at - 6),
            8 => Part::Of(Field::Ttl, 0),
            9 => Part::Of(Field::Protocol, 0),
            12..16 => Part::Of(Field::Source, at - 12),
            16..20 => Part::Of(Field::Destination, at - 16),
            _ => Part::Unknown,
        };
        self.octet(part)
    }

    fn ipv6_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        let part = match at {
            0 | 1 => {
                let class = self.headers.bits(self.sets, Field::TrafficClass)?;
                let first = [known(&[0x60])[..4].to_vec(), class, vec![Truth::MAYBE; 4]].concat();
                return Ok(first[at * 8..at * 8 + 8].to_vec());
            }
            6 => {
                // The next header is the protocol unless extension headers stand between.
                let plain = self.headers.equal(self.sets, Field::Extended, 0)?;
                let protocol = self.octet(Part::Of(Field::Protocol, 0))?;
                return self.choose(plain, &protocol, &UNKNOWN);
            }
            7 => Part::Of(Field::Ttl, 0),
            8..24 => Part::Of(Field::Source, at - 8),
            24..40 => Part::Of(Field::Destination, at - 24),
            _ => Part::Unknown,
        };
        self.octet(part)
    }

    fn arp_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        self.octet(match at {
            0..6 => Part::Octet([0, 1, 8, 0, 6, 4][at]),
            6 | 7 => Part::Of(Field::ArpOperation, at - 6),
            8..14 => Part::Of(Field::ArpSenderMac, at - 8),
            14..18 => Part::Of(Field::Source, at - 14),
            18..24 => Part::Of(Field::ArpTargetMac, at - 18),
            24..28 => Part::Of(Field::Destination, at - 24),
            _ => Part::Unknown,
        })
    }

    fn transport_octet(&mut self, at: usize) -> Decided<Vec<Truth>> {
        let (ports, icmp) = match at {
            0 => (Part::Of(Field::SourcePort, 0), Part::Of(Field::IcmpType, 0)),
            1 => (Part::Of(Field::SourcePort, 1), Part::Of(Field::IcmpCode, 0)),
            2 | 3 => (Part::Of(Field::DestinationPort, at - 2), Part::Unknown),
            13 => {
                let tcp = self.headers.equal(self.sets, Field::Protocol, 6)?;
                let flags = self.octet(Part::Of(Field::TcpFlags, 0))?;
                return self.choose(tcp, &flags, &UNKNOWN);
            }
            _ => return Ok(UNKNOWN.to_vec()),
        };
        let (ports, icmp) = (self.octet(ports)?, self.octet(icmp)?);
        let is_icmp = self.icmp()?;
        let with_icmp = self.choose(is_icmp, &icmp, &UNKNOWN)?;
        let ported = self.one_of(Field::Protocol, &WITH_PORTS)?;
        self.choose(ported, &ports, &with_icmp)
    }

    /// `exthdr`.
    pub(super) fn extension(&mut self, kind: &str, present_only: bool) -> Decided<Loaded> {
        let possible = match kind {
            "tcp option" => {
                let (tcp, transport) =
                    (self.headers.equal(self.sets, Field::Protocol, 6)?, self.transport()?);
                self.sets.both(tcp, transport)?
            }
            "ipv6" | "ip option" => self.headers.equal(self.sets, Field::Extended, 1)?,
            _ => self.transport()?,
        };
        let bits = vec![Truth::MAYBE; 128];
        if !present_only {
            return Ok(Loaded { bits, there: possible.doubted() });
        }
        let present = [[Truth::NO; 7].as_slice(), &[possible.doubted()]].concat();
        Ok(present.into())
    }

    /// Of which device `meta KEY` is the name, if it is one that differs from packet to packet.
    pub(super) fn is_name(&self, key: &str) -> Option<Field> {
        let field = match key {
            "iifname" => Field::InputDevice,
            "oifname" => Field::OutputDevice,
            _ => return None,
        };
        (is_told(self.scope.hook, field) && self.headers.constant(field).is_none()).then_some(field)
    }

    /// `meta KEY`.
    pub(super) fn meta(&mut self, key: &str) -> Decided<Loaded> {
        let hook = self.scope.hook;
        let told = |field| is_told(hook, field);
        let device = match key.as_bytes() {
            [b'i', ..] => Field::InputDevice,
            _ => Field::OutputDevice,
        };
        let loaded = match key {
            "iif" | "oif" if told(device) => host_order(&self.headers.bits(self.sets, device)?, 4).into(),
            "iif" | "oif" => known(&[0; 4]).into(),
            "iifname" | "oifname" if !told(device) => known(&[0; 16]).into(),
            "iiftype" if is_at_a_device(self.scope) && !told(device) => {
                self.of_device(Field::OutputDevice, "iftype")?
            }
            "iiftype" if is_at_a_device(self.scope) => {
                let (input, output) = (
                    self.of_device(Field::InputDevice, "iftype")?,
                    self.of_device(Field::OutputDevice, "iftype")?,
                );
                let none = self.headers.equal(self.sets, Field::InputDevice, 0)?;
                let there = self.sets.within(none.yes, output.there, input.there)?;
                Loaded { bits: self.choose(none, &output.bits, &input.bits)?, there }
            }
            // The host's own discovery packets have a device from the start.
            "iiftype" if hook == Hook::Output => {
                let (device, discovery) = (self.of_device(Field::OutputDevice, "iftype")?, self.discovery()?);
                Loaded { there: self.sets.both(device.there, discovery)?, bits: device.bits }
            }
            "iiftype" | "oiftype" | "iifgroup" | "oifgroup" | "iifkind" | "oifkind" | "ibrname"
            | "obrname"
                if !told(device) =>
            {
                Loaded { bits: UNKNOWN.to_vec(), there: Truth::NO }
            }
            "iifname" | "oifname" | "iiftype" | "oiftype" | "iifgroup" | "oifgroup" | "iifkind"
            | "oifkind" | "ibrname" | "obrname" => self.of_device(device, &key[1..])?,
            "mark" => host_order(&self.headers.bits(self.sets, Field::Mark)?, 4).into(),
            "protocol" => self.headers.bits(self.sets, Field::EtherType)?.into(),
            "nfproto" if self.scope.table.family == Family::Inet => {
                let mut bits = known(&[protocol_family(Family::Arp)]);
                for (ether_type, family) in [(IPV4, Family::Ip), (IPV6, Family::Ip6)] {
                    let holds = self.family(ether_type)?;
                    bits = self.choose(holds, &known(&[protocol_family(family)]), &bits)?;
                }
                bits.into()
            }
            "nfproto" => known(&[protocol_family(self.scope.family)]).into(),
            "l4proto" => {
                let bits = self.headers.bits(self.sets, Field::Protocol)?;
                Loaded { bits, there: self.ip()? }
            }
            "pkttype" => {
                let bits = self.headers.bits(self.sets, Field::PacketType)?;
                [[Truth::NO; 5].as_slice(), &bits].concat().into()
            }
            "sdif" if !may_have_vrfs(self.scope.world) => truth::bits(&number(Some(0))).into(),
            "sdifname" if !may_have_vrfs(self.scope.world) => known(&[0; 16]).into(),
            // A packet that came through a tunnel or is to leave by one has a security path.
            "ipsec" => [[Truth::NO; 7].as_slice(), &[Truth::MAYBE]].concat().into(),
            "skuid" | "skgid" | "cgroup" if hook != Hook::Input => {
                let there = self.headers.equal(self.sets, Field::Local, 1)?.doubted();
                Loaded { bits: vec![Truth::MAYBE; 128], there }
            }
            "skuid" | "skgid" | "cgroup" => Loaded { bits: vec![Truth::MAYBE; 128], there: Truth::MAYBE },
            _ => vec![Truth::MAYBE; 128].into(),
        };
        Ok(loaded)
    }

    /// Whether it is neighbour or router discovery of IPv6.
    pub(super) fn discovery(&mut self) -> Decided<Truth> {
        let (ipv6, icmp) = (self.family(IPV6)?, self.icmp()?);
        let types = self.headers.range(self.sets, Field::IcmpType, &(133..=137))?;
        let discovery = self.sets.both(icmp, types)?;
        self.sets.both(ipv6, discovery)
    }

    /// Whether conntrack has an entry for the packet.
    pub(super) fn entry(&mut self) -> Decided<Truth> {
        self.headers.range(self.sets, Field::CtState, &(1..=3))
    }

    /// `ct [original|reply] KEY`: without an entry the rule ends, except for the state.
    pub(super) fn ct(&mut self, key: &str, direction: Option<u8>) -> Decided<Loaded> {
        let entry = self.entry()?;
        if key == "state" {
            return self.ct_state();
        }
        let mut there = entry;
        let bits = match key {
            "direction" => [[Truth::NO; 7].to_vec(), self.headers.bits(self.sets, Field::CtReply)?].concat(),
            "status" => {
                let status = self.headers.bits(self.sets, Field::CtStatus)?;
                host_order(&[[Truth::NO; 16].as_slice(), &status].concat(), 4)
            }
            "mark" => host_order(&self.headers.bits(self.sets, Field::CtMark)?, 4),
            // A rule that gives another zone leaves it unknown whether there is an entry.
            "zone" => vec![Truth { yes: Bdd::NONE, no: entry.yes }; 16],
            "l3proto" => {
                let ipv6 = self.family(IPV6)?;
                self.choose(ipv6, &known(&[10]), &known(&[2]))?
            }
            "protocol" => self.ct_protocol()?,
            "saddr" | "daddr" | "ip saddr" | "ip daddr" | "ip6 saddr" | "ip6 daddr" | "proto-src"
            | "proto-dst" => {
                // A key of one family has no value for a connection of the other (`nft_ct_get_eval`).
                let family = match key.split_once(' ') {
                    Some(("ip6", _)) => self.family(IPV6)?,
                    Some(_) => self.family(IPV4)?,
                    None => Truth::YES,
                };
                there = self.sets.both(entry, family)?;
                self.ct_tuple(key, direction)?
            }
            // There may be an entry and no helper.
            "helper" => {
                there = entry.doubted();
                vec![Truth::MAYBE; 128]
            }
            _ => vec![Truth::MAYBE; 128],
        };
        Ok(Loaded { bits, there })
    }

    /// An address or a port of conntrack's entry; without a direction, of the packet's own.
    fn ct_tuple(&mut self, key: &str, direction: Option<u8>) -> Decided<Vec<Truth>> {
        let field = match key {
            "proto-src" => Field::SourcePort,
            "proto-dst" => Field::DestinationPort,
            key if key.ends_with("saddr") => Field::Source,
            _ => Field::Destination,
        };
        let reply = match direction {
            Some(direction) => Truth::from(direction != 0),
            None => self.headers.equal(self.sets, Field::CtReply, 1)?,
        };
        let bits = self.tuple(field, reply)?;
        let ipv4 = &bits[..bits.len().min(32)];
        Ok(match key {
            "ip saddr" | "ip daddr" => ipv4.to_vec(),
            "saddr" | "daddr" if self.scope.family == Family::Ip => ipv4.to_vec(),
            _ => bits,
        })
    }

    /// A field of the tuple of the flow or, where it holds, of its answers.
    pub(super) fn tuple(&mut self, field: Field, reply: Truth) -> Decided<Vec<Truth>> {
        let Some(tuples) = self.headers.tuples().cloned() else {
            return Ok(vec![Truth::MAYBE; field.width() as usize]);
        };
        let (answers, original) =
            (tuples.reply.bits(self.sets, field)?, tuples.original.bits(self.sets, field)?);
        self.choose(reply, &answers, &original)
    }

    /// The protocol of the flow: for what is related, of another one.
    fn ct_protocol(&mut self) -> Decided<Vec<Truth>> {
        let related = self.headers.equal(self.sets, Field::CtState, 2)?;
        let protocol = self.headers.bits(self.sets, Field::Protocol)?;
        self.choose(related, &UNKNOWN, &protocol)
    }

    /// `NF_CT_STATE_*`: one bit each.
    fn ct_state(&mut self) -> Decided<Loaded> {
        let mut bits = vec![Truth::NO; 32];
        let mut bit = |at: usize, holds: Truth| bits[31 - at] = holds;
        for state in 0..4_u8 {
            bit(state.into(), self.headers.equal(self.sets, Field::CtState, state.into())?);
        }
        bit(6, self.headers.range(self.sets, Field::CtState, &(4..=7))?);
        Ok(host_order(&bits, 4).into())
    }
}

/// `NFT_PAYLOAD_*`.
fn number_of(base: PayloadBase) -> u8 {
    match base {
        PayloadBase::Link => 0,
        PayloadBase::Network => 1,
        PayloadBase::Transport => 2,
        PayloadBase::Inner => 3,
        PayloadBase::Tunnel => 4,
    }
}
