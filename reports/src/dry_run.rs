//! What the doctor would send.

use std::io;

use serde::Serialize;

use crate::grid::{Grid, Heading};
use crate::text::{Form, printable};

/// The version of the JSON form.
pub const SCHEMA: &str = "kvmnet.dry-run/1";

/// What would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// [`SCHEMA`].
    pub schema: String,
    /// The host's node name.
    pub host: String,
    /// How many packets would be sent at most, if nothing is answered.
    pub most_packets: usize,
    /// How many of them ask whether addresses are free that ports of kvmnet's own would take, if such ports stand in for
    /// VMs.
    pub address_packets: usize,
    /// The attempts. The first ones ask the VMs for their addresses.
    pub attempts: Vec<DryAttempt>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryAttempt {
    /// As whom: `vm`, `host` or `outside`.
    pub sender: String,
    /// At which device: as a VM or from outside it enters there, from the host it leaves by it.
    pub device: String,
    /// The bridge in which a port of kvmnet's own would stand in, with a MAC and an address of its own, if no frame can
    /// enter at the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
    /// The source address, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The destination address.
    pub to: String,
    /// What: `arp`, `icmp`, `tcp/443`, ….
    pub what: String,
    /// Devices besides where it would be watched.
    pub watched: Vec<String>,
    /// How many packets at most.
    pub most_packets: usize,
}

/// Writes a line for each attempt.
pub fn write(run: &DryRun, form: Form, mut out: impl io::Write) -> io::Result<()> {
    let [sender, device, from, to] = ["AS", "AT", "FROM", "TO"].map(Heading::new);
    let [what, most, watched] = ["WHAT", "PACKETS", "WATCHED AT"].map(Heading::new);
    let stands_in = Heading::new("ELSE BY A PORT IN");
    let mut grid = Grid::new([
        sender,
        device,
        from.dispensable(2),
        to,
        what,
        most,
        watched.dispensable(1),
        stands_in.dispensable(3),
    ]);
    for attempt in &run.attempts {
        grid.push([
            attempt.sender.clone().into(),
            printable(&attempt.device).into(),
            printable(attempt.from.as_deref().unwrap_or("–")).into(),
            printable(&attempt.to).into(),
            attempt.what.clone().into(),
            format!("≤ {}", attempt.most_packets).into(),
            printable(&attempt.watched.join(", ")).into(),
            printable(attempt.instead.as_deref().unwrap_or("–")).into(),
        ]);
    }
    grid.write(form, &mut out)?;
    writeln!(out, "\n{} attempts, {} packets at most; nothing was sent", run.attempts.len(), run.most_packets)
}
