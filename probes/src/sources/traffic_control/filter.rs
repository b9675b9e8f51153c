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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::netlink::{mutations, put, put_u32};

    /// A filter of this kind with these options.
    fn filter(kind: &str, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 20];
        put(&mut message, libc::TCA_KIND, kind.as_bytes());
        put(&mut message, libc::TCA_OPTIONS, options);
        message
    }

    /// The first action in a list: its kind, and its parameters (attribute 2 of its options).
    fn action(kind: &str, parameters: &[u8]) -> Vec<u8> {
        let (mut action, mut options, mut list) = (Vec::new(), Vec::new(), Vec::new());
        put(&mut options, 2, parameters);
        put(&mut action, 1, kind.as_bytes());
        put(&mut action, 2, &options);
        put(&mut list, 1, &action);
        list
    }

    fn detail(message: &[u8]) -> Option<String> {
        hook(IfIndex(1), "ingress", message).unwrap().unwrap().detail
    }

    #[test]
    fn actions_say_what_becomes_of_the_packet() {
        let drop = [0, 0, 2, 1, 1].map(u32::to_ne_bytes).concat();
        for (kind, attribute) in [("u32", 7), ("flower", 3), ("matchall", 2)] {
            let mut options = Vec::new();
            put(&mut options, attribute, &action("gact", &drop));
            assert_eq!(detail(&filter(kind, &options)).as_deref(), Some("gact drop"), "{kind}");
        }
        let mut options = Vec::new();
        put(&mut options, 7, &action("csum", &[0; 24]));
        assert_eq!(detail(&filter("u32", &options)).as_deref(), Some("csum"));
    }

    #[test]
    fn a_program_is_named() {
        let mut options = Vec::new();
        put(&mut options, TCA_BPF_NAME, b"cil_from_netdev\0");
        put_u32(&mut options, TCA_BPF_ID, 77);
        let expected = "program cil_from_netdev, id 77";
        assert_eq!(detail(&filter("bpf", &options)).as_deref(), Some(expected));
    }

    #[test]
    fn what_only_holds_filters_is_none() {
        let mut table = Vec::new();
        put_u32(&mut table, TCA_U32_DIVISOR, 1);
        assert_eq!(hook(IfIndex(1), "1:", &filter("u32", &table)), Ok(None));
        let mut head = vec![0; 20];
        put(&mut head, libc::TCA_KIND, b"u32\0");
        assert_eq!(hook(IfIndex(1), "1:", &head), Ok(None));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut options = Vec::new();
        put(&mut options, 7, &action("mirred", &[0; 28]));
        for bytes in mutations(&filter("u32", &options)) {
            let _ = hook(IfIndex(1), "1:", &bytes);
        }
    }
}
