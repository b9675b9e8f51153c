//! What a tc filter does with a packet.

use crate::sources::netlink::{Attribute, Malformed, body};

const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_GACT_PARMS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;

/// An action in the words of `tc`: its kind, and for those that end a packet's way here what they do.
pub(super) fn describe(action: &Attribute<'_>) -> Result<String, Malformed> {
    let (mut kind, mut options) = (None, Vec::new());
    for attribute in action.nested() {
        let attribute = attribute?;
        match attribute.kind {
            TCA_ACT_KIND => kind = Some(attribute.text()),
            TCA_ACT_OPTIONS => options = attribute.nested().collect::<Result<_, _>>()?,
            _ => {}
        }
    }
    let kind = kind.ok_or(Malformed::Absent { kind: TCA_ACT_KIND })?;
    let find = |kind: u16| options.iter().find(|option| option.kind == kind);
    let what = match kind.as_str() {
        "gact" => find(TCA_GACT_PARMS).map(|parameters| verdict(parameters.value)).transpose()?,
        "mirred" => find(TCA_MIRRED_PARMS).map(|parameters| redirection(parameters.value)).transpose()?,
        _ => None,
    };
    Ok(what.map_or(kind.clone(), |what| format!("{kind} {what}")))
}

/// `tc_gen`: index, capabilities, the verdict (`TC_ACT_*`), two counters.
fn verdict(parameters: &[u8]) -> Result<String, Malformed> {
    let ([_, _, _, _, _, _, _, _, verdict @ ..], _) = body::<12>(parameters)?;
    Ok(match i32::from_ne_bytes(*verdict) {
        -1 => "continue".to_owned(),
        0 => "pass".to_owned(),
        1 => "reclassify".to_owned(),
        2 => "drop".to_owned(),
        3 => "pipe".to_owned(),
        4 => "stolen".to_owned(),
        other => format!("verdict {other:#x}"),
    })
}

/// `struct tc_mirred`: `tc_gen`, then what is done and the other device's index.
fn redirection(parameters: &[u8]) -> Result<String, Malformed> {
    let (fixed, _) = body::<28>(parameters)?;
    let [.., e0, e1, e2, e3, i0, i1, i2, i3] = *fixed;
    let what = match i32::from_ne_bytes([e0, e1, e2, e3]) {
        1 => "egress redirect".to_owned(),
        2 => "egress mirror".to_owned(),
        3 => "ingress redirect".to_owned(),
        4 => "ingress mirror".to_owned(),
        other => format!("{other}"),
    };
    Ok(format!("{what} to device {}", u32::from_ne_bytes([i0, i1, i2, i3])))
}
