//! All base chains of a hook, in the kernel's order, with conntrack and NAT between them.

use kvmnet_probes::facts::{BaseChain, Chain, Expr, Family, Generation, Hook, Table, XtAction, XtTest};

use super::chains::run_base;
use super::eval::Scope;
use super::packet::{Packet, Tracked, Translation};
use super::walk::Walk;

/// `NF_IP_PRI_CONNTRACK`.
const CONNTRACK: i32 = -200;
/// `NF_IP_PRI_NAT_DST`: all nat chains of a hook run here, whatever their own priority.
const NAT_DESTINATION: i32 = -100;
/// `NF_IP_PRI_NAT_SRC`.
const NAT_SOURCE: i32 = 100;

type Entry<'a> = (&'a Table, &'a Chain, &'a BaseChain);

/// Takes the packet through the hook of `family`, which is that of the hook and never `inet`.
pub(super) fn pass(walk: &mut Walk<'_>, packet: &mut Packet, family: Family, hook: Hook) {
    let place = place(family, hook);
    let snapshot = walk.world.snapshot;
    for (source, missing) in [
        ("nf-tables", snapshot.nf_tables.known().is_none()),
        ("xtables-legacy", snapshot.xtables_legacy.known().is_none()),
    ] {
        if missing {
            walk.missing(place, source);
        }
    }
    let mut entries = entries(walk, packet, family, hook);
    // Of two with one priority the one that was registered last comes first (`nf_hook_entries_grow`).
    entries.reverse();
    entries.sort_by_key(|entry| entry.2.priority);
    let (nat, filter): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.2.kind == "nat");
    let mut filter = filter.into_iter().peekable();
    let tracks = matches!(hook, Hook::Prerouting | Hook::Output)
        && match family {
            Family::Ip | Family::Ip6 => true,
            Family::Bridge => bridge_tracks(snapshot.nf_tables.items()),
            Family::Inet | Family::Arp | Family::Netdev => false,
        };
    let nat_priority = match hook {
        Hook::Prerouting | Hook::Output => Some(NAT_DESTINATION),
        Hook::Input | Hook::Postrouting => Some(NAT_SOURCE),
        Hook::Ingress | Hook::Egress | Hook::Forward | Hook::Brouting => None,
    };
    let mut until = |walk: &mut Walk<'_>, packet: &mut Packet, priority: Option<i32>| {
        while let Some(entry) =
            filter.next_if(|entry| priority.is_none_or(|priority| entry.2.priority < priority))
        {
            run_one(walk, packet, family, hook, entry, false);
        }
    };
    if tracks {
        until(walk, packet, Some(CONNTRACK));
        packet.track();
    }
    if let Some(priority) = nat_priority.filter(|_| matches!(family, Family::Ip | Family::Ip6)) {
        until(walk, packet, Some(priority));
        translate(walk, packet, family, hook, &nat);
    }
    until(walk, packet, None);
}

/// Connections are tracked in bridges once a rule there asks for them (`nf_conntrack_bridge`).
fn bridge_tracks(tables: &[Table]) -> bool {
    let asks = |expr: &Expr| matches!(expr, Expr::Ct { .. } | Expr::CtSet { .. });
    let bridge = tables.iter().filter(|table| table.family == Family::Bridge);
    bridge
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules)
        .any(|rule| rule.exprs.iter().any(asks))
}

/// The base chains of the hook.
fn entries<'a>(walk: &Walk<'a>, packet: &Packet, family: Family, hook: Hook) -> Vec<Entry<'a>> {
    let device = if hook == Hook::Egress { packet.output.as_ref() } else { packet.input.as_ref() };
    let attached = |base: &BaseChain| {
        base.devices.iter().any(|name| {
            device.is_some_and(|device| match name.as_str().strip_suffix('*') {
                Some(prefix) => device.name.as_str().starts_with(prefix),
                None => *name == device.name,
            })
        })
    };
    let snapshot = walk.world.snapshot;
    let tables = snapshot.nf_tables.items().iter().chain(snapshot.xtables_legacy.items());
    let mut entries = Vec::new();
    for table in tables.filter(|table| !table.dormant) {
        let of_family = match family {
            // A chain of `inet` sees IP alone (`nft_do_chain_inet_ingress`).
            Family::Netdev => {
                table.family == Family::Netdev || table.family == Family::Inet && !packet.is_arp()
            }
            Family::Ip | Family::Ip6 => table.family == family || table.family == Family::Inet,
            Family::Arp | Family::Bridge | Family::Inet => table.family == family,
        };
        for chain in table.chains.iter().filter(|_| of_family) {
            if let Some(base) = &chain.base
                && base.hook == hook
                && (family != Family::Netdev || attached(base))
            {
                entries.push((table, chain, base));
            }
        }
    }
    entries
}

