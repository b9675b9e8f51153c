//! What rules ask of the devices that packets come by and leave by: their names, types, groups and bridges.
//!
//! A packet knows the number of its device alone. What is loaded of it is a function of that number, which on a
//! host with a thousand devices takes many nodes: a name that is but compared is never loaded.

use std::collections::HashMap;

use kvmnet_probes::facts::{Compare, Data, Expr, IfIndex, IfName, Register};

use super::bdd::{Arena, Decided};
use super::field::Field;
use super::octets::{Octets, device_kind, device_type, name, number};
use super::rule::{Loaded, Run};
use super::set::PacketSet;
use super::truth::{self, Truth};
use crate::engine::packets::Device;
use crate::engine::world::World;

/// What was said of devices before. No rule writes devices, so that it holds for the whole host.
#[derive(Debug, Default)]
pub(super) struct Devices {
    loaded: HashMap<(Field, String), Loaded>,
    /// Packets whose device is listed, or which have none.
    listed: HashMap<Field, PacketSet>,
}

impl Devices {
    /// Packets that came with the number of a listed device in the field, or with none.
    pub(super) fn listed(&mut self, sets: &mut Arena, world: World<'_>, field: Field) -> Decided<PacketSet> {
        if let Some(listed) = self.listed.get(&field) {
            return Ok(*listed);
        }
        let mut sorted: Vec<u128> = numbers(world).collect();
        sorted.sort_unstable();
        // Most taps have numbers one after the other.
        let runs = sorted
            .chunk_by(|one, next| *next <= one + 1)
            .filter_map(|run| Some(*run.first()?..=*run.last()?));
        let listed = sets.one_of(field, &runs.collect::<Vec<_>>())?;
        self.listed.insert(field, listed);
        Ok(listed)
    }
}

/// The numbers of the devices, and that of none.
fn numbers(world: World<'_>) -> impl Iterator<Item = u128> {
    world.snapshot.links.items().iter().map(|link| link.index.0.into()).chain([0])
}

/// A register that holds the name of a device, which was not loaded yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    register: Register,
    field: Field,
}

impl Name {
    /// Of the device in the field, in the register.
    pub(super) fn new(register: Register, field: Field) -> Self {
        Self { register, field }
    }

    /// Whether the expression loads something else into the register.
    fn is_replaced_by(self, expr: &Expr) -> bool {
        match expr {
            Expr::Meta { destination, .. }
            | Expr::Payload { destination, .. }
            | Expr::Ct { destination, .. }
            | Expr::Fib { destination, .. } => *destination == self.register,
            _ => false,
        }
    }
}

/// Whether no register is read or written for the expression.
fn is_without_registers(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Counter
            | Expr::Log
            | Expr::Last
            | Expr::Match(_)
            | Expr::Target(_)
            | Expr::Reject(_)
            | Expr::Immediate { data: Data::Verdict(_), .. }
    )
}

impl Run<'_, '_> {
    /// Whether the expression compares the name that was not loaded. For whatever else reads it, it is loaded now.
    pub(super) fn compares_name(&mut self, expr: &Expr) -> Decided<Option<Truth>> {
        let Some(pending) = self.name else { return Ok(None) };
        match expr {
            Expr::Cmp { source, op: op @ (Compare::Eq | Compare::Ne), data }
                if *source == pending.register && data.0.len() <= 16 =>
            {
                let begins = |octets: &[Option<u8>]| data.0.iter().zip(octets).all(|(a, b)| Some(*a) == *b);
                let holds =
                    self.named(pending.field, |other| begins(&name(Some(other))), begins(&name(None)))?;
                return Ok(Some(holds.negate(*op == Compare::Ne)));
            }
            expr if is_without_registers(expr) => {}
            expr if pending.is_replaced_by(expr) => self.name = None,
            _ => {
                self.name = None;
                let loaded = self.of_device(pending.field, "ifname")?;
                self.registers.write(pending.register, &loaded.bits);
            }
        }
        Ok(None)
    }

