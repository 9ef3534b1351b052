//! One transactional id, as its coordinator keeps it: who writes under it, and how far its transaction is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::engine::machine::Now;
use crate::error::Code;
use crate::testing::transaction::{TransactionDescription, TransactionState};
use crate::types::TopicPartition;
use crate::wire::str::Str;

/// The largest epoch that a client gets to see; behind it comes a new producer id.
const LAST_EPOCH: i16 = i16::MAX - 1;
/// No producer id, and no epoch.
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;
/// The topic whose partitions hold the offsets of groups.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// All transactional ids of the cluster.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    pub(super) by_id: BTreeMap<Str, Transaction>,
    /// Those whose markers are missing.
    pub(super) ending: BTreeSet<Str>,
    /// A test holds the markers back.
    pub(super) held: bool,
    /// The producers with offsets in a partition of the offsets topic that no marker follows yet, and their epochs.
    pub(super) open_offsets: BTreeMap<(i32, i64), i16>,
}

/// A producer, as requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// What a transaction writes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Partition(Str, i32),
    /// A partition of the topic that holds the offsets of groups.
    Offsets(i32),
}

/// How a transaction is ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) commit: bool,
    /// Whether the epoch is bumped (KIP-890), and the producer id to go on with if the epochs of the old one are used up.
    pub(super) bump: bool,
    pub(super) fresh_id: Option<i64>,
    /// When the markers are due.
    pub(super) markers_at: Option<Instant>,
}

/// The transactions of one transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: Str,
    pub(super) producer: Identity,
    /// The producer id before the newest change: another one if that was because its epochs were used up.
    previous_id: i64,
    /// The producer id that follows when the markers are written.
    next_id: i64,
    last_epoch: i16,
    timeout: Duration,
    pub(super) state: TransactionState,
    pub(super) parts: BTreeSet<Part>,
    started: Option<Instant>,
    /// When the markers are due; at once if no time is set.
    pub(super) markers_at: Option<Instant>,
    /// How often the coordinator has moved.
    pub(super) coordinator_epoch: i32,
}

impl Transaction {
    pub(super) fn new(id: Str, producer_id: i64) -> Self {
        Self {
            id,
            producer: Identity { id: producer_id, epoch: NO_EPOCH },
            previous_id: NO_ID,
            next_id: NO_ID,
            last_epoch: NO_EPOCH,
            timeout: Duration::ZERO,
            state: TransactionState::Empty,
            parts: BTreeSet::new(),
            started: None,
            markers_at: None,
            coordinator_epoch: 0,
        }
    }

    /// Whether the next bump needs a new producer id.
    pub(super) fn is_exhausted(&self) -> bool {
        self.producer.epoch >= LAST_EPOCH
    }

    /// Whether the end is decided and markers are missing.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Whether the transaction can still be in a partition's log.
    pub(super) fn is_open(&self) -> bool {
        self.state == TransactionState::Ongoing || self.is_ending()
    }

