//! Whole dumps: asked for, read to their end, and asked for again when they were interrupted.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::attribute::{Malformed, attributes, body};
use crate::sources::Reading;

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Room for one datagram. The kernel fills at most 32 KiB of what a dump is given room for, more only
/// where one message is longer (`netlink_dump`, `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 256 * 1024;
/// How often an interrupted dump is tried before it is taken with a caveat.
const TRIES: u32 = 5;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A dump that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// There is no socket.
    #[error("open a netlink socket")]
    Open(#[source] io::Error),
    /// The request could not be sent or the answer not received.
    #[error("dump {object}")]
    Transfer { object: String, source: io::Error },
    /// The kernel refused. Where it says more than an error number, its words.
    #[error("dump {object}{said}")]
    Refused { object: String, said: Said, source: io::Error },
    /// The answer is not netlink.
    #[error("dump {object}")]
    Answer { object: String, source: Malformed },
    /// Messages were lost, or one is longer than any that the kernel is known to send.
    #[error("dump {object}: messages were lost")]
    Lost { object: String },
}

impl NetlinkError {
    /// Whether the object that the request names is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::ENOENT))
    }

    /// Whether the kernel lacks what was asked for, so that there is none of it.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP))
    }
}

/// The kernel's own words about a refusal (`NLMSGERR_ATTR_MSG`).
#[derive(Debug)]
pub(crate) struct Said(Option<String>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

/// A netlink socket that only the kernel can write to.
pub(crate) struct Socket {
    kernel: TokioSocket,
    sequence: u32,
    /// The datagram that came last.
    datagram: Vec<u8>,
}

impl Socket {
    /// A socket of `libc::NETLINK_ROUTE`, `libc::NETLINK_NETFILTER`, …
    pub(crate) fn open(protocol: libc::c_int) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = TokioSocket::new(protocol as isize)?;
            socket.socket_mut().bind_auto()?;
            let inner = socket.socket_ref();
            // Connected to port 0, the kernel: it refuses what other processes send here.
            inner.connect(&SocketAddr::new(0, 0))?;
            inner.set_ext_ack(true)?;
            inner.set_cap_ack(true)?;
            if protocol == libc::NETLINK_ROUTE {
                // Since Linux 4.20; without it the kernel filters less, which the sources allow for.
                let _ = inner.set_netlink_get_strict_chk(true);
            }
            Ok(socket)
        };
        open().map(|kernel| Self { kernel, sequence: 0, datagram: Vec::new() }).map_err(NetlinkError::Open)
    }

    /// Asks for every object of one kind. `object` names it in errors, `request` is the message
    /// after its netlink header. An interrupted dump is read again; if it is interrupted each time,
    /// [`Dump::interrupted`] is set.
    pub(crate) async fn dump(
        &mut self,
        object: impl Into<String>,
        kind: u16,
        request: &[u8],
    ) -> Result<Dump, NetlinkError> {
        let object = object.into();
        let mut dump = self.exchange(&object, kind, libc::NLM_F_DUMP, request).await?;
        for _ in 1..TRIES {
            if !dump.interrupted {
                break;
            }
            dump = self.exchange(&object, kind, libc::NLM_F_DUMP, request).await?;
        }
        Ok(dump)
    }

    /// Asks for one object; its answer ends with an acknowledgement.
    pub(crate) async fn ask(
        &mut self,
        object: &str,
        kind: u16,
        request: &[u8],
    ) -> Result<Dump, NetlinkError> {
        self.exchange(object, kind, libc::NLM_F_ACK, request).await
    }

    async fn exchange(
        &mut self,
        object: &str,
        kind: u16,
        flags: libc::c_int,
        request: &[u8],
    ) -> Result<Dump, NetlinkError> {
        self.sequence += 1;
        let transfer = |source| NetlinkError::Transfer { object: object.to_owned(), source };
        let message = self.request(kind, flags, request);
        let sent = self.kernel.send(&message).await.map_err(transfer)?;
        debug_assert_eq!(sent, message.len());

        let mut dump = Dump {
            object: object.to_owned(),
            datagrams: Vec::new(),
            messages: Vec::new(),
            interrupted: false,
        };
        loop {
            self.datagram.clear();
            self.datagram.reserve(DATAGRAM);
            self.kernel.recv(&mut self.datagram).await.map_err(transfer)?;
            // A datagram that fills its room may have been cut off.
            if self.datagram.len() == self.datagram.capacity() {
                return Err(NetlinkError::Lost { object: object.to_owned() });
            }
            if dump.take(self.datagram.as_slice().into(), self.sequence)? {
                return Ok(dump);
            }
        }
    }

    fn request(&self, kind: u16, flags: libc::c_int, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("our own requests are short");
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).expect("flags are 16 bits");
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(body);
        message
    }
}