    /// Whether the device's name is such; `without`: whether no device is. Of one that is not listed it is not known.
    pub(super) fn named(
        &mut self,
        field: Field,
        is: impl Fn(&IfName) -> bool,
        without: bool,
    ) -> Decided<Truth> {
        let links = self.scope.world.snapshot.links.items();
        let mut named: Vec<u128> =
            links.iter().filter(|link| is(&link.name)).map(|link| link.index.0.into()).collect();
        named.extend(without.then_some(0));
        let yes = self.one_of(field, &named)?.yes;
        let listed = self.listed(field)?;
        Ok(Truth { yes, no: self.sets.minus(listed, yes)? })
    }

    /// Packets whose device is listed, or which have none.
    fn listed(&mut self, field: Field) -> Decided<PacketSet> {
        let world = self.scope.world;
        if self.headers.written(field).is_none() {
            return self.memory.devices.listed(self.sets, world, field);
        }
        match self.headers.constant(field) {
            Some(number) => Ok(Truth::from(numbers(world).any(|listed| listed == number)).yes),
            None => Ok(self.one_of(field, &numbers(world).collect::<Vec<_>>())?.yes),
        }
    }

    /// What the key without its first letter says of the device.
    pub(super) fn of_device(&mut self, field: Field, key: &str) -> Decided<Loaded> {
        let world = self.scope.world;
        let octets = |device: &Device| match key {
            "ifname" => Some(name(Some(&device.name))),
            "iftype" => Some(device_type(world, device)),
            "ifgroup" => Some(number(world.link(device.index).map(|link| link.group))),
            "ifkind" => Some(device_kind(world, device)),
            _ => world.bridge_of(device.index).map(|bridge| name(Some(&world.name(bridge)))),
        };
        // Without a device there is the empty name, and nothing else.
        let none = (key == "ifname").then(|| vec![Some(0); 16]);
        if let Some(number) = self.headers.constant(field) {
            let octets = match u32::try_from(number) {
                Ok(0) | Err(_) => none,
                Ok(number) => octets(&world.device(IfIndex(number))),
            };
            let there = octets.is_some().into();
            return Ok(Loaded { bits: truth::bits(&octets.unwrap_or_else(|| vec![None; 16])), there });
        }
        let known_by = (field, key.to_owned());
        if let Some(loaded) = self.memory.devices.loaded.get(&known_by) {
            return Ok(loaded.clone());
        }
        let mut devices = Vec::new();
        for link in world.snapshot.links.items() {
            let set = self.sets.equal(field, link.index.0.into())?;
            devices.push((set, octets(&world.device(link.index))));
        }
        devices.push((self.sets.equal(field, 0)?, none));
        let length = devices.iter().filter_map(|(_, octets)| Some(octets.as_ref()?.len())).max().unwrap_or(0);
        let mut bits = Vec::with_capacity(length * 8);
        for at in 0..length * 8 {
            let bit = |octets: &Octets| Some(octets.get(at / 8).copied()?? >> (7 - at % 8) & 1 != 0);
            let mut with = |wanted: bool| {
                let all = devices.iter().filter(|(_, octets)| octets.as_ref().and_then(bit) == Some(wanted));
                self.sets.any_of(&all.map(|(set, _)| *set).collect::<Vec<_>>())
            };
            bits.push(Truth { yes: with(true)?, no: with(false)? });
        }
        let mut with = |there: bool| {
            let all = devices.iter().filter(|(_, octets)| octets.is_some() == there);
            self.sets.any_of(&all.map(|(set, _)| *set).collect::<Vec<_>>())
        };
        let (listed, without) = (with(true)?, with(false)?);
        // A device that is not listed has a name and a type, and may be in a bridge.
        let there = match key {
            "brname" => Truth { yes: listed, no: without },
            _ => Truth::of(!without),
        };
        let loaded = Loaded { bits, there };
        self.memory.devices.loaded.insert(known_by, loaded.clone());
        Ok(loaded)
    }
}
