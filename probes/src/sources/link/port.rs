//! What a bridge says of a port (`IFLA_INFO_SLAVE_DATA`).

use crate::facts::{BridgePort, PortState};
use crate::sources::netlink::{Attribute, Malformed};

/// `IFLA_BRPORT_*`, `include/uapi/linux/if_link.h`.
pub(crate) mod brport {
    pub(crate) const STATE: u16 = 1;
    pub(crate) const HAIRPIN: u16 = 4;
    pub(crate) const GUARD: u16 = 5;
    pub(crate) const LEARNING: u16 = 8;
    pub(crate) const UNICAST_FLOOD: u16 = 9;
    pub(crate) const MULTICAST_FLOOD: u16 = 27;
    pub(crate) const BROADCAST_FLOOD: u16 = 30;
    pub(crate) const NEIGH_SUPPRESS: u16 = 32;
    pub(crate) const ISOLATED: u16 = 33;
    pub(crate) const LOCKED: u16 = 39;
}

/// Decodes a port's attributes. A switch that the kernel does not know is as if it were untouched.
pub(super) fn bridge_port(data: &Attribute<'_>) -> Result<BridgePort, Malformed> {
    let mut port = BridgePort {
        state: PortState::Disabled,
        isolated: false,
        hairpin: false,
        learning: true,
        unicast_flood: true,
        multicast_flood: true,
        broadcast_flood: true,
        guard: false,
        neigh_suppress: false,
        locked: false,
        // Told by another dump.
        pvid: None,
        vlans: Vec::new(),
    };
    let mut state = None;
    for attribute in data.nested() {
        let attribute = attribute?;
        match attribute.kind {
            brport::STATE => state = Some(attribute.u8()?),
            brport::HAIRPIN => port.hairpin = attribute.on()?,
            brport::GUARD => port.guard = attribute.on()?,
            brport::LEARNING => port.learning = attribute.on()?,
            brport::UNICAST_FLOOD => port.unicast_flood = attribute.on()?,
            brport::MULTICAST_FLOOD => port.multicast_flood = attribute.on()?,
            brport::BROADCAST_FLOOD => port.broadcast_flood = attribute.on()?,
            brport::NEIGH_SUPPRESS => port.neigh_suppress = attribute.on()?,
            brport::ISOLATED => port.isolated = attribute.on()?,
            brport::LOCKED => port.locked = attribute.on()?,
            _ => {}
        }
    }
    // BR_STATE_*, include/uapi/linux/if_bridge.h.
    port.state = match state.ok_or(Malformed::Absent { kind: brport::STATE })? {
        0 => PortState::Disabled,
        1 => PortState::Listening,
        2 => PortState::Learning,
        3 => PortState::Forwarding,
        4 => PortState::Blocking,
        other => PortState::Unknown(other),
    };
    Ok(port)
}
