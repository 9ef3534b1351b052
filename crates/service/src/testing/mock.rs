//! A producer that takes notes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use milena::{Error, Offset, Partition, TopicName, TopicPartition};

use crate::{outgoing::Outgoing, published::Published};

/// Takes the place of a producer in tests: it keeps what is published, and fails or waits when it is told to.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use milena::{Code, Error};
/// use milena_service::testing::MockProducer;
///
/// let mock = MockProducer::new();
/// let publisher = mock.publisher();
/// publisher.publish_json("orders", "order-1", &7).await.unwrap();
/// mock.fail_next([Error::broker(Code::NOT_ENOUGH_REPLICAS, "Produce", "orders-0")]);
/// assert!(publisher.publish_json("orders", "order-1", &8).await.is_err());
/// assert_eq!(mock.sent_to("orders").len(), 1);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct MockProducer(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    sent: Vec<Outgoing>,
    ends: BTreeMap<TopicPartition, i64>,
    failures: Vec<Error>,
    refused: BTreeMap<TopicName, Error>,
    delay: Duration,
}

impl MockProducer {
    /// One that takes everything at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was published, in that order.
    #[must_use]
    pub fn sent(&self) -> Vec<Outgoing> {
        self.notes(|notes| notes.sent.clone())
    }

    /// What was published to a topic.
    #[must_use]
    pub fn sent_to(&self, topic: &str) -> Vec<Outgoing> {
        self.notes(|notes| {
            notes.sent.iter().filter(|record| record.topic().as_str() == topic).cloned().collect()
        })
    }

    /// Fails the next records with these errors, one each.
    pub fn fail_next(&self, errors: impl IntoIterator<Item = Error>) {
        self.notes(|notes| notes.failures.extend(errors));
    }

    /// Fails every record to this topic, until [`allow`](Self::allow) is called.
    pub fn refuse(&self, topic: impl Into<TopicName>, error: Error) {
        self.notes(|notes| notes.refused.insert(topic.into(), error));
    }

    /// Takes records to this topic again.
    pub fn allow(&self, topic: &str) {
        self.notes(|notes| notes.refused.remove(topic));
    }

    /// How long each record takes from now on, by tokio's clock.
    pub fn delay(&self, delay: Duration) {
        self.notes(|notes| notes.delay = delay);
    }

    #[expect(clippy::disallowed_methods, reason = "it plays a broker that takes its time")]
    pub(crate) async fn send(&self, record: &Outgoing) -> milena::Result<Published> {
        let delay = self.notes(|notes| notes.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.notes(|notes| notes.take(record))
    }

    fn notes<T>(&self, look: impl FnOnce(&mut Notes) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Notes {
    fn take(&mut self, record: &Outgoing) -> milena::Result<Published> {
        if !self.failures.is_empty() {
            return Err(self.failures.remove(0));
        }
        if let Some(error) = self.refused.get(record.topic()) {
            return Err(error.clone());
        }
        let partition = record.given_partition().unwrap_or(Partition(0));
        let end = self.ends.entry(TopicPartition::new(record.topic(), partition)).or_default();
        let offset = Offset(*end);
        *end += 1;
        self.sent.push(record.clone());
        Ok(Published { topic: record.topic().clone(), partition, offset: Some(offset), timestamp: -1 })
    }
}
