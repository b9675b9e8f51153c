//! What the parts of a report are called, in every format alike. All of it may be shown: names are escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::text::{count, printable, printable_list, printable_prose};
use crate::{
    Accepted, Assertion, Cell, CellVerdict, Expected, Finding, Nic, NicState, Observed, Predicted, Report,
    Sender, SourceStatus, Zone, ZoneKind,
};

/// `vm:web1` → `web1`, `network:default` → `network default`.
pub(crate) fn subject_in_words(subject: &str) -> String {
    match subject.split_once(':') {
        Some(("vm", name)) => name.to_owned(),
        Some((kind, name)) => format!("{kind} {name}"),
        None => subject.to_owned(),
    }
}

/// `web1, network default`, and how many more there are.
pub(crate) fn subjects_in_words(finding: &Finding) -> String {
    let subjects: Vec<_> = finding.subjects.iter().map(|subject| subject_in_words(subject)).collect();
    printable_list(subjects.iter().map(String::as_str))
}

/// `web1`, `host`, `internet 198.51.100.10`.
pub(crate) fn zone_in_words(zone: &Zone) -> String {
    let end = end_in_words(zone);
    match (zone.zone, &zone.address) {
        (ZoneKind::Gateway | ZoneKind::Internet | ZoneKind::Outside, Some(address)) => {
            format!("{end} {}", printable(address))
        }
        _ => end.into_owned(),
    }
}

/// The same, whatever address stands for it.
pub(crate) fn end_in_words(zone: &Zone) -> Cow<'_, str> {
    match zone.zone {
        ZoneKind::Vm => printable(zone.vm.as_deref().unwrap_or("a VM")),
        ZoneKind::Host => "host".into(),
        ZoneKind::Gateway => "gateway".into(),
        ZoneKind::Internet => "internet".into(),
        ZoneKind::Outside => "outside".into(),
    }
}

/// What is wrong with a source, if anything.
pub(crate) fn shortfall(status: SourceStatus) -> Option<&'static str> {
    match status {
        SourceStatus::Read => None,
        SourceStatus::Partial => Some("read in part"),
        SourceStatus::Missing => Some("not read"),
    }
}

/// `web1 → internet 198.51.100.10: icmp`.
pub(crate) fn claim_in_words(cell: &Cell) -> String {
    let (from, to) = (zone_in_words(&cell.from), zone_in_words(&cell.to));
    format!("{from} → {to}: {}", printable(&cell.traffic))
}

/// The network that a claim is about: that of the VM which asks, or is asked.
pub(crate) fn network_of(cell: &Cell) -> Option<&str> {
    let about = if cell.from.zone == ZoneKind::Vm { &cell.from } else { &cell.to };
    about.network.as_deref().or(cell.from.network.as_deref())
}

/// `web1 → internet 198.51.100.10: icmp, tcp/443 · web2 → …`.
pub(crate) fn claims(cells: &[&Cell], shown: usize) -> String {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for cell in cells {
        let pair = format!("{} → {}", zone_in_words(&cell.from), zone_in_words(&cell.to));
        let traffic = printable(&cell.traffic).into_owned();
        match pairs.iter().position(|(known, _)| *known == pair) {
            Some(known) => pairs[known].1.push(traffic),
            None if pairs.len() < shown => pairs.push((pair, vec![traffic])),
            None => {}
        }
    }
    let told: usize = pairs.iter().map(|(_, kinds)| kinds.len()).sum();
    let mut text = pairs
        .iter()
        .map(|(pair, kinds)| format!("{pair}: {}", kinds.join(", ")))
        .collect::<Vec<_>>()
        .join(" · ");
    if told < cells.len() {
        let _ = write!(text, " · … and {} more", cells.len() - told);
    }
    text
}

/// `allow` or `deny`, as a policy says it.
pub(crate) fn expected(cell: &Cell) -> &'static str {
    match cell.expected {
        Expected::Allow => "allow",
        Expected::Deny => "deny",
    }
}