    /// Whether an open transaction was begun too long ago.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let started = self.started.filter(|_| self.state == TransactionState::Ongoing)?;
        started.checked_add(self.timeout)
    }

    /// A producer begins, or goes on after an error if it says who it was (KIP-360). Not while a transaction is ongoing.
    pub(super) fn begin(
        &mut self,
        timeout: Duration,
        expected: Option<Identity>,
        fresh_id: Option<i64>,
    ) -> Result<Identity, Code> {
        if expected.is_some_and(|expected| !self.may_go_on(expected)) {
            return Err(Code::PRODUCER_FENCED);
        }
        let current = self.producer.epoch;
        let is_current = |expected: Identity| current == NO_EPOCH || expected.epoch == current;
        let last_epoch = if expected.is_some() { current } else { NO_EPOCH };
        let previous_id = self.producer.id;
        match (expected, fresh_id) {
            (expected, Some(fresh)) if expected.is_none_or(|expected| expected.epoch == current) => {
                self.producer = Identity { id: fresh, epoch: 0 };
                self.last_epoch = last_epoch;
            }
            (expected, None) if expected.is_none_or(is_current) => {
                self.producer.epoch += 1;
                self.last_epoch = last_epoch;
            }
            // The request was answered before, and the answer was lost.
            (Some(expected), _) if expected.epoch == self.last_epoch => {}
            _ => return Err(Code::PRODUCER_FENCED),
        }
        self.previous_id = previous_id;
        self.timeout = timeout;
        self.state = TransactionState::Empty;
        self.started = None;
        Ok(self.producer)
    }

    /// Whether the producer that asks may be the newest.
    pub(super) fn may_go_on(&self, expected: Identity) -> bool {
        self.producer.epoch == NO_EPOCH
            || expected.id == self.producer.id
            || expected.id == self.previous_id && expected.epoch >= LAST_EPOCH
    }

    /// Takes parts into the transaction, which begins with the first.
    pub(super) fn add(&mut self, now: Now, producer: Identity, parts: Vec<Part>) -> Result<(), Code> {
        if self.is_ending() {
            // Who asks may be the next one already.
            return Err(Code::CONCURRENT_TRANSACTIONS);
        }
        self.check_producer(producer)?;
        if self.state != TransactionState::Ongoing {
            self.state = TransactionState::Ongoing;
            self.started = Some(now.instant);
            self.previous_id = self.producer.id;
        }
        self.parts.extend(parts);
        Ok(())
    }

    /// Whether a part belongs to the transaction.
    pub(super) fn verify(&self, producer: Identity, part: &Part) -> Result<(), Code> {
        self.check_producer(producer)?;
        if self.is_ending() {
            return Err(Code::CONCURRENT_TRANSACTIONS);
        }
        if self.parts.contains(part) { Ok(()) } else { Err(Code::TRANSACTION_ABORTABLE) }
    }

    fn check_producer(&self, producer: Identity) -> Result<(), Code> {
        if producer.id != self.producer.id {
            Err(Code::INVALID_PRODUCER_ID_MAPPING)
        } else if producer.epoch != self.producer.epoch {
            Err(Code::PRODUCER_FENCED)
        } else {
            Ok(())
        }
    }

    /// The producer ends the transaction; who goes on then.
    pub(super) fn end(&mut self, now: Now, producer: Identity, end: End) -> Result<Identity, Code> {
        if end.bump { self.end_and_bump(now, producer, end) } else { self.end_only(now, producer, end) }
    }

    /// The first version of transactions: the same producer goes on.
    fn end_only(&mut self, now: Now, producer: Identity, end: End) -> Result<Identity, Code> {
        self.check_producer(producer)?;
        match (self.state, end.commit) {
            _ if self.is_ending() => Err(Code::CONCURRENT_TRANSACTIONS),
            (TransactionState::Ongoing, _) => Ok(self.prepare(now, end)),
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => {
                Ok(self.producer)
            }
            _ => Err(Code::INVALID_TXN_STATE),
        }
    }

    /// The second version of transactions: the next epoch goes on, and a repeated request is known by its old one.
    fn end_and_bump(&mut self, now: Now, producer: Identity, end: End) -> Result<Identity, Code> {
        if self.is_ending() {
            return Err(Code::CONCURRENT_TRANSACTIONS);
        }
        let has_new_id =
            producer.id == self.previous_id && producer.epoch == LAST_EPOCH && self.producer.epoch == 0;
        if producer.id != self.producer.id && !has_new_id {
            return Err(Code::INVALID_PRODUCER_ID_MAPPING);
        }
        let is_bumped = producer.epoch.checked_add(1) == Some(self.producer.epoch);
        let is_complete =
            matches!(self.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
        let is_again = is_complete && (has_new_id || is_bumped);
        if producer.epoch != self.producer.epoch && !is_again {
            return Err(Code::PRODUCER_FENCED);
        }
        match (self.state, end.commit) {
            (TransactionState::Ongoing, _) => Ok(self.prepare(now, end)),
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false)
                if is_again =>
            {
                Ok(self.producer)
            }
            // An abort of nothing bumps the epoch all the same.
            (_, false) if !is_again => Ok(self.prepare(now, end)),
            _ => Err(Code::INVALID_TXN_STATE),
        }
    }

    fn prepare(&mut self, now: Now, end: End) -> Identity {
        self.started.get_or_insert(now.instant);
        self.state =
            if end.commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        self.markers_at = end.markers_at;
        if end.bump {
            self.bump(end.fresh_id);
        }
        if self.next_id >= 0 { Identity { id: self.next_id, epoch: 0 } } else { self.producer }
    }

    /// The coordinator aborts an ongoing transaction and fences the epoch that began it. That producer is still known by
    /// its epoch: if it says who it was before another comes, it goes on.
    pub(super) fn fence(&mut self, markers_at: Option<Instant>, fresh_id: Option<i64>) {
        self.state = TransactionState::PrepareAbort;
        self.markers_at = markers_at;
        self.bump(fresh_id);
    }

    fn bump(&mut self, fresh_id: Option<i64>) {
        self.last_epoch = self.producer.epoch;
        // The last epoch of all is for the markers.
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.next_id = fresh_id.unwrap_or(NO_ID);
    }

    /// All markers are written.
    pub(super) fn complete(&mut self) {
        let committed = self.state == TransactionState::PrepareCommit;
        self.state =
            if committed { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
        self.started = None;
        self.markers_at = None;
        self.previous_id = self.producer.id;
        if self.next_id >= 0 {
            self.producer = Identity { id: self.next_id, epoch: 0 };
            self.next_id = NO_ID;
        }
    }

    pub(super) fn described(&self) -> TransactionDescription {
        let partitions = self.parts.iter().map(|part| match part {
            Part::Partition(topic, partition) => TopicPartition::new(topic.as_str(), *partition),
            Part::Offsets(partition) => TopicPartition::new(OFFSETS_TOPIC, *partition),
        });
        TransactionDescription {
            transactional_id: self.id.as_str().to_owned(),
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            state: self.state,
            timeout: self.timeout,
            partitions: partitions.collect(),
        }
    }

    /// Asserts what must hold between two requests.
    pub(super) fn check(&self) {
        let id = &self.id;
        debug_assert!(self.producer.epoch >= 0, "{id}: a producer has an epoch");
        debug_assert!(self.is_open() || self.parts.is_empty(), "{id}: what has ended holds nothing");
        debug_assert!(
            self.state != TransactionState::Ongoing || self.started.is_some(),
            "{id}: what is ongoing was begun"
        );
        debug_assert!(self.next_id < 0 || self.is_ending(), "{id}: a new producer waits for markers only");
    }
}
