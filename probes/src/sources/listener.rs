//! Who listens on the DHCP and DNS ports.
//!
//! The kernel lists the sockets of this network namespace with the device that each is bound to;
//! the process behind one is found by its inode among the open files of /proc.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Malformed, NetlinkError, Socket, body, decode};
use super::{Context, Meta, Reading, process};
use crate::facts::{IfIndex, Listener, Process};

pub(crate) const META: Meta = Meta {
    id: "listeners",
    summary: "Who listens on the DHCP and DNS ports",
    basis: "SOCK_DIAG_BY_FAMILY, include/uapi/linux/inet_diag.h; /proc/PID/fd",
    since: "0.1.0",
};

/// `include/uapi/linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// States of `include/net/tcp_states.h`, as bits: an unconnected UDP socket is closed.
const TCP_CLOSE: u32 = 1 << 7;
const TCP_LISTEN: u32 = 1 << 10;

/// Name, number, the state of a socket that serves, and the ports that matter.
const PROTOCOLS: [(&str, i32, u32, &[u16]); 2] =
    [("udp", libc::IPPROTO_UDP, TCP_CLOSE, &[53, 67, 547]), ("tcp", libc::IPPROTO_TCP, TCP_LISTEN, &[53])];

/// Reads the source.
pub(crate) async fn read(_context: &Context) -> Result<Reading<Vec<Listener>>, NetlinkError> {
    let mut socket = Socket::open(libc::NETLINK_SOCK_DIAG)?;
    let mut found = Reading::from(Vec::new());
    for (name, number, states, ports) in PROTOCOLS {
        for (family, version) in [(libc::AF_INET, "IPv4"), (libc::AF_INET6, "IPv6")] {
            // struct inet_diag_req_v2: family, protocol, extensions, padding, states, socket.
            let mut request = vec![byte(family), byte(number), 0, 0];
            request.extend(states.to_ne_bytes());
            request.resize(56, 0);
            let dump = socket.dump(format!("{version} {name} sockets"), SOCK_DIAG_BY_FAMILY, &request).await?;
            let one = |message: &[u8]| one(name, message);
            let mut reading = decode(&dump, SOCK_DIAG_BY_FAMILY, |message| one(message).map(Some));
            reading.value.retain(|(listener, _)| ports.contains(&listener.port));
            found.append(reading);
        }
    }
    let Reading { value, mut caveats } = found;
    let owners = owners(value.iter().map(|(_, inode)| *inode), &mut caveats);
    let mut listeners: Vec<_> = value
        .into_iter()
        .map(|(listener, inode)| Listener { process: owners.get(&inode).cloned(), ..listener })
        .collect();
    listeners.sort_by(|one, other| key(one).cmp(&key(other)));
    Ok(Reading { value: listeners, caveats })
}

fn key(listener: &Listener) -> (&str, u16, IpAddr, Option<IfIndex>, Option<u32>) {
    let pid = listener.process.as_ref().map(|process| process.pid);
    (&listener.protocol, listener.port, listener.address, listener.device, pid)
}

/// Families and protocols are small numbers.
fn byte(number: i32) -> u8 {
    number.to_le_bytes()[0]
}

/// Decodes `struct inet_diag_msg`: the listener without its process, and the socket's inode.
fn one(protocol: &str, message: &[u8]) -> Result<(Listener, u32), Malformed> {
    let (message, _) = body::<72>(message)?;
    let word = |at: usize| [message[at], message[at + 1], message[at + 2], message[at + 3]];
    let address = if i32::from(message[0]) == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::from(word(8)))
    } else {
        let words = [word(8), word(12), word(16), word(20)];
        IpAddr::V6(Ipv6Addr::from(u128::from_be_bytes(words.concat().try_into().unwrap_or_default())))
    };
    let device = u32::from_ne_bytes(word(40));
    let listener = Listener {
        protocol: protocol.to_owned(),
        address,
        port: u16::from_be_bytes([message[4], message[5]]),
        device: (device != 0).then_some(IfIndex(device)),
        process: None,
    };
    Ok((listener, u32::from_ne_bytes(word(68))))
}

