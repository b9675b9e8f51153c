//! Devices that few test machines can make, encoded by `netlink-packet-route` and decoded here: two
//! readings of the same headers must agree.

use std::collections::BTreeMap;

use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgePortState, BridgeVlanInfo, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoMacVlan, InfoPortData, InfoPortKind, InfoVlan, InfoVrf, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage, LinkXdp, MacVlanMode, Prop, VlanProtocol, XdpAttached,
};

use super::{decode, vlan};
use crate::facts::{Bridge, IfIndex, Link, LinkKind, MacvlanMode, Peer, PortState, PortVlan, VlanId, Xdp};
use crate::sources::netlink::mutations;

fn encode(message: &LinkMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

fn message(family: AddressFamily, index: u32, attributes: Vec<LinkAttribute>) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.interface_family = family;
    message.header.index = index;
    message.header.link_layer_type = LinkLayerType::Ether;
    message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
    message.attributes = attributes;
    encode(&message)
}

fn device(attributes: Vec<LinkAttribute>) -> Vec<u8> {
    message(AddressFamily::Unspec, 7, [vec![LinkAttribute::IfName("dev7".into())], attributes].concat())
}

fn link(attributes: Vec<LinkAttribute>) -> Link {
    decode::link(&device(attributes)).unwrap()
}

fn kind(kind: InfoKind, data: Option<InfoData>) -> LinkKind {
    let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data)).collect();
    link(vec![LinkAttribute::LinkInfo(info)]).kind
}

#[test]
fn every_kind_is_known_by_name_and_attributes() {
    let vlan = InfoData::Vlan(vec![InfoVlan::Id(101), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)]);
    assert_eq!(kind(InfoKind::Vlan, Some(vlan)), LinkKind::Vlan { id: VlanId(101), protocol: 0x88a8 });
    let vrf = InfoData::Vrf(vec![InfoVrf::TableId(1001)]);
    assert_eq!(kind(InfoKind::Vrf, Some(vrf)), LinkKind::Vrf { table: 1001 });
    let vxlan = InfoData::Vxlan(vec![InfoVxlan::Id(42)]);
    assert_eq!(kind(InfoKind::Vxlan, Some(vxlan)), LinkKind::Vxlan { vni: 42 });
    let macvlan = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Passthrough)]);
    let mode = MacvlanMode::Passthrough;
    assert_eq!(kind(InfoKind::MacVlan, Some(macvlan)), LinkKind::Macvlan { mode });
    assert_eq!(kind(InfoKind::Bond, None), LinkKind::Bond);
    assert_eq!(kind(InfoKind::Dummy, None), LinkKind::Dummy);
    assert_eq!(kind(InfoKind::Wireguard, None), LinkKind::Wireguard);
    assert_eq!(kind(InfoKind::Ifb, None), LinkKind::Ifb);
    assert_eq!(kind(InfoKind::Other("nlmon".into()), None), LinkKind::Other { kind: "nlmon".into() });
    assert_eq!(link(vec![]).kind, LinkKind::Physical);
}

#[test]
fn a_filtering_bridge_tells_its_default_vlan() {
    let data = InfoData::Bridge(vec![
        InfoBridge::VlanFiltering(true),
        InfoBridge::VlanDefaultPvid(1),
        InfoBridge::ForwardDelay(200),
        InfoBridge::GroupFwdMask(0x4000),
        InfoBridge::FdbMaxLearned(64),
    ]);
    let expected = Bridge {
        vlan_filtering: true,
        default_pvid: Some(VlanId(1)),
        forward_delay_cs: 200,
        group_fwd_mask: 0x4000,
        fdb_max_learned: 64,
        ..Bridge::default()
    };
    assert_eq!(kind(InfoKind::Bridge, Some(data)), LinkKind::Bridge(expected));
}

#[test]
fn a_bonds_port_is_no_bridges_port() {
    let info = vec![LinkInfo::PortKind(InfoPortKind::Bond), LinkInfo::PortData(InfoPortData::BondPort(vec![]))];
    let link = link(vec![LinkAttribute::Controller(3), LinkAttribute::LinkInfo(info)]);
    assert_eq!((link.master, link.port), (Some(IfIndex(3)), None));
}

#[test]
fn a_peer_in_another_namespace_is_told_from_one_here() {
    let here = link(vec![LinkAttribute::Link(9)]).peer;
    assert_eq!(here, Some(Peer { index: IfIndex(9), netns_id: None }));
    // The same number as its own, but in the other namespace.
    let there = link(vec![LinkAttribute::Link(7), LinkAttribute::LinkNetNsId(2)]).peer;
    assert_eq!(there, Some(Peer { index: IfIndex(7), netns_id: Some(2) }));
    assert_eq!(link(vec![LinkAttribute::Link(7)]).peer, None);
    assert_eq!(link(vec![LinkAttribute::Link(0)]).peer, None);
}

