//! Reads a C struct field by field, in the byte order and with the alignment of this machine.

use std::net::IpAddr;

use crate::facts::{Mac, Masked};

/// What is left of a struct. Every read is `None` past its end.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.whole.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// Skips the padding before a field that is aligned to `size` bytes.
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.align(2);
        self.array().map(u16::from_ne_bytes)
    }

    /// A 16-bit number in network byte order.
    pub(crate) fn be16(&mut self) -> Option<u16> {
        self.align(2);
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.align(4);
        self.array().map(i32::from_ne_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.align(8);
        self.array().map(u64::from_ne_bytes)
    }

    /// An `unsigned long`; `None` also where it exceeds 32 bits.
    pub(crate) fn long(&mut self) -> Option<u32> {
        self.align(size_of::<usize>());
        let bytes = self.array().map(usize::from_ne_bytes)?;
        u32::try_from(bytes).ok()
    }

    pub(crate) fn mac(&mut self) -> Option<Mac> {
        self.array().map(Mac)
    }

    pub(crate) fn ipv4(&mut self) -> Option<IpAddr> {
        self.align(4);
        self.array::<4>().map(IpAddr::from)
    }

    pub(crate) fn ipv6(&mut self) -> Option<IpAddr> {
        self.align(4);
        self.array::<16>().map(IpAddr::from)
    }

    /// `union nf_inet_addr`, which does not say which family it holds.
    pub(crate) fn inet(&mut self, ipv6: bool) -> Option<IpAddr> {
        if ipv6 {
            return self.ipv6();
        }
        let address = self.ipv4()?;
        self.bytes(12)?;
        Some(address)
    }

    /// An address and its mask, each a `union nf_inet_addr`.
    pub(crate) fn masked_inet(&mut self, ipv6: bool) -> Option<Masked> {
        Some(Masked { address: self.inet(ipv6)?, mask: self.inet(ipv6)? })
    }

    /// A range of ports in this machine's byte order.
    pub(crate) fn range(&mut self) -> Option<(u16, u16)> {
        Some((self.u16()?, self.u16()?))
    }

    /// `value`, if the struct ends here. The kernel rounds its length up to 8 bytes.
    pub(crate) fn end<T>(&self, value: T) -> Option<T> {
        (self.whole.len().checked_sub(self.at)? < 8).then_some(value)
    }
}

/// The text before the first zero byte.
pub(crate) fn terminated(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}
