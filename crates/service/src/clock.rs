//! The one place that reads clocks.

use std::time::{Duration, Instant, SystemTime};

/// The time by tokio's clock, which tests may pause and move.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is told the time by")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall time, by the system's clock. What tokio's clock is ahead of the monotonic one (which it is only where a test
/// has paused and moved it) is added, so that tests move this one too.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is told the time by")]
pub(crate) fn wall() -> SystemTime {
    let (wall, real, tokio) = (SystemTime::now(), Instant::now(), now());
    let ahead = wall.checked_add(tokio.saturating_duration_since(real)).unwrap_or(wall);
    ahead.checked_sub(real.saturating_duration_since(tokio)).unwrap_or(ahead)
}

/// The wall time in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_both_times() {
        let (before, before_wall) = (now(), wall());
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(now(), before + Duration::from_secs(3_600));
        // The system's clocks are read one after the other.
        let passed = wall().duration_since(before_wall).unwrap();
        assert!(passed > Duration::from_secs(3_000), "{passed:?}");
    }
}
