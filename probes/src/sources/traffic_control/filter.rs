//! One tc filter from its message.

use super::action;
use crate::facts::{IfIndex, TcHook};
use crate::sources::netlink::{Attribute, Malformed, attributes, body};

const TCA_U32_DIVISOR: u16 = 4;
const TCA_U32_POLICE: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// The attribute of a classifier's options that lists its actions (`include/uapi/linux/pkt_cls.h`).
fn actions_attribute(kind: &str) -> Option<u16> {
    match kind {
        "bpf" | "cgroup" => Some(1),
        "matchall" => Some(2),
        "flower" | "basic" => Some(3),
        "fw" => Some(4),
        "route" => Some(6),
        "u32" => Some(7),
        "flow" => Some(9),
        _ => None,
    }
}

/// Decodes `struct tcmsg` and a filter's attributes; `None` for what only holds filters: a chain's
/// head, a hash table of `u32`.
pub(super) fn hook(device: IfIndex, parent: &str, message: &[u8]) -> Result<Option<TcHook>, Malformed> {
    let (_, rest) = body::<20>(message)?;
    let (mut kind, mut options) = (None, None);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            libc::TCA_KIND => kind = Some(attribute.text()),
            libc::TCA_OPTIONS => options = Some(attribute),
            _ => {}
        }
    }
    let kind = kind.ok_or(Malformed::Absent { kind: libc::TCA_KIND })?;
    let Some(options) = options else { return Ok(None) };
    let options: Vec<_> = options.nested().collect::<Result<_, _>>()?;
    let find = |kind: u16| options.iter().find(|option| option.kind == kind);
    if kind == "u32" && find(TCA_U32_DIVISOR).is_some() {
        return Ok(None);
    }
    let mut detail = Vec::new();
    if kind == "bpf" {
        detail.extend(find(TCA_BPF_NAME).map(|name| format!("program {}", name.text())));
        detail.extend(find(TCA_BPF_ID).map(Attribute::u32).transpose()?.map(|id| format!("id {id}")));
    }
    if kind == "u32" && find(TCA_U32_POLICE).is_some() {
        detail.push("police".to_owned());
    }
    if let Some(list) = actions_attribute(&kind).and_then(find) {
        for action in list.nested() {
            detail.push(action::describe(&action?)?);
        }
    }
    let detail = (!detail.is_empty()).then(|| detail.join(", "));
    Ok(Some(TcHook { device, parent: parent.to_owned(), kind, detail }))
}
