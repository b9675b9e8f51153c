//! All packets of a sender, from its port until they have passed FORWARD.
//!
//! They are carried there once, whoever they are for. What leaves by a device is then taken further from there
//! for each end behind it, if anything is left.

use std::collections::HashMap;
use std::rc::Rc;

use kvmnet_probes::facts::{Family, IfIndex};

use super::claimed::{End, Journey};
use super::classes::representatives;
use super::host::{pass_on, route_everywhere};
use super::packet_set::{Arena, Bdd, Decided, Field, PacketSet, Truth, Undecided};
use super::packets::Packets;
use super::path::Engine;
use super::path::enter::{Entered, enter, go_up};
use super::walk::{Taken, Walk};

/// What is left of all packets of a sender once they have passed FORWARD.
#[derive(Debug)]
pub(super) struct Outward {
    pub(super) packets: Packets,
    /// By which device which of them leave, if nothing stops them.
    pub(super) ways: Vec<(IfIndex, PacketSet)>,
    /// Those of which it is not known where they leave: they may go anywhere.
    pub(super) astray: PacketSet,
    pub(super) walked: Walked,
}

/// What has become of packets on their way.
#[derive(Debug)]
pub(super) struct Walked {
    /// They surely do not come through.
    pub(super) stopped: PacketSet,
    /// They may not come through.
    pub(super) undecided: PacketSet,
    /// What stops them later proves nothing.
    pub(super) diverted: PacketSet,
    pub(super) taken: Vec<Taken>,
}

impl Walked {
    pub(super) fn of(mut walk: Walk<'_, '_>) -> Decided<Self> {
        let (stopped, undecided) = walk.stopped()?;
        Ok(Self { stopped, undecided, diverted: walk.diverted, taken: walk.taken })
    }
}

/// What has been followed once, by who sends, the family, and whether past every site that stops packets;
/// `None`: that took too many nodes.
pub(super) type Followed = HashMap<(End, bool, bool), Option<Rc<Outward>>>;

impl<'a> Engine<'a> {
    /// A walk with many packets. `all_sites`: past every site that stops them.
    pub(super) fn walk(&mut self, asked: PacketSet, all_sites: bool) -> Walk<'_, 'a> {
        let mut walk = Walk::new(&mut self.host, self.world, self.topology, asked, None);
        walk.all_sites = all_sites;
        walk
    }

    /// All packets of the sender of the journey.
    pub(super) fn outward(&mut self, journey: &Journey, ipv6: bool, all_sites: bool) -> Decided<Rc<Outward>> {
        let sender = self.standing_for(journey.from);
        if let Some(followed) = self.followed.get(&(sender, ipv6, all_sites)) {
            return followed.clone().ok_or(Undecided);
        }
        let outward = self.follow(journey, sender, ipv6, all_sites).map(Rc::new);
        self.followed.insert((sender, ipv6, all_sites), outward.as_ref().ok().map(Rc::clone));
        outward
    }

    /// The sender that no site can tell from this one.
    fn standing_for(&mut self, sender: End) -> End {
        let End::Nic(nic) = sender else { return sender };
        let alike = self.alike.get_or_insert_with(|| representatives(self.world.facts, self.topology));
        End::Nic(alike.get(nic).copied().unwrap_or(nic))
    }

    fn follow(&mut self, journey: &Journey, sender: End, ipv6: bool, all_sites: bool) -> Decided<Outward> {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        let (mut packets, asked) = any(&mut self.host.sets, family)?;
        let mut walk = self.walk(asked, all_sites);
        let (mut ways, mut astray) = (Vec::new(), Bdd::NONE);
        let inside = match enter(&mut walk, journey, &mut packets, sender, End::Host)? {
            Entered::Not => None,
            Entered::Bridge(inside) => Some(Some(inside)),
            Entered::Uplink => Some(None),
        };
        if let Some(inside) = inside {
            go_up(&mut walk, &mut packets, inside, false)?;
            (ways, astray) = route_everywhere(&mut walk, &mut packets)?;
            packets.by_route = true;
            pass_on(&mut walk, &mut packets)?;
            packets.by_route = false;
        }
        let walked = Walked::of(walk)?;
        let sets = &mut self.host.sets;
        if inside.is_none() {
            // It may be that they come in all the same.
            astray = walked.undecided;
        }
        if !all_sites {
            for (_, leaving) in &mut ways {
                *leaving = sets.minus(*leaving, walked.stopped)?;
            }
            ways.retain(|(_, leaving)| *leaving != Bdd::NONE);
        }
        astray = sets.minus(astray, walked.stopped)?;
        Ok(Outward { packets, ways, astray, walked })
    }
}

/// All packets that somebody may begin a flow with: whole, and not about to expire.
pub(super) fn any(sets: &mut Arena, family: Family) -> Decided<(Packets, PacketSet)> {
    let mut packets = Packets::any(family);
    if family == Family::Arp {
        return Ok((packets, Bdd::ALL));
    }
    // Neither more fragments nor an offset.
    let mut fragment = packets.headers.bits(sets, Field::Fragment)?;
    fragment[2..].fill(Truth::NO);
    packets.headers.set_bits(Field::Fragment, &fragment);
    let lasting = sets.range(Field::Ttl, &(2..=255))?;
    Ok((packets, lasting))
}
