//! xtables matches and targets, also those of ebtables, for all packets at once.

use std::net::IpAddr;

use kvmnet_probes::facts::{IfIndex, IfName, Mac, Masked, NatKind, Test, XtAction, XtTarget, XtTest};

use super::bdd::Decided;
use super::field::{ARP, Field, IPV4, IPV6, address_value, ether_type};
use super::nat::{Nat, bits_of, port_of};
use super::rule::{Run, known};
use super::truth::{Truth, masked};
use super::verdict::{End, decide};
use crate::engine::route::address_types;

impl<'a> Run<'_, 'a> {
    /// A test that may be absent and may be inverted.
    fn given<T>(
        &mut self,
        test: Option<&Test<T>>,
        holds: impl FnOnce(&mut Self, &T) -> Decided<Truth>,
    ) -> Decided<Truth> {
        match test {
            None => Ok(Truth::YES),
            Some(test) => Ok(holds(self, &test.value)?.negate(test.invert)),
        }
    }

    fn all(&mut self, truths: &[Truth]) -> Decided<Truth> {
        truths.iter().try_fold(Truth::YES, |all, truth| self.sets.both(all, *truth))
    }

    fn ports(&mut self, field: Field, (first, last): (u16, u16)) -> Decided<Truth> {
        self.headers.range(self.sets, field, &(first.into()..=last.into()))
    }

    fn mark(&mut self, field: Field, (mark, mask): (u32, u32)) -> Decided<Truth> {
        self.headers.masked(self.sets, field, mark.into(), mask.into())
    }

    /// Whether a packet of the address's family has the address.
    fn masked(&mut self, field: Field, masked: &Masked) -> Decided<Truth> {
        let address = self.headers.address(self.sets, field, masked.address, masked.mask)?;
        let family = self.family(ether_type(masked.address))?;
        self.sets.both(family, address)
    }

    fn in_range(&mut self, field: Field, &(first, last): &(IpAddr, IpAddr)) -> Decided<Truth> {
        let behind = if last.is_ipv4() { u128::MAX >> 32 } else { 0 };
        let range = address_value(first)..=address_value(last) | behind;
        let (address, family) =
            (self.headers.range(self.sets, field, &range)?, self.family(ether_type(first))?);
        self.sets.both(family, address)
    }

    /// Whether the packet matches.
    pub(super) fn matches(&mut self, asked: &XtTest) -> Decided<Truth> {
        Ok(match asked {
            XtTest::Comment { .. } | XtTest::Addrtype { source: None, destination: None, .. } => Truth::YES,
            XtTest::Ports { source, destination, flags, option } => {
                let parts = [
                    self.ported()?,
                    self.given(Some(source), |run, range| run.ports(Field::SourcePort, *range))?,
                    self.given(Some(destination), |run, range| run.ports(Field::DestinationPort, *range))?,
                    self.given(flags.as_ref(), |run, flags| run.flags(*flags))?,
                    self.given(option.as_ref(), |_, _| Ok(Truth::MAYBE))?,
                ];
                self.all(&parts)?
            }
            XtTest::Multiport { which, ranges } => {
                let any = self.given(Some(ranges), |run, ranges| {
                    let mut any = Vec::new();
                    for range in ranges {
                        if which != "destination" {
                            any.push(run.ports(Field::SourcePort, *range)?);
                        }
                        if which != "source" {
                            any.push(run.ports(Field::DestinationPort, *range)?);
                        }
                    }
                    run.sets.any_truth(&any)
                })?;
                let ported = self.ported()?;
                self.sets.both(ported, any)?
            }
            XtTest::Icmp { types } => {
                let types = self.given(Some(types), |run, &(wanted, from, to)| {
                    let (only, any) = (run.types((wanted, wanted), (from, to))?, run.family(IPV4)?);
                    if wanted == 255 { run.sets.either(any, only) } else { Ok(only) }
                })?;
                let icmp = self.icmp()?;
                self.sets.both(icmp, types)?
            }
            XtTest::Conntrack { .. } => self.conntrack(asked)?,
            XtTest::Mark { mark } => self.given(Some(mark), |run, mark| run.mark(Field::Mark, *mark))?,
            XtTest::Connmark { mark } => {
                let holds = self.given(Some(mark), |run, mark| run.mark(Field::CtMark, *mark))?;
                let entry = self.entry()?;
                self.sets.both(entry, holds)?
            }
            XtTest::Physdev { input, output, is_in, is_out, is_bridged } => {
                let ports = [Field::InputPort, Field::OutputPort]
                    .map(|field| self.headers.equal(self.sets, field, 0).map(|none| none.negate(true)));
                let (from, to) = (ports[0]?, ports[1]?);
                let bridged = self.sets.either(from, to)?;
                // Of a bridged packet without the port that is asked for `in` holds and `out` fails,
                // negated or not; of others what is negated holds (`physdev_mt`).
                let came = self.given(input.as_ref(), |run, wanted| {
                    run.named(Field::InputPort, |name| is_named(wanted, name), false)
                })?;
                let without = self.sets.both(bridged, from.negate(true))?;
                let leaves = self.given(output.as_ref(), |run, wanted| {
                    run.named(Field::OutputPort, |name| is_named(wanted, name), false)
                })?;
                let neither = self.sets.either(to, bridged.negate(true))?;
                let parts = [
                    self.sets.either(came, without)?,
                    if output.is_some() { self.sets.both(leaves, neither)? } else { Truth::YES },
                    is_in.map_or(Truth::YES, |is| from.negate(!is)),
                    is_out.map_or(Truth::YES, |is| to.negate(!is)),
                    is_bridged.map_or(Truth::YES, |is| to.negate(!is)),
                ];
                self.all(&parts)?
            }
            XtTest::Iprange { source, destination } => {
                let parts = [
                    self.given(source.as_ref(), |run, range| run.in_range(Field::Source, range))?,
                    self.given(destination.as_ref(), |run, range| run.in_range(Field::Destination, range))?,
                ];
                self.all(&parts)?
            }
            XtTest::Mac { source } => {
                let same = self.given(Some(source), |run, mac| {
                    run.headers.equal(run.sets, Field::SourceMac, number(*mac))
                })?;
                // Without a header of Ethernet the match fails, also a negated one.
                let framed = self.headers.equal(self.sets, Field::Framed, 1)?;
                let device = self.meta("iiftype")?;
                let ethernet = super::truth::equal(self.sets, &device.bits, &1_u16.to_ne_bytes())?;
                self.all(&[framed, device.there, ethernet, same])?
            }
            XtTest::Pkttype { packet_type } => self.given(Some(packet_type), |run, kind| {
                run.headers.equal(run.sets, Field::PacketType, (*kind).into())
            })?,
            XtTest::Ttl { mode, value } => {
                let value = u128::from(*value);
                let mut within = |range| self.headers.range(self.sets, Field::Ttl, &range);
                match mode {
                    0 => within(value..=value)?,
                    1 => within(value..=value)?.negate(true),
                    2 => within(value..=255)?.negate(true),
                    3 => within(0..=value)?.negate(true),
                    _ => Truth::MAYBE,
                }
            }
            XtTest::Dscp { dscp } => self.given(Some(dscp), |run, dscp| {
                run.headers.masked(run.sets, Field::TrafficClass, u128::from(*dscp) << 2, 0xfc)
            })?,
            XtTest::Addrtype { source, destination, limit_in, limit_out } => {
                let limit = match (limit_in, limit_out) {
                    (true, _) => Some(Field::InputDevice),
                    (false, true) => Some(Field::OutputDevice),
                    (false, false) => None,
                };
                let parts = [
                    self.given(source.as_ref(), |run, types| run.of_type(Field::Source, *types, limit))?,
                    self.given(destination.as_ref(), |run, types| {
                        run.of_type(Field::Destination, *types, limit)
                    })?,
                ];
                self.all(&parts)?
            }
            XtTest::Length { .. } | XtTest::Stateful | XtTest::Opaque { .. } => Truth::MAYBE,
            XtTest::EbIp { .. } | XtTest::EbIp6 { .. } => self.bridged_ip(asked)?,
            XtTest::EbArp { .. } => self.bridged_arp(asked)?,
        })
    }

    /// Whether the address is of one of the types. In IPv6 every type that is named must hold, and a local
    /// address is a unicast one, too (`match_type6`).
    fn of_type(&mut self, field: Field, mask: u16, limit: Option<Field>) -> Decided<Truth> {
        let device = match limit.map(|limit| self.headers.constant(limit)) {
            None => None,
            Some(Some(number)) => u32::try_from(number).ok().filter(|number| *number != 0).map(IfIndex),
            Some(None) => return Ok(Truth::MAYBE),
        };
        let asked = |kinds: &[u8]| kinds.iter().any(|kind| mask >> kind & 1 != 0);
        let mut any = Vec::new();
        for (ether_type, ipv6) in [(IPV4, false), (IPV6, true)] {
            let family = self.family(ether_type)?;
            if family == Truth::NO {
                continue;
            }
            let types = address_types(self.sets, self.scope.world, (&self.headers, field), ipv6, device)?;
            let with = |wanted: bool, kinds: &[u8]| -> Vec<_> {
                let of = types.iter().filter(|(kind, _)| kinds.contains(kind) == wanted);
                of.map(|(_, packets)| *packets).collect()
            };
            let mut holds = Truth::YES;
            if ipv6 {
                let group = self.headers.prefix(self.sets, field, u128::from(0xff_u8) << 120, 8)?;
                if asked(&[5]) {
                    holds = self.sets.both(holds, group)?;
                }
                if asked(&[1]) {
                    let unspecified = self.headers.equal(self.sets, field, 0)?;
                    let neither = self.sets.either(group, unspecified)?.negate(true);
                    holds = self.sets.both(holds, neither)?;
                }
            }
            let named: Vec<u8> =
                (0..16).filter(|kind| asked(&[*kind]) && (!ipv6 || matches!(kind, 2 | 4))).collect();
            if !ipv6 || !named.is_empty() {
                let is = Truth {
                    yes: self.sets.any_of(&with(true, &named))?,
                    no: self.sets.any_of(&with(false, &named))?,
                };
                holds = self.sets.both(holds, is)?;
            }
            any.push(self.sets.both(family, holds)?);
        }
        self.sets.any_truth(&any)
    }

    /// A field of the flow's tuple or of that of its answers.
    fn in_tuple(&mut self, reply: bool, field: Field, test: Option<&Test<Masked>>) -> Decided<Truth> {
        self.given(test, |run, wanted| {
            let bits = run.tuple(field, reply.into())?;
            let mask = address_value(wanted.mask);
            let holds = masked(run.sets, &bits, address_value(wanted.address) & mask, mask)?;
            let family = run.family(ether_type(wanted.address))?;
            run.sets.both(family, holds)
        })
    }

    /// TCP flags; other protocols have none.
    fn flags(&mut self, (mask, wanted): (u8, u8)) -> Decided<Truth> {
        let tcp = self.headers.equal(self.sets, Field::Protocol, 6)?;
        let flags = self.headers.masked(self.sets, Field::TcpFlags, wanted.into(), mask.into())?;
        let (with, without) = (self.sets.both(tcp, flags)?, Truth::from(wanted == 0));
        let without = self.sets.both(tcp.negate(true), without)?;
        self.sets.either(with, without)
    }

    /// ICMP types and codes within these ranges.
    fn types(&mut self, types: (u8, u8), codes: (u8, u8)) -> Decided<Truth> {
        let [types, codes] = [(Field::IcmpType, types), (Field::IcmpCode, codes)]
            .map(|(field, range)| self.headers.range(self.sets, field, &(range.0.into()..=range.1.into())));
        self.sets.both(types?, codes?)
    }

    /// `net/netfilter/xt_conntrack.c`.
    fn conntrack(&mut self, asked: &XtTest) -> Decided<Truth> {
        let XtTest::Conntrack {
            state,
            status,
            protocol,
            original_source,
            original_destination,
            reply_source,
            reply_destination,
            original_direction,
            opaque,
        } = asked
        else {
            return Ok(Truth::MAYBE);
        };
        let entry = self.entry()?;
        let in_state = self.given(state.as_ref(), |run, mask| run.conntrack_state(*mask))?;
        let without = Truth::from(state.is_some());
        let without = self.sets.both(entry.negate(true), without)?;
        let parts = [
            entry,
            self.given(status.as_ref(), |run, mask| run.any_bit(Field::CtStatus, (*mask).into()))?,
            self.given(protocol.as_ref(), |run, protocol| {
                let bits = run.ct("protocol", None)?.bits;
                super::truth::equal(run.sets, &bits, &[*protocol])
            })?,
            self.in_tuple(false, Field::Source, original_source.as_ref())?,
            self.in_tuple(false, Field::Destination, original_destination.as_ref())?,
            self.in_tuple(true, Field::Source, reply_source.as_ref())?,
            self.in_tuple(true, Field::Destination, reply_destination.as_ref())?,
            if *opaque { Truth::MAYBE } else { Truth::YES },
            match original_direction {
                None => Truth::YES,
                Some(original) => self.headers.equal(self.sets, Field::CtReply, 0)?.negate(!original),
            },
        ];
        let with = self.all(&parts)?;
        let either = self.sets.either(with, without)?;
        self.sets.both(in_state, either)
    }

    /// `XT_CONNTRACK_STATE_*`.
    fn conntrack_state(&mut self, mask: u32) -> Decided<Truth> {
        let entry = self.entry()?;
        let mut any = Vec::new();
        for (bit, state) in [(2, 1), (4, 2), (8, 3)] {
            if mask & bit != 0 {
                let holds = self.headers.equal(self.sets, Field::CtState, state)?;
                any.push(self.sets.both(entry, holds)?);
            }
        }
        // Source and destination translated: IPS_SRC_NAT and IPS_DST_NAT.
        for (bit, status) in [(0x40, 1 << 4), (0x80, 1 << 5)] {
            if mask & bit != 0 {
                let holds = self.any_bit(Field::CtStatus, status)?;
                any.push(self.sets.both(entry, holds)?);
            }
        }
        let untracked = self.headers.range(self.sets, Field::CtState, &(4..=7))?;
        if mask & 0x100 != 0 {
            any.push(untracked);
        }
        if mask & 1 != 0 {
            let tracked = self.sets.either(entry, untracked)?;
            any.push(tracked.negate(true));
        }
        self.sets.any_truth(&any)
    }

    fn any_bit(&mut self, field: Field, mask: u128) -> Decided<Truth> {
        let mask = mask & field.mask();
        Ok(self.headers.masked(self.sets, field, 0, mask)?.negate(true))
    }

    /// The matches `ip` and `ip6` of ebtables: what a later fragment lacks fails, also negated.
    fn bridged_ip(&mut self, asked: &XtTest) -> Decided<Truth> {
        let (ether_type, source, destination, tos, protocol, source_ports, destination_ports, icmp_types) =
            match asked {
                XtTest::EbIp {
                    source,
                    destination,
                    tos,
                    protocol,
                    source_ports,
                    destination_ports,
                    icmp_types,
                } => (
                    IPV4,
                    source,
                    destination,
                    tos.as_ref(),
                    protocol,
                    source_ports,
                    destination_ports,
                    icmp_types,
                ),
                XtTest::EbIp6 {
                    source,
                    destination,
                    protocol,
                    source_ports,
                    destination_ports,
                    icmp_types,
                } => (IPV6, source, destination, None, protocol, source_ports, destination_ports, icmp_types),
                _ => return Ok(Truth::MAYBE),
            };
        let ports = source_ports.is_some() || destination_ports.is_some();
        let parts = [
            self.family(ether_type)?,
            self.given(source.as_ref(), |run, masked| run.masked(Field::Source, masked))?,
            self.given(destination.as_ref(), |run, masked| run.masked(Field::Destination, masked))?,
            self.given(tos, |run, tos| run.headers.equal(run.sets, Field::TrafficClass, (*tos).into()))?,
            self.given(protocol.as_ref(), |run, protocol| {
                run.headers.equal(run.sets, Field::Protocol, (*protocol).into())
            })?,
            if ports { self.ported()? } else { Truth::YES },
            self.given(source_ports.as_ref(), |run, range| run.ports(Field::SourcePort, *range))?,
            self.given(destination_ports.as_ref(), |run, range| run.ports(Field::DestinationPort, *range))?,
            if icmp_types.is_some() { self.icmp()? } else { Truth::YES },
            self.given(icmp_types.as_ref(), |run, &(first, last, from, to)| {
                run.types((first, last), (from, to))
            })?,
        ];
        self.all(&parts)
    }

    /// The match `arp` of ebtables.
    fn bridged_arp(&mut self, asked: &XtTest) -> Decided<Truth> {
        let XtTest::EbArp { hardware, protocol, opcode, source, target, source_mac, target_mac, gratuitous } =
            asked
        else {
            return Ok(Truth::MAYBE);
        };
        let address = |run: &mut Self, field, masked: &Masked| {
            run.headers.address(run.sets, field, masked.address, masked.mask)
        };
        let mac = |run: &mut Self, field, (mac, mask): &(Mac, Mac)| {
            let (mac, mask) = (number(*mac), number(*mask));
            run.headers.masked(run.sets, field, mac & mask, mask)
        };
        let parts = [
            self.family(ARP)?,
            self.given(hardware.as_ref(), |_, wanted| Ok(Truth::from(*wanted == 1)))?,
            self.given(protocol.as_ref(), |_, wanted| Ok(Truth::from(*wanted == 0x0800)))?,
            self.given(opcode.as_ref(), |run, wanted| {
                run.headers.equal(run.sets, Field::ArpOperation, (*wanted).into())
            })?,
            self.given(source.as_ref(), |run, masked| address(run, Field::Source, masked))?,
            self.given(target.as_ref(), |run, masked| address(run, Field::Destination, masked))?,
            self.given(source_mac.as_ref(), |run, test| mac(run, Field::ArpSenderMac, test))?,
            self.given(target_mac.as_ref(), |run, test| mac(run, Field::ArpTargetMac, test))?,
            self.given(gratuitous.as_ref(), |run, own| {
                Ok(run.headers.same(run.sets, Field::Source, Field::Destination, 32)?.negate(!own))
            })?,
        ];
        self.all(&parts)
    }

    /// What the target does.
    pub(super) fn act(&mut self, target: &'a XtTarget) -> Decided<()> {
        match &target.action {
            XtAction::Reject { with } => self.end(Truth::YES, End::Reject(*with), None),
            XtAction::Masquerade { .. } => self.masquerade(),
            XtAction::Snat { addresses, ports } => self.nat(NatKind::Source, *addresses, *ports),
            XtAction::Dnat { addresses, ports } => self.nat(NatKind::Destination, *addresses, *ports),
            XtAction::Redirect { ports } => self.redirect(ports.map(port_of)),
            XtAction::Netmap { .. } => {
                use kvmnet_probes::facts::Hook::{Input, Postrouting};
                let source = matches!(self.scope.hook, Postrouting | Input);
                let kind = if source { NatKind::Source } else { NatKind::Destination };
                self.end(Truth::YES, End::Accept, Some(Nat::somewhere(kind)))
            }
            XtAction::SetMark { mark, mask } => {
                let bits = self.mixed(Field::Mark, !mask, &constant(*mark))?;
                self.write(Field::Mark, &bits)
            }
            XtAction::Connmark { mode, mark, ct_mask, packet_mask } => {
                let (field, bits) = match mode {
                    0 => (Field::CtMark, self.mixed(Field::CtMark, !ct_mask, &constant(*mark))?),
                    1 => {
                        let ours = self.mixed(Field::Mark, *packet_mask, &constant(0))?;
                        (Field::CtMark, self.mixed(Field::CtMark, !ct_mask, &ours)?)
                    }
                    2 => {
                        let theirs = self.mixed(Field::CtMark, *ct_mask, &constant(0))?;
                        (Field::Mark, self.mixed(Field::Mark, !packet_mask, &theirs)?)
                    }
                    _ => {
                        self.write(Field::CtMark, &[Truth::MAYBE; 32])?;
                        (Field::Mark, vec![Truth::MAYBE; 32])
                    }
                };
                // Without an entry nothing is done.
                let entry = self.entry()?;
                self.write_where(entry, field, &bits)
            }
            XtAction::Ct { notrack, zone } => match (notrack, zone) {
                (true, _) => self.untrack(),
                (false, 0) => Ok(()),
                (false, _) => self.forget_connection(),
            },
            XtAction::Log | XtAction::Harmless => Ok(()),
            XtAction::EbVerdict { verdict } => self.flow(Truth::YES, decide(verdict)),
            XtAction::EbRewrite { detail, .. } => {
                self.anything(Truth::YES, format!("{}: {detail}", target.name))
            }
            XtAction::Opaque { .. } => {
                self.anything(Truth::YES, format!("target {} is not understood", target.name))
            }
        }
    }

    fn nat(
        &mut self,
        kind: NatKind,
        addresses: Option<(IpAddr, IpAddr)>,
        ports: Option<(u16, u16)>,
    ) -> Decided<()> {
        let somewhere = || vec![Truth::MAYBE; 128];
        let address = addresses.map(|(first, last)| if first == last { bits_of(first) } else { somewhere() });
        self.end(Truth::YES, End::Accept, Some(Nat { kind, address, port: ports.map(port_of) }))
    }

    /// `(field & mask) ^ other`.
    fn mixed(&mut self, field: Field, mask: u32, other: &[Truth]) -> Decided<Vec<Truth>> {
        let bits = self.headers.bits(self.sets, field)?;
        let mut mixed = Vec::with_capacity(bits.len());
        for ((bit, keep), other) in bits.into_iter().zip(constant(mask)).zip(other) {
            let kept = if keep == Truth::YES { bit } else { Truth::NO };
            let (one, two) =
                (self.sets.both(kept, other.negate(true))?, self.sets.both(kept.negate(true), *other)?);
            mixed.push(self.sets.either(one, two)?);
        }
        Ok(mixed)
    }
}

/// A name that ends in `+` is a prefix.
fn is_named(wanted: &IfName, name: &IfName) -> bool {
    match wanted.as_str().strip_suffix('+') {
        Some(prefix) => name.as_str().starts_with(prefix),
        None => wanted == name,
    }
}

/// The bits of a number, the most significant first.
fn constant(number: u32) -> Vec<Truth> {
    known(&number.to_be_bytes())
}

fn number(mac: Mac) -> u128 {
    mac.0.iter().fold(0, |number, octet| number << 8 | u128::from(*octet))
}