#[test]
fn xdp_programs_are_found_by_mode() {
    let several = vec![
        LinkXdp::Attached(XdpAttached::Multiple),
        LinkXdp::SkbProgId(5),
        LinkXdp::DrvProgId(6),
        LinkXdp::HwProgId(7),
    ];
    let xdp = |mode: &str, program_id| Xdp { mode: mode.into(), program_id };
    assert_eq!(
        link(vec![LinkAttribute::Xdp(several)]).xdp,
        [xdp("skb", 5), xdp("driver", 6), xdp("hardware", 7)]
    );
    let one = vec![LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(6), LinkXdp::DrvProgId(6)];
    assert_eq!(link(vec![LinkAttribute::Xdp(one)]).xdp, [xdp("driver", 6)]);
    assert_eq!(link(vec![LinkAttribute::Xdp(vec![LinkXdp::Attached(XdpAttached::None)])]).xdp, []);
}

fn vlan_info(flags: BridgeVlanInfoFlags, vid: u16) -> AfSpecBridge {
    AfSpecBridge::VlanInfo(BridgeVlanInfo { flags, vid })
}

#[test]
fn vlan_lists_reach_filtering_bridges_and_their_ports_only() {
    type Flag = BridgeVlanInfoFlags;
    let untagged_pvid = vlan_info(Flag::Pvid | Flag::Untagged, 10);
    let range = [vlan_info(Flag::RangeBegin, 20), vlan_info(Flag::RangeEnd, 22)];
    let list = [vec![untagged_pvid], range.to_vec()].concat();
    let bytes = message(AddressFamily::Bridge, 2, vec![LinkAttribute::AfSpecBridge(list)]);
    let (index, vlans) = vlan::list(&bytes).unwrap().unwrap();
    assert_eq!(index, IfIndex(2));

    let bridge = |filtering| {
        let data = InfoData::Bridge(vec![InfoBridge::VlanFiltering(filtering)]);
        link(vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(data)])])
    };
    let port = |index| {
        let data = InfoPortData::BridgePort(vec![InfoBridgePort::State(BridgePortState::Blocking)]);
        let info = vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(data)];
        Link { index: IfIndex(index), ..link(vec![LinkAttribute::Controller(7), LinkAttribute::LinkInfo(info)]) }
    };
    let vlans = BTreeMap::from([(IfIndex(2), vlans.clone()), (IfIndex(7), vlans)]);
    let expected: Vec<_> = [(10, true), (20, false), (21, false), (22, false)]
        .map(|(id, untagged)| PortVlan { id: VlanId(id), untagged })
        .into();
    for filtering in [true, false] {
        let mut links = [bridge(filtering), port(2), port(3)];
        vlan::distribute(&mut links, &vlans);
        let wanted = if filtering { (Some(VlanId(10)), expected.clone()) } else { (None, vec![]) };
        let [bridge, known, unlisted] = links;
        let LinkKind::Bridge(bridge) = bridge.kind else { panic!("{:?}", bridge.kind) };
        assert_eq!((bridge.pvid, bridge.vlans), wanted);
        let known = known.port.unwrap();
        assert_eq!(known.state, PortState::Blocking);
        assert_eq!((known.pvid, known.vlans), wanted);
        assert_eq!(unlisted.port.unwrap().vlans, []);
    }
}

#[test]
fn a_vlan_out_of_range_is_malformed_and_no_vlan_says_nothing() {
    for vid in [0, 4095, u16::MAX] {
        let list = vec![vlan_info(BridgeVlanInfoFlags::empty(), vid)];
        let bytes = message(AddressFamily::Bridge, 2, vec![LinkAttribute::AfSpecBridge(list)]);
        assert!(vlan::list(&bytes).is_err(), "{vid}");
    }
    assert_eq!(vlan::list(&message(AddressFamily::Bridge, 2, vec![])), Ok(None));
}

#[test]
fn no_bytes_make_the_decoders_panic() {
    let data = InfoData::Bridge(vec![InfoBridge::VlanFiltering(true), InfoBridge::VlanDefaultPvid(1)]);
    let port = InfoPortData::BridgePort(vec![InfoBridgePort::State(BridgePortState::Blocking)]);
    let device = device(vec![
        LinkAttribute::Link(9),
        LinkAttribute::Xdp(vec![LinkXdp::DrvProgId(6)]),
        LinkAttribute::PropList(vec![Prop::AltIfName("other".into())]),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(data),
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(port),
        ]),
    ]);
    for bytes in mutations(&device) {
        let _ = decode::link(&bytes);
    }
    let list = vec![vlan_info(BridgeVlanInfoFlags::RangeBegin, 1), vlan_info(BridgeVlanInfoFlags::RangeEnd, 4)];
    for bytes in mutations(&message(AddressFamily::Bridge, 2, vec![LinkAttribute::AfSpecBridge(list)])) {
        let _ = vlan::list(&bytes);
    }
}
