//! One packet that stands for a set: a plain one if the set has any.

use super::bdd::{Arena, Bdd, Decided, Undecided};
use super::field::{ARP, Field, IPV4, IPV6, Packet, address_value};
use super::set::PacketSet;

impl Arena {
    /// A packet of the set, always the same one; `None` if there is none. An ICMP echo request
    /// comes first, then TCP to port 443, UDP to port 53, ARP, anything. In what the set leaves open
    /// it is what a guest would send: from an unprivileged port, the first of its flow, whole.
    pub fn witness(&mut self, set: PacketSet) -> Option<Packet> {
        if set == Bdd::NONE {
            return None;
        }
        let plain = plain();
        for (packet, fields) in &plain {
            // A set that is too complex to be narrowed still has a witness.
            match self.narrow(set, packet, fields) {
                Ok(Bdd::NONE) | Err(Undecided) => {}
                Ok(narrowed) => return Some(self.nearest(narrowed, packet)),
            }
        }
        plain.first().map(|(packet, _)| self.nearest(set, packet))
    }

    /// Packets of the set that are as the given one in these fields.
    fn narrow(&mut self, set: PacketSet, packet: &Packet, fields: &[Field]) -> Decided<PacketSet> {
        fields.iter().try_fold(set, |set, field| {
            let equal = self.equal(*field, packet[*field])?;
            self.and(set, equal)
        })
    }

    /// The packet of the set that differs from `packet` as late in the order of variables as it can.
    fn nearest(&self, set: PacketSet, packet: &Packet) -> Packet {
        let mut found = *packet;
        let mut rest = set;
        while let Some((variable, low, high)) = self.branch(rest) {
            let wanted = if packet.bit(variable) { high } else { low };
            let bit = if wanted == Bdd::NONE { !packet.bit(variable) } else { packet.bit(variable) };
            found.set_bit(variable, bit);
            rest = if bit { high } else { low };
        }
        found
    }
}

/// Plain packets, and the fields that make them so.
fn plain() -> Vec<(Packet, Vec<Field>)> {
    use Field::{DestinationPort, EtherType, IcmpCode, IcmpType, Protocol, SourcePort, TcpFlags};
    let text = |text: &str| address_value(text.parse().expect("a literal address"));
    let ends = |ether_type, source, destination| {
        Packet::default()
            .with(EtherType, ether_type)
            .with(Field::Source, text(source))
            .with(Field::Destination, text(destination))
            .with(Field::Framed, 1)
            .with(Field::CtState, 3)
            .with(Field::Ttl, 64)
            .with(Field::SourceMac, 0x5254_00aa_0001)
            .with(Field::DestinationMac, 0x5254_00aa_0002)
    };
    let mut plain = Vec::new();
    for (ether_type, icmp, echo, source, destination) in
        [(IPV4, 1, 8, "192.0.2.10", "198.51.100.10"), (IPV6, 58, 128, "2001:db8:1::10", "2001:db8:2::10")]
    {
        let base = ends(ether_type, source, destination).with(SourcePort, 49152);
        let echo = base.with(Protocol, icmp).with(IcmpType, echo).with(SourcePort, 0);
        plain.push((echo, vec![EtherType, Protocol, IcmpType, IcmpCode]));
        let tcp = base.with(Protocol, 6).with(DestinationPort, 443).with(TcpFlags, 2);
        plain.push((tcp, vec![EtherType, Protocol, DestinationPort, SourcePort]));
        let udp = base.with(Protocol, 17).with(DestinationPort, 53);
        plain.push((udp, vec![EtherType, Protocol, DestinationPort, SourcePort]));
    }
    let request = ends(ARP, "192.0.2.10", "192.0.2.1")
        .with(Field::ArpOperation, 1)
        .with(Field::ArpSenderMac, 0x5254_00aa_0001)
        .with(Field::DestinationMac, Field::DestinationMac.mask());
    plain.push((request, vec![EtherType, Field::ArpOperation]));
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_packet_comes_first() {
        let mut sets = Arena::new(1 << 20);
        let echo = sets.witness(Bdd::ALL).unwrap();
        assert_eq!((echo[Field::Protocol], echo[Field::IcmpType]), (1, 8));

        let no_echo = sets.equal(Field::IcmpType, 8).map(|set| !set).unwrap();
        let tcp = sets.witness(no_echo).unwrap();
        assert_eq!(
            (tcp[Field::Protocol], tcp[Field::SourcePort], tcp[Field::DestinationPort]),
            (6, 49152, 443)
        );

        let udp = sets.equal(Field::Protocol, 17).unwrap();
        let ipv6 = sets.equal(Field::EtherType, IPV6).unwrap();
        let both = sets.and(udp, ipv6).unwrap();
        assert_eq!(sets.witness(both).unwrap()[Field::DestinationPort], 53);

        let arp = sets.equal(Field::EtherType, ARP).unwrap();
        assert_eq!(sets.witness(arp).unwrap()[Field::ArpOperation], 1);
    }

    #[test]
    fn a_witness_of_a_subnet_is_in_it() {
        let mut sets = Arena::new(1 << 20);
        let guests = sets.network(Field::Source, "192.168.122.0".parse().unwrap(), 24).unwrap();
        let packet = sets.witness(guests).unwrap();
        assert_eq!(packet[Field::Source], address_value("192.168.122.10".parse().unwrap()));
        assert_eq!(sets.witness(Bdd::NONE), None);
    }
}
