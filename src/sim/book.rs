//! The book of a world: what was handed out, and what was committed.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{TOPIC, World};
use crate::wire::batch::Batches;

/// The name of the group.
pub(super) const GROUP: &str = "g";

/// A record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) offset: i64,
    pub(super) value: String,
    /// Of its producer.
    pub(super) epoch: i16,
}

/// What was handed out, over all consumers.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Values by partition and offset.
    handed: BTreeMap<i32, BTreeMap<i64, String>>,
    /// What users are done with, or take for done with, by partition.
    acknowledged: BTreeMap<i32, Acknowledged>,
    /// Up to where everything was handed out, by partition.
    prefix: BTreeMap<i32, i64>,
    /// What members have asked to have committed, by generation, member and partition: the newest offset.
    commits: BTreeMap<(Tenure, i32), i64>,
}

/// What is done with of a partition.
#[derive(Debug, Default)]
struct Acknowledged {
    offsets: BTreeSet<i64>,
    prefix: i64,
}

/// How long somebody has had a partition without a break.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tenure {
    pub(super) member: String,
    pub(super) generation: i32,
    /// A member may lose a partition and get it back in the same epoch.
    pub(super) number: u64,
}

impl Book {
    /// A record is handed out.
    pub(super) fn hand_out(&mut self, partition: i32, offset: i64, value: String) {
        let handed = self.handed.entry(partition).or_default();
        if let Some(before) = handed.get(&offset) {
            assert_eq!(*before, value, "two records at offset {offset} of partition {partition}");
        } else {
            handed.insert(offset, value);
        }
        let prefix = self.prefix.entry(partition).or_default();
        while handed.contains_key(prefix) {
            *prefix += 1;
        }
    }

    /// A user says that it is done with a record, or says nothing of the kind ever.
    pub(super) fn acknowledge(&mut self, partition: i32, offset: i64) {
        let acknowledged = self.acknowledged.entry(partition).or_default();
        acknowledged.offsets.insert(offset);
        while acknowledged.offsets.contains(&acknowledged.prefix) {
            acknowledged.prefix += 1;
        }
    }

    /// Up to where everything of the partition was handed out.
    pub(super) fn prefix(&self, partition: i32) -> i64 {
        self.prefix.get(&partition).copied().unwrap_or(0)
    }

    /// A member asks for a commit. What was not handed out is not committed, and nothing goes back in a tenure.
    /// Whether it was asked for before.
    pub(super) fn commit(&mut self, tenure: Tenure, partition: i32, offset: i64) -> bool {
        let prefix = self.prefix(partition);
        assert!(offset <= prefix, "{offset} of partition {partition} is committed, {prefix} was handed out");
        let done = self.acknowledged.get(&partition).map_or(0, |acknowledged| acknowledged.prefix);
        assert!(offset <= done, "{offset} of partition {partition} is committed, {done} was acknowledged");
        let newest = self.commits.insert((tenure, partition), offset);
        assert!(
            newest <= Some(offset),
            "a commit of {offset} in partition {partition} goes back from {newest:?}"
        );
        newest == Some(offset)
    }

    /// Whether the group has read and committed a partition up to here.
    pub(super) fn is_read_and_committed(&self, world: &World, partition: i32, end: i64) -> bool {
        self.prefix(partition) == end
            && (end == 0 || world.broker.committed(GROUP, TOPIC, partition) == Some(end))
    }

    /// Everything that was handed out is what the log holds, and all of it was handed out.
    pub(super) fn judge(&self, world: &World, partition: i32) {
        let log: BTreeMap<i64, String> =
            Self::log(world, partition).into_iter().map(|logged| (logged.offset, logged.value)).collect();
        let handed = self.handed.get(&partition).cloned().unwrap_or_default();
        assert_eq!(handed, log, "partition {partition}: what was handed out, and what the log holds");
    }

    /// The end of a partition's log.
    pub(super) fn end(world: &World, partition: i32) -> i64 {
        world.broker.log_range(TOPIC, partition).map_or(0, |(_, end)| end)
    }

    /// All records of a partition.
    pub(super) fn log(world: &World, partition: i32) -> Vec<Logged> {
        let log = world.broker.log_bytes(TOPIC, partition).expect("a log");
        let mut found = Vec::new();
        for batch in Batches::new(log) {
            let batch = batch.expect("a batch");
            batch.verify_crc().expect("its checksum");
            let epoch = batch.header().producer_epoch;
            let mut cursor = batch.cursor(usize::MAX).expect("its records");
            for record in cursor.records() {
                let record = record.expect("a record");
                let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
                found.push(Logged { offset: record.offset, value, epoch });
            }
        }
        found
    }
}
