//! What rules can ask of a packet: addresses, ports, devices and so on that occur on the host.

use crate::places::{DEVICES, GUESTS, INTERNET, LAN_ROUTER, NETS, PORTS, ROUTER, UPLINK};
use crate::random::Random;

/// An address that occurs.
pub(super) fn address(random: &mut Random, ipv6: bool) -> &'static str {
    let family = usize::from(ipv6);
    let mut all = vec![INTERNET[family], LAN_ROUTER[family], ROUTER[family], UPLINK[family]];
    all.extend(GUESTS.iter().map(|guest| guest.addresses[family]));
    all.extend(NETS.iter().map(|net| net.gateway(ipv6)));
    all[random.below(all.len())]
}

/// A guest's address.
pub(super) fn guest(random: &mut Random, ipv6: bool) -> &'static str {
    GUESTS[random.below(GUESTS.len())].addresses[usize::from(ipv6)]
}

/// A prefix around an address that occurs, shorter ones more rarely.
pub(super) fn prefix(random: &mut Random, ipv6: bool) -> String {
    let lengths: &[u8] = if ipv6 { &[128, 128, 64, 64, 124, 32, 15] } else { &[32, 32, 24, 24, 28, 16, 7] };
    let length = lengths[random.below(lengths.len())];
    format!("{}/{length}", address(random, ipv6))
}

/// Two addresses that occur, in order.
pub(super) fn range(random: &mut Random, ipv6: bool) -> String {
    let mut ends = [address(random, ipv6), address(random, ipv6)];
    ends.sort_by_key(|text| crate::places::ip(text));
    format!("{}-{}", ends[0], ends[1])
}

pub(super) fn device(random: &mut Random) -> &'static str {
    random.pick(&DEVICES)
}

/// A device's name, or the beginning of some with `mark` after it.
pub(super) fn device_or_prefix(random: &mut Random, mark: &str) -> String {
    if random.percent(25) {
        format!("{}{mark}", random.pick(&["vir", "virbr", "vnet", "eth", "v", "b"]))
    } else {
        device(random).to_owned()
    }
}

pub(super) fn port(random: &mut Random) -> u16 {
    PORTS[random.below(PORTS.len())]
}

pub(super) fn mac(random: &mut Random) -> String {
    let hosts = [crate::places::LAN_ROUTER_MAC, crate::places::ROUTER_MAC];
    let macs: Vec<_> = GUESTS.iter().map(|guest| guest.mac).chain(hosts).collect();
    macs[random.below(macs.len())].to_string()
}

/// Mostly nothing, sometimes a negation.
pub(super) fn unless(random: &mut Random, negation: &'static str) -> &'static str {
    if random.percent(20) { negation } else { "" }
}
