//! The ledger of a world: what was done in transactions, and what their users were told. The logs are judged by it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::world::{PARTITIONS, TOPIC, World};
use crate::{
    engine::produce::outcome::BatchDone,
    testing::TransactionState,
    wire::batch::{Batch, Batches, ControlType},
};

/// What a user knows of the end of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, and it has not asked for a commit: nobody may ever see what was written.
    Nothing,
    /// It has asked for a commit, and was not told what came of it.
    Asked,
    Committed,
    Aborted,
}

/// A record that was taken into a transaction.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) partition: usize,
    pub(super) value: String,
    pub(super) done: Arc<BatchDone>,
    pub(super) index: u32,
}

/// One transaction.
#[derive(Debug)]
struct Deed {
    id: usize,
    /// Which producer of the id.
    instance: u64,
    entries: Vec<Entry>,
    /// Offsets of the group of its transactional id, by partition.
    offsets: BTreeMap<i32, i64>,
    told: Told,
}

/// All transactions, in the order in which those of each transactional id were begun.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    deeds: Vec<Deed>,
    /// How many producers each transactional id has had.
    instances: BTreeMap<usize, u64>,
    /// Every record and every offset has a number of its own, so that they rise.
    numbers: i64,
}

/// Names a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeedId(usize);

impl Ledger {
    /// The name of a transactional id.
    pub(super) fn transactional_id(id: usize) -> String {
        format!("tx-{id}")
    }

    /// The group whose offsets are committed under a transactional id.
    pub(super) fn group(id: usize) -> String {
        format!("group-of-{id}")
    }

    /// A producer starts: which one it is of its id.
    pub(super) fn start(&mut self, id: usize) -> u64 {
        let instances = self.instances.entry(id).or_default();
        *instances += 1;
        *instances
    }

    /// Whether no other producer of the id has started since.
    pub(super) fn is_newest(&self, id: usize, instance: u64) -> bool {
        self.instances.get(&id) == Some(&instance)
    }

    pub(super) fn begin(&mut self, id: usize, instance: u64) -> DeedId {
        let (entries, offsets) = (Vec::new(), BTreeMap::new());
        self.deeds.push(Deed { id, instance, entries, offsets, told: Told::Nothing });
        DeedId(self.deeds.len() - 1)
    }

    pub(super) fn next_number(&mut self) -> i64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn write(&mut self, deed: DeedId, entry: Entry) {
        self.deeds[deed.0].entries.push(entry);
    }

    /// Offsets are to be committed with a transaction, those of a partition once.
    pub(super) fn add_offset(&mut self, deed: DeedId, partition: i32) -> Option<i64> {
        let number = self.next_number();
        let offsets = &mut self.deeds[deed.0].offsets;
        (!offsets.contains_key(&partition)).then(|| *offsets.entry(partition).or_insert(number))
    }

    pub(super) fn tell(&mut self, deed: DeedId, told: Told) {
        let deed = &mut self.deeds[deed.0];
        if told == Told::Committed {
            for entry in &deed.entries {
                let outcome = entry.done.of(entry.index);
                assert!(matches!(outcome, Some(Ok(_))), "{} is committed: {outcome:?}", entry.value);
            }
        }
        deed.told = told;
    }

    /// Whether all transactions are over at their coordinators, and readers come to the end of every partition.
    pub(super) fn is_at_rest(world: &World) -> bool {
        let is_over = |state| {
            let rests = [TransactionState::CompleteAbort, TransactionState::CompleteCommit];
            state == TransactionState::Empty || rests.contains(&state)
        };
        world.broker.transactions().iter().all(|transaction| is_over(transaction.state))
            && (0..PARTITIONS as i32).all(|index| {
                let end = world.broker.log_range(TOPIC, index).map(|(_, end)| end);
                world.broker.last_stable_offset(TOPIC, index) == end
            })
    }

    /// Compares what users were told with what readers of committed records and the groups find.
    pub(super) fn judge(&self, world: &mut World) {
        let visible: Vec<HashMap<String, i64>> = (0..PARTITIONS as i32)
            .map(|index| {
                let records = visible(world, index);
                check_order(index, &records);
                let places: HashMap<String, i64> = records.iter().cloned().collect();
                assert_eq!(places.len(), records.len(), "a record is in partition {index} twice");
                places
            })
            .collect();
        let known: BTreeSet<&str> =
            self.deeds.iter().flat_map(|deed| &deed.entries).map(|entry| entry.value.as_str()).collect();
        for value in visible.iter().flat_map(HashMap::keys) {
            assert!(known.contains(value.as_str()), "{value} was never written");
        }
        for deed in &self.deeds {
            deed.judge(&visible, world);
            let is_acked = deed.entries.iter().any(|entry| matches!(entry.done.of(entry.index), Some(Ok(_))));
            if deed.told == Told::Nothing && is_acked && self.is_newest(deed.id, deed.instance) {
                world.meet("ledger: its coordinator has given a transaction up");
            }
        }
        self.judge_offsets(&visible, world);
    }

