//! The one place that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::engine::machine::Now;

/// Tells the time. Both clocks are read once, when it is made; from then on the wall time follows the monotonic
/// one, so that a test which pauses tokio's clock moves both, and an adjusted system clock moves neither.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix: Duration,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is told the time by"
    )]
    pub(crate) fn start() -> Self {
        let start_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is told the time by"
    )]
    pub(crate) fn now(&self) -> Now {
        let instant = Instant::now();
        let unix = self.start_unix + instant.saturating_duration_since(self.start);
        // Every record asks for the time, and a division of 128 bits, as `as_millis` makes, is felt.
        let unix_ms = unix.as_secs().saturating_mul(1_000).saturating_add(u64::from(unix.subsec_millis()));
        Now { instant: instant.into_std(), unix_ms: i64::try_from(unix_ms).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_both_times_together() {
        let clock = Clock::start();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), before.after(Duration::from_secs(5)));
    }
}