fn run_one(
    walk: &mut Walk<'_>,
    packet: &mut Packet,
    family: Family,
    hook: Hook,
    (table, chain, base): Entry<'_>,
    doubtful: bool,
) {
    let scope = Scope { world: walk.world, table, family, hook };
    let mark = packet.mark;
    for step in run_base(scope, chain, base, packet, doubtful) {
        walk.add(step);
    }
    // Only these route again what they mark (`nf_route_table_hook4`, `ipt_mangle_out`).
    let routes =
        base.kind == "route" || table.generation == Generation::XtablesLegacy && table.name == "mangle";
    packet.rerouted |= routes && hook == Hook::Output && packet.mark != mark;
}

/// NAT at this hook: chosen by the flow's first packet, undone for its answers.
fn translate(walk: &mut Walk<'_>, packet: &mut Packet, family: Family, hook: Hook, chains: &[Entry<'_>]) {
    let doubtful = match packet.connection.tracked {
        Tracked::No | Tracked::Never => return,
        Tracked::Perhaps => true,
        Tracked::Yes => false,
    };
    let of_destination = matches!(hook, Hook::Prerouting | Hook::Output);
    if packet.connection.reply {
        undo(packet, of_destination);
        return;
    }
    let snapshot = walk.world.snapshot;
    let tables = snapshot.nf_tables.items().iter().chain(snapshot.xtables_legacy.items());
    // Whatever a chain of type nat says: without a rule that needs connections none are tracked, and
    // what has no connection is not translated.
    if chains.is_empty() || !tables.filter(|table| of_family(table, family)).any(needs_connections) {
        return;
    }
    for entry in chains {
        if chosen(packet, of_destination).is_some_and(|nat| nat.sure) {
            break;
        }
        run_one(walk, packet, family, hook, *entry, doubtful);
    }
    let Some(nat) = chosen(packet, of_destination) else { return };
    let current = if of_destination { packet.destination } else { packet.source };
    let address = nat.address.filter(|address| nat.sure || current == Some(*address));
    if of_destination {
        packet.destination = address;
        nat.port.filter(|_| nat.sure).inspect(|port| packet.set_destination_port(*port));
    } else {
        packet.source = address;
        nat.port.filter(|_| nat.sure).inspect(|port| packet.set_source_port(*port));
    }
}

fn of_family(table: &Table, family: Family) -> bool {
    table.family == family || table.family == Family::Inet
}

/// A rule of the table is about connections, so that the kernel tracks them (`nf_ct_netns_get`).
fn needs_connections(table: &Table) -> bool {
    let asks = |expr: &Expr| match expr {
        Expr::Ct { .. }
        | Expr::CtSet { .. }
        | Expr::Nat { .. }
        | Expr::Masquerade { .. }
        | Expr::Redirect { .. }
        | Expr::Connlimit { .. }
        | Expr::Opaque { .. } => true,
        Expr::ObjectRef { kind, .. } => kind.starts_with("ct"),
        // Which of the others need them is not told: most do.
        Expr::Match(test) => !matches!(
            test.test,
            XtTest::Comment { .. }
                | XtTest::Ports { .. }
                | XtTest::Multiport { .. }
                | XtTest::Icmp { .. }
                | XtTest::Mark { .. }
                | XtTest::Physdev { .. }
                | XtTest::Addrtype { .. }
                | XtTest::Iprange { .. }
                | XtTest::Mac { .. }
                | XtTest::Pkttype { .. }
        ),
        Expr::Target(target) => !matches!(
            target.action,
            XtAction::Reject { .. }
                | XtAction::SetMark { .. }
                | XtAction::Log
                | XtAction::Ct { notrack: true, .. }
        ),
        _ => false,
    };
    table.chains.iter().flat_map(|chain| &chain.rules).any(|rule| rule.exprs.iter().any(asks))
}

fn chosen(packet: &Packet, of_destination: bool) -> Option<Translation> {
    if of_destination { packet.connection.destination_nat } else { packet.connection.source_nat }
}

/// The answer goes to where the flow began, and comes from where it was sent to.
fn undo(packet: &mut Packet, of_destination: bool) {
    let connection = packet.connection.clone();
    match (of_destination, connection.source_nat, connection.destination_nat) {
        (true, Some(_), _) => {
            packet.destination = connection.original.0;
            connection.original_ports.0.inspect(|port| packet.set_destination_port(*port));
        }
        (false, _, Some(_)) => {
            packet.source = connection.original.1;
            connection.original_ports.1.inspect(|port| packet.set_source_port(*port));
        }
        _ => {}
    }
}

/// The hook's name in a trace.
pub(super) fn place(family: Family, hook: Hook) -> &'static str {
    match (family, hook) {
        (Family::Bridge, Hook::Prerouting) => "bridge pre",
        (Family::Bridge, Hook::Input) => "bridge in",
        (Family::Bridge, Hook::Forward) => "bridge fwd",
        (Family::Bridge, Hook::Output) => "bridge out",
        (Family::Bridge, Hook::Postrouting) => "bridge post",
        (_, Hook::Ingress) => "ingress",
        (_, Hook::Egress) => "egress",
        (_, Hook::Prerouting) => "prerouting",
        (_, Hook::Input) => "input",
        (_, Hook::Forward) => "forward",
        (_, Hook::Output) => "output",
        (_, Hook::Postrouting) => "postrouting",
        (_, Hook::Brouting) => "brouting",
    }
}