/// Why a claim is not as intended, or is unknown.
pub(crate) fn what_is_known(cell: &Cell) -> String {
    match &cell.note {
        Some(note) => printable_prose(note).into_owned(),
        None => judgement(cell),
    }
}

/// Why a claim has its verdict: of a gap what is wanted and what is, then what else is to be said.
pub(crate) fn why(cell: &Cell) -> String {
    match (cell.verdict, &cell.note) {
        (CellVerdict::Gap, Some(note)) => format!("{} ({})", judgement(cell), printable_prose(note)),
        (CellVerdict::Ok | CellVerdict::Gap | CellVerdict::Unknown, _) => what_is_known(cell),
    }
}

/// What is wanted, what the facts say, what the wire showed.
fn judgement(cell: &Cell) -> String {
    format!("{}; {}; {}", wanted(cell), by_facts(cell), on_the_wire(cell))
}

/// What is wanted.
pub(crate) fn wanted(cell: &Cell) -> &'static str {
    match cell.expected {
        Expected::Allow => "should pass",
        Expected::Deny => "should not pass",
    }
}

/// What the facts say.
pub(crate) fn by_facts(cell: &Cell) -> &'static str {
    match cell.predicted {
        Predicted::Allow => "the facts say that it passes",
        Predicted::Deny => "the facts say that it does not pass",
        Predicted::Partial => "the facts say that some of it passes",
        Predicted::Unknown => "the facts do not decide",
    }
}

/// What the wire showed.
pub(crate) fn on_the_wire(cell: &Cell) -> &'static str {
    match cell.observed {
        Observed::Reply => "it was answered on the wire",
        Observed::NoReply => "nothing came back on the wire",
        Observed::NotTried => "it was not tried on the wire",
    }
}

/// As whom the packet was sent.
pub(crate) fn sent_as(sender: Sender) -> &'static str {
    match sender {
        Sender::AsVm => "as the VM, at its tap",
        Sender::Shadow => "by a port of kvmnet's own in the VM's bridge",
        Sender::AsHost => "by the host",
        Sender::AsOutside => "as if from outside, at the uplink",
    }
}

/// `accepted until 2027-01-31: reason`.
pub(crate) fn acceptance(accepted: &Accepted) -> String {
    let reason = printable_prose(&accepted.reason);
    match &accepted.until {
        Some(day) => format!("accepted until {}: {reason}", printable(day)),
        None => format!("accepted: {reason}"),
    }
}

/// What else is unknown, as `, 1 assertion undecided`: assertions of which nothing is claimed, because whom they are
/// about is off.
pub(crate) fn undecided(report: &Report) -> String {
    let claimed = |assertion: &&Assertion| {
        assertion
            .cells
            .iter()
            .filter_map(|at| report.matrix.get(*at))
            .any(|cell| cell.verdict == CellVerdict::Unknown)
    };
    let assertions = report.policy.iter().flat_map(|policy| &policy.assertions);
    let open = assertions.filter(|assertion| assertion.verdict == CellVerdict::Unknown);
    match open.filter(|assertion| !claimed(assertion)).count() {
        0 => String::new(),
        number => format!(", {} undecided", count(number, "assertion")),
    }
}

/// That nothing is told of any VM, as ` (no VM runs: no claim was checked)`: zeros look as if all was well.
pub(crate) fn unclaimed(report: &Report) -> &'static str {
    let is_off = |nic: &Nic| nic.state == Some(NicState::Off);
    match (&report.matrix[..], &report.nics[..]) {
        ([_, ..], _) => "",
        ([], nics @ [_, ..]) if nics.iter().all(is_off) => " (no VM runs: no claim was checked)",
        ([], _) => " (no claim was checked)",
    }
}

/// A command as it may be shown, or a shell comment in its place if what shows is not what would run.
pub(crate) fn command(command: &str) -> Cow<'_, str> {
    match printable_prose(command) {
        Cow::Borrowed(whole) => Cow::Borrowed(whole),
        Cow::Owned(shown) => {
            Cow::Owned(format!("# by hand, as it holds characters that do not show: {shown}"))
        }
    }
}
