//! Transactions: records and offsets that count together or not at all.

pub(super) mod desk;

use std::{collections::BTreeMap, fmt, sync::Arc};

use tokio::sync::oneshot;

use self::desk::{Counter, Desk, Opened};
use super::{
    delivery::{Delivered, Delivery, TrySendError},
    handle::Producer,
    settings::Settings,
};
use crate::{
    client::Client,
    engine::{produce::gate::Pass, txn::OffsetsOf},
    error::{Error, ErrorKind, Result},
    record::Record,
    sync::wake::Wake,
    types::{GroupMetadata, OffsetAndMetadata, TopicPartition},
};

/// Writes records in transactions: what is written in one is seen, by those who read what is committed, all of it once it
/// is committed, and none of it before or if it is aborted. Offsets of a consumer's group can be a part of it: so what
/// was read, what was made of it, and how far was read count together (KIP-98, KIP-447).
///
/// Made by [`ProducerBuilder::transactional`](super::ProducerBuilder::transactional).
///
/// ```no_run
/// # async fn example(client: milena::Client) -> milena::Result<()> {
/// use milena::Record;
///
/// let mut producer = client.producer().transactional("payments-1").await?;
/// let transaction = producer.begin().await?;
/// // What becomes of each record is what becomes of the transaction: its delivery need not be awaited.
/// drop(transaction.enqueue(Record::new("debits", "7").key("alice")).await?);
/// drop(transaction.enqueue(Record::new("credits", "7").key("bob")).await?);
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
///
/// A transaction fails when one of its records cannot be delivered, when a broker refuses what belongs to it, or when it
/// is open for longer than its timeout. It is then aborted at once, every call on it says why
/// ([`Error::requires_abort`]), and the producer goes on with the next one. After an error that is
/// [fatal](Error::is_fatal), such as [`ErrorKind::Fenced`] where another instance has taken over the id, every call says
/// the same, and a new producer has to be made, or none.
pub struct TransactionalProducer {
    producer: Producer,
    counter: Arc<Counter>,
}

impl TransactionalProducer {
    pub(super) async fn start(client: Client, settings: Settings) -> Result<Self> {
        let max_block = settings.max_block;
        let wake = Arc::new(Wake::default());
        let counter = Counter::new(Arc::clone(&wake));
        let desk = Desk::new(Arc::clone(&counter), max_block);
        let producer = Producer::start(client, settings, wake, Some(desk))?;
        let this = Self { producer, counter };
        answer(this.counter.ready()).await??;
        Ok(this)
    }

    /// Begins a transaction, as soon as the one before is over. Nothing is sent before the first record.
    ///
    /// # Errors
    /// What became of a commit whose future was dropped, if it failed: once. [`ErrorKind::Timeout`] after `max_block` if
    /// the transaction before is not over by then, or no id for the next one could be had. What is
    /// [fatal](Error::is_fatal). [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropped, no transaction is open.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        let opened = answer(self.counter.begin()).await??;
        Ok(Transaction { producer: &self.producer, opened })
    }

    /// The id of the transactions.
    #[must_use]
    pub fn transactional_id(&self) -> &str {
        self.producer.transactional_id()
    }

    /// The bytes that records take now, sent or not, until they are acknowledged.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.producer.buffered_bytes()
    }

    /// Waits until the last transaction is over, and ends the producer.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when its client was closed, or its runtime has ended.
    ///
    /// # Cancel safety
    /// Dropped, the producer still closes, in the background.
    pub async fn close(self) -> Result<()> {
        self.producer.end().await
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("transactional_id", &self.transactional_id())
            .finish_non_exhaustive()
    }
}

/// An open transaction. Dropped, it is aborted in the background, and the next [`begin`](TransactionalProducer::begin)
/// waits for that.
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p> {
    producer: &'p Producer,
    opened: Opened,
}

