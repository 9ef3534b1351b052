//! Offsets of logs.

use std::collections::BTreeMap;

use super::handle::Admin;
use crate::{
    client::offsets::Offsets,
    error::Result,
    types::{Isolation, OffsetAndTimestamp, OffsetSpec, TopicPartition},
};

impl Admin {
    /// The offsets that partitions have at their ends, or at a point in time; `None` where no record is as young as was
    /// asked for. With [`Isolation::ReadCommitted`] the end lies in front of the oldest open transaction.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client) -> milena::Result<()> {
    /// use milena::{Isolation, OffsetSpec, TopicPartition};
    ///
    /// let asked = (0..3).map(|index| (TopicPartition::new("orders", index), OffsetSpec::Latest));
    /// for (partition, result) in client.admin().list_offsets(asked, Isolation::ReadUncommitted).await? {
    ///     println!("{partition} ends at {:?}", result?.map(|end| end.offset));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// For a partition: [`UnknownTopic`](crate::ErrorKind::UnknownTopic) if its topic has not appeared within
    /// [`Admin::timeout`], [`UnknownPartition`](crate::ErrorKind::UnknownPartition),
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic), [`NotAuthorized`](crate::ErrorKind::NotAuthorized), or what kept
    /// its leader from answering in time. The call as a whole fails with [`NoRuntime`](crate::ErrorKind::NoRuntime) alone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn list_offsets(
        &self,
        asked: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndTimestamp>>>> {
        self.list(Offsets::new(asked, isolation)).await
    }
}
