//! Topics and their partitions.

use super::log::Log;
use super::producers::Producers;
use crate::wire::batch::TimestampType;
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

/// What a topic is set to. Settings that the broker does not act on are kept as they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicConfig {
    /// `max.message.bytes`.
    pub(super) max_message_bytes: Option<i32>,
    /// `min.insync.replicas`.
    pub(super) min_insync_replicas: Option<i16>,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub(super) log_append_time: bool,
    /// `cleanup.policy` has `compact`: records need keys. It is compacted when that is asked for.
    pub(super) compacted: bool,
    /// All that was given, by name.
    pub(super) given: Vec<(Str, Str)>,
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
}

impl Topic {
    pub(super) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }
}

impl TopicConfig {
    /// Takes a setting, or says why not.
    pub(super) fn set(&mut self, name: &Str, value: &Str) -> Result<(), String> {
        let number = |min: i64, max: i64| {
            let parsed = value.parse::<i64>().ok().filter(|number| (min..=max).contains(number));
            parsed.ok_or_else(|| format!("invalid value {value} for configuration {name}"))
        };
        match name.as_str() {
            "max.message.bytes" => {
                self.max_message_bytes = i32::try_from(number(0, i64::from(i32::MAX))?).ok();
            }

            "min.insync.replicas" => {
                self.min_insync_replicas = i16::try_from(number(1, i64::from(i16::MAX))?).ok();
            }
            "message.timestamp.type" => {
                self.log_append_time = match value.as_str() {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(format!("invalid value {value} for configuration {name}")),
                };
            }
            "cleanup.policy" => self.compacted = value.split(',').any(|policy| policy.trim() == "compact"),
            other if KNOWN.contains(&other) => {}
            other => return Err(format!("unknown topic config name: {other}")),
        }
        self.given.retain(|(given, _)| given != name);
        self.given.push((name.clone(), value.clone()));
        Ok(())
    }

    pub(super) fn timestamps(&self) -> TimestampType {
        if self.log_append_time { TimestampType::LogAppend } else { TimestampType::Create }
    }
}

/// The settings of a Kafka 4.4 topic on which nothing here depends.
const KNOWN: [&str; 24] = [
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "preallocate",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.ms",
    "unclean.leader.election.enable",
];

impl Partition {
    /// A partition whose leader is the first of its replicas that is alive.
    pub(super) fn new(replicas: Vec<i32>, is_up: impl Fn(i32) -> bool) -> Self {
        let mut partition = Self {
            in_sync: replicas.clone(),
            replicas,
            leader: None,
            leader_epoch: -1,
            log: Log::new(),
            producers: Producers::default(),
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
