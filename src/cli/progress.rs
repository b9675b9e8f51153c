//! A line that says what takes so long.

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::Duration;

use super::exit::tell;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for `work`. If that takes long and standard error is a terminal, it says meanwhile what is done.
pub(crate) async fn during<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    tell(&format!("{what} …"));
    let done = work.await;
    tell("\r\x1b[K");
    done
}
