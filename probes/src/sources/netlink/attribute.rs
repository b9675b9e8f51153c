//! Attributes of netlink messages (`include/uapi/linux/netlink.h`, `struct nlattr`).

use std::net::IpAddr;

use crate::facts::Mac;

/// Bytes before an attribute's value: its length and its kind.
const HEADER: usize = 4;
/// `NLA_TYPE_MASK`: the kind without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const KIND: u16 = 0x3fff;

/// A message that is not built as its type demands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The message ends before its fixed part does.
    #[error("{has} bytes where a header of {needs} belongs")]
    Header { has: usize, needs: usize },
    /// An attribute's length leaves the message.
    #[error("an attribute of length {length} where {left} bytes are left")]
    Length { length: usize, left: usize },
    /// A value is not as long as its kind demands.
    #[error("attribute {kind} with {length} bytes, not {expected}")]
    Value { kind: u16, length: usize, expected: &'static str },
    /// An attribute that the message needs is absent.
    #[error("no attribute {kind}")]
    Absent { kind: u16 },
    /// A field holds what its type does not allow.
    #[error("{field} {value} out of range")]
    Field { field: &'static str, value: u32 },
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

/// The attributes in `bytes`, one after another; ends after the first that leaves them.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    std::iter::from_fn(move || {
        // What is shorter than a header is padding.
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [a, b, c, d] = *header;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let kind = u16::from_ne_bytes([c, d]) & KIND;
        let Some(value) = bytes.get(HEADER..length) else {
            let left = bytes.len();
            bytes = &[];
            return Some(Err(Malformed::Length { length, left }));
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Attribute { kind, value }))
    })
}

/// A message's fixed part and what follows it.
pub(crate) fn body<const N: usize>(message: &[u8]) -> Result<(&[u8; N], &[u8]), Malformed> {
    message.split_first_chunk::<N>().ok_or(Malformed::Header { has: message.len(), needs: N })
}

impl<'a> Attribute<'a> {
    fn exactly<const N: usize>(&self, expected: &'static str) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| self.wrong(expected))
    }

    /// The error that says that the value is not `expected`.
    pub(crate) fn wrong(&self, expected: &'static str) -> Malformed {
        Malformed::Value { kind: self.kind, length: self.value.len(), expected }
    }

    pub(crate) fn u8(&self) -> Result<u8, Malformed> {
        self.exactly::<1>("1").map(|[byte]| byte)
    }

    /// A switch in one byte.
    pub(crate) fn on(&self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    pub(crate) fn u16(&self) -> Result<u16, Malformed> {
        self.exactly("2").map(u16::from_ne_bytes)
    }

    /// A number in network byte order.
    pub(crate) fn be16(&self) -> Result<u16, Malformed> {
        self.exactly("2").map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&self) -> Result<u32, Malformed> {
        self.exactly("4").map(u32::from_ne_bytes)
    }

    pub(crate) fn i32(&self) -> Result<i32, Malformed> {
        self.exactly("4").map(i32::from_ne_bytes)
    }

    /// Two numbers of 16 bits.
    pub(crate) fn pair16(&self) -> Result<(u16, u16), Malformed> {
        self.exactly("4").map(|[a, b, c, d]| (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])))
    }

    /// Two numbers of 32 bits.
    pub(crate) fn pair32(&self) -> Result<(u32, u32), Malformed> {
        let [first @ .., s0, s1, s2, s3] = self.exactly::<8>("8")?;
        Ok((u32::from_ne_bytes(first), u32::from_ne_bytes([s0, s1, s2, s3])))
    }

    /// Text up to its first zero byte. Bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self) -> String {
        let text = self.value.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    /// An IPv4 or IPv6 address, told apart by its length.
    pub(crate) fn ip(&self) -> Result<IpAddr, Malformed> {
        if let Ok(octets) = <[u8; 4]>::try_from(self.value) {
            Ok(octets.into())
        } else {
            self.exactly::<16>("4 or 16").map(IpAddr::from)
        }
    }

    /// An Ethernet address; `None` for the address of another kind of link.
    pub(crate) fn mac(&self) -> Option<Mac> {
        self.value.try_into().ok().map(Mac)
    }

    /// The attributes in it.
    pub(crate) fn nested(&self) -> impl Iterator<Item = Result<Attribute<'a>, Malformed>> + use<'a> {
        attributes(self.value)
    }
}

/// Appends an attribute to a request.
pub(crate) fn put(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(HEADER + value.len()).expect("our own attributes are short");
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

/// Appends a number of 32 bits to a request.
pub(crate) fn put_u32(request: &mut Vec<u8>, kind: u16, value: u32) {
    put(request, kind, &value.to_ne_bytes());
}

/// A message cut at every length, and with each byte replaced by those that most likely break it.
#[cfg(test)]
pub(crate) fn mutations(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cuts = (0..message.len()).map(|length| message[..length].to_vec());
    let changes = (0..message.len()).flat_map(move |at| {
        [0, 1, 3, 4, 5, 0x7f, 0xff].map(|byte| {
            let mut message = message.to_vec();
            message[at] = byte;
            message
        })
    });
    cuts.chain(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        put(&mut bytes, 3, b"eth0\0");
        put_u32(&mut bytes, 4 | 0x8000, 1500);
        put(&mut bytes, 9, &[]);
        let read: Vec<_> = attributes(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.iter().map(|attribute| attribute.kind).collect::<Vec<_>>(), [3, 4, 9]);
        assert_eq!(read[0].text(), "eth0");
        assert_eq!(read[1].u32(), Ok(1500));
        assert_eq!(read[0].u32(), Err(Malformed::Value { kind: 3, length: 5, expected: "4" }));
    }

    #[test]
    fn an_attribute_that_leaves_the_message_is_an_error_and_the_last() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([1, 0, 0, 0, 0, 0]);
            let read: Vec<_> = attributes(&bytes).collect();
            assert_eq!(read.len(), 1, "{length}");
            assert!(read[0].is_err(), "{length}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        // Every length and kind field in steps, at every cut.
        for fill in 0..=u8::MAX {
            let bytes = [fill; 37];
            for cut in 0..bytes.len() {
                for attribute in attributes(&bytes[..cut]).flatten() {
                    let _ = (attribute.text(), attribute.ip(), attribute.mac(), attribute.pair32());
                    assert!(attribute.nested().count() <= cut);
                }
            }
        }
    }
}
