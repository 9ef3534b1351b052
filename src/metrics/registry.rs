//! Where everybody counts.

use std::time::Duration;

use super::{
    broker::{BrokerSeries, LinkMeter},
    family::{Family, Series},
    gauge::{Gauge, Share},
    partition::{ConsumedMetrics, ConsumedSeries, ProducedMetrics, ProducedSeries},
    producer::ProducerSeries,
    snapshot::{ConsumerMetrics, MetricsSnapshot},
};
use crate::types::{NodeId, TopicPartition};

/// The counters of one client.
#[derive(Debug)]
pub(crate) struct Metrics {
    brokers: Family<NodeId, BrokerSeries>,
    produced: Family<TopicPartition, ProducedSeries>,
    consumed: Family<TopicPartition, ConsumedSeries>,
    producers: ProducerSeries,
    consumer_buffers: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            brokers: Family::new(MetricsSnapshot::MAX_BROKERS),
            produced: Family::new(MetricsSnapshot::MAX_PARTITIONS),
            consumed: Family::new(MetricsSnapshot::MAX_PARTITIONS),
            producers: ProducerSeries::default(),
            consumer_buffers: Gauge::default(),
        }
    }
}

impl Metrics {
    /// For the driver of a link to this broker.
    pub(crate) fn link(&self, broker: NodeId) -> LinkMeter {
        LinkMeter::new(self.brokers.get(&broker))
    }

    /// A batch of so many bytes was acknowledged, `time` after its first record was appended.
    pub(crate) fn acknowledged(
        &self,
        partition: &TopicPartition,
        records: u64,
        bytes: usize,
        time: Duration,
    ) {
        let batch =
            ProducedMetrics { records, bytes: bytes as u64, batches: 1, ..ProducedMetrics::default() };
        self.produced.get(partition).absorb(&batch);
        self.producers.delivered(time);
    }

    /// A batch was not acknowledged, and will not be sent again.
    pub(crate) fn undelivered(&self, partition: &TopicPartition, records: u64) {
        let batch =
            ProducedMetrics { failed_records: records, failed_batches: 1, ..ProducedMetrics::default() };
        self.produced.get(partition).absorb(&batch);
    }

    /// A batch has to be sent again.
    pub(crate) fn retried(&self, partition: &TopicPartition) {
        self.produced.get(partition).absorb(&ProducedMetrics { retries: 1, ..ProducedMetrics::default() });
    }

    /// So long did a batch wait to be sent for the first time.
    pub(crate) fn queued(&self, time: Duration) {
        self.producers.queued(time);
    }

    /// For what a producer has buffered.
    pub(crate) fn producer_buffer(&self) -> Share {
        self.producers.buffer()
    }

    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let (brokers, other_brokers) = self.brokers.read();
        let (produced, produced_other) = self.produced.read();
        let (consumed, consumed_other) = self.consumed.read();
        MetricsSnapshot {
            brokers,
            other_brokers,
            produced,
            produced_other,
            consumed,
            consumed_other,
            producers: self.producers.read(),
            consumers: ConsumerMetrics { buffered_bytes: self.consumer_buffers.read() },
        }
    }
}

/// What consumers count.
impl Metrics {
    /// A fetch has brought so many bytes of a partition.
    pub(crate) fn fetched(&self, partition: &TopicPartition, bytes: usize) {
        let fetch = ConsumedMetrics { fetches: 1, fetched_bytes: bytes as u64, ..ConsumedMetrics::default() };
        self.consumed.get(partition).absorb(&fetch);
    }

    /// A batch of so many bytes goes to the user.
    pub(crate) fn handed_out(&self, partition: &TopicPartition, records: u64, bytes: usize) {
        let batch =
            ConsumedMetrics { records, bytes: bytes as u64, batches: 1, ..ConsumedMetrics::default() };
        self.consumed.get(partition).absorb(&batch);
    }

    /// The partition is no longer read: what was counted for it goes to the others.
    pub(crate) fn no_longer_consumed(&self, partition: &TopicPartition) {
        self.consumed.remove(partition);
    }

    /// For what a consumer has buffered.
    pub(crate) fn consumer_buffer(&self) -> Share {
        self.consumer_buffers.share()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_where_it_belongs() {
        let metrics = Metrics::default();
        let (one, two) = (TopicPartition::new("t", 1), TopicPartition::new("t", 2));
        let ms = Duration::from_millis;
        metrics.queued(ms(1));
        metrics.retried(&one);
        metrics.acknowledged(&one, 10, 700, ms(8));
        metrics.acknowledged(&one, 5, 300, ms(2));
        metrics.undelivered(&two, 3);
        let mut link = metrics.link(NodeId(4));
        link.opened();
        let mut buffer = metrics.producer_buffer();
        buffer.set(77);

        let snapshot = metrics.snapshot();
        let acknowledged = ProducedMetrics {
            records: 15,
            bytes: 1000,
            batches: 2,
            retries: 1,
            ..ProducedMetrics::default()
        };
        let failed = ProducedMetrics { failed_records: 3, failed_batches: 1, ..ProducedMetrics::default() };
        assert_eq!((snapshot.produced[&one], snapshot.produced[&two]), (acknowledged, failed));
        let both = ProducedMetrics { failed_records: 3, failed_batches: 1, ..acknowledged };
        assert_eq!(snapshot.produced_by_topic()["t"], both);
        assert_eq!(snapshot.brokers[&NodeId(4)].connections_opened, 1);
        let producers = &snapshot.producers;
        assert_eq!((producers.queue_time.count(), producers.delivery_time.max()), (1, ms(8)));
        assert_eq!(producers.buffered_bytes, 77);
    }

    #[test]
    fn a_partition_that_is_no_longer_read_leaves_its_sums() {
        let metrics = Metrics::default();
        let (one, two) = (TopicPartition::new("t", 1), TopicPartition::new("u", 1));
        for partition in [&one, &two] {
            metrics.fetched(partition, 900);
            metrics.handed_out(partition, 9, 800);
        }
        metrics.no_longer_consumed(&one);
        let snapshot = metrics.snapshot();
        let read = ConsumedMetrics { records: 9, bytes: 800, batches: 1, fetches: 1, fetched_bytes: 900 };
        assert_eq!((snapshot.consumed.get(&one), snapshot.consumed[&two]), (None, read));
        assert_eq!(snapshot.consumed_other, read);
        assert_eq!(snapshot.consumed_by_topic().into_keys().collect::<Vec<_>>(), ["u".into()]);
    }
}
