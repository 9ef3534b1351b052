//! What a consumer, and the handle that a listener gets, have in common.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    client::offsets::{Listed, Offsets},
    engine::{consumer::core::no_group, hand::Hand},
    error::{Error, ErrorKind, Result},
    net::clock::Clock,
    types::{GroupMetadata, Isolation, Offset, OffsetAndMetadata, Position, TopicPartition},
};

/// What users ask of the consumer's task.
#[derive(Debug)]
pub(super) enum Command {
    Seek {
        to: Vec<(TopicPartition, Position)>,
        reply: oneshot::Sender<Result<()>>,
    },
    Rewind {
        to: Vec<(TopicPartition, Position)>,
        reply: oneshot::Sender<()>,
    },
    ReadAlso {
        from: Vec<(TopicPartition, Position)>,
        reply: oneshot::Sender<Result<()>>,
    },
    ReadNoLonger {
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<()>,
    },
    Commit {
        offsets: Option<BTreeMap<TopicPartition, OffsetAndMetadata>>,
        reply: oneshot::Sender<Result<()>>,
    },
    Committed {
        partitions: Vec<TopicPartition>,
        reply: oneshot::Sender<Result<Committed>>,
    },
    /// To be asked in a task of its own: the reading goes on.
    ListOffsets {
        offsets: Offsets,
        reply: oneshot::Sender<Result<Listed>>,
    },
    Close {
        reply: oneshot::Sender<Result<()>>,
    },
}

/// What a group has committed.
pub(super) type Committed = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// What may be done to a consumer besides reading from it. A [`RebalanceListener`](super::RebalanceListener) gets one;
/// it does not keep the consumer alive.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    pub(super) hand: Arc<Hand>,
    commands: mpsc::WeakSender<Command>,
    group: Option<Arc<str>>,
    pub(super) isolation: Isolation,
    clock: Clock,
}

impl ConsumerHandle {
    pub(super) fn new(
        hand: Arc<Hand>,
        clock: Clock,
        commands: &mpsc::Sender<Command>,
        group: Option<&str>,
        isolation: Isolation,
    ) -> Self {
        Self { hand, commands: commands.downgrade(), group: group.map(Into::into), isolation, clock }
    }

    /// As [`Consumer::commit`](super::Consumer::commit).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn commit(&self) -> Result<()> {
        self.ask(|reply| Command::Commit { offsets: None, reply }).await?
    }

    /// As [`Consumer::commit_offsets`](super::Consumer::commit_offsets).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn commit_offsets(&self, offsets: BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<()> {
        self.ask(|reply| Command::Commit { offsets: Some(offsets), reply }).await?
    }

    /// As [`Consumer::committed`](super::Consumer::committed).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>> {
        let partitions = partitions.to_vec();
        self.ask(|reply| Command::Committed { partitions, reply }).await?
    }

    /// As [`Consumer::seek`](super::Consumer::seek).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn seek(&self, to: &[(TopicPartition, Position)]) -> Result<()> {
        let to = to.to_vec();
        self.ask(|reply| Command::Seek { to, reply }).await?
    }

    /// As [`Consumer::rewind`](super::Consumer::rewind).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn rewind(&self, to: &[(TopicPartition, Position)]) -> Result<()> {
        let to = to.to_vec();
        self.ask(|reply| Command::Rewind { to, reply }).await
    }

    /// As [`Consumer::group_metadata`](super::Consumer::group_metadata).
    ///
    /// # Errors
    /// As there.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        let group = self.group.as_ref().ok_or_else(no_group)?;
        match self.hand.membership() {
            Some(member) => Ok(GroupMetadata { group: Arc::clone(group), member: Some(member) }),
            None => Err(ErrorKind::NotMember { group: group.as_ref().to_owned() }.into()),
        }
    }

    /// As [`Consumer::pause`](super::Consumer::pause).
    pub fn pause(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| self.hand.pause(partition, true));
    }

    /// As [`Consumer::resume`](super::Consumer::resume).
    pub fn resume(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|partition| self.hand.pause(partition, false));
    }

    /// As [`Consumer::assignment`](super::Consumer::assignment).
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.hand.assignment()
    }

    /// As [`Consumer::position`](super::Consumer::position).
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.hand.position(partition).map(|spot| Offset(spot.offset))
    }

    /// As [`Consumer::lag`](super::Consumer::lag).
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<u64> {
        self.hand.lag(partition)
    }

    /// As [`Consumer::time_lag`](super::Consumer::time_lag).
    #[must_use]
    pub fn time_lag(&self, partition: &TopicPartition) -> Option<Duration> {
        self.hand.time_lag(partition, self.clock.now().unix_ms)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.ask(|reply| Command::Close { reply }).await?
    }

    /// Sends a command and waits for what comes of it.
    pub(super) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, outcome) = oneshot::channel();
        let commands = self.commands.upgrade().ok_or_else(closed)?;
        commands.send(command(reply)).await.map_err(|_| closed())?;
        drop(commands);
        outcome.await.map_err(|_| closed())
    }
}

pub(super) fn closed() -> Error {
    ErrorKind::Closed { what: "consumer" }.into()
}
