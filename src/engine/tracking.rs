//! Where the kernel tracks connections: once a rule asks for them.

use kvmnet_probes::facts::{Expr, Family, Snapshot, Table, XtAction, XtTest};

/// Of which families connections are tracked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracking {
    ipv4: bool,
    ipv6: bool,
    bridge: bool,
}

impl Tracking {
    pub(super) fn on(snapshot: &Snapshot) -> Self {
        let tables = || snapshot.nf_tables.items().iter().chain(snapshot.xtables_legacy.items());
        let is_tracked = |family| {
            let mut own = tables().filter(|table| table.family == family || table.family == Family::Inet);
            own.any(|table| needs_connections(table, family))
        };
        Self {
            ipv4: is_tracked(Family::Ip),
            ipv6: is_tracked(Family::Ip6),
            bridge: bridge_tracks(snapshot.nf_tables.items()),
        }
    }

    /// Whether those of the family are.
    pub(super) fn is_of(self, family: Family) -> bool {
        match family {
            Family::Ip => self.ipv4,
            Family::Ip6 => self.ipv6,
            Family::Bridge => self.bridge,
            Family::Inet | Family::Arp | Family::Netdev => false,
        }
    }
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

/// A rule of the table is about connections of the family, so that the kernel tracks them (`nf_ct_netns_get`).
fn needs_connections(table: &Table, family: Family) -> bool {
    let asks = |expr: &Expr| match expr {
        // Of an address of one family only its connections (`nft_nat_init`).
        Expr::Nat { family: of, .. } => *of == family || *of == Family::Inet,
        Expr::Ct { .. }
        | Expr::CtSet { .. }
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
