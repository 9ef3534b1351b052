//! The consumer as its user sees it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    driver::Driver,
    inner::{Command, ConsumerHandle},
    settings::{Commit, Settings},
    stream::{PartitionStream, RecordStream},
};
use crate::{
    client::Client,
    engine::{fetch::Buffered, hand::Hand},
    error::Result,
    message::{Batch, Desk, Message},
    sync::wake::Wake,
    types::{GroupMetadata, Offset, OffsetAndMetadata, Position, TopicPartition},
};

/// Commands that wait for the consumer's task.
const COMMANDS: usize = 64;

/// Reads records, as a member of a group ([`Client::consumer`]) or of chosen partitions ([`Client::reader`]).
///
/// A task of its own fetches ahead, within [`buffered_bytes`](super::ConsumerBuilder::buffered_bytes), sends heartbeats
/// and commits; records are checked, decompressed and decoded in the task that asks for them. All methods take `&self`,
/// so that tasks can share a consumer; but a call for records declares done what *any* task was handed before, so tasks
/// that work side by side should use [`Commit::Acknowledged`], or
/// [`Commit::Manual`] and [`commit_offsets`](Self::commit_offsets).
///
/// When a consumer is dropped, its task commits what is done with and leaves the group by itself;
/// [`close`](Self::close) waits for that.
pub struct Consumer {
    pub(super) handle: ConsumerHandle,
    /// Keeps the consumer's task alive.
    _commands: mpsc::Sender<Command>,
}

impl Consumer {
    pub(super) fn start(client: Client, settings: &Settings) -> Result<Self> {
        let wake = Arc::new(Wake::default());
        let metrics = Arc::clone(client.counters());
        let desk = match settings.commit {
            Some(Commit::Acknowledged(_)) => Some(Desk::new(Arc::clone(&wake))),
            _ => None,
        };
        let hand = Hand::new(Arc::clone(&wake), settings.max_decompressed_batch_bytes, desk, metrics);
        let hand = Arc::new(hand);
        let buffered = Buffered::new(settings.buffered_bytes, Arc::clone(&wake));
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (group, isolation) = (settings.group.as_deref(), settings.isolation);
        let handle = ConsumerHandle::new(Arc::clone(&hand), client.clock(), &sender, group, isolation);
        let listener = settings.listener.clone().map(|listener| (listener, handle.clone()));
        let core = settings.core(client.config());
        Driver::spawn(client, core, hand, buffered, wake, commands, listener)?;
        Ok(Self { handle, _commands: sender })
    }