    /// A group has the newest offsets of what was committed.
    fn judge_offsets(&self, visible: &[HashMap<String, i64>], world: &mut World) {
        let ids: BTreeSet<usize> = self.deeds.iter().map(|deed| deed.id).collect();
        for (id, partition) in ids.iter().flat_map(|id| (0..PARTITIONS as i32).map(move |index| (*id, index)))
        {
            let found = world.broker.committed(&Self::group(id), TOPIC, partition);
            // Of a transaction of offsets alone whose user was told nothing, either is right.
            let mut right = BTreeSet::from([None]);
            for deed in self.deeds.iter().filter(|deed| deed.id == id) {
                let Some(offset) = deed.offsets.get(&partition) else { continue };
                match (deed.told, deed.is_visible(visible)) {
                    (Told::Committed, _) | (Told::Asked, Some(true)) => right = [Some(*offset)].into(),
                    (Told::Asked, None) => drop(right.insert(Some(*offset))),
                    (Told::Asked, Some(false)) | (Told::Nothing | Told::Aborted, _) => {}
                }
            }
            let of = Self::group(id);
            assert!(right.contains(&found), "{of} has {found:?} of partition {partition}, and not {right:?}");
            if found.is_some() {
                world.meet("ledger: offsets are committed");
            }
        }
    }
}

impl Deed {
    /// Whether its records are seen; nothing where it has none.
    fn is_visible(&self, visible: &[HashMap<String, i64>]) -> Option<bool> {
        self.entries.first().map(|entry| visible[entry.partition].contains_key(&entry.value))
    }

    fn judge(&self, visible: &[HashMap<String, i64>], world: &mut World) {
        for entry in &self.entries {
            let place = visible[entry.partition].get(&entry.value).copied();
            let is_visible = match self.told {
                Told::Committed => true,
                Told::Nothing | Told::Aborted => false,
                // All or nothing.
                Told::Asked => self.is_visible(visible) == Some(true),
            };
            let (value, told) = (&entry.value, self.told);
            assert_eq!(place.is_some(), is_visible, "{value}, of a transaction with {told:?}");
            if let (Some(place), Some(Ok(written))) = (place, entry.done.of(entry.index)) {
                let acked = written.base_offset.unwrap_or(place);
                assert_eq!(place, acked, "{value} is not where it was acked");
            }
        }
        let seen = if self.is_visible(visible) == Some(true) { "seen" } else { "not seen" };
        world.meet(&format!("ledger: told {:?} and {seen}", self.told));
    }
}

/// The records of each transactional id are in the order in which they were written.
fn check_order(partition: i32, records: &[(String, i64)]) {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for (value, _) in records {
        let mut parts = value.split('/').skip(1);
        let (Some(id), Some(number)) = (parts.next(), parts.next()) else { panic!("{value} is not ours") };
        let number: i64 = number.parse().expect("a number");
        let before = newest.insert(id, number);
        assert!(before < Some(number), "partition {partition} is out of order: {number} after {before:?}");
    }
}

/// The records that whoever reads committed ones gets to see, with their offsets: once as the markers say, and once as
/// the aborted transactions in the answer to a fetch do.
fn visible(world: &World, partition: i32) -> Vec<(String, i64)> {
    let log = world.broker.log_bytes(TOPIC, partition).expect("a log");
    let batches: Vec<Batch> = Batches::new(log).map(|batch| batch.expect("a batch")).collect();
    let by_markers = by_markers(&batches);
    let aborted = world.broker.aborted(TOPIC, partition);
    assert_eq!(by_markers, by_index(&batches, &aborted), "partition {partition}: the markers and the index");
    by_markers
}

fn by_markers(batches: &[Batch]) -> Vec<(String, i64)> {
    let mut open: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
    let mut committed = Vec::new();
    for batch in batches {
        let producer = batch.header().producer_id;
        match marker(batch) {
            None => open.entry(producer).or_default().extend(records(batch)),
            Some(is_commit) => {
                let ended = open.remove(&producer).unwrap_or_default();
                committed.extend(ended.into_iter().filter(|_| is_commit));
            }
        }
    }
    assert!(open.is_empty(), "records without a marker: {open:?}");
    committed.sort_by_key(|(_, offset)| *offset);
    committed
}

fn by_index(batches: &[Batch], aborted: &[(i64, i64)]) -> Vec<(String, i64)> {
    let mut aborted = aborted.to_vec();
    aborted.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut void = BTreeSet::new();
    let mut committed = Vec::new();
    for batch in batches {
        let header = batch.header();
        let last = header.base_offset + i64::from(header.last_offset_delta);
        while let Some((producer, _)) = aborted.pop_if(|(_, first)| *first <= last) {
            void.insert(producer);
        }
        match marker(batch) {
            Some(_) => drop(void.remove(&header.producer_id)),
            None if void.contains(&header.producer_id) => {}
            None => committed.extend(records(batch)),
        }
    }
    committed
}

/// Whether a batch is a marker, and then whether of a commit.
fn marker(batch: &Batch) -> Option<bool> {
    if !batch.header().attributes.is_control() {
        return None;
    }
    let mut cursor = batch.cursor(usize::MAX).expect("a marker");
    let record = cursor.records().next().expect("a marker").expect("a marker");
    Some(ControlType::parse(record.key) == Ok(ControlType::Commit))
}

fn records(batch: &Batch) -> Vec<(String, i64)> {
    batch.verify_crc().expect("its checksum");
    assert!(batch.header().attributes.is_transactional(), "a batch outside of transactions");
    let mut cursor = batch.cursor(usize::MAX).expect("its records");
    let read = cursor.records().map(|record| {
        let record = record.expect("a record");
        let value = record.value.expect("a value").to_vec();
        (String::from_utf8(value).expect("text"), record.offset)
    });
    read.collect()
}
