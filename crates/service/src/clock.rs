//! The one place that reads the clock.

use std::time::{Duration, Instant, SystemTime};

/// Tells the time. The wall clock is read once; from then on it follows the monotonic one, so that a test which pauses
/// tokio's clock moves both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_wall: SystemTime,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is told the time by"
    )]
    pub(crate) fn start() -> Self {
        Self { start: tokio::time::Instant::now().into_std(), start_wall: SystemTime::now() }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else is told the time by"
    )]
    pub(crate) fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.start_wall + self.now().saturating_duration_since(self.start)
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> i64 {
        let since = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
