//! Fragments: only the first one has a transport header, and yet the kernel reads it of the others.
//! What it does with them is stated here, and sets of packets must say the same.

use std::fmt::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kvmnet::engine::Facts;
use kvmnet::engine::packet_set::field::{IPV4, IPV6, address_value};
use kvmnet::engine::packet_set::{Field, Headers, HostSets, Packet};
use kvmnet_probes::facts::{Family, Hook, Snapshot};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

use crate::case;
use crate::config::load;
use crate::host::Host;
use crate::places::{GUESTS, Guest, ip};
use crate::trial::snapshot;

/// A rule, and whether it drops a packet's later fragment, and its first.
struct Trap {
    rule: &'static str,
    ipv6: bool,
    protocol: u8,
    later: Fate,
    first: Fate,
}

/// What becomes of a fragment.
#[derive(Clone, Copy)]
struct Fate {
    dropped: bool,
    /// It depends on octets that sets of packets say nothing of.
    open: bool,
}

const PASSES: Fate = Fate { dropped: false, open: false };
const DROPPED: Fate = Fate { dropped: true, open: false };
const OPEN_PASSES: Fate = Fate { dropped: false, open: true };
const OPEN_DROPPED: Fate = Fate { dropped: true, open: true };

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

const fn ipv4(rule: &'static str, protocol: u8, later: Fate, first: Fate) -> Trap {
    Trap { rule, ipv6: false, protocol, later, first }
}

const fn ipv6(rule: &'static str, protocol: u8, later: Fate, first: Fate) -> Trap {
    Trap { rule, ipv6: true, protocol, later, first }
}

/// A load of 1, 2 or 4 octets, aligned, does not ask whether it is a later fragment
/// (`nft_payload_fast_eval`), and reads what is there: in IPv4 what follows the IP header, in IPv6 the IP header
/// itself, since `ipv6_find_hdr` leaves the offset of the transport header at 0.
const TRAPS: &[Trap] = &[
    ipv4("udp dport 80", UDP, OPEN_DROPPED, DROPPED),
    ipv4("udp dport 53", UDP, OPEN_PASSES, PASSES),
    ipv4("udp dport != 53", UDP, OPEN_DROPPED, DROPPED),
    ipv4("tcp dport 80", TCP, OPEN_DROPPED, DROPPED),
    ipv4("tcp dport != 22", TCP, OPEN_DROPPED, DROPPED),
    ipv4("tcp flags syn", TCP, OPEN_DROPPED, DROPPED),
    ipv4("meta l4proto udp th dport != 53", UDP, OPEN_DROPPED, DROPPED),
    ipv4("icmp type != echo-reply", ICMP, OPEN_DROPPED, DROPPED),
    ipv4("@th,0,16 != 0", UDP, OPEN_DROPPED, DROPPED),
    ipv4("@th,0,24 != 0", UDP, PASSES, DROPPED),
    ipv4("@th,0,64 != 0", UDP, PASSES, DROPPED),
    ipv4("@th,8,16 != 0", UDP, PASSES, DROPPED),
    ipv4("ip frag-off & 0x1fff != 0", UDP, DROPPED, PASSES),
    ipv4("ip frag-off & 0x2000 != 0", UDP, PASSES, DROPPED),
    ipv4("meta l4proto udp", UDP, DROPPED, DROPPED),
    ipv4("ip protocol tcp", TCP, DROPPED, DROPPED),
    // Written as loads.
    ipv4("iptables -p udp -m udp ! --dport 53", UDP, OPEN_DROPPED, DROPPED),
    ipv4("iptables -p tcp -m tcp --dport 80", TCP, OPEN_DROPPED, DROPPED),
    // Matches of their own, which do ask.
    ipv4("iptables -p tcp -m multiport ! --dports 22,23", TCP, PASSES, DROPPED),
    ipv4("iptables -p icmp -m icmp --icmp-type 8", ICMP, PASSES, DROPPED),
    ipv4("iptables -p udp", UDP, DROPPED, DROPPED),
    ipv4("iptables -f", UDP, DROPPED, PASSES),
    ipv6("udp dport != 53", UDP, OPEN_DROPPED, DROPPED),
    ipv6("tcp dport 80", TCP, OPEN_PASSES, DROPPED),
    ipv6("@th,0,16 != 0", UDP, OPEN_DROPPED, DROPPED),
    ipv6("@th,0,64 != 0", UDP, PASSES, DROPPED),
    ipv6("meta l4proto udp", UDP, DROPPED, DROPPED),
    ipv6("frag frag-off != 0", UDP, OPEN_DROPPED, OPEN_PASSES),
];

