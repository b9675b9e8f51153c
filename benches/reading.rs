//! The netfilter source against a bare dump of the same rules: what it costs to understand them.
//!
//! Needs root: 10,000 rules are loaded in a network namespace of its own, which ends with the benchmark.

#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "it runs nft, and says if it cannot")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use divan::Bencher;
use kvmnet_probes::sources::{self, Context};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sched::{CloneFlags, unshare};

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETRULE`; `NLM_F_REQUEST | NLM_F_DUMP`.
const GETRULE: u16 = 10 << 8 | 7;
const DUMP: u16 = 0x301;
const NLMSG_DONE: u16 = 3;

const RULES: usize = 10_000;
/// In how many chains the rules are.
const CHAINS: [usize; 2] = [1, 500];

fn main() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: a network namespace of its own needs root: {error}");
        return;
    }
    divan::main();
}

/// Loads the rules in so many chains, in place of those before.
fn load(chains: usize) {
    let mut script = String::from("flush ruleset\ntable ip filter {\n");
    for chain in 0..chains {
        let _ = writeln!(script, "chain c{chain} {{");
        for rule in 0..RULES / chains {
            let number = chain * (RULES / chains) + rule;
            let (high, low) = (number / 250, number % 250);
            let _ = writeln!(
                script,
                "ip saddr 10.{high}.{low}.0/24 ip daddr 192.0.2.{low} tcp dport {} counter accept",
                number + 1
            );
        }
        script.push_str("}\n");
    }
    script.push_str("}\n");
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft runs");
    nft.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("nft reads");
    assert!(nft.wait().expect("nft ends").success(), "nft refused the rules");
}

#[divan::bench(args = CHAINS, max_time = 5)]
fn bare_dump(bencher: Bencher<'_, '_>, chains: usize) {
    load(chains);
    let mut socket = Socket::new(NETLINK_NETFILTER).expect("a socket");
    socket.bind_auto().expect("a port");
    socket.connect(&SocketAddr::new(0, 0)).expect("the kernel");
    let mut buffer = Vec::with_capacity(1 << 18);
    bencher.bench_local(|| {
        // struct nlmsghdr and struct nfgenmsg, of every family.
        let mut request = 20_u32.to_ne_bytes().to_vec();
        request.extend(GETRULE.to_ne_bytes());
        request.extend(DUMP.to_ne_bytes());
        request.extend([0; 12]);
        socket.send(&request, 0).expect("it is sent");
        let mut messages = 0;
        loop {
            buffer.clear();
            socket.recv(&mut buffer, 0).expect("an answer");
            let mut rest = &buffer[..];
            while let Some((header, _)) = rest.split_first_chunk::<16>() {
                if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_DONE {
                    assert_eq!(messages, RULES);
                    return;
                }
                messages += 1;
                let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    });
}

#[divan::bench(args = CHAINS, max_time = 5)]
fn netfilter_source(bencher: Bencher<'_, '_>, chains: usize) {
    load(chains);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    bencher.bench_local(|| {
        let tables = runtime.block_on(sources::nf_tables(&Context::default()));
        let rules = tables.items().iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len());
        assert_eq!(rules.sum::<usize>(), RULES);
    });
}
