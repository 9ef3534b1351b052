//! Reading partitions of one's own choice, beside what the group assigns.

use super::{
    handle::Consumer,
    inner::{Command, ConsumerHandle},
};
use crate::{
    error::Result,
    types::{Position, TopicPartition},
};

impl Consumer {
    /// Reads these partitions beside those that the group assigns: companions, of any topics. They are handed out as the
    /// others are, and go on through all rebalances until [`read_no_longer`](Self::read_no_longer) ends them, or the group
    /// assigns them to this consumer.
    ///
    /// Each starts where the group has committed for it, or, where it has committed nothing, at the position given; a
    /// reader without a group, at the position given. Partitions that are read already are left alone.
    ///
    /// No companion is committed but by [`commit_offsets`](Self::commit_offsets), under the group, as long as this consumer
    /// is a member; to acknowledge their records says nothing. That nobody else reads the same companions is for
    /// the members to agree on, for instance by reading a retry topic's partition wherever they own the partition
    /// of the same number: a [`RebalanceListener`](super::RebalanceListener) can see to it through its handle.
    ///
    /// ```no_run
    /// # async fn example(consumer: milena::Consumer) -> milena::Result<()> {
    /// use milena::{Position, TopicPartition};
    ///
    /// for owned in consumer.assignment() {
    ///     let retries = TopicPartition::new("orders.retry", owned.partition.0);
    ///     consumer.read_also(&[(retries, Position::Earliest)]).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) and [`UnknownPartition`](crate::ErrorKind::UnknownPartition) for
    /// what no broker would take, [`Config`](crate::ErrorKind::Config) for [`Position::Committed`] without a group, and
    /// then nothing has changed; [`Closed`](crate::ErrorKind::Closed). That a topic or partition does not exist is told
    /// by [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Once the future was polled it may be carried out whether or not the future is dropped.
    pub async fn read_also(&self, partitions: &[(TopicPartition, Position)]) -> Result<()> {
        self.handle.read_also(partitions).await
    }

    /// Ends [`read_also`](Self::read_also): when it returns, nothing of these companions is handed out any more. Partitions
    /// that are none are left alone. A reader without a group stops reading chosen partitions.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    /// As [`read_also`](Self::read_also).
    pub async fn read_no_longer(&self, partitions: &[TopicPartition]) -> Result<()> {
        self.handle.read_no_longer(partitions).await
    }

    /// The partitions that are read [beside](Self::read_also) those that the group assigns, in order.
    #[must_use]
    pub fn companions(&self) -> Vec<TopicPartition> {
        self.handle.companions()
    }
}

impl ConsumerHandle {
    /// As [`Consumer::read_also`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn read_also(&self, partitions: &[(TopicPartition, Position)]) -> Result<()> {
        let from = partitions.to_vec();
        self.ask(|reply| Command::ReadAlso { from, reply }).await?
    }

    /// As [`Consumer::read_no_longer`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn read_no_longer(&self, partitions: &[TopicPartition]) -> Result<()> {
        let partitions = partitions.to_vec();
        self.ask(|reply| Command::ReadNoLonger { partitions, reply }).await
    }

    /// As [`Consumer::companions`].
    #[must_use]
    pub fn companions(&self) -> Vec<TopicPartition> {
        self.hand.companions()
    }
}
