//! The time of day.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time of day. The system's clock is read once, when it is made; from then on the time follows tokio's
/// clock: an adjusted system clock does not move it, and a test that pauses tokio's does, also by what that was moved
/// before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix: Duration,
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that machines are told the time by")]
impl Clock {
    pub(crate) fn start() -> Self {
        let start_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix }
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        let now = tokio::time::Instant::now().into_std();
        // A paused clock may be behind the real one.
        let unix = self.start_unix + now.saturating_duration_since(self.start);
        let unix = unix.saturating_sub(self.start.saturating_duration_since(now));
        i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn paused_clocks_move_together_whenever_they_were_made() {
        let early = Clock::start();
        let before = early.now_ms();
        tokio::time::advance(Duration::from_secs(60)).await;
        let late = Clock::start();
        assert_eq!(early.now_ms(), before + 60_000);
        assert!((late.now_ms() - early.now_ms()).abs() < 30_000, "{late:?} is not a minute behind {early:?}");
    }
}
