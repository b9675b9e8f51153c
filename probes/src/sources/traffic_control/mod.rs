//! tc filters and queueing disciplines that can take or change packets.

mod action;
mod filter;
mod tcx;

use super::netlink::{Malformed, NetlinkError, Socket, attributes, body, decode};
use super::{Context, Meta, Reading};
use crate::facts::{IfIndex, TcHook};

pub(crate) const META: Meta = Meta {
    id: "traffic-control",
    summary: "tc filters and queueing disciplines that can take or change packets",
    basis: "RTM_GETQDISC and RTM_GETTFILTER, include/uapi/linux/pkt_cls.h; BPF_PROG_QUERY for tcx",
    since: "0.1.0",
};

/// Disciplines that only order packets and drop them when their queue is full.
const PLAIN: [&str; 19] = [
    "noqueue", "pfifo_fast", "pfifo", "bfifo", "pfifo_head_drop", "fq_codel", "fq", "fq_pie", "codel", "pie",
    "sfq", "mq", "mqprio", "prio", "multiq", "drr", "ets", "skbprio", "cake",
];
/// Disciplines that hold filters but no packets.
const HOOKS: [&str; 2] = ["ingress", "clsact"];

/// `TC_H_*`, `include/uapi/linux/pkt_sched.h`.
const ROOT: u32 = u32::MAX;
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const CLSACT_EGRESS: u32 = 0xffff_fff3;
const INGRESS: u32 = 0xffff_0000;

pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<TcHook>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let disciplines = match socket.dump("queueing disciplines", libc::RTM_GETQDISC, &request(IfIndex(0), 0)).await {
        Ok(dump) => decode(&dump, libc::RTM_NEWQDISC, |message| discipline(message).map(Some)),
        // A kernel without tc.
        Err(error) if error.is_unsupported() => return Ok(Vec::new().into()),
        Err(error) => return Err(error),
    };
    let mut reading = Reading { value: Vec::new(), caveats: disciplines.caveats };
    for discipline in disciplines.value {
        let Discipline { device, handle, parent, kind } = discipline;
        for (parent, name) in filter_parents(&kind, handle) {
            let request = request(device, parent);
            let place = name.unwrap_or_else(|| self::handle(handle));
            let object = format!("tc filters of device {device}");
            let dump = socket.dump(object, libc::RTM_GETTFILTER, &request).await?;
            reading.append(decode(&dump, libc::RTM_NEWTFILTER, |message| {
                filter::hook(device, &place, message)
            }));
        }
        if !PLAIN.contains(&kind.as_str()) && !HOOKS.contains(&kind.as_str()) {
            let parent = if parent == ROOT { "root".to_owned() } else { self::handle(parent) };
            reading.value.push(TcHook { device, parent, kind, detail: None });
        }
    }
    tcx::add(&mut reading);
    Ok(reading)
}

/// Under which parents a discipline holds filters, with their names.
fn filter_parents(kind: &str, handle: u32) -> Vec<(u32, Option<String>)> {
    match kind {
        "clsact" => vec![
            (CLSACT_INGRESS, Some("ingress".to_owned())),
            (CLSACT_EGRESS, Some("egress".to_owned())),
        ],
        "ingress" => vec![(INGRESS, Some("ingress".to_owned()))],
        // Without a handle it was not made by hand, and has no filters.
        _ if handle == 0 => Vec::new(),
        _ => vec![(handle, None)],
    }
}

/// `MAJOR:MINOR` in hexadecimal, as `tc` writes it.
fn handle(handle: u32) -> String {
    let (major, minor) = (handle >> 16, handle & 0xffff);
    if minor == 0 { format!("{major:x}:") } else { format!("{major:x}:{minor:x}") }
}

/// `struct tcmsg` of a device and a parent.
fn request(device: IfIndex, parent: u32) -> Vec<u8> {
    let mut request = vec![0; 4];
    for field in [device.0, 0, parent, 0] {
        request.extend(field.to_ne_bytes());
    }
    request
}

struct Discipline {
    device: IfIndex,
    handle: u32,
    parent: u32,
    kind: String,
}

/// Decodes `struct tcmsg` and the kind of a discipline.
fn discipline(message: &[u8]) -> Result<Discipline, Malformed> {
    let (header, rest) = body::<20>(message)?;
    let [_, _, _, _, i0, i1, i2, i3, h0, h1, h2, h3, p0, p1, p2, p3, ..] = *header;
    let mut kind = None;
    for attribute in attributes(rest) {
        let attribute = attribute?;
        if attribute.kind == libc::TCA_KIND {
            kind = Some(attribute.text());
        }
    }
    Ok(Discipline {
        device: IfIndex(u32::from_ne_bytes([i0, i1, i2, i3])),
        handle: u32::from_ne_bytes([h0, h1, h2, h3]),
        parent: u32::from_ne_bytes([p0, p1, p2, p3]),
        kind: kind.ok_or(Malformed::Absent { kind: libc::TCA_KIND })?,
    })
}