    /// The next record, as soon as there is one. `None` once the consumer is closed.
    ///
    /// Calling it says that everything handed out before is done with, unless records are
    /// [acknowledged](super::Commit::Acknowledged).
    ///
    /// # Errors
    /// Errors do not end the consumer: the next call goes on, unless [`is_fatal`](crate::Error::is_fatal) says that it
    /// cannot. [`CorruptBatch`](crate::ErrorKind::CorruptBatch) once for a batch that does not read; its partition
    /// waits for a [`seek`](Self::seek) while the others go on. [`NotAuthorized`](crate::ErrorKind::NotAuthorized) for
    /// a topic or the group, [`UnknownTopic`](crate::ErrorKind::UnknownTopic),
    /// [`UnknownPartition`](crate::ErrorKind::UnknownPartition), [`NoPosition`](crate::ErrorKind::NoPosition),
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange), again and again for as long as the reason lasts.
    /// [`Timeout`](crate::ErrorKind::Timeout) of `max_poll_interval` after the member has left its group because
    /// nothing was asked for; it joins again. [`Fenced`](crate::ErrorKind::Fenced) at each call once another member
    /// has taken over this one's `group_instance_id`. [`Closed`](crate::ErrorKind::Closed) once the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no record: a record is taken when the future returns it.
    pub async fn next(&self) -> Option<Result<Message>> {
        // Else a task that finds records in its buffer again and again would keep the runtime from fetching more.
        tokio::task::consume_budget().await;
        self.handle.hand.next().await
    }

    /// The next run of records of one partition, or the rest of the one that [`next`](Self::next) is in. `None` once
    /// the consumer is closed. This is the cheapest way to read.
    ///
    /// Calling it says that everything handed out before is done with, unless records are
    /// [acknowledged](super::Commit::Acknowledged).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn next_batch(&self) -> Option<Result<Batch>> {
        tokio::task::consume_budget().await;
        self.handle.hand.next_batch().await
    }

    /// The records as a stream, for which all that is said of [`next`](Self::next) holds.
    pub fn stream(&self) -> RecordStream<'_> {
        RecordStream::new(&self.handle.hand)
    }

    /// The records of one assigned partition as a stream of their own, which can be sent to a task. It ends when the partition
    /// is given up, lost, or the consumer closed. While it lives, [`next`](Self::next) has the others; it is to be called
    /// all the same, since errors that concern the consumer come from there.
    ///
    /// A [`RebalanceListener`](super::RebalanceListener) can ask its handle for one as partitions are
    /// [assigned](super::RebalanceListener::assigned). A call on any of the streams keeps the member in its group
    /// ([`max_poll_interval`](super::ConsumerBuilder::max_poll_interval)): whether one of several tasks is stuck is not
    /// watched.
    ///
    /// ```no_run
    /// # async fn example(consumer: milena::Consumer) -> milena::Result<()> {
    /// for partition in consumer.assignment() {
    ///     let mut records = consumer.partition_stream(&partition)?;
    ///     tokio::spawn(async move {
    ///         while let Some(Ok(record)) = records.next().await {
    ///             println!("{partition}: {:?}", record.value());
    ///         }
    ///     });
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned).
    pub fn partition_stream(&self, partition: &TopicPartition) -> Result<PartitionStream> {
        self.handle.partition_stream(partition)
    }

    /// Commits everything that was handed out, what is being worked on too, and waits until it is committed; or, where
    /// records are [acknowledged](super::Commit::Acknowledged), what is.
    ///
    /// # Errors
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned) or [`Broker`](crate::ErrorKind::Broker) with
    /// `ILLEGAL_GENERATION`, `UNKNOWN_MEMBER_ID` or `REBALANCE_IN_PROGRESS` if the group has moved on: what was not
    /// committed is read again. [`NotAuthorized`](crate::ErrorKind::NotAuthorized);
    /// [`Timeout`](crate::ErrorKind::Timeout) and connection errors after twice the client's `request_timeout`, after which
    /// it may be committed or not; [`Config`](crate::ErrorKind::Config) without a group;
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Once the future was polled the commit goes on whether or not the future is dropped.
    pub async fn commit(&self) -> Result<()> {
        self.handle.commit().await
    }

    /// Commits these offsets: each is the *next* one to read, one behind the last that is done with.
    ///
    /// # Errors
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned) if a partition is not, or no longer, assigned to this consumer;
    /// else as [`commit`](Self::commit).
    ///
    /// # Cancel safety
    /// As [`commit`](Self::commit).
    pub async fn commit_offsets(&self, offsets: BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<()> {
        self.handle.commit_offsets(offsets).await
    }

    /// What the group has committed for these partitions; those for which it has nothing are left out.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        self.handle.committed(partitions).await
    }

    /// Who commits for this consumer: the group, the member, and the generation in which the records were handed out that
    /// are being worked on, for [`Transaction::commit_offsets`](crate::Transaction::commit_offsets) (KIP-447). Ask for it
    /// after the records and before the next call for some: if the group moves on meanwhile, the offsets are refused. Where
    /// several calls for records go into one transaction, compare it after each: once it differs, the group has rebalanced
    /// in between, what was read before must not be committed under it, and the transaction is to be aborted.
    /// [`Processor`](crate::Processor) sees to that.
    ///
    /// # Errors
    /// [`NotMember`](crate::ErrorKind::NotMember) before the group was joined for the first time;
    /// [`Config`](crate::ErrorKind::Config) without a group.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        self.handle.group_metadata()
    }

    /// Reads on from other positions. When it returns, nothing from the old positions is handed out any more.
    ///
    /// # Errors
    /// [`NotAssigned`](crate::ErrorKind::NotAssigned) if one of the partitions is not assigned to this consumer, and
    /// then none is moved; [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Once the future was polled the seek may be carried out whether or not the future is dropped.
    pub async fn seek(&self, to: &[(TopicPartition, Position)]) -> Result<()> {
        self.handle.seek(to).await
    }

    /// Reads on from where the group has committed, or, where it has committed nothing, from the positions given: what was
    /// read since does not count, as when the transaction that it was worked on in was aborted. Partitions that are not
    /// assigned to this consumer any more are left alone: whoever has them reads on from there as well.
    ///
    /// Unlike a [`seek`](Self::seek) to an offset that was looked up before, it cannot go back behind what another member
    /// has committed meanwhile.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// Once the future was polled it may be carried out whether or not the future is dropped.
    pub async fn rewind(&self, to: &[(TopicPartition, Position)]) -> Result<()> {
        self.handle.rewind(to).await
    }

    /// The next offset to be handed out, as it is committed.
    pub(crate) fn progress(&self, partition: &TopicPartition) -> Option<OffsetAndMetadata> {
        let spot = self.handle.hand.position(partition)?;
        let mut progress = OffsetAndMetadata::new(spot.offset);
        progress.leader_epoch = spot.leader_epoch;
        Some(progress)
    }

    /// Hands nothing out of these partitions until they are resumed, and fetches nothing for them. What is buffered is
    /// kept. A partition that is assigned anew is not paused.
    pub fn pause(&self, partitions: &[TopicPartition]) {
        self.handle.pause(partitions);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self, partitions: &[TopicPartition]) {
        self.handle.resume(partitions);
    }

    /// The partitions that are read now, in order.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.handle.assignment()
    }

    /// The offset of a partition from which the next record is handed out; `None` while it is being looked up, and for
    /// a partition that is not assigned.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.handle.position(partition)
    }

    /// How many records the [`position`](Self::position) is behind the end of the partition, as the last answer to a
    /// fetch told: no request is made for it. With [`Isolation::ReadCommitted`](crate::Isolation::ReadCommitted) the end
    /// is in front of the first open transaction. Offsets are counted, so records that were compacted away or are not
    /// handed out count as well. `None` until the position and the end are known, and for a partition that is not
    /// assigned; of a partition that is paused, the end is that of the last fetch before.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.handle.lag(partition)
    }

    /// How long ago the record was written that was handed out last, by its timestamp and this machine's clock; zero once
    /// the [`lag`](Self::lag) is 0. `None` while the lag is unknown, and until something was handed out or if that has no
    /// timestamp. No request is made for it.
    #[must_use]
    pub fn time_lag(&self, partition: &TopicPartition) -> Option<Duration> {
        self.handle.time_lag(partition)
    }

    /// Stops reading, commits what is done with (with [`Commit::Every`]) and leaves the group.
    /// From then on [`next`](Self::next) returns `None`.
    ///
    /// What was handed out last counts as done with only if a later call has superseded it;
    /// [`commit`](Self::commit) before to have it committed as well. Where records are
    /// [acknowledged](super::Commit::Acknowledged), those who still hold some have
    /// [`drain_timeout`](super::ConsumerBuilder::drain_timeout) to do so.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if it is closed already, or ends unfinished because its client is closed or
    /// its runtime ends.
    ///
    /// # Cancel safety
    /// Once the future was polled the consumer closes whether or not the future is dropped.
    pub async fn close(&self) -> Result<()> {
        self.handle.close().await
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("assignment", &self.assignment()).finish_non_exhaustive()
    }
}
