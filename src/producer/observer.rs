//! What users hang into a producer: one who sees records before they are sent, one who hears what became of them.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    engine::produce::{batch::Completion, outcome::BatchDone},
    error::Error,
    record::Record,
    types::{Offset, TopicPartition},
};

/// Sees every record before its partition is chosen.
///
/// It runs in the caller's task, for each record, so it should be quick. Records of a transaction pass it too.
pub trait ProducerInterceptor: Send + Sync + fmt::Debug {
    /// The record to send instead, which may be the same. It borrows what the given one borrows, or what lives as long as
    /// the program; see [`Record`] for what it can be asked.
    fn on_send<'a>(&self, record: Record<'a>) -> Record<'a>;
}

/// What became of records that were sent in one batch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BatchDelivery<'a> {
    /// Where they were sent.
    pub partition: &'a TopicPartition,
    /// How many there are.
    pub records: u32,
    /// The size of the batch as it was sent, in bytes; 0 if it never was.
    pub bytes: usize,
    /// The timestamp of the first of them, in milliseconds since the Unix epoch: the broker's on topics that use the append
    /// time, else its own.
    pub first_timestamp: i64,
    /// The largest timestamp, likewise.
    pub max_timestamp: i64,
    /// The offset of the first of them; `None` where the broker does not say. Or why they were not delivered.
    pub outcome: Result<Option<Offset>, &'a Error>,
}

/// Hears what became of each batch.
#[derive(Clone)]
pub(super) struct Observer(Arc<dyn Fn(&BatchDelivery<'_>) + Send + Sync>);

impl Observer {
    pub(super) fn new(observer: impl Fn(&BatchDelivery<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }

    pub(super) fn tell(&self, done: &BatchDone, completion: &Completion) {
        let facts = &completion.facts;
        let append_time = completion.outcome.as_ref().ok().and_then(|written| written.log_append_time);
        let batch = BatchDelivery {
            partition: &done.partition,
            records: facts.records,
            bytes: facts.bytes,
            first_timestamp: append_time.unwrap_or(facts.timestamps.0),
            max_timestamp: append_time.unwrap_or(facts.timestamps.1),
            outcome: completion.outcome.as_ref().map(|written| written.base_offset.map(Offset)),
        };
        // It is the user's: the producer goes on without it.
        if catch_unwind(AssertUnwindSafe(|| (self.0)(&batch))).is_err() {
            tracing::error!(partition = %done.partition, "the observer of deliveries has panicked");
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
