//! Making a producer.

use std::{sync::Arc, time::Duration};

use super::{
    handle::Producer,
    observer::{BatchDelivery, Observer, ProducerInterceptor},
    partitioner::Partitioner,
    settings::{Acks, Compression, RecreatedTopics, Settings},
    transaction::TransactionalProducer,
};
use crate::{client::Client, error::Result};

/// Makes a [`Producer`]. Every setting has a default; [`build`](Self::build) reports all problems at once.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProducerBuilder {
    client: Client,
    settings: Settings,
}

impl Client {
    /// A producer with default settings, to be changed before it is built.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder { client: self.clone(), settings: Settings::default() }
    }
}

impl ProducerBuilder {
    /// Which replicas must have a record before it is acknowledged. Default [`Acks::All`]. Java: `acks`.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.settings.acks = acks;
        self
    }

    /// Whether brokers drop what is sent twice (KIP-98). Default: on with [`Acks::All`], else off. On, it needs
    /// `Acks::All`. Off, one batch per partition is in flight at a time, so that the order is kept. Java:
    /// `enable.idempotence`.
    pub fn idempotence(mut self, on: bool) -> Self {
        self.settings.idempotence = Some(on);
        self
    }

    /// How long a batch that is not full waits for more records. By default it does not wait while nothing is under
    /// way to its broker, and 5 ms at most otherwise; a linger that is set is kept always. Java: `linger.ms`.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = Some(linger);
        self
    }

    /// The size in bytes at which a batch is full, from 1 to 1 GiB; never more than
    /// [`max_request_size`](Self::max_request_size). It is meant as it is sent: where batches have become smaller by
    /// [`compression`](Self::compression), the next ones take more records, up to four times the size and never more
    /// than `max_request_size` before compression. Default 256 KiB. Java: `batch.size`.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.settings.batch_size = bytes;
        self
    }

    /// The bytes that records may take until they are acknowledged. Default 64 MiB. At the limit
    /// [`Producer::enqueue`] waits and [`Producer::try_enqueue`] refuses. At least
    /// [`max_request_size`](Self::max_request_size). Java: `buffer.memory`.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.settings.buffer_memory = bytes;
        self
    }

    /// How batches are compressed. Default [`Compression::Lz4`]. Those of 32 KiB and more are compressed on the runtime's
    /// blocking threads, as many at once as there are processors, so that neither senders nor answers wait for it. Java:
    /// `compression.type`.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// How long delivery of a record is tried, from when its batch was opened. Default 120 s. Not less than the
    /// linger and the client's `request_timeout` together. Java: `delivery.timeout.ms`.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.settings.delivery_timeout = timeout;
        self
    }

    /// How long a send waits for a topic whose partitions are not known. Default 60 s. Java: `max.block.ms`.
    pub fn max_block(mut self, wait: Duration) -> Self {
        self.settings.max_block = wait;
        self
    }

    /// The largest record, and the size at which a request is full, in bytes, from 1 to 1 GiB. Default 1 MiB, which is
    /// what a broker takes (`message.max.bytes`) unless it was told otherwise. Java: `max.request.size`.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.settings.max_request_size = bytes;
        self
    }

    /// Requests in flight per broker and batches in flight per partition, 1 to 5. Default 5. Java:
    /// `max.in.flight.requests.per.connection`.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.settings.max_in_flight = requests;
        self
    }

    /// Chooses partitions in place of the default: murmur2 of the key as Java does, uniform sticky without a key
    /// (KIP-794).
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.settings.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// How long a transaction may be open, from the first that its coordinator may have heard of it. Then it is aborted, a
    /// tenth of the time, and 5 s at most, before its coordinator would: that would fence the producer as well.
    /// Default 60 s, from 1 ms to what the brokers allow, 15 minutes unless they were told otherwise
    /// (`transaction.max.timeout.ms`). Of use with [`transactional`](Self::transactional) alone. Java:
    /// `transaction.timeout.ms`.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.settings.transaction_timeout = timeout;
        self
    }

    /// Whether records without a key go less often to partitions for which more batches wait, as those of a slow broker.
    /// Default true; otherwise every partition gets the same over time. Java:
    /// `partitioner.adaptive.partitioning.enable`.
    pub fn adaptive_partitioning(mut self, on: bool) -> Self {
        self.settings.adaptive_partitioning = on;
        self
    }

    /// Records without a key avoid partitions whose leader has had batches to take for longer than this and took none, as
    /// long as there are others. Default: none are avoided. Java: `partitioner.availability.timeout.ms`.
    pub fn partitioner_availability_timeout(mut self, timeout: Duration) -> Self {
        self.settings.partitioner_availability_timeout = Some(timeout);
        self
    }

    /// Whether records without a key go to partitions whose leader is in the client's own rack (KIP-1123), as long as
    /// there is one: that saves traffic between zones, and makes the partitions of other racks smaller. Needs
    /// [`Config::client_rack`](crate::Config::client_rack). Default false. Java: `partitioner.rack.aware`.
    pub fn rack_aware(mut self, on: bool) -> Self {
        self.settings.rack_aware = on;
        self
    }

    /// What becomes of records on their way to a topic that is deleted and created anew. Default
    /// [`RecreatedTopics::Fail`]. Brokers tell such topics apart since Kafka 2.8.
    pub fn recreated_topics(mut self, policy: RecreatedTopics) -> Self {
        self.settings.recreated_topics = policy;
        self
    }

    /// Whether brokers are asked to create a topic that does not exist when a record is enqueued for it; they do as far as
    /// they are allowed to (`auto.create.topics.enable`), with their own defaults. Default false: a misspelt name is an
    /// error. Java clients always ask.
    pub fn create_topics(mut self, on: bool) -> Self {
        self.settings.create_topics = on;
        self
    }

    /// Lets somebody see, or replace, every record before its partition is chosen. Default: nobody. Java:
    /// `interceptor.classes`.
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor + 'static) -> Self {
        self.settings.interceptor = Some(Arc::new(interceptor));
        self
    }

    /// Tells what became of the records, a batch at a time, just before each [`Delivery`](super::Delivery) tells it of its
    /// own: to count, to log, or to follow offsets without holding on to every delivery. Default: nobody is told.
    ///
    /// It is called by the producer's own task, in the order in which batches of a partition end, and under no lock. While
    /// it runs nothing else is sent or heard, so it must not block. A panic in it is logged.
    pub fn on_delivery(mut self, observer: impl Fn(&BatchDelivery<'_>) + Send + Sync + 'static) -> Self {
        self.settings.observer = Some(Observer::new(observer));
        self
    }

    /// Makes the producer and starts its task.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) with every setting that cannot stand,
    /// [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside a tokio runtime.
    pub fn build(self) -> Result<Producer> {
        self.settings.check(self.client.config())?;
        Producer::start(self.client, self.settings, Arc::default(), None)
    }

    /// Makes a producer whose records are written in transactions, and waits until it has its id: from then on any older
    /// producer with the same `transactional_id` is fenced, and what it left open is aborted.
    ///
    /// The id names one writer over all its restarts: no two that run at the same time may share one. Java:
    /// `transactional.id`.
    ///
    /// # Errors
    /// Those of [`build`](Self::build); transactions need [`Acks::All`]. [`ErrorKind::Timeout`](crate::ErrorKind::Timeout)
    /// after [`max_block`](Self::max_block) without an id. [`ErrorKind::ProducerFailed`](crate::ErrorKind::ProducerFailed)
    /// where a broker refuses for good, as without authorization or with a
    /// [`transaction_timeout`](Self::transaction_timeout) that is longer than it allows.
    ///
    /// # Cancel safety
    /// Dropped, no producer is left; an older one may have been fenced.
    pub async fn transactional(
        mut self,
        transactional_id: impl Into<String>,
    ) -> Result<TransactionalProducer> {
        self.settings.transactional_id = Some(transactional_id.into());
        self.settings.check(self.client.config())?;
        TransactionalProducer::start(self.client, self.settings).await
    }
}
