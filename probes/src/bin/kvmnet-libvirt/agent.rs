//! What the guests' agents say about their addresses.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use kvmnet_probes::facts::AgentAddress;
use virt::connect::Connect;
use virt::domain::Domain;

use crate::sys::{RawAddress, agent_addresses};

/// How long all agents together may take. An agent that hangs blocks its call for ever: the thread
/// is left behind and ends with the process.
const DEADLINE: Duration = Duration::from_secs(1);

/// As many calls at once as the daemon serves for one client (`max_client_requests`).
const AT_ONCE: usize = 5;

/// A guest has few addresses; one that claims more is not believed beyond these.
const MOST_ADDRESSES: usize = 256;

/// Asks the agents of these domains (UUIDs with names for messages), and says by UUID what they
/// answered and in lines what went wrong. libvirt lets only a connection that may write ask.
pub(crate) fn ask(
    uri: &str,
    domains: Vec<(String, String)>,
) -> (BTreeMap<String, Vec<AgentAddress>>, Vec<String>) {
    let mut answers = BTreeMap::new();
    let mut unread = Vec::new();
    // Anybody but root would be asked for a password (polkit).
    if domains.is_empty() || !nix::unistd::geteuid().is_root() {
        return (answers, unread);
    }
    let mut waiting: BTreeMap<_, _> = domains.iter().cloned().collect();
    let queue = Arc::new(Mutex::new(domains));
    let (sender, receiver) = mpsc::channel();
    let uri: Arc<str> = uri.into();
    for _ in 0..AT_ONCE.min(waiting.len()) {
        let (queue, sender, uri) = (Arc::clone(&queue), sender.clone(), Arc::clone(&uri));
        thread::spawn(move || work(&uri, &queue, &sender));
    }
    drop(sender);
    let end = Instant::now() + DEADLINE;
    while let Ok((uuid, answer)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let Some(name) = waiting.remove(&uuid) else { continue };
        match answer.and_then(|raw| addresses(&raw)) {
            Ok(addresses) => {
                answers.insert(uuid, addresses);
            }
            Err(reason) => unread.push(format!("agent of domain {name}: {reason}")),
        }
    }
    unread.extend(
        waiting
            .values()
            .map(|name| format!("agent of domain {name}: did not answer within {} ms", DEADLINE.as_millis())),
    );
    (answers, unread)
}

type Answer = (String, Result<Vec<RawAddress>, String>);

fn work(uri: &str, queue: &Mutex<Vec<(String, String)>>, sender: &mpsc::Sender<Answer>) {
    let connection = Connect::open(Some(uri));
    while let Some((uuid, _)) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
        let answer = connection.as_ref().map_err(|error| error.message().to_owned()).and_then(|connection| {
            let domain = Domain::lookup_by_uuid_string(connection, &uuid);
            domain.and_then(|domain| agent_addresses(&domain)).map_err(|error| error.message().to_owned())
        });
        if sender.send((uuid, answer)).is_err() {
            return;
        }
    }
}

fn addresses(raw: &[RawAddress]) -> Result<Vec<AgentAddress>, String> {
    if raw.len() > MOST_ADDRESSES {
        return Err(format!("claims {} addresses", raw.len()));
    }
    raw.iter()
        .map(|raw| {
            let address = raw.address.parse().ok();
            let net = address.and_then(|address| IpNet::new(address, u8::try_from(raw.prefix).ok()?).ok());
            let shown: String = raw.address.chars().take(60).collect();
            let net = net.ok_or_else(|| format!("claims the address {shown:?}/{}", raw.prefix))?;
            Ok(AgentAddress { mac: raw.mac.as_deref().and_then(|mac| mac.parse().ok()), net })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(mac: Option<&str>, address: &str, prefix: u32) -> RawAddress {
        RawAddress { mac: mac.map(str::to_owned), address: address.to_owned(), prefix }
    }

    #[test]
    fn an_agents_words_are_addresses_or_refused() {
        let good = [raw(Some("52:54:00:aa:00:01"), "192.0.2.5", 24), raw(None, "fe80::1", 64)];
        let read = addresses(&good).unwrap();
        assert_eq!(read[0].net.to_string(), "192.0.2.5/24");
        assert_eq!(read[1].mac, None);
        for wrong in [raw(None, "192.0.2.5", 33), raw(None, "\u{1b}[2J", 0), raw(None, "", 24)] {
            assert!(addresses(&[wrong]).is_err());
        }
        assert!(addresses(&vec![raw(None, "192.0.2.5", 24); 257]).is_err());
    }
}
