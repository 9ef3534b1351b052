//! Reads, processes and writes, exactly once.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    consumer::{Commit, Consumer, ConsumerBuilder},
    error::{Error, ErrorKind, Result},
    message::Message,
    producer::{Transaction, TransactionHandle, TransactionalProducer},
    types::{GroupMetadata, Isolation, Offset, OffsetAndMetadata, Position, TopicPartition},
};

/// Reads records as a member of a group, and commits what is made of them together with how far they were read: each
/// record counts once in what is written, whatever fails, is replaced or starts anew (KIP-447).
///
/// A transaction takes the records that come in [`max_wait`](Self::max_wait), up to
/// [`max_records`](Self::max_records). When it fails, because the group has rebalanced, a record could not be delivered,
/// or a timeout has passed, the records are read again, by this member or by whoever has their partitions now.
///
/// Whoever reads the outcome must read what is committed only, as consumers of this crate do by default.
///
/// ```no_run
/// # async fn example(client: milena::Client) -> milena::Result<()> {
/// use milena::{Processor, Record};
///
/// let producer = client.producer().transactional("billing-1").await?;
/// let mut processor = Processor::new(client.consumer("billing").topics(["orders"]), producer)?;
/// processor
///     .run(|transaction, message| async move {
///         let Some(order) = message.value() else { return Ok(()) };
///         // What becomes of the record is what becomes of the transaction, so it need not be awaited.
///         drop(transaction.enqueue(Record::new("invoices", order)).await?);
///         Ok::<_, milena::Error>(())
///     })
///     .await?;
/// # Ok(()) }
/// ```
pub struct Processor {
    consumer: Consumer,
    producer: TransactionalProducer,
    max_records: usize,
    max_wait: Duration,
    /// Where the records begin that were read in a transaction which was not committed.
    unfinished: BTreeMap<TopicPartition, Offset>,
}

/// How one transaction has ended.
enum End {
    Committed(usize),
    /// Its records are read again.
    Aborted,
    /// The consumer is closed.
    Closed,
}

impl Processor {
    /// Makes the consumer, which reads what is committed and commits nothing by itself.
    ///
    /// # Errors
    /// Those of [`ConsumerBuilder::build`].
    pub fn new(consumer: ConsumerBuilder, producer: TransactionalProducer) -> Result<Self> {
        let consumer = consumer.commit(Commit::Manual).isolation(Isolation::ReadCommitted).build()?;
        // A reader without a group has nowhere to commit to.
        match consumer.group_metadata() {
            Err(error) if matches!(error.kind(), ErrorKind::Config { .. }) => return Err(error),
            _ => {}
        }
        Ok(Self {
            consumer,
            producer,
            max_records: 500,
            max_wait: Duration::from_millis(100),
            unfinished: BTreeMap::new(),
        })
    }

    /// The most records in one transaction. Default 500, at least 1.
    #[must_use]
    pub fn max_records(mut self, records: usize) -> Self {
        self.max_records = records.max(1);
        self
    }