/// A fragment of a packet from one guest to another, as it is sent.
fn fragment(trap: &Trap, later: bool, from: &Guest, to: &Guest) -> Vec<u8> {
    // Where the ports would be, and the type: later fragments have there what the first one has.
    let ports = [4660_u16, 80].map(u16::to_be_bytes).concat();
    let mut body = if trap.protocol == ICMP { vec![8, 0, 0, 0] } else { ports };
    body.extend([0; 8]);
    // Where TCP has its flags: SYN.
    body.extend([0x50, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let family = usize::from(trap.ipv6);
    let octets = |guest: &Guest| match ip(guest.addresses[family]) {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = [octets(from), octets(to)].concat();
    let header = if trap.ipv6 {
        let length = u8::try_from(8 + body.len()).expect("a short packet");
        let (offset, more) = if later { (2_u16 << 3, 0) } else { (0, 1) };
        let extension =
            [&[trap.protocol, 0][..], &(offset | more).to_be_bytes(), &7_u32.to_be_bytes()].concat();
        [&[0x60, 0, 0, 0, 0, length, 44, 64][..], &addresses, &extension].concat()
    } else {
        let length = u8::try_from(20 + body.len()).expect("a short packet");
        let [high, low] = offset_and_flags(later).to_be_bytes();
        // The kernel fills in the checksum.
        [&[0x45, 0, 0, length, 0, 7, high, low, 64, trap.protocol, 0, 0][..], &addresses].concat()
    };
    [header, body].concat()
}

/// As IPv4's header has them.
fn offset_and_flags(later: bool) -> u16 {
    if later { 2 } else { 0x2000 }
}

/// Sends it as the calling thread's guest.
fn send(packet: &[u8], ipv6: bool, to: &Guest) -> anyhow::Result<()> {
    let family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
        .context("cannot open a raw socket")?;
    match ip(to.addresses[usize::from(ipv6)]) {
        std::net::IpAddr::V4(to) => {
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
            sendto(fd.as_raw_fd(), packet, &to, MsgFlags::empty())
        }
        std::net::IpAddr::V6(to) => {
            let to = SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, 0));
            sendto(fd.as_raw_fd(), packet, &to, MsgFlags::empty())
        }
    }
    .context("cannot send a fragment")?;
    Ok(())
}

/// Counts what comes to the rule, and what passes it. Nothing here is about connections: the kernel
/// would put fragments together before any rule.
const COUNTED: &str = "nft add table inet seen
nft add chain inet seen before { type filter hook forward priority -10; }
nft add rule inet seen before iifname virbr0 oifname virbr1 counter
nft add chain inet seen after { type filter hook forward priority 10; }
nft add rule inet seen after iifname virbr0 oifname virbr1 counter";

fn configuration(trap: &Trap) -> String {
    let rule = match trap.rule.strip_prefix("iptables ") {
        Some(words) => format!("iptables -t filter -A FORWARD {words} -j DROP"),
        None => format!(
            "nft add table inet t\nnft add chain inet t f {{ type filter hook forward priority 0; }}\nnft add \
             rule inet t f {} drop",
            trap.rule
        ),
    };
    format!("{COUNTED}\n{rule}")
}

/// How many packets came to the rule, and how many passed it.
fn counted() -> anyhow::Result<[u64; 2]> {
    let listed = Command::new("nft").args(["list", "table", "inet", "seen"]).output()?;
    let text = String::from_utf8(listed.stdout)?;
    let numbers = text.split("packets ").skip(1).map(|rest| rest.split(' ').next()?.parse().ok());
    let numbers = numbers.collect::<Option<Vec<u64>>>().context("a counter that is no number")?;
    numbers.try_into().ok().context("there are two counters")
}

/// Whether the kernel's rule drops it.
fn dropped(host: &Host, packet: &[u8], ipv6: bool, from: usize, to: &Guest) -> anyhow::Result<bool> {
    let [before, after] = counted()?;
    host.as_guest(from, || send(packet, ipv6, to))?;
    let started = Instant::now();
    while counted()?[0] == before {
        anyhow::ensure!(started.elapsed() < Duration::from_secs(2), "it never came to the rule");
    }
    Ok(counted()?[1] == after)
}

/// What sets of packets say: it is dropped, or not, or may be either.
fn said(
    snapshot: &Snapshot,
    trap: &Trap,
    later: bool,
    from: &Guest,
    to: &Guest,
) -> anyhow::Result<Option<bool>> {
    let mut tables = snapshot.nf_tables.items().iter().filter(|table| table.name != "seen");
    let table = tables.next().context("the rule's table was read")?;
    let forward = |base: &kvmnet_probes::facts::BaseChain| base.hook == Hook::Forward;
    let mut chains = table.chains.iter().filter(|chain| chain.base.as_ref().is_some_and(forward));
    let chain = chains.next().context("the rule's chain was read")?;
    let family = usize::from(trap.ipv6);
    let device = |name: &str| {
        let link = snapshot.link_named(name).context("the bridge was read")?;
        anyhow::Ok(u128::from(link.index.0))
    };
    // The fields of the header that a later fragment does not have are set all the same.
    let packet = Packet::default()
        .with(Field::EtherType, if trap.ipv6 { IPV6 } else { IPV4 })
        .with(Field::Protocol, trap.protocol.into())
        .with(Field::InputDevice, device("virbr0")?)
        .with(Field::OutputDevice, device("virbr1")?)
        .with(Field::Framed, 1)
        .with(Field::Source, address_value(ip(from.addresses[family])))
        .with(Field::Destination, address_value(ip(to.addresses[family])))
        .with(Field::Fragment, offset_and_flags(later).into())
        .with(Field::Extended, trap.ipv6.into())
        .with(Field::Ttl, 64)
        .with(Field::SourcePort, 4660)
        .with(Field::DestinationPort, 80)
        .with(Field::TcpFlags, 2)
        .with(Field::IcmpType, 8);
    let facts = Facts::new(snapshot);
    let mut all = HostSets::new(&facts, 1 << 20);
    let input = all.sets.equal(Field::EtherType, packet[Field::EtherType]);
    let input = input.map_err(|_| anyhow::anyhow!("the sets are too complex"))?;
    let hook = if trap.ipv6 { Family::Ip6 } else { Family::Ip };
    let passage = all.through(table, chain, hook, input, &mut Headers::default());
    let is_in = |set| all.sets.contains(set, &packet);
    Ok(match (is_in(passage.stopped), is_in(passage.passes), is_in(passage.either)) {
        (true, false, false) => Some(true),
        (false, true, false) => Some(false),
        (false, false, true) => None,
        other => anyhow::bail!("not one of stopped, passed and undecided: {other:?}"),
    })
}

/// Sends both fragments past every rule; gives what is not as it is stated.
pub(crate) fn wrong() -> anyhow::Result<String> {
    let mut host = Host::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guest = |name: &str| GUESTS.iter().position(|guest| guest.name == name).expect("a guest");
    let (from, to) = (guest("web1"), &GUESTS[guest("db1")]);
    let mut wrong = String::new();
    for trap in TRAPS {
        let items: Vec<_> = configuration(trap).lines().map(case::item).collect();
        let taken = load(&mut host, &items)?;
        anyhow::ensure!(taken == items, "{}: not loaded", trap.rule);
        let snapshot = runtime.block_on(snapshot());
        for (later, stated) in [(true, trap.later), (false, trap.first)] {
            let packet = fragment(trap, later, &GUESTS[from], to);
            let is = dropped(&host, &packet, trap.ipv6, from, to).with_context(|| trap.rule)?;
            let said = said(&snapshot, trap, later, &GUESTS[from], to).with_context(|| trap.rule)?;
            if is != stated.dropped || said != (!stated.open).then_some(stated.dropped) {
                let which = if later { "later" } else { "first" };
                writeln!(
                    wrong,
                    "{}, {which} fragment: dropped: {is}, stated: {}; said: {said:?}",
                    trap.rule, stated.dropped
                )?;
            }
        }
    }
    Ok(wrong)
}
