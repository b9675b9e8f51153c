//! Policy rules and routes.

use super::tests::{address, guest, prefix};
use crate::config::Item;
use crate::places::{IP_DEVICES, LAN_ROUTER, ROUTER};
use crate::random::Random;

pub(super) fn routing(random: &mut Random, items: &mut Vec<Item>) {
    for _ in 0..random.between(1, 4) {
        let ipv6 = random.percent(50);
        let line = route(random, ipv6);
        items.push(Item::Ip { ipv6, line });
    }
    let mut lines = Vec::new();
    for number in 0..random.between(0, 3) {
        let ipv6 = random.percent(50);
        lines.push((ipv6, format!("rule add pref {} {}", 100 + 10 * number, rule(random, ipv6))));
    }
    items.extend(lines.into_iter().map(|(ipv6, line)| Item::Ip { ipv6, line }));
}

fn route(random: &mut Random, ipv6: bool) -> String {
    let table = random.pick(&["main", "100", "100", "101"]);
    let destination = if table != "main" && random.percent(25) {
        "default".to_owned()
    } else {
        crate::places::network(&prefix(random, ipv6))
    };
    let family = usize::from(ipv6);
    let way = match random.below(10) {
        0 => return format!("route add unreachable {destination} table {table} proto 77"),
        1 => return format!("route add blackhole {destination} table {table} proto 77"),
        2 => return format!("route add prohibit {destination} table {table} proto 77"),
        3 if table != "main" => return format!("route add throw {destination} table {table} proto 77"),
        4 => format!("via {} dev br0", LAN_ROUTER[family]),
        5..=6 => format!("via {} dev eth0", ROUTER[family]),
        // On the link only for who may be there: nobody else is known to answer for the internet.
        _ => {
            let destination = guest(random, ipv6);
            let device = random.pick(&IP_DEVICES);
            return format!("route add {destination} dev {device} table {table} proto 77");
        }
    };
    if !ipv6 && random.percent(8) {
        let [one, other] = [ROUTER[0], LAN_ROUTER[0]];
        let ways = format!("nexthop via {one} dev eth0 nexthop via {other} dev br0");
        return format!("route add {destination} table {table} proto 77 {ways}");
    }
    let metric = if random.percent(20) { " metric 50" } else { "" };
    format!("route add {destination} {way} table {table} proto 77{metric}")
}

fn rule(random: &mut Random, ipv6: bool) -> String {
    let not = if random.percent(10) { "not " } else { "" };
    let mut selectors = Vec::new();
    for _ in 0..random.between(0, 2) {
        selectors.push(match random.below(6) {
            0 => format!("from {}", crate::places::network(&prefix(random, ipv6))),
            1 => format!("to {}", crate::places::network(&prefix(random, ipv6))),
            2 => format!("iif {}", random.pick(&["virbr0", "virbr1", "br0", "eth0", "lo"])),
            3 => format!("fwmark {}", random.pick(&["1", "2", "0/1", "1/1", "3/2"])),
            4 => format!("to {}", address(random, ipv6)),
            // The host's own packets leave by raw sockets, whose routes know no ports.
            _ => format!(
                "iif {} ipproto tcp dport {}",
                random.pick(&IP_DEVICES),
                random.pick(&["22", "80-443"])
            ),
        });
    }
    selectors.sort_unstable();
    selectors.dedup_by_key(|text| text.split(' ').next().map(str::to_owned));
    let action = match random.below(10) {
        0 => "unreachable",
        1 => "blackhole",
        2 => "prohibit",
        3 => "goto 32766",
        4 => "nop",
        5 => "lookup main suppress_prefixlength 0",
        6 => "lookup main suppress_ifgroup 0",
        7 => "lookup 101",
        _ => "lookup 100",
    };
    format!("{not}{} {action}", selectors.join(" "))
}