/// All messages of one dump.
#[derive(Debug)]
pub(crate) struct Dump {
    object: String,
    datagrams: Vec<Box<[u8]>>,
    /// Types and places: which datagram, and where in it.
    messages: Vec<(u16, usize, Range<usize>)>,
    /// The objects changed while they were read, each time (`NLM_F_DUMP_INTR`).
    pub(crate) interrupted: bool,
}

impl Dump {
    /// Each message's type and what follows its netlink header.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.messages.iter().map(|(kind, at, range)| (*kind, &self.datagrams[*at][range.clone()]))
    }

    /// Takes the messages of a datagram; whether the dump has ended.
    fn take(&mut self, datagram: Box<[u8]>, sequence: u32) -> Result<bool, NetlinkError> {
        let ended = self.note(&datagram, sequence);
        self.datagrams.push(datagram);
        ended
    }

    /// Notes where the messages of the next datagram are.
    fn note(&mut self, datagram: &[u8], sequence: u32) -> Result<bool, NetlinkError> {
        let answer = |source| NetlinkError::Answer { object: self.object.clone(), source };
        let mut at = 0;
        while at < datagram.len() {
            let (header, _) = body::<HEADER>(&datagram[at..]).map_err(answer)?;
            let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *header;
            let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let left = datagram.len() - at;
            if length < HEADER || length > left {
                return Err(answer(Malformed::Length { length, left }));
            }
            let range = at + HEADER..at + length;
            at += length.next_multiple_of(4);
            if u32::from_ne_bytes([s0, s1, s2, s3]) != sequence {
                // The rest of a dump that was given up before.
                continue;
            }
            let kind = u16::from_ne_bytes([t0, t1]);
            let flags = u16::from_ne_bytes([f0, f1]);
            self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
            let payload = &datagram[range.clone()];
            match kind {
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Err(NetlinkError::Lost { object: self.object.clone() }),
                NLMSG_ERROR | NLMSG_DONE => {
                    // A dump that ends well says 0 or, in old kernels, nothing.
                    let (status, rest) = match payload.split_first_chunk() {
                        Some((status, rest)) => (i32::from_ne_bytes(*status), rest),
                        None => (0, payload),
                    };
                    if status == 0 {
                        return Ok(true);
                    }
                    return Err(NetlinkError::Refused {
                        object: self.object.clone(),
                        said: Said(extended(kind, flags, rest)),
                        source: io::Error::from_raw_os_error(status.saturating_neg()),
                    });
                }
                kind => self.messages.push((kind, self.datagrams.len(), range)),
            }
        }
        Ok(false)
    }
}

/// The kernel's words in an error message or at a dump's end, if it has any.
fn extended(kind: u16, flags: u16, rest: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // In an error message the request's header stands before them, or the whole request.
    let before = match (kind, flags & NLM_F_CAPPED) {
        (NLMSG_DONE, _) => 0,
        (_, 0) => u32::from_ne_bytes(*rest.first_chunk()?) as usize,
        _ => HEADER,
    };
    attributes(rest.get(before..)?)
        .flatten()
        .find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG)
        .map(|attribute| attribute.text())
}

/// Decodes a dump's messages, all of type `kind`; see [`decode_any`].
pub(crate) fn decode<T>(
    dump: &Dump,
    kind: u16,
    one: impl FnMut(&[u8]) -> Result<Option<T>, Malformed>,
) -> Reading<Vec<T>> {
    decode_any(dump, &[kind], one)
}

