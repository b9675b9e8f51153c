//! The attempts, side by side.

use std::time::Duration;

use super::{Attempt, Observation, Outcome};

/// Sends every attempt, all side by side, and says what became of each, in the same order.
#[expect(clippy::unused_async, reason = "waits for answers once the senders are in place")]
pub async fn run(attempts: &[Attempt], _deadline: Duration) -> Vec<Observation> {
    let reason = "nothing can be sent yet".to_owned();
    let observation = Observation { outcome: Outcome::NotTried { reason }, sightings: Vec::new() };
    vec![observation; attempts.len()]
}
