//! Reads files that the user names. A device that never ends, or a file given by mistake, must not fill the memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// A file of more bytes is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(u64);

impl Limit {
    /// A policy of many thousand assertions has less.
    pub(super) const POLICY: Self = Self(1 << 20);
    /// A thousand NICs and a hundred thousand rules take less.
    pub(super) const SNAPSHOT: Self = Self(256 << 20);
    /// Of many thousand findings less is remembered.
    pub(super) const STATE: Self = Self(16 << 20);
    /// A set of a hundred thousand addresses takes less.
    pub(super) const PLAN: Self = Self(16 << 20);
}

/// A file, or standard input if its name is `-`.
pub(super) fn file_or_input(path: &Path, limit: Limit) -> io::Result<Vec<u8>> {
    if path == Path::new("-") { bytes(io::stdin().lock(), limit) } else { file(path, limit) }
}

/// A file.
pub(super) fn file(path: &Path, limit: Limit) -> io::Result<Vec<u8>> {
    bytes(File::open(path)?, limit)
}

/// A file of text.
pub(super) fn text(path: &Path, limit: Limit) -> io::Result<String> {
    String::from_utf8(file(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

fn bytes(from: impl io::Read, Limit(most): Limit) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let what = format!("it is larger than {} MiB, which none is", most >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_read_on() {
        let two = Limit(2 << 20);
        assert_eq!(bytes(io::repeat(b'a').take(2 << 20), two).map(|bytes| bytes.len()).ok(), Some(2 << 20));
        let error = bytes(io::repeat(b'a'), two).expect_err("it never ends");
        assert_eq!(error.to_string(), "it is larger than 2 MiB, which none is");
    }
}
