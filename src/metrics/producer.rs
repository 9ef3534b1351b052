//! What is counted for all producers of a client together.

use std::time::Duration;

use super::{
    gauge::{Gauge, Share},
    histogram::{Histogram, Recorder},
};

/// What all producers of a client have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerMetrics {
    /// From a batch's first record to its being sent for the first time: its linger, and its waiting for a connection,
    /// for room in flight, and for batches before it. Counted when the batch has come to its end.
    pub queue_time: Histogram,
    /// From a batch's first record to its acknowledgement, retries and all.
    pub delivery_time: Histogram,
    /// What records that are not acknowledged take of `ProducerBuilder::buffer_memory`, in bytes, when each producer's
    /// task last ran: when a batch was opened, filled, sent or answered.
    pub buffered_bytes: u64,
}

/// The counters behind [`ProducerMetrics`].
#[derive(Debug, Default)]
pub(super) struct ProducerSeries {
    queue_time: Recorder,
    delivery_time: Recorder,
    buffered_bytes: Gauge,
}

impl ProducerSeries {
    pub(super) fn read(&self) -> ProducerMetrics {
        ProducerMetrics {
            queue_time: self.queue_time.read(),
            delivery_time: self.delivery_time.read(),
            buffered_bytes: self.buffered_bytes.read(),
        }
    }

    pub(super) fn queued(&self, time: Duration) {
        self.queue_time.record(time);
    }

    pub(super) fn delivered(&self, time: Duration) {
        self.delivery_time.record(time);
    }

    pub(super) fn buffer(&self) -> Share {
        self.buffered_bytes.share()
    }
}
