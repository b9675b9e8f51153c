//! A nest of attributes, found by kind. `nf_tables` writes its numbers in network byte order.

use std::borrow::Cow;

use crate::facts::{Bytes, Data, Register, Verdict};
use crate::sources::netlink::{Attribute, Malformed, attributes};

/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;

/// The attributes of one nest: so few that to look for one is cheaper than to sort them.
#[derive(Debug)]
pub(super) struct Nest<'a>(&'a [u8]);

impl<'a> Nest<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        attributes(bytes).try_for_each(|attribute| attribute.map(drop))?;
        Ok(Self(bytes))
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> {
        attributes(self.0).filter_map(Result::ok)
    }

    /// `Some` if there is no attribute but these.
    pub(super) fn only(&self, known: &[u16]) -> Option<()> {
        self.attributes().all(|attribute| known.contains(&attribute.kind)).then_some(())
    }

    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().filter(|attribute| attribute.kind == kind).last().map(|attribute| attribute.value)
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    pub(super) fn u8(&self, kind: u16) -> Option<u8> {
        let [byte] = self.get(kind)?.try_into().ok()?;
        Some(byte)
    }

    pub(super) fn u32(&self, kind: u16) -> Option<u32> {
        self.get(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&self, kind: u16) -> Option<u64> {
        self.get(kind)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// A number that is 0 where it is absent; `None` if it is no number.
    pub(super) fn u32_or_0(&self, kind: u16) -> Option<u32> {
        if self.has(kind) { self.u32(kind) } else { Some(0) }
    }

    /// Text up to its zero byte.
    pub(super) fn text(&self, kind: u16) -> Option<String> {
        self.word(kind).map(Cow::into_owned)
    }

    /// Text up to its zero byte, where it stands.
    pub(super) fn word(&self, kind: u16) -> Option<Cow<'a, str>> {
        let bytes = self.get(kind)?.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(bytes))
    }

    /// A register that exists.
    pub(super) fn register(&self, kind: u16) -> Option<Register> {
        self.u32(kind).filter(|number| matches!(number, 0..=4 | 8..=23)).map(Register)
    }

    /// A register that may be absent; `None` if it is none that exists.
    #[expect(clippy::option_option, reason = "absent and unknown are not the same")]
    pub(super) fn register_if_any(&self, kind: u16) -> Option<Option<Register>> {
        if self.has(kind) { self.register(kind).map(Some) } else { Some(None) }
    }

    /// `struct nft_data`: bytes or a verdict.
    pub(super) fn data(&self, kind: u16) -> Option<Data> {
        const VALUE: u16 = 1;
        const VERDICT: u16 = 2;
        let nest = Nest::parse(self.get(kind)?).ok()?;
        match (nest.get(VALUE), nest.get(VERDICT)) {
            (Some(value), None) => Some(Data::Value(Bytes(value.to_vec()))),
            (None, Some(verdict)) => verdict_of(verdict).map(Data::Verdict),
            _ => None,
        }
    }

    /// `struct nft_data` that are bytes.
    pub(super) fn value(&self, kind: u16) -> Option<Bytes> {
        match self.data(kind)? {
            Data::Value(bytes) => Some(bytes),
            Data::Verdict(_) => None,
        }
    }
}

/// The elements of a list (`NFTA_LIST_ELEM`).
pub(super) fn list(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    attributes(bytes).filter_map(|attribute| match attribute {
        Ok(attribute) => (attribute.kind == LIST_ELEM).then_some(Ok(attribute.value)),
        Err(malformed) => Some(Err(malformed)),
    })
}

fn verdict_of(bytes: &[u8]) -> Option<Verdict> {
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    let nest = Nest::parse(bytes).ok()?;
    let code = nest.u32(CODE)?.cast_signed();
    Some(match code {
        -1 => Verdict::Continue,
        -2 => Verdict::Break,
        -3 => Verdict::Jump { chain: nest.text(CHAIN)? },
        -4 => Verdict::Goto { chain: nest.text(CHAIN)? },
        -5 => Verdict::Return,
        // The upper bits hold a queue's number or an errno (NF_VERDICT_QMASK).
        0.. => match code & 0xff {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            2 => Verdict::Stolen,
            3 => Verdict::Queue,
            _ => Verdict::Unknown { code },
        },
        code => Verdict::Unknown { code },
    })
}