    /// How long a transaction takes in records, from its first one on: the latency that readers see at the most, at low
    /// rates. Default 100 ms. Well below the producer's `transaction_timeout`, together with the time that processing
    /// takes.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Processes records until the consumer is closed, or something goes wrong that trying again does not mend.
    ///
    /// `process` is called with each record, one after the other; what it writes with the handle counts if the transaction
    /// does. It may be called for the same record several times, and only once with lasting effect; what it does beside
    /// the transaction happens each time.
    ///
    /// # Errors
    /// What `process` returns, unless the transaction has failed meanwhile: it is aborted, and the record read again by the
    /// next call. What the consumer says, as a batch that does not read; the next call goes on. What is
    /// [fatal](Error::is_fatal), such as [`ErrorKind::Fenced`].
    ///
    /// # Cancel safety
    /// Dropped, the transaction is aborted, and its records are read again by the next call.
    pub async fn run<F, E>(
        &mut self,
        mut process: impl FnMut(TransactionHandle, Message) -> F,
    ) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        while self.step(&mut process).await?.is_some() {}
        Ok(())
    }

    /// Waits for a record, and processes it and those that come soon after in one transaction. Says how many counted: 0
    /// where the transaction has failed, and `None` once the consumer is closed.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn step<F, E>(
        &mut self,
        process: impl FnMut(TransactionHandle, Message) -> F,
    ) -> Result<Option<usize>, E>
    where
        F: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        match self.transact(process).await? {
            End::Committed(records) => Ok(Some(records)),
            End::Aborted => Ok(Some(0)),
            End::Closed => Ok(None),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for records like any user, for as long as it is told to"
    )]
    async fn transact<F, E>(
        &mut self,
        mut process: impl FnMut(TransactionHandle, Message) -> F,
    ) -> Result<End, E>
    where
        F: Future<Output = Result<(), E>>,
        E: From<Error>,
    {
        self.rewind().await?;
        let Some(first) = self.consumer.next().await.transpose()? else { return Ok(End::Closed) };
        let group = self.consumer.group_metadata()?;
        let Self { consumer, producer, max_records, max_wait, unfinished } = self;
        let mut reads = Reads { consumer, unfinished, offsets: BTreeMap::new(), records: 0 };
        reads.take(&first);
        let transaction = producer.begin().await?;
        let until = Instant::now() + *max_wait;
        let mut message = first;
        loop {
            let (partition, offset) = (message.topic_partition().clone(), message.offset());
            if let Err(error) = process(transaction.handle(), message).await {
                return reads.failed(transaction, error).await;
            }
            reads.done(partition, offset);
            if reads.records >= *max_records {
                break;
            }
            match timeout_at(until, consumer.next()).await {
                Err(_) | Ok(None) => break,
                Ok(Some(Err(error))) => {
                    transaction.abort().await?;
                    return Err(error.into());
                }
                Ok(Some(Ok(next))) => message = next,
            }
            if consumer.group_metadata()? != group {
                // The group has moved on, and somebody may have begun with what was read before. What is in hand is read
                // again too: its partition may be one of those that go back.
                reads.take(&message);
                transaction.abort().await?;
                return Ok(End::Aborted);
            }
            reads.take(&message);
        }
        reads.commit(transaction, &group).await.map_err(E::from)
    }

    /// Has the records of an unfinished transaction read again.
    async fn rewind(&mut self) -> Result<()> {
        if !self.unfinished.is_empty() {
            let to =
                self.unfinished.iter().map(|(partition, offset)| (partition.clone(), Position::At(*offset)));
            self.consumer.rewind(&to.collect::<Vec<_>>()).await?;
            self.unfinished.clear();
        }
        Ok(())
    }

    /// The consumer, to look at it, or to close it and so end [`run`](Self::run).
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Leaves the group, and ends the producer.
    ///
    /// # Errors
    /// Those of [`Consumer::close`] and [`TransactionalProducer::close`].
    ///
    /// # Cancel safety
    /// Dropped, both still close, in the background.
    pub async fn close(self) -> Result<()> {
        let Self { consumer, producer, .. } = self;
        let (left, ended) = tokio::join!(consumer.close(), producer.close());
        left.and(ended)
    }
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("consumer", &self.consumer)
            .field("producer", &self.producer)
            .finish_non_exhaustive()
    }
}

/// What was read in a transaction.
struct Reads<'a> {
    consumer: &'a Consumer,
    unfinished: &'a mut BTreeMap<TopicPartition, Offset>,
    offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    records: usize,
}

impl Reads<'_> {
    /// A record is worked on: whatever happens from now on, it is read again unless it is committed.
    fn take(&mut self, message: &Message) {
        self.unfinished.entry(message.topic_partition().clone()).or_insert_with(|| message.offset());
    }

    fn done(&mut self, partition: TopicPartition, offset: Offset) {
        self.records += 1;
        let behind = OffsetAndMetadata::new(offset.0 + 1);
        // With the leader epoch, where the partition is still read.
        let progress = self.consumer.progress(&partition).filter(|progress| progress.offset == behind.offset);
        self.offsets.insert(partition, progress.unwrap_or(behind));
    }

    async fn commit(self, transaction: Transaction<'_>, group: &GroupMetadata) -> Result<End> {
        let records = self.records;
        let outcome = match transaction.commit_offsets(group, self.offsets).await {
            Ok(()) => transaction.commit().await,
            Err(error) => transaction.abort().await.and(Err(error)),
        };
        match outcome {
            Ok(()) => {
                self.unfinished.clear();
                Ok(End::Committed(records))
            }
            Err(error) if error.requires_abort() => {
                tracing::debug!(%error, records, "records are processed again");
                Ok(End::Aborted)
            }
            Err(error) => Err(error),
        }
    }

    /// `process` has failed; or the transaction had, and that is why.
    async fn failed<E: From<Error>>(self, transaction: Transaction<'_>, error: E) -> Result<End, E> {
        let failure = transaction.failure();
        transaction.abort().await?;
        match failure {
            Some(failure) if failure.requires_abort() => {
                tracing::debug!(error = %failure, "records are processed again");
                Ok(End::Aborted)
            }
            _ => Err(error),
        }
    }
}
