//! How long things take, in the buckets that OpenTelemetry recommends for messaging.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets, in seconds; what is longer has one more.
pub(crate) const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Counts durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// How many were no longer than each of [`BOUNDS`].
    pub(crate) up_to: [u64; BOUNDS.len()],
    pub(crate) count: u64,
    pub(crate) seconds: f64,
}

impl Reading {
    /// What a histogram of the client has counted. Its buckets are narrower than these, and none is counted before all of
    /// it is within a bound.
    pub(crate) fn of(counted: &milena::Histogram) -> Self {
        let mut reading = Self::default();
        for (longest, count) in counted.buckets() {
            reading.count += count;
            for (bound, up_to) in BOUNDS.iter().zip(&mut reading.up_to) {
                if longest.as_secs_f64() <= *bound {
                    *up_to += count;
                }
            }
        }
        reading.seconds =
            counted.mean().as_secs_f64() * f64::from(u32::try_from(reading.count).unwrap_or(u32::MAX));
        reading
    }
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Reading {
        let mut reading = Reading {
            seconds: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64(),
            ..Reading::default()
        };
        for (bucket, up_to) in self.buckets.iter().zip(&mut reading.up_to) {
            reading.count += bucket.load(Ordering::Relaxed);
            *up_to = reading.count;
        }
        if let Some(beyond) = self.buckets.last() {
            reading.count += beyond.load(Ordering::Relaxed);
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for millis in [1, 5, 6, 9_000, 60_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let reading = histogram.read();
        assert_eq!((reading.up_to[0], reading.up_to[1], reading.up_to[12], reading.up_to[13]), (2, 3, 3, 4));
        assert_eq!(reading.count, 5);
        assert!((reading.seconds - 69.012).abs() < 1e-9);
    }
}
