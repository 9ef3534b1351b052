//! Where logs begin and end, whether they are read or not.

use std::collections::BTreeMap;

use super::{
    handle::Consumer,
    inner::{Command, ConsumerHandle},
};
use crate::{
    client::offsets::Offsets,
    error::Result,
    types::{Offset, OffsetAndTimestamp, OffsetSpec, TopicPartition},
};

impl Consumer {
    /// The offset of the oldest record of each partition. Java: `beginningOffsets`.
    ///
    /// ```no_run
    /// # async fn example(consumer: milena::Consumer) -> milena::Result<()> {
    /// let partitions = consumer.assignment();
    /// let (begin, end) = (consumer.beginning_offsets(&partitions).await?, consumer.end_offsets(&partitions).await?);
    /// for partition in &partitions {
    ///     println!("{partition}: {} to {}", begin[partition], end[partition]);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The first of any partition: [`UnknownTopic`](crate::ErrorKind::UnknownTopic) or what kept a leader from answering
    /// after twice the client's `request_timeout`; [`UnknownPartition`](crate::ErrorKind::UnknownPartition),
    /// [`NotAuthorized`](crate::ErrorKind::NotAuthorized), [`Closed`](crate::ErrorKind::Closed).
    /// [`Admin::list_offsets`](crate::Admin::list_offsets) has those of each.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.handle.beginning_offsets(partitions).await
    }

    /// The offset behind the last record that this consumer could read of each partition: with
    /// [`Isolation::ReadCommitted`](crate::Isolation::ReadCommitted) that in front of the oldest open transaction.
    /// [`lag`](Self::lag) needs no request. Java: `endOffsets`.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.handle.end_offsets(partitions).await
    }

    /// For each partition and time, in milliseconds since the Unix epoch, the first record that is as young or younger.
    /// Partitions without one are left out. Java: `offsetsForTimes`.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        self.handle.offsets_for_times(times).await
    }
}

impl ConsumerHandle {
    /// As [`Consumer::beginning_offsets`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.ends(partitions, OffsetSpec::Earliest).await
    }

    /// As [`Consumer::end_offsets`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.ends(partitions, OffsetSpec::Latest).await
    }

    /// As [`Consumer::offsets_for_times`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let spec = |(partition, ms): &(TopicPartition, i64)| (partition.clone(), OffsetSpec::Timestamp(*ms));
        self.list_offsets(times.iter().map(spec)).await
    }

    async fn ends(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let listed = self.list_offsets(partitions.iter().map(|partition| (partition.clone(), spec))).await?;
        Ok(listed.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
    }

    async fn list_offsets(
        &self,
        asked: impl Iterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let offsets = Offsets::new(asked, self.isolation);
        let listed = self.ask(|reply| Command::ListOffsets { offsets, reply }).await??;
        let found = |(partition, result): (_, Result<_>)| match result {
            Ok(listed) => Some(Ok((partition, listed?))),
            Err(error) => Some(Err(error)),
        };
        listed.into_iter().filter_map(found).collect()
    }
}
