//! Classic BPF that keeps all other traffic of the host away from the sockets that wait for probes.

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX,
    BPF_MSH, BPF_RET, BPF_RSH, BPF_W, SKF_AD_OFF, SKF_AD_PROTOCOL, SKF_NET_OFF, sock_filter,
};

use super::answer::RunId;

/// One step of a program.
enum Step {
    /// A place that a step before it jumps to.
    Label(&'static str),
    /// An instruction that goes on with the next one.
    Do(u32, u32),
    /// Jumps if the accumulator equals the value, else goes on with the next step.
    If(u32, &'static str),
    /// Jumps.
    Goto(&'static str),
}

use Step::{Do, Goto, If, Label};

const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const LOAD_BYTE_AFTER_X: u32 = BPF_LD | BPF_B | BPF_IND;
const LOAD_HALF_AFTER_X: u32 = BPF_LD | BPF_H | BPF_IND;
const LOAD_WORD: u32 = BPF_LD | BPF_W | BPF_ABS;
const LOAD_WORD_AFTER_X: u32 = BPF_LD | BPF_W | BPF_IND;
const SHIFT_RIGHT: u32 = BPF_ALU | BPF_RSH | BPF_K;
const X_IS: u32 = BPF_LDX | BPF_W | BPF_IMM;
const X_IS_IPV4_HEADER: u32 = BPF_LDX | BPF_B | BPF_MSH;
const RETURN: u32 = BPF_RET | BPF_K;

/// From here on offsets count from the network header, whatever link header stands before it.
const NETWORK: u32 = SKF_NET_OFF.cast_unsigned();

/// For a watch of all devices: ARP, ICMP, ICMPv6, DHCP, DNS,
/// packets with a tag left in them, and the TCP segments of this run. The first are rare on any host;
/// what is not ours of them is sorted out later.
pub(super) fn watch(run: RunId) -> Vec<sock_filter> {
    let number = u32::from(run.short());
    assemble(&[
        Do(LOAD_WORD, (SKF_AD_OFF + SKF_AD_PROTOCOL).cast_unsigned()),
        If(0x0800, "ipv4"),
        If(0x86dd, "ipv6"),
        If(0x0806, "pass"),
        If(0x8100, "pass"),
        If(0x88a8, "pass"),
        Goto("drop"),
        Label("ipv4"),
        Do(X_IS_IPV4_HEADER, NETWORK),
        Do(LOAD_BYTE, NETWORK + 9),
        Goto("transport"),
        Label("ipv6"),
        Do(X_IS, 40),
        Do(LOAD_BYTE, NETWORK + 6),
        Label("transport"),
        If(1, "pass"),
        If(58, "pass"),
        If(6, "tcp"),
        If(17, "udp"),
        Goto("drop"),
        Label("tcp"),
        Do(LOAD_WORD_AFTER_X, NETWORK + 4),
        Do(SHIFT_RIGHT, 16),
        If(number, "pass"),
        Do(LOAD_WORD_AFTER_X, NETWORK + 8),
        Do(SHIFT_RIGHT, 16),
        If(number, "pass"),
        Goto("drop"),
        Label("udp"),
        Do(LOAD_HALF_AFTER_X, NETWORK),
        If(53, "pass"),
        If(67, "pass"),
        If(68, "pass"),
        Do(LOAD_HALF_AFTER_X, NETWORK + 2),
        If(53, "pass"),
        If(67, "pass"),
        If(68, "pass"),
        Label("drop"),
        Do(RETURN, 0),
        Label("pass"),
        Do(RETURN, u32::MAX),
    ])
}

/// For a raw TCP socket: what acknowledges a sequence number of this run. A raw IPv4 socket sees the
/// IP header, a raw IPv6 socket does not.
pub(super) fn acknowledges(run: RunId, ipv4: bool) -> Vec<sock_filter> {
    assemble(&[
        if ipv4 { Do(X_IS_IPV4_HEADER, 0) } else { Do(X_IS, 0) },
        Do(LOAD_WORD_AFTER_X, 8),
        Do(SHIFT_RIGHT, 16),
        If(u32::from(run.short()), "pass"),
        Do(RETURN, 0),
        Label("pass"),
        Do(RETURN, u32::MAX),
    ])
}

/// For a raw ICMP or ICMPv6 socket: all but the requests, which every VM that asks its gateway sends to it too.
pub(super) fn no_requests(ipv4: bool) -> Vec<sock_filter> {
    let (header, request) = if ipv4 { (Do(X_IS_IPV4_HEADER, 0), 8) } else { (Do(X_IS, 0), 128) };
    assemble(&[
        header,
        Do(LOAD_BYTE_AFTER_X, 0),
        If(request, "drop"),
        Do(RETURN, u32::MAX),
        Label("drop"),
        Do(RETURN, 0),
    ])
}

fn assemble(steps: &[Step]) -> Vec<sock_filter> {
    let distance = |from: usize, to: &str| {
        steps
            .iter()
            .skip(from + 1)
            .take_while(|step| !matches!(step, Label(name) if *name == to))
            .filter(|step| !matches!(step, Label(_)))
            .count()
    };
    let short = |distance| u8::try_from(distance).expect("the programs here are shorter than 256 steps");
    let code = |bits: u32| u16::try_from(bits).expect("codes have 16 bits");
    let op = |bits, jt, k| sock_filter { code: code(bits), jt, jf: 0, k };
    steps
        .iter()
        .enumerate()
        .filter_map(|(at, step)| match *step {
            Label(_) => None,
            Do(bits, k) => Some(op(bits, 0, k)),
            If(value, to) => Some(op(BPF_JMP | BPF_JEQ | BPF_K, short(distance(at, to)), value)),
            Goto(to) => Some(op(BPF_JMP | BPF_JA, 0, u32::from(short(distance(at, to))))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_skip_labels_and_land_behind_theirs() {
        let program =
            assemble(&[If(7, "end"), Label("here"), Goto("end"), Do(RETURN, 1), Label("end"), Do(RETURN, 2)]);
        let jumps: Vec<_> = program.iter().map(|op| (op.jt, op.jf, op.k)).collect();
        assert_eq!(jumps, [(2, 0, 7), (0, 0, 1), (0, 0, 1), (0, 0, 2)]);
    }
}