/// The processes that hold these sockets, by inode.
fn owners(wanted: impl Iterator<Item = u32>, caveats: &mut Vec<String>) -> BTreeMap<u32, Process> {
    let mut wanted: Vec<_> = wanted.collect();
    let mut owners = BTreeMap::new();
    if wanted.is_empty() {
        return owners;
    }
    let mut processes = match process::all() {
        Ok(processes) => processes,
        Err(error) => {
            caveats.push(format!("processes behind sockets: read /proc: {error}"));
            return owners;
        }
    };
    // Hundreds of QEMUs with hundreds of files each are no servers: they are asked last, if at all.
    processes.sort_by_key(|process| process.name.starts_with("qemu"));
    let mut hidden = 0;
    for process in processes {
        if wanted.is_empty() {
            break;
        }
        let Some(sockets) = process.sockets() else {
            hidden += 1;
            continue;
        };
        let held: Vec<_> = wanted.extract_if(.., |inode| sockets.contains(inode)).collect();
        if !held.is_empty() {
            let process = process.describe();
            owners.extend(held.into_iter().map(|inode| (inode, process.clone())));
        }
    }
    if !wanted.is_empty() && hidden > 0 {
        let count = wanted.len();
        caveats.push(format!("{count} socket(s) belong to processes that cannot be seen (needs CAP_SYS_PTRACE)"));
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

    use super::*;

    #[test]
    fn a_recorded_dhcp_server_has_its_port_and_device() {
        // The kernel's answer for dnsmasq on a host with libvirt 11.3, Linux 6.18; virbr0 is 7.
        let hex = "02070000004300000000000000000000000000000000000000000000000000000000000000000000\
                   07000000040000000000000000000000000000000000000000000000515a00000500080000000000\
                   08000f00000000000c00150001000000000000000600160050000000";
        let bytes: Vec<_> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let (listener, inode) = one("udp", &bytes).unwrap();
        let expected = Listener {
            protocol: "udp".to_owned(),
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: 67,
            device: Some(IfIndex(7)),
            process: None,
        };
        assert_eq!((listener, inode), (expected, 0x5a51));
        for length in 0..72 {
            assert!(one("udp", &bytes[..length]).is_err());
        }
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn sockets_of_the_network_namespace_are_found_with_their_process() {
        if !nix::unistd::geteuid().is_root() {
            assert_ne!(std::env::var("KVMNET_LAB").as_deref(), Ok("require"), "this test needs root");
            println!("skipped: a network namespace needs root");
            return;
        }
        // A thread of its own: the namespace ends with it.
        let found = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let dhcp = UdpSocket::bind("0.0.0.0:67").unwrap();
            setsockopt(&dhcp, BindToDevice, &"lo".into()).unwrap();
            let dns = TcpListener::bind("[::]:53").unwrap();
            let other = UdpSocket::bind("0.0.0.0:5353").unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found = runtime.block_on(read(&Context::default())).unwrap();
            drop((dhcp, dns, other));
            found
        });
        let Reading { value, caveats } = found.join().unwrap();
        assert_eq!(caveats, Vec::<String>::new());
        let shown: Vec<_> = value
            .iter()
            .map(|listener| {
                let pid = listener.process.as_ref().map(|process| process.pid);
                (listener.protocol.as_str(), listener.address.to_string(), listener.port, listener.device, pid)
            })
            .collect();
        let me = Some(std::process::id());
        let expected = [
            ("tcp", "::".to_owned(), 53, None, me),
            ("udp", "0.0.0.0".to_owned(), 67, Some(IfIndex(1)), me),
        ];
        assert_eq!(shown, expected);
    }
}
