//! Which NIC of which VM is behind which tap, in which bridge, and whether those who should know agree.

use std::io;

use serde::Serialize;

use crate::grid::{Entry, Grid, Heading};
use crate::text::{Form, Paint, count, printable, printable_prose, wrap};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.ports/1";

/// The NICs of a host's VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// [`SCHEMA`].
    pub schema: String,
    /// The host's node name.
    pub host: String,
    /// The NICs, by domain and position.
    pub ports: Vec<Port>,
    /// Sources without which the list is incomplete, with the reason.
    pub unread: Vec<String>,
}

/// One NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The domain's name.
    pub vm: String,
    /// The NIC's position in the domain, from 1.
    pub nic: usize,
    /// The tap, by libvirt's name for it.
    pub tap: Option<String>,
    /// The bridge that the tap is in now.
    pub bridge: Option<String>,
    /// The bridge that it should be in.
    pub expected_bridge: Option<String>,
    /// The libvirt network.
    pub network: Option<String>,
    /// Its MAC, by all who know it.
    pub mac: PortMac,
    /// Its addresses and where they are known from.
    pub addresses: Vec<PortAddress>,
    /// What is to be said of it, in words.
    pub notes: Vec<Note>,
}

/// A NIC's MAC, by all who know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortMac {
    /// By the domain's XML.
    pub xml: String,
    /// The tap's own; libvirt makes it of the NIC's, with `fe` in front.
    pub tap: Option<String>,
    /// What the bridge learned behind the tap: the MACs that the guest sends from.
    pub learned: Vec<String>,
}

/// An address of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortAddress {
    /// The address.
    pub address: String,
    /// Who says so: `xml`, `reserved`, `lease`, `neighbour`, `agent`, `wire`.
    pub sources: Vec<String>,
}

/// Something to be said of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Two who should agree do not.
    pub disagreement: bool,
    /// In words.
    pub text: String,
}

impl Ports {
    /// NICs of which two who should agree do not.
    pub fn disagreements(&self) -> usize {
        self.ports.iter().filter(|port| port.disagrees()).count()
    }
}

impl Port {
    fn disagrees(&self) -> bool {
        self.notes.iter().any(|note| note.disagreement)
    }
}

/// Writes the NICs as a table.
pub fn write(ports: &Ports, form: Form, mut out: impl io::Write) -> io::Result<()> {
    if ports.ports.is_empty() {
        writeln!(out, "no NIC")?;
    } else {
        nics(ports, form, &mut out)?;
    }
    writeln!(out)?;
    for source in &ports.unread {
        writeln!(
            out,
            "{}",
            Paint::Yellow.apply(&format!("not read: {}", printable_prose(source)), form.colour)
        )?;
    }
    let disagreements = ports.disagreements();
    let paint = if disagreements == 0 { Paint::Green } else { Paint::Red };
    let summary = match disagreements {
        0 => count(ports.ports.len(), "NIC"),
        some => format!("{}, {some} in disagreement", count(ports.ports.len(), "NIC")),
    };
    writeln!(out, "{}", paint.apply(&summary, form.colour))
}

/// With the notes in the last column, or below where that is too wide.
fn nics(ports: &Ports, form: Form, out: &mut impl io::Write) -> io::Result<()> {
    let wide = grid(ports, true);
    if wide.width() <= form.width {
        return wide.write(form, out);
    }
    grid(ports, false).write(form, out)?;
    if ports.ports.iter().any(|port| !port.notes.is_empty()) {
        writeln!(out)?;
    }
    for port in ports.ports.iter().filter(|port| !port.notes.is_empty()) {
        let notes: Vec<_> = port.notes.iter().map(|note| printable_prose(&note.text)).collect();
        let line = format!("{}, NIC {}: {}", printable(&port.vm), port.nic, notes.join("; "));
        for line in wrap(&line, form.width.saturating_sub(1)) {
            let colour = form.colour && port.disagrees();
            writeln!(out, " {}", Paint::Red.apply(&line, colour))?;
        }
    }
    Ok(())
}

fn grid(ports: &Ports, with_notes: bool) -> Grid {
    let headings = [
        Heading::new("VM"),
        Heading::new("NIC").number().dispensable(2),
        Heading::new("TAP"),
        Heading::new("BRIDGE"),
        Heading::new("NETWORK").dispensable(3),
        Heading::new("MAC"),
        Heading::new("MAC TABLE").or("SEEN").dispensable(1),
        Heading::new("ADDRESSES"),
        Heading::new("NOTES"),
    ];
    let columns = if with_notes { headings.len() } else { headings.len() - 1 };
    let mut grid = Grid::new(headings.into_iter().take(columns));
    for port in &ports.ports {
        grid.push(row(port, if with_notes { " " } else { "\n" }));
    }
    grid
}

/// `between`: what stands between an address and those who know it.
fn row(port: &Port, between: &str) -> [Entry; 9] {
    let dash = || Entry::painted("–", Paint::Dim);
    let known =
        |name: &Option<String>| name.as_deref().map_or_else(dash, |name| printable(name).into_owned().into());
    let seen = match port.mac.learned.as_slice() {
        [] => dash(),
        learned if learned.iter().all(|mac| *mac == port.mac.xml) => Entry::painted("same", Paint::Green),
        _ => Entry::painted("DIFFERS", Paint::Red),
    };
    let addresses: Vec<_> = port
        .addresses
        .iter()
        .map(|known| format!("{}{between}({})", printable(&known.address), known.sources.join(", ")))
        .collect();
    let addresses = if addresses.is_empty() { dash() } else { addresses.join("\n").into() };
    let notes: Vec<_> = port.notes.iter().map(|note| printable_prose(&note.text)).collect();
    [
        printable(&port.vm).into_owned().into(),
        port.nic.to_string().into(),
        known(&port.tap),
        known(&port.bridge),
        known(&port.network),
        printable(&port.mac.xml).into_owned().into(),
        seen,
        addresses,
        Entry { paint: port.disagrees().then_some(Paint::Red), ..notes.join("\n").into() },
    ]
}