/// Decodes a dump's messages, each of one of the types `kinds`. `one` gives `None` for an object that was not asked
/// for. A message that cannot be decoded becomes a caveat.
pub(crate) fn decode_any<T>(
    dump: &Dump,
    kinds: &[u16],
    mut one: impl FnMut(&[u8]) -> Result<Option<T>, Malformed>,
) -> Reading<Vec<T>> {
    let mut value = Vec::with_capacity(dump.messages.len());
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for (kind, message) in dump.messages() {
        if !kinds.contains(&kind) {
            *failures.entry(format!("type {kind}: not the type that was asked for")).or_default() += 1;
            continue;
        }
        match one(message) {
            Ok(item) => value.extend(item),
            Err(malformed) => *failures.entry(format!("type {kind}: {malformed}")).or_default() += 1,
        }
    }
    let mut caveats: Vec<_> = failures
        .into_iter()
        .map(|(why, count)| format!("{}: {count} undecodable message(s) of {why}", dump.object))
        .collect();
    if dump.interrupted {
        caveats.push(format!("{} kept changing while they were read", dump.object));
    }
    Reading { value, caveats }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn dump() -> Dump {
        Dump { object: "things".into(), datagrams: Vec::new(), messages: Vec::new(), interrupted: false }
    }

    #[test]
    fn a_dump_ends_at_done_and_skips_another_dumps_rest() {
        let mut bytes = message(20, 0, 6, b"old!");
        bytes.extend(message(20, 0, 7, b"new"));
        let mut dump = dump();
        assert!(!dump.take(bytes.into(), 7).unwrap());
        assert!(dump.take(message(NLMSG_DONE, 0, 7, &[0; 4]).into(), 7).unwrap());
        assert_eq!(dump.messages().collect::<Vec<_>>(), [(20, b"new".as_slice())]);
    }

    #[test]
    fn an_interruption_is_seen_also_at_the_end() {
        let mut dump = dump();
        assert!(dump.take(message(NLMSG_DONE, NLM_F_DUMP_INTR, 1, &[0; 4]).into(), 1).unwrap());
        assert!(dump.interrupted);
        assert_eq!(
            decode(&dump, 20, |_| Ok(Some(()))).caveats,
            ["things kept changing while they were read"]
        );
    }

    #[test]
    fn a_refusal_tells_the_error_and_the_kernels_words() {
        let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        super::super::put(&mut payload, NLMSGERR_ATTR_MSG, b"no such table\0");
        let refusal = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 1, &payload);
        let error = dump().take(refusal.into(), 1).unwrap_err();
        assert_eq!(error.to_string(), "dump things: no such table");
        assert!(!error.is_unsupported());
        let payload = (-libc::EOPNOTSUPP).to_ne_bytes();
        let error = dump().take(message(NLMSG_DONE, 0, 1, &payload).into(), 1).unwrap_err();
        assert_eq!(error.to_string(), "dump things");
        assert!(error.is_unsupported());
    }

    #[test]
    fn what_cannot_be_decoded_is_counted_and_named() {
        let mut bytes = message(20, 0, 1, b"good");
        for _ in 0..3 {
            bytes.extend(message(20, 0, 1, b"bad"));
        }
        bytes.extend(message(21, 0, 1, b"good"));
        let mut dump = dump();
        assert!(!dump.take(bytes.into(), 1).unwrap());
        let reading = decode(&dump, 20, |bytes| body::<4>(bytes).map(|(bytes, _)| Some(*bytes)));
        assert_eq!(reading.value, [*b"good"]);
        assert_eq!(
            reading.caveats,
            [
                "things: 3 undecodable message(s) of type 20: 3 bytes where a header of 4 belongs",
                "things: 1 undecodable message(s) of type 21: not the type that was asked for",
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_netlink_are_an_error() {
        let whole = message(20, 0, 1, b"good");
        for cut in 1..whole.len() {
            assert!(dump().take(whole[..cut].into(), 1).is_err(), "{cut}");
        }
        for fill in 0..=u8::MAX {
            let _ = dump().take([fill; 100].into(), 1);
        }
    }
}
