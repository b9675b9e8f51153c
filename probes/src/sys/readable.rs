//! Descriptors that tokio waits for.
#![expect(unsafe_code, reason = "tokio trusts that a descriptor stays open as long as it waits for it")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that is waited for until something can be read.
#[derive(Debug)]
pub(crate) struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Gives the descriptor to the tokio runtime that the caller runs in.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` always is the same open descriptor until it is dropped, and `AsyncFd`
        // drops it after its registration.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Takes one thing as soon as there is one. `take` must not block: it fails with `WouldBlock`.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match self.0.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(mut guard)) => {
                    // `Err`: there was nothing after all, and readiness is waited for again.
                    if let Ok(taken) = guard.try_io(|fd| take(fd.get_ref().as_fd())) {
                        return Poll::Ready(taken);
                    }
                }
            }
        }
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}
