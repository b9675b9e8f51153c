//! Targets of xtables in the words of iptables-save and ebtables-save.

use std::net::IpAddr;

use kvmnet_probes::facts::{RejectWith, Verdict, XtAction, XtTarget};

use super::datum::prefix_length;
use super::words::{Words, word};

/// `-j` with the target and its options.
pub(super) fn text(target: &XtTarget, ipv6: bool) -> String {
    let name = target.name.as_str();
    let options = match &target.action {
        XtAction::Reject { with } => format!("--reject-with {}", reject(*with, ipv6)),
        XtAction::Masquerade { ports } | XtAction::Redirect { ports } => {
            ports.map_or_else(String::new, |ports| format!("--to-ports {}", pair(ports)))
        }
        XtAction::Snat { addresses, ports } => format!("--to-source {}", to(*addresses, *ports)),
        XtAction::Dnat { addresses, ports } => format!("--to-destination {}", to(*addresses, *ports)),
        XtAction::Netmap { addresses: (first, last) } => format!("--to {}", network(*first, *last)),
        XtAction::SetMark { mark, mask } => format!("--set-xmark {mark:#x}/{mask:#x}"),
        XtAction::Connmark { mode, mark, ct_mask, packet_mask } => match mode {
            0 => format!("--set-xmark {mark:#x}/{ct_mask:#x}"),
            1 => format!("--save-mark --nfmask {packet_mask:#x} --ctmask {ct_mask:#x}"),
            _ => format!("--restore-mark --nfmask {packet_mask:#x} --ctmask {ct_mask:#x}"),
        },
        XtAction::Ct { .. } if name == "NOTRACK" => String::new(),
        XtAction::Ct { notrack: true, .. } => "--notrack".to_owned(),
        // It has no options.
        XtAction::Harmless if name == "TRACE" => String::new(),
        XtAction::Ct { notrack: false, zone: 0 } | XtAction::Harmless => "…".to_owned(),
        XtAction::Ct { notrack: false, zone } => format!("--zone {zone}"),
        XtAction::Log => String::new(),
        XtAction::EbVerdict { verdict } => return bridged_verdict(verdict),
        XtAction::EbRewrite { detail, verdict } => return rewrite(name, detail, verdict),
        XtAction::Opaque { .. } => return format!("-j <{name}: not understood>"),
    };
    if options.is_empty() { format!("-j {name}") } else { format!("-j {name} {options}") }
}

/// `-j` or `-g` with a verdict; nothing where the rule goes on.
pub(super) fn verdict(verdict: &Verdict) -> Option<String> {
    Some(match verdict {
        Verdict::Accept => "-j ACCEPT".to_owned(),
        Verdict::Drop => "-j DROP".to_owned(),
        Verdict::Return => "-j RETURN".to_owned(),
        Verdict::Jump { chain } => format!("-j {chain}"),
        Verdict::Goto { chain } => format!("-g {chain}"),
        Verdict::Queue => "-j QUEUE".to_owned(),
        Verdict::Continue | Verdict::Break | Verdict::Stolen | Verdict::Unknown { .. } => return None,
    })
}

/// A verdict of ebtables, which says also where the rule goes on.
pub(super) fn bridged_verdict(of: &Verdict) -> String {
    match of {
        Verdict::Continue => "-j CONTINUE".to_owned(),
        Verdict::Unknown { code } => format!("-j <verdict {code}: not understood>"),
        of => verdict(of).unwrap_or_else(|| "-j <verdict: not understood>".to_owned()),
    }
}

/// A target that changes a frame and then decides.
fn rewrite(name: &str, detail: &str, then: &Verdict) -> String {
    let value = detail.rsplit(' ').next().unwrap_or(detail);
    let options = match name {
        "snat" => format!("--to-src {value} "),
        "dnat" => format!("--to-dst {value} "),
        "arpreply" => format!("--arpreply-mac {value} "),
        "mark" => {
            let how = detail.split(' ').nth(1).unwrap_or("set");
            format!("--mark-{how} {value} ")
        }
        _ => String::new(),
    };
    let usual = match name {
        "redirect" => *then == Verdict::Accept,
        "arpreply" => *then == Verdict::Drop,
        _ => false,
    };
    if usual {
        return format!("-j {name} {options}").trim_end().to_owned();
    }
    let then = bridged_verdict(then).replace("-j ", "");
    format!("-j {name} {options}--{name}-target {then}")
}

fn reject(with: RejectWith, ipv6: bool) -> String {
    const V4: Words = &[
        (0, "icmp-net-unreachable"),
        (1, "icmp-host-unreachable"),
        (2, "icmp-proto-unreachable"),
        (3, "icmp-port-unreachable"),
        (9, "icmp-net-prohibited"),
        (10, "icmp-host-prohibited"),
        (13, "icmp-admin-prohibited"),
    ];
    const V6: Words = &[
        (0, "icmp6-no-route"),
        (1, "icmp6-adm-prohibited"),
        (3, "icmp6-addr-unreachable"),
        (4, "icmp6-port-unreachable"),
        (5, "icmp6-policy-fail"),
        (6, "icmp6-reject-route"),
    ];
    match with {
        RejectWith::TcpReset => "tcp-reset".to_owned(),
        RejectWith::Icmp { code } | RejectWith::Icmpx { code } => {
            let words = if ipv6 { V6 } else { V4 };
            word(words, u64::from(code)).map_or_else(|| format!("code {code}"), str::to_owned)
        }
    }
}

fn pair((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn to(addresses: Option<(IpAddr, IpAddr)>, ports: Option<(u16, u16)>) -> String {
    let one = |address: IpAddr| match (address, ports) {
        (IpAddr::V6(address), Some(_)) => format!("[{address}]"),
        (address, _) => address.to_string(),
    };
    let addresses = addresses.map_or_else(String::new, |(first, last)| {
        if first == last { one(first) } else { format!("{}-{}", one(first), one(last)) }
    });
    ports.map_or_else(|| addresses.clone(), |ports| format!("{addresses}:{}", pair(ports)))
}

/// The prefix of which these are the first and the last address.
fn network(first: IpAddr, last: IpAddr) -> String {
    let (from, to) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.octets().to_vec(), last.octets().to_vec()),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.octets().to_vec(), last.octets().to_vec()),
        _ => return format!("{first}-{last}"),
    };
    let mask: Vec<u8> = from.iter().zip(&to).map(|(from, to)| !(from ^ to)).collect();
    prefix_length(&mask).map_or_else(|| format!("{first}-{last}"), |length| format!("{first}/{length}"))
}