impl Transaction<'_> {
    /// Sends a record in the transaction and waits until it is acknowledged. It is not seen by those who read what is
    /// committed before the transaction is.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) and of [`Delivery`].
    ///
    /// # Cancel safety
    /// Dropped before the record is enqueued, it is not sent; dropped later, it is sent all the same.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivered> {
        self.enqueue(record).await?.await
    }

    /// Copies a record into its batch, waiting for room and for the topic's partitions where need be.
    /// [`commit`](Self::commit) waits for the deliveries of all, so they need not be awaited.
    ///
    /// # Errors
    /// Those of [`Producer::enqueue`], after which the transaction goes on.
    /// [`ErrorKind::TransactionAborted`] once it has failed; what is [fatal](Error::is_fatal).
    ///
    /// # Cancel safety
    /// Dropped before it returns, the record is not sent.
    pub async fn enqueue(&self, record: Record<'_>) -> Result<Delivery> {
        self.producer.enqueue_with(self.pass(), record).await
    }

    /// Copies a record into its batch without waiting for anything.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) and of [`Producer::try_enqueue`], with the record handed back.
    pub fn try_enqueue<'a>(&self, record: Record<'a>) -> Result<Delivery, TrySendError<'a>> {
        self.producer.try_enqueue_with(self.pass(), record)
    }

    /// Makes offsets of a group a part of the transaction: they are committed with it, or not at all (KIP-447). Each is the
    /// *next* one to read. With a member's [`GroupMetadata`], as
    /// [`Consumer::group_metadata`](crate::Consumer::group_metadata) gives it, a member that was replaced meanwhile cannot
    /// commit.
    ///
    /// # Errors
    /// [`ErrorKind::TransactionAborted`] where the group's coordinator refuses, as after a rebalance, and the transaction
    /// has failed; what is [fatal](Error::is_fatal); [`ErrorKind::Full`] where 1,000 calls wait already.
    ///
    /// # Cancel safety
    /// Once the future was polled the offsets become a part of the transaction whether or not it is dropped.
    pub async fn commit_offsets(
        &self,
        group: &GroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<()> {
        self.handle().commit_offsets(group, offsets).await
    }

    /// A handle for tasks that take part in the transaction. It refuses once the transaction is over.
    #[must_use]
    pub fn handle(&self) -> TransactionHandle {
        let (producer, counter) = (self.producer.clone(), Arc::clone(self.opened.counter()));
        TransactionHandle { producer, counter, number: self.opened.number() }
    }

    /// Commits: waits until every record is acknowledged and all offsets are taken, and has the coordinator commit. A
    /// transaction in which nothing was done costs no request.
    ///
    /// When it returns the transaction is over, one way or the other.
    ///
    /// # Errors
    /// [`ErrorKind::TransactionAborted`] where it could not be committed and was aborted: nothing of it counts. What is
    /// [fatal](Error::is_fatal), after which it may have been committed or not if that was the answer to the commit
    /// itself. Where no answer comes it is asked for again until there is one, so there is no error that leaves open
    /// what became of it as long as the producer lives; set a timeout around the call to stop waiting, and the next
    /// [`begin`](TransactionalProducer::begin) waits for the outcome.
    ///
    /// # Cancel safety
    /// Once the future was polled the commit goes on whether or not it is dropped. If it then fails, the next
    /// [`begin`](TransactionalProducer::begin) says so.
    pub async fn commit(self) -> Result<()> {
        answer(self.opened.end(true)).await?
    }

    /// Aborts: nothing of the transaction counts. What was not sent yet is not sent, and its deliveries end with
    /// [`ErrorKind::TransactionAborted`].
    ///
    /// # Errors
    /// What is [fatal](Error::is_fatal); [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    /// Dropped, the transaction is aborted all the same.
    pub async fn abort(self) -> Result<()> {
        answer(self.opened.end(false)).await?
    }

    /// Why the transaction has failed, if it has: it can only be aborted, and is being.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.producer.failure(self.pass())
    }

    fn pass(&self) -> Pass {
        Pass::of_transaction(self.opened.number())
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("number", &self.opened.number()).finish_non_exhaustive()
    }
}

/// Takes part in one transaction, from any task. Cheap to clone. Once the transaction is over every call returns
/// [`ErrorKind::TransactionEnded`], or, where it has failed, [`ErrorKind::TransactionAborted`].
#[derive(Clone)]
pub struct TransactionHandle {
    producer: Producer,
    counter: Arc<Counter>,
    number: u64,
}

impl TransactionHandle {
    /// As [`Transaction::send`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivered> {
        self.enqueue(record).await?.await
    }

    /// As [`Transaction::enqueue`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn enqueue(&self, record: Record<'_>) -> Result<Delivery> {
        self.producer.enqueue_with(Pass::of_transaction(self.number), record).await
    }

    /// As [`Transaction::try_enqueue`].
    ///
    /// # Errors
    /// As there.
    pub fn try_enqueue<'a>(&self, record: Record<'a>) -> Result<Delivery, TrySendError<'a>> {
        self.producer.try_enqueue_with(Pass::of_transaction(self.number), record)
    }

    /// As [`Transaction::commit_offsets`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn commit_offsets(
        &self,
        group: &GroupMetadata,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<()> {
        let offsets = OffsetsOf { group: group.clone(), offsets, topic_ids: BTreeMap::new() };
        answer(self.counter.send_offsets(self.number, offsets)?).await?
    }
}

impl fmt::Debug for TransactionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionHandle").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Waits for what the task answers.
async fn answer<T>(answer: oneshot::Receiver<T>) -> Result<T> {
    answer.await.map_err(|_| closed())
}

fn closed() -> Error {
    ErrorKind::Closed { what: "producer" }.into()
}
