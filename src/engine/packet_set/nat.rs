//! What `snat`, `dnat`, `masquerade` and `redirect` translate to, for all packets at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kvmnet_probes::facts::{Address, Expr, Family, IfIndex, NatKind, Register};

use super::bdd::{Bdd, Decided};
use super::field::{Field, IPV4, IPV6, address_value};
use super::rule::{Run, known};
use super::truth::Truth;
use super::verdict::End;

/// The end of a flow that a rule translates, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// Which end.
    pub kind: NatKind,
    /// The bits of the address, as [`Field::Source`] has them; `None`: it stays.
    pub address: Option<Vec<Truth>>,
    /// The bits of the port; `None`: it stays.
    pub port: Option<Vec<Truth>>,
}

/// `fe80::/10`.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

impl Nat {
    /// To one address of several, or to one that is not known.
    pub(super) fn somewhere(kind: NatKind) -> Self {
        Self { kind, address: Some(vec![Truth::MAYBE; 128]), port: None }
    }

    /// To this address.
    pub(super) fn to(kind: NatKind, address: IpAddr) -> Self {
        Self { address: Some(bits_of(address)), ..Self::somewhere(kind) }
    }
}

impl Run<'_, '_> {
    /// `snat` and `dnat`.
    pub(super) fn translate(&mut self, expr: &Expr) -> Decided<()> {
        let Expr::Nat { kind, family, address_min, address_max, port_min, port_max, .. } = expr else {
            return Ok(());
        };
        // In `inet` tables a rule of one family passes over packets of the other (`nft_nat_inet_eval`).
        let holds = match family {
            Family::Ip => self.family(IPV4)?,
            Family::Ip6 => self.family(IPV6)?,
            Family::Inet | Family::Arp | Family::Netdev | Family::Bridge => Truth::YES,
        };
        let octets = if self.scope.family == Family::Ip6 { 16 } else { 4 };
        let address = address_min.map(|least| {
            let least_bits = self.registers.read(least, octets);
            let one = address_max.is_none_or(|most| self.registers.read(most, octets) == least_bits);
            let mut bits = if one { least_bits } else { Vec::new() };
            bits.resize(128, Truth::MAYBE);
            bits
        });
        let port = port_min.map(|register| self.port(register, *port_max));
        self.end(holds, End::Accept, Some(Nat { kind: *kind, address, port }))
    }

    /// The port of a range, if it has but one.
    pub(super) fn port(&self, first: Register, last: Option<Register>) -> Vec<Truth> {
        let bits = self.registers.read(first, 2);
        let one = last.is_none_or(|last| self.registers.read(last, 2) == bits);
        if one { bits } else { vec![Truth::MAYBE; 16] }
    }

    fn device(&self, field: Field) -> Option<IfIndex> {
        let number = self.headers.constant(field)?;
        u32::try_from(number).ok().map(IfIndex)
    }

    /// `masquerade`: to the address of the device that the packet leaves by; without any, a drop.
    pub(super) fn masquerade(&mut self) -> Decided<()> {
        let world = self.scope.world;
        let leaves = self.headers.equal(self.sets, Field::OutputDevice, 0)?.negate(true);
        self.anything(leaves.negate(true), "masquerade without a device".to_owned())?;
        let ipv6 = self.scope.family == Family::Ip6;
        let output = self.device(Field::OutputDevice);
        let known = world.snapshot.addresses.known().is_some();
        match world.source_for(output.unwrap_or(IfIndex(0)), ipv6, self.scope.next_hop) {
            None if known => self.end(Truth::YES, End::Drop, None),
            Some(address) if output.is_some() => {
                self.end(Truth::YES, End::Accept, Some(Nat::to(NatKind::Source, address)))
            }
            _ => self.end(Truth::YES, End::Accept, Some(Nat::somewhere(NatKind::Source))),
        }
    }

    /// `redirect`: to the first address of the device that the packet came in by, or to loopback. In
    /// IPv6 to one whose scope is the destination's (`nf_nat_redirect_ipv6_usable`); without any, a drop.
    pub(super) fn redirect(&mut self, port: Option<Vec<Truth>>) -> Decided<()> {
        let ipv6 = self.scope.family == Family::Ip6;
        let kind = NatKind::Destination;
        let loopback: IpAddr = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        if self.device(Field::InputDevice) == Some(IfIndex(0)) {
            return self.end(Truth::YES, End::Accept, Some(Nat { port, ..Nat::to(kind, loopback) }));
        }
        let addresses = self.scope.world.snapshot.addresses.known();
        let Some(addresses) = addresses else {
            return self.end(Truth::YES, End::Accept, Some(Nat { port, ..Nat::somewhere(kind) }));
        };
        let local =
            self.headers.prefix(self.sets, Field::Destination, address_value(LINK_LOCAL.into()), 10)?;
        for scope in [true, false] {
            let asked = if ipv6 { local.negate(!scope) } else { (!scope).into() };
            let usable = |own: &&Address| {
                own.net.addr().is_ipv6() == ipv6 && (!ipv6 || on_link(own.net.addr()) == scope)
            };
            let own: Vec<&Address> = addresses.iter().filter(usable).collect();
            if let Some(device) = self.device(Field::InputDevice) {
                let first = own.iter().find(|own| own.device == device);
                let nat = first.map(|own| Nat { port: port.clone(), ..Nat::to(kind, own.net.addr()) });
                let end = if nat.is_some() { End::Accept } else { End::Drop };
                self.end(asked, end, nat)?;
                continue;
            }
            let devices: Vec<u128> = own.iter().map(|own| own.device.0.into()).chain([0]).collect();
            let none = self.one_of(Field::InputDevice, &devices)?.negate(true);
            let without = self.sets.both(asked, none)?;
            self.end(without, End::Drop, None)?;
            self.end(asked, End::Accept, Some(Nat { port: port.clone(), ..Nat::somewhere(kind) }))?;
        }
        Ok(())
    }
}

/// Whether the address is of the link alone.
fn on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The bits of an address, as [`Field::Source`] has them.
pub(in crate::engine) fn bits_of(address: IpAddr) -> Vec<Truth> {
    let mut bits = known(&address_value(address).to_be_bytes());
    if address.is_ipv4() {
        bits[32..].fill(Truth::MAYBE);
    }
    bits
}

/// A port between these, if there is but one.
pub(super) fn port_of((first, last): (u16, u16)) -> Vec<Truth> {
    if first == last {
        known(&first.to_be_bytes())
    } else {
        vec![Truth { yes: Bdd::NONE, no: Bdd::NONE }; 16]
    }
}
