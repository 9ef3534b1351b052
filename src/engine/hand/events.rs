//! What a consumer tells of itself beside records: kept, within a limit, for whoever wants to know.

use std::{
    collections::VecDeque,
    mem,
    sync::Mutex,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    error::Error,
    sync::{enlist, lock},
    types::{NodeId, Partition, TopicName, TopicPartition},
};

/// How many events wait to be taken; then the oldest are dropped.
const LIMIT: usize = 256;

/// What happens to a consumer that its records do not show. From `Consumer::events`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// Something cannot be read, or the group not be joined: a topic or partition that does not exist, that may not be
    /// read, a batch that is corrupt, and so on. The next call for records returns the error too.
    #[non_exhaustive]
    Failed {
        /// The topic that the error is about, if it is about one.
        topic: Option<TopicName>,
        /// And the partition.
        partition: Option<Partition>,
        /// Why.
        error: Error,
    },
    /// A partition that is read has no leader, or none whose address is known: nothing of it comes until it has one.
    #[non_exhaustive]
    NoLeader {
        /// The partition.
        partition: TopicPartition,
    },
    /// A broker lets the consumer wait, because it has read more than its quota allows (KIP-219).
    #[non_exhaustive]
    Throttled {
        /// The broker.
        broker: NodeId,
        /// For how long.
        delay: Duration,
    },
    /// The log does not hold the offset to read: most of the time retention has deleted records before they were read. Reading
    /// goes on as `on_out_of_range` says.
    #[non_exhaustive]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The offset that was to be read.
        offset: i64,
    },
    /// The log has lost records that were read (KIP-320). Reading goes on as `on_truncation` says.
    #[non_exhaustive]
    LogTruncated {
        /// The partition.
        partition: TopicPartition,
        /// The offset to be read next.
        offset: i64,
        /// Where the log parts from what was read.
        diverges_at: i64,
    },
    /// The topic was deleted, and another created under its name. Reading goes on as `on_recreated` says.
    #[non_exhaustive]
    TopicRecreated {
        /// The partition that was to be read.
        partition: TopicPartition,
    },
    /// Nothing was asked for within `max_poll_interval`: the member has left its group, and comes back with the next call.
    #[non_exhaustive]
    PollIntervalExceeded {
        /// How long ago the last call was.
        after: Duration,
    },
    /// The member joins its group, or its share changes.
    RebalanceStarted,
    /// The member has what it was assigned.
    #[non_exhaustive]
    RebalanceFinished {
        /// How long it took, the listener's time included.
        took: Duration,
        /// All that is assigned now.
        assignment: Vec<TopicPartition>,
    },
    /// Partitions were lost: what was not committed is read again by others.
    #[non_exhaustive]
    PartitionsLost {
        /// Which.
        partitions: Vec<TopicPartition>,
    },
    /// What was decided of records of a share group did not count: their locks had ended, or the session with the broker.
    /// Others may get them.
    #[non_exhaustive]
    NotSettled {
        /// The partition.
        partition: TopicPartition,
        /// The first of the offsets.
        first: i64,
        /// And the last.
        last: i64,
        /// Why.
        error: Error,
    },
    /// An automatic commit failed. What it was to commit is part of the next one, unless the partitions were given up.
    #[non_exhaustive]
    CommitFailed {
        /// Why.
        error: Error,
    },
    /// Records of partitions that are given up were not acknowledged within `drain_timeout`: they are read again.
    #[non_exhaustive]
    NotAcknowledged {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// How long was waited.
        after: Duration,
    },
    /// Events before this one were dropped, since nobody took them.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: u64,
    },
}

/// Events that wait for whoever wants to know.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    events: VecDeque<ConsumerEvent>,
    missed: u64,
    waiters: Vec<Waker>,
    is_over: bool,
}

impl Events {
    pub(crate) fn tell(&self, event: ConsumerEvent) {
        let dropped = self.change(|told| {
            told.events.push_back(event);
            if told.events.len() <= LIMIT {
                return None;
            }
            told.missed = told.missed.saturating_add(1);
            told.events.pop_front()
        });
        drop(dropped);
    }

    /// Nothing more will be told.
    pub(crate) fn end(&self) {
        self.change(|told| told.is_over = true);
    }

    /// The next event. `None` once all were taken and nothing more will be told.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Option<ConsumerEvent>> {
        let mut told = lock(&self.0);
        let missed = mem::take(&mut told.missed);
        if missed > 0 {
            return Poll::Ready(Some(ConsumerEvent::Missed { count: missed }));
        }
        match told.events.pop_front() {
            None if !told.is_over => {
                enlist(&mut told.waiters, cx.waker());
                Poll::Pending
            }
            event => Poll::Ready(event),
        }
    }

    /// Changes what is told, and wakes whoever waits, without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let (outcome, waiters) = {
            let mut told = lock(&self.0);
            (change(&mut told), mem::take(&mut told.waiters))
        };
        waiters.into_iter().for_each(Waker::wake);
        outcome
    }
}

/// An error of a partition, of a topic (which has the index -1), or of the consumer.
pub(crate) fn failed(about: Option<&TopicPartition>, error: &Error) -> ConsumerEvent {
    let topic = about.map(|partition| partition.topic.clone());
    let partition = about.map(|partition| partition.partition).filter(|partition| partition.0 >= 0);
    ConsumerEvent::Failed { topic, partition, error: error.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use super::*;

    fn next(events: &Events) -> Poll<Option<ConsumerEvent>> {
        events.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_oldest_events_are_dropped_and_counted() {
        let events = Events::default();
        assert!(next(&events).is_pending());
        for index in 0..300 {
            events.tell(ConsumerEvent::NoLeader { partition: TopicPartition::new("t", index) });
        }
        assert!(matches!(next(&events), Poll::Ready(Some(ConsumerEvent::Missed { count: 44 }))));
        for index in 44..300 {
            let Poll::Ready(Some(ConsumerEvent::NoLeader { partition })) = next(&events) else { panic!() };
            assert_eq!(partition.partition.0, index);
        }
        assert!(next(&events).is_pending());
        events.tell(ConsumerEvent::RebalanceStarted);
        events.end();
        assert!(matches!(next(&events), Poll::Ready(Some(ConsumerEvent::RebalanceStarted))));
        assert!(matches!(next(&events), Poll::Ready(None)));
    }
}
