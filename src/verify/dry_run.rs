//! What would be sent, in words.

use std::net::IpAddr;

use kvmnet_probes::facts::Snapshot;
use kvmnet_probes::wire::{Attempt, EchoForm, Probe, Sender, Shadow};
use kvmnet_reports::dry_run::{DryAttempt, DryRun, SCHEMA};

/// What the attempts would send.
pub fn dry_run(snapshot: &Snapshot, attempts: &[Attempt]) -> DryRun {
    let address_packets = asked_for_addresses(attempts);
    let most_packets: usize = attempts.iter().map(Attempt::most_packets).sum();
    DryRun {
        schema: SCHEMA.to_owned(),
        host: snapshot.host.name.clone(),
        most_packets: most_packets + address_packets,
        address_packets,
        attempts: attempts.iter().map(in_words).collect(),
    }
}

/// How many packets the ports leave with that may stand in for VMs, before they have addresses.
fn asked_for_addresses(attempts: &[Attempt]) -> usize {
    let mut ports: Vec<&Shadow> = Vec::new();
    for attempt in attempts {
        if let Sender::AsVm { instead: Ok(shadow), .. } = &attempt.sender
            && !ports.contains(&&**shadow)
        {
            ports.push(shadow);
        }
    }
    ports.into_iter().map(Shadow::most_packets).sum()
}

fn in_words(attempt: &Attempt) -> DryAttempt {
    let instead = match &attempt.sender {
        Sender::AsVm { instead: Ok(shadow), .. } => Some(shadow.bridge.name.to_string()),
        Sender::AsVm { instead: Err(_), .. } | Sender::AsHost { .. } | Sender::AsOutside { .. } => None,
    };
    let (sender, device, source) = match &attempt.sender {
        Sender::AsVm { tap, address, .. } => ("vm", tap, *address),
        Sender::AsHost { device, address, .. } => ("host", device, *address),
        Sender::AsOutside { uplink, address, .. } => ("outside", uplink, Some(*address)),
    };
    let neighbour = |ip: &IpAddr| if ip.is_ipv4() { "arp" } else { "ndp" }.to_owned();
    let (what, to) = match &attempt.probe {
        Probe::Resolve { target, .. } => (neighbour(target), target.to_string()),
        Probe::Discover { candidates, .. } => match candidates.as_slice() {
            [one] => ("arp".to_owned(), one.to_string()),
            [first, .., last] => ("arp".to_owned(), format!("{first}–{last}")),
            [] => ("arp".to_owned(), String::new()),
        },
        Probe::Echo { target, form, .. } => {
            let what = match form {
                EchoForm::Plain => "icmp".to_owned(),
                EchoForm::Expiring { hops: 1 } => "icmp, 1 hop".to_owned(),
                EchoForm::Expiring { hops } => format!("icmp, {hops} hops"),
                EchoForm::Filled { bytes } => format!("icmp, {bytes} bytes"),
            };
            (what, target.to_string())
        }
        Probe::TcpSyn { target, port, .. } => (format!("tcp/{port}"), target.to_string()),
        Probe::DhcpDiscover => ("dhcp".to_owned(), "255.255.255.255".to_owned()),
        Probe::RouterSolicit { .. } => ("router-solicitation".to_owned(), "ff02::2".to_owned()),
        Probe::DnsQuery { server, .. } => ("dns".to_owned(), server.to_string()),
    };
    DryAttempt {
        sender: sender.to_owned(),
        device: device.name.to_string(),
        instead,
        from: source.map(|source| source.to_string()),
        to,
        what,
        watched: attempt.watch.iter().map(|device| device.name.to_string()).collect(),
        most_packets: attempt.most_packets(),
    }
}
