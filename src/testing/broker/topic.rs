//! Topics and their partitions.

use super::config::TopicConfig;
use super::log::Log;
use super::producers::Producers;
use crate::wire::str::Str;
use crate::wire::uuid::Uuid;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) name: Str,
    pub(super) config: TopicConfig,
    pub(super) partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// The nodes that hold it, the preferred leader first.
    pub(super) replicas: Vec<i32>,
    /// Those that are alive, or the last that was.
    pub(super) in_sync: Vec<i32>,
    pub(super) leader: Option<i32>,
    pub(super) leader_epoch: i32,
    pub(super) log: Log,
    pub(super) producers: Producers,
    /// An unclean election has lost records, and with them perhaps the ends of transactions.
    pub(super) lost_records: bool,
}

impl Topic {
    pub(super) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

impl Partition {
    /// Whether a producer's transaction is open here, under the epoch.
    pub(super) fn has_open(&self, producer_id: i64, epoch: i16) -> bool {
        self.log.has_open(producer_id) && self.producers.epoch(producer_id) == Some(epoch)
    }

    /// Forgets the producers that were silent longest, but none with a transaction that is open.
    pub(super) fn forget_producers(&mut self, limit: usize) {
        let log = &self.log;
        self.producers.forget_down_to(limit, |id| log.has_open(id));
    }

    /// A partition whose leader is the first of its replicas that is alive.
    pub(super) fn new(replicas: Vec<i32>, is_up: impl Fn(i32) -> bool) -> Self {
        let mut partition = Self {
            in_sync: replicas.clone(),
            replicas,
            leader: None,
            leader_epoch: -1,
            log: Log::new(),
            producers: Producers::default(),
            lost_records: false,
        };
        partition.nodes_changed(is_up);
        partition
    }

    /// Elects a leader if there is none or it is dead.
    pub(super) fn nodes_changed(&mut self, is_up: impl Fn(i32) -> bool) {
        let alive: Vec<i32> = self.replicas.iter().copied().filter(|node| is_up(*node)).collect();
        let leads = self.leader.is_some_and(|leader| alive.contains(&leader));
        // The last replica to die stays in sync: it has all the records.
        if !alive.is_empty() {
            self.in_sync = alive;
        }
        if !leads {
            let next = self.in_sync.first().copied().filter(|node| is_up(*node));
            if next != self.leader || next.is_some() {
                self.lead(next);
            }
        }
    }

    /// Makes a node the leader, in a new epoch.
    pub(super) fn lead(&mut self, node: Option<i32>) {
        self.leader = node;
        self.leader_epoch += 1;
        if node.is_some() {
            self.log.begin_epoch(self.leader_epoch);
        }
    }
}
