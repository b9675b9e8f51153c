//! Routes of every table and both families.

mod decode;
mod nexthop;

use std::collections::BTreeMap;

use super::netlink::{self, NetlinkError, Socket};
use super::{Context, FAMILIES, Meta, Reading};
use crate::facts::Route;

pub(crate) const META: Meta = Meta {
    id: "routes",
    summary: "Routes of every table and both families",
    basis: "RTM_GETROUTE, include/uapi/linux/rtnetlink.h",
    since: "0.1.0",
};

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Route>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let mut reading = Reading::from(Vec::new());
    // What a route has besides what `Route` can hold, with the number of such routes.
    let mut beyond: BTreeMap<String, usize> = BTreeMap::new();
    for (family, name) in FAMILIES {
        let request = [family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let dump = socket.dump(format!("{name} routes"), libc::RTM_GETROUTE, &request).await?;
        reading.append(netlink::decode(&dump, libc::RTM_NEWROUTE, |message| {
            decode::route(family, message, &mut |what| *beyond.entry(what).or_default() += 1)
        }));
    }
    reading.caveats.extend(beyond.into_iter().map(|(what, count)| format!("{count} route(s) with {what}")));
    nexthop::resolve(&mut socket, &mut reading).await?;
    Ok(reading)
}
