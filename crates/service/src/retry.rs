//! How often, and how long apart, a record is tried again in its place.

use std::{sync::Arc, time::Duration};

/// How often a record is tried again before it is dead-lettered, and after which delays. Only the records behind it that
/// have its key wait; fetching, heartbeats and all other keys go on.
///
/// The delays are upper bounds: each is drawn evenly between zero and the bound, so that what failed together does not
/// come back together.
///
/// The default is two retries, so three tries, after up to 100 ms and up to 1 s.
///
/// ```
/// use std::time::Duration;
/// use milena_service::Retry;
///
/// let patient = Retry::times(8).backoff(Duration::from_millis(50), 3, Duration::from_secs(30));
/// let listed = Retry::from([Duration::from_secs(1), Duration::from_secs(10)]);
/// assert_eq!(listed.tries(), 3);
/// assert_eq!(patient.tries(), 9);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry(Delays);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Delays {
    Growing { times: u32, first: Duration, factor: u32, longest: Duration },
    Listed(Arc<[Duration]>),
}

impl Retry {
    /// No second try.
    #[must_use]
    pub fn none() -> Self {
        Self::times(0)
    }

    /// So many retries, so one try more: after up to 100 ms, then ten times as long each time, up to 10 s.
    #[must_use]
    pub const fn times(times: u32) -> Self {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(10));
        Self(Delays::Growing { times, first, factor: 10, longest })
    }

    /// The bound of the first delay, by what it grows, and how far.
    #[must_use]
    pub fn backoff(self, first: Duration, factor: u32, longest: Duration) -> Self {
        let times = self.tries() - 1;
        Self(Delays::Growing { times, first, factor, longest })
    }

    /// How often a record is tried in all.
    #[must_use]
    pub fn tries(&self) -> u32 {
        let retries = match &self.0 {
            Delays::Growing { times, .. } => *times,
            Delays::Listed(delays) => u32::try_from(delays.len()).unwrap_or(u32::MAX),
        };
        retries.saturating_add(1)
    }

    /// How long to wait behind try `attempt` (from 1 on), or `None` if it was the last. `chance` is between 0 and 1.
    pub(crate) fn delay(&self, attempt: u32, chance: f64) -> Option<Duration> {
        if attempt >= self.tries() {
            return None;
        }
        let bound = match &self.0 {
            Delays::Growing { first, factor, longest, .. } => {
                let grown = factor
                    .checked_pow(attempt.saturating_sub(1))
                    .and_then(|factor| first.checked_mul(factor));
                grown.map_or(*longest, |delay| delay.min(*longest))
            }
            Delays::Listed(delays) => *delays.get(attempt.saturating_sub(1) as usize)?,
        };
        Some(bound.mul_f64(chance.clamp(0.0, 1.0)))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::times(2)
    }
}

impl<const N: usize> From<[Duration; N]> for Retry {
    fn from(delays: [Duration; N]) -> Self {
        Self(Delays::Listed(delays.into()))
    }
}

impl From<Vec<Duration>> for Retry {
    fn from(delays: Vec<Duration>) -> Self {
        Self(Delays::Listed(delays.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(retry: &Retry) -> Vec<u128> {
        (1..).map_while(|attempt| retry.delay(attempt, 1.0)).map(|delay| delay.as_millis()).collect()
    }

    #[test]
    fn delays_grow_up_to_the_longest() {
        assert_eq!(bounds(&Retry::default()), [100, 1_000]);
        assert_eq!(bounds(&Retry::times(5)), [100, 1_000, 10_000, 10_000, 10_000]);
        assert_eq!(bounds(&Retry::none()), [0; 0]);
        let far = Retry::times(200).backoff(Duration::from_millis(1), 2, Duration::from_secs(1));
        assert_eq!(bounds(&far).len(), 200);
        assert_eq!(bounds(&far).last(), Some(&1_000));
    }

    #[test]
    fn listed_delays_are_taken_in_turn() {
        let retry = Retry::from([Duration::from_secs(3), Duration::from_secs(1)]);
        assert_eq!((bounds(&retry), retry.tries()), (vec![3_000, 1_000], 3));
    }

    #[test]
    fn chance_draws_from_the_whole_of_a_delay() {
        let retry = Retry::from([Duration::from_secs(1)]);
        assert_eq!(retry.delay(1, 0.0), Some(Duration::ZERO));
        assert_eq!(retry.delay(1, 0.25), Some(Duration::from_millis(250)));
        assert_eq!(retry.delay(1, 7.0), Some(Duration::from_secs(1)));
    }
}
